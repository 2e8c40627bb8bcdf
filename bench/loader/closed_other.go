//go:build !linux

package loader

import (
	"context"
	"sync"
	"time"
)

// saturate lets each caller ask as soon as it was answered.
func saturate(ctx context.Context, callers []*caller, end time.Time, grace time.Duration) error {
	var all sync.WaitGroup
	for _, c := range callers {
		all.Go(func() {
			for now := time.Now(); now.Before(end) && ctx.Err() == nil; now = time.Now() {
				if c.conn != nil {
					_ = c.conn.SetDeadline(end.Add(grace))
				}
				c.ask(now)
			}
		})
	}
	all.Wait()
	return nil
}
