package policy

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	// maxStuck is how many evaluations of one set may run past their time
	// before the set refuses to begin another.
	maxStuck = 8
	// grace is how long past its time an evaluation is waited for. Nearly all
	// end within their next few steps; the rest are inside one built-in call.
	grace = 20 * time.Millisecond
)

// runner runs the evaluations of one set that cannot be interrupted everywhere.
type runner struct {
	// stuck counts the evaluations that were left to end by themselves.
	stuck atomic.Int32
}

// evaluate runs an evaluation on a goroutine of its own, because a single call of
// a built-in cannot be interrupted and the caller has to be answered in time.
func (r *runner) evaluate(ctx context.Context, lim Limits, run func(*meter) (outcome, error)) (outcome, error) {
	if err := ctx.Err(); err != nil {
		return outcome{}, stoppedBy(ctx)
	}
	if r.stuck.Load() >= maxStuck {
		return outcome{}, &evaluationError{reason: ReasonError, message: fmt.Sprintf("%d evaluations are still running past their time limit", maxStuck)}
	}
	type answer struct {
		outcome outcome
		err     error
	}
	const running, ended, left = 0, 1, 2
	var state atomic.Int32
	answers := make(chan answer, 1)
	m := newMeter(ctx, lim)
	onWorker(func() {
		o, err := run(m)
		answers <- answer{o, err}
		if !state.CompareAndSwap(running, ended) {
			r.stuck.Add(-1)
		}
	})
	timer := time.NewTimer(lim.Timeout + grace)
	defer timer.Stop()
	select {
	case a := <-answers:
		return a.outcome, a.err
	case <-timer.C:
	}
	if !state.CompareAndSwap(running, left) {
		a := <-answers
		return a.outcome, a.err
	}
	r.stuck.Add(1)
	return outcome{}, timedOut(lim)
}

// maxIdle is how many goroutines wait for the next evaluation.
const maxIdle = 64

// idle are goroutines that have evaluated before. An evaluation needs a deep
// stack, and growing one anew takes as long as a small evaluation does.
var idle = make(chan chan<- func(), maxIdle)

// onWorker runs f on a goroutine of its own, one whose stack is grown already
// where there is one.
func onWorker(f func()) {
	select {
	case w := <-idle:
		w <- f
	default:
		go work(f)
	}
}

// work runs f, and then whatever it is given, while there is room to wait.
func work(f func()) {
	next := make(chan func())
	for {
		f()
		select {
		case idle <- next:
			f = <-next
		default:
			return
		}
	}
}
