package measure_test

import (
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/caracalai/caracald/bench/measure"
)

var kept []byte

func TestBenchmark(t *testing.T) {
	const size, d = 1000, 20 * time.Millisecond
	calls, next, processors := 0, 0, runtime.GOMAXPROCS(0)
	r, err := measure.Benchmark(d, func(i int) error {
		calls++
		if i != next && i != 0 {
			t.Errorf("call %d has number %d", next, i)
		}
		next = i + 1
		if n := runtime.GOMAXPROCS(0); n != 1 {
			t.Errorf("%d processors", n)
		}
		kept = make([]byte, size)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := runtime.GOMAXPROCS(0); n != processors {
		t.Errorf("%d processors afterwards, %d before", n, processors)
	}
	// A few more calls come before those that count.
	if r.T < d || r.N < 1 || calls < r.N || calls > r.N+200 {
		t.Errorf("%d of %d calls in %v, for %v", r.N, calls, r.T, d)
	}
	of := map[string]float64{}
	for _, v := range measure.Values(r) {
		of[v.Metric] = v.Value
	}
	if of["time"] <= 0 || of["allocs"] < 1 || of["bytes"] < size {
		t.Errorf("one call of %d bytes took %v", size, of)
	}
}

func TestBenchmarkFails(t *testing.T) {
	failure := errors.New("no decision")
	for _, at := range []int{0, 500} {
		calls := 0
		_, err := measure.Benchmark(time.Second, func(int) error {
			if calls++; calls > at {
				return failure
			}
			return nil
		})
		if !errors.Is(err, failure) || calls != at+1 {
			t.Errorf("failing after %d calls: %v after %d", at, err, calls)
		}
	}
}
