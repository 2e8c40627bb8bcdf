package report_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/perf/benchfmt"

	"github.com/caracalai/caracald/bench/report"
)

// What benchstat reads of the samples is what was measured.
func TestSamples(t *testing.T) {
	r := report.New("x", true)
	at := report.Key{Group: "in process", Workload: "A", What: "bytes to bytes", Peer: "cedar-go"}
	r.Benchmark(at, testing.BenchmarkResult{N: 1000, T: 3 * time.Millisecond, MemAllocs: 14300, MemBytes: 868000})
	at.Peer = "go"
	r.Benchmark(at, testing.BenchmarkResult{N: 3, T: 10 * time.Nanosecond})
	file := filepath.Join(t.TempDir(), "samples.txt")
	if err := r.WriteSamples(file); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var results []*benchfmt.Result
	for in := benchfmt.NewReader(f, file); in.Scan(); {
		result, ok := in.Result().(*benchfmt.Result)
		if !ok {
			t.Fatalf("%v", in.Result())
		}
		results = append(results, result.Clone())
	}
	if len(results) != 2 {
		t.Fatalf("%d results", len(results))
	}
	for i, want := range []struct {
		name                  string
		iterations            int
		seconds, allocs, size float64
	}{{"BytesToBytes/workload=A/peer=cedar-go", 1000, 3e-6, 14.3, 868}, {"BytesToBytes/workload=A/peer=go", 3, 10e-9 / 3, 0, 0}} {
		got := results[i]
		seconds, _ := got.Value("sec/op")
		allocs, counted := got.Value("allocs/op")
		size, _ := got.Value("B/op")
		if string(got.Name) != want.name || got.Iters != want.iterations || !near(seconds, want.seconds) || !counted || allocs != want.allocs || size != want.size {
			t.Errorf("%s: %d calls, %v s, %v allocations, %v bytes; want %+v", got.Name, got.Iters, seconds, allocs, size, want)
		}
		if got.GetConfig("goos") == "" || !strings.HasPrefix(got.GetConfig("go"), "go") {
			t.Errorf("%s: configuration %v", got.Name, got.Config)
		}
	}
}

func near(a, b float64) bool { return a > b*0.999 && a < b*1.001 }

func TestInterval(t *testing.T) {
	row := func(n int) *report.Row {
		r := report.New("x", true)
		for i := range n {
			r.Add(key("ours", "rate"), report.Value{Value: float64(i + 1)})
		}
		return r.Row(key("ours", "rate"))
	}
	if low, high, ok := row(5).Interval(); ok {
		t.Errorf("five samples have an interval from %v to %v", low, high)
	}
	// The ranks are those of the binomial distribution: of ten samples from the
	// second to the ninth, which hold the median with 97.9%.
	if low, high, ok := row(10).Interval(); !ok || low != 2 || high != 9 {
		t.Errorf("ten samples: from %v to %v (%t)", low, high, ok)
	}
	if low, high, ok := row(6).Interval(); !ok || low != 1 || high != 6 {
		t.Errorf("six samples: from %v to %v (%t)", low, high, ok)
	}
}
