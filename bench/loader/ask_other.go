//go:build !linux

package loader

import (
	"context"
	"sync"
	"time"
)

// saturate lets each caller ask as soon as it was answered.
func saturate(ctx context.Context, callers []*caller, start time.Time, l Load) error {
	end := start.Add(l.Duration)
	var all sync.WaitGroup
	for _, c := range callers {
		all.Go(func() {
			for now := time.Now(); now.Before(end) && ctx.Err() == nil; now = time.Now() {
				if c.conn != nil {
					_ = c.conn.SetDeadline(end.Add(l.Grace))
				}
				c.count(now, c.exchange())
			}
		})
	}
	all.Wait()
	return nil
}

// pace asks at a rate: whoever of the callers is free takes the next request
// that is due. Where none is, requests wait, and count from when they were due.
func pace(ctx context.Context, callers []*caller, start time.Time, l Load) error {
	s := schedule{start, l}
	numbers := make(chan int64, len(callers))
	var all sync.WaitGroup
	for _, c := range callers {
		all.Go(func() {
			for n := range numbers {
				if err := s.givenUp(n, time.Now()); err != nil {
					c.fail(err)
					continue
				}
				c.count(s.due(n), c.exchange())
			}
		})
	}
	for n := range s.requests() {
		time.Sleep(time.Until(s.due(n)))
		if ctx.Err() != nil {
			break
		}
		numbers <- n
	}
	close(numbers)
	all.Wait()
	return nil
}
