package measure

import (
	"flag"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/caracalai/caracald/bench/report"
)

// initialise registers the flags of package testing, one of which is the time
// that a benchmark takes.
var initialise = sync.OnceFunc(testing.Init)

// Benchmark calls f again and again for about d, on one processor, as a
// benchmark of package testing. It is for one goroutine at a time.
func Benchmark(d time.Duration, f func(i int) error) (testing.BenchmarkResult, error) {
	initialise()
	if err := flag.Set("test.benchtime", d.String()); err != nil {
		return testing.BenchmarkResult{}, fmt.Errorf("setting how long to measure: %w", err)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var failure error
	r := testing.Benchmark(func(b *testing.B) {
		// One call at least, and no more than are needed to fill caches.
		warm := time.Now()
		for i := 0; i == 0 || i < 64 && time.Since(warm) < d/4; i++ {
			if failure = f(i); failure != nil {
				b.FailNow()
			}
		}
		for i := 0; b.Loop(); i++ {
			if failure = f(i); failure != nil {
				b.FailNow()
			}
		}
	})
	if failure == nil && r.N == 0 {
		failure = fmt.Errorf("the benchmark measured nothing in %v", d)
	}
	return r, failure
}

// Values are the time and the allocations of one call.
func Values(r testing.BenchmarkResult) []report.Value {
	calls := float64(r.N)
	return []report.Value{
		{Metric: "time", Unit: "ns", Value: float64(r.T.Nanoseconds()) / calls},
		{Metric: "allocs", Unit: "", Value: float64(r.MemAllocs) / calls},
		{Metric: "bytes", Unit: "B", Value: float64(r.MemBytes) / calls},
	}
}
