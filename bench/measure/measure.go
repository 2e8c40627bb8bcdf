// Package measure takes samples in rounds: each round takes one sample of
// every cell, so that what drifts on the machine hits all of them alike.
package measure

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/caracalai/caracald/bench/report"
)

// Cell is one thing that is measured.
type Cell struct {
	Group, Workload, What, Peer string
	// Sample measures for about the given time.
	Sample func(ctx context.Context, round int, d time.Duration) ([]report.Value, error)
}

// Rounds takes rounds samples of d of every cell, and adds them to r. Each
// round begins with another cell. It stops early, after at least one round,
// when ctx or the time is over.
func Rounds(ctx context.Context, r *report.Report, cells []Cell, rounds int, d time.Duration, until time.Time) error {
	for round := range rounds {
		if round > 0 && time.Now().After(until) {
			break
		}
		for i := range cells {
			if err := ctx.Err(); err != nil {
				return err
			}
			c := cells[(i+round)%len(cells)]
			runtime.GC()
			values, err := c.Sample(ctx, round, d)
			if err != nil {
				return fmt.Errorf("%s, %s, %s by %s: %w", c.Group, c.Workload, c.What, c.Peer, err)
			}
			for _, v := range values {
				r.Add(report.Key{Group: c.Group, Workload: c.Workload, What: c.What, Peer: c.Peer, Metric: v.Metric}, v)
			}
		}
	}
	return nil
}

// Loop calls f again and again for about d, on one processor, and gives the
// time and the allocations of one call.
func Loop(d time.Duration, f func(i int) error) ([]report.Value, error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	// One call at least, and no more than are needed to fill caches.
	warm := time.Now()
	for i := 0; i == 0 || i < 64 && time.Since(warm) < d/4; i++ {
		if err := f(i); err != nil {
			return nil, err
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n := 0
	start := time.Now()
	var took time.Duration
	for step := 1; took < d; took = time.Since(start) {
		// Between two looks at the clock lies enough work that they do not count.
		if n >= 16 && took < d/8 {
			step = 16
		}
		for range step {
			if err := f(n); err != nil {
				return nil, err
			}
			n++
		}
	}
	runtime.ReadMemStats(&after)
	calls := float64(n)
	return []report.Value{
		{Metric: "time", Unit: "ns", Value: float64(took.Nanoseconds()) / calls},
		{Metric: "allocs", Unit: "", Value: float64(after.Mallocs-before.Mallocs) / calls},
		{Metric: "bytes", Unit: "B", Value: float64(after.TotalAlloc-before.TotalAlloc) / calls},
	}, nil
}
