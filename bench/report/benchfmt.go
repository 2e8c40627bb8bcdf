package report

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/perf/benchfmt"
)

// Benchmark keeps one result of package testing, for WriteSamples.
func (r *Report) Benchmark(k Key, result testing.BenchmarkResult) {
	r.benchmarks = append(r.benchmarks, benchmark{k, result})
}

type benchmark struct {
	key    Key
	result testing.BenchmarkResult
}

// WriteSamples writes every result that Benchmark was given, in the order in
// which they were measured, in Go's benchmark format, which benchstat reads.
func (r *Report) WriteSamples(file string) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	out := bufio.NewWriter(f)
	w := benchfmt.NewWriter(out)
	config := []benchfmt.Config{}
	for _, c := range [][2]string{
		{"goos", runtime.GOOS}, {"goarch", runtime.GOARCH}, {"pkg", "github.com/caracalai/caracald/bench"}, {"cpu", r.Machine.Model},
		{"go", runtime.Version()}, {"commit", r.Versions["vcs.revision"]}, {"date", r.Started.Format("2006-01-02")},
	} {
		if c[1] != "" {
			config = append(config, benchfmt.Config{Key: c[0], Value: []byte(c[1]), File: true})
		}
	}
	for _, b := range r.benchmarks {
		calls := float64(b.result.N)
		if err := w.Write(&benchfmt.Result{
			Config: config, Name: benchfmt.Name(benchmarkName(b.key)), Iters: b.result.N,
			Values: []benchfmt.Value{
				{Value: float64(b.result.T.Nanoseconds()) / calls, Unit: "ns/op"},
				{Value: float64(b.result.MemBytes) / calls, Unit: "B/op"},
				{Value: float64(b.result.MemAllocs) / calls, Unit: "allocs/op"},
			},
		}); err != nil {
			return fmt.Errorf("writing samples: %w", err)
		}
	}
	return out.Flush()
}

// benchmarkName is what was measured in words without spaces, then workload and
// peer as the keys by which benchstat can make rows and columns.
func benchmarkName(k Key) string {
	var name strings.Builder
	for word := range strings.FieldsSeq(k.What) {
		name.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return fmt.Sprintf("%s/workload=%s/peer=%s", name.String(), k.Workload, k.Peer)
}
