package admin

import (
	"context"
	"runtime"
)

// workbench is where authors' work that takes processors for long is done: policies that
// are tested, and evaluations that are traced. It has a place for half of the
// processors, so that the rest of the API stays quick.
type workbench chan struct{}

func newWorkbench() workbench { return make(workbench, max(1, runtime.GOMAXPROCS(0)/2)) }

// use runs f once there is a place, unless ctx ends before.
func (b workbench) use(ctx context.Context, f func() error) error {
	select {
	case b <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-b }()
	return f()
}
