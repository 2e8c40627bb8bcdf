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
