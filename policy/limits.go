package policy

import (
	"context"
	"fmt"
	"time"

	"github.com/open-policy-agent/opa/v1/topdown"
)

// Limits bounds one evaluation. Whatever ends at a limit is a deny with status
// error.
//
// Timeout is wall time. An evaluation looks at the clock and at its context
// every few dozen steps. A single built-in call cannot be interrupted, so an
// evaluation that does not end soon after its time is left to end by itself
// while the caller gets its answer; a set with too many of those refuses to
// evaluate until some have ended.
//
// MaxMemory bounds what an evaluation builds, whether or not it is garbage
// again: each step of the evaluator is charged a flat amount, and each call of
// a built-in whose result can be larger than a number is charged, before it
// runs, an upper bound of its result's size. It is an estimate of the same
// order as the heap really used, not an exact account of it.
type Limits struct {
	// Timeout is the most time one evaluation may take; 0 means the default.
	Timeout time.Duration
	// MaxMemory is the most bytes one evaluation may build; 0 means the default.
	MaxMemory int64
}

// DefaultLimits holds where a field of Limits is zero.
var DefaultLimits = Limits{Timeout: time.Second, MaxMemory: 128 << 20}

// maxTimeout stands for longer ones, so that adding to it cannot overflow.
const maxTimeout = 365 * 24 * time.Hour

func (l Limits) orDefault() Limits {
	if l.Timeout <= 0 {
		l.Timeout = DefaultLimits.Timeout
	}
	l.Timeout = min(l.Timeout, maxTimeout)
	if l.MaxMemory <= 0 {
		l.MaxMemory = DefaultLimits.MaxMemory
	}
	return l
}

const (
	// stepCost is what one step of the evaluator is charged.
	stepCost = 64
	// stepsPerLook is how many steps pass between two looks at the clock.
	stepsPerLook = 32
)

// meter is the account of one evaluation. OPA asks its cancel object at every
// step whether to go on, and hands the same object to every built-in, which
// makes it the place to count. It belongs to the evaluating goroutine.
type meter struct {
	ctx      context.Context
	deadline time.Time
	left     int64
	steps    uint
	stopped  *evaluationError
	limits   Limits
	// held marks the rules that held.
	held []bool
}

var _ topdown.Cancel = (*meter)(nil)

func newMeter(ctx context.Context, lim Limits) *meter {
	m := &meter{}
	m.begin(ctx, lim)
	return m
}

// begin opens the account.
func (m *meter) begin(ctx context.Context, lim Limits) {
	*m = meter{ctx: ctx, deadline: time.Now().Add(lim.Timeout), left: lim.MaxMemory, limits: lim}
}

// Cancel ends the evaluation.
func (m *meter) Cancel() {
	m.stop(&evaluationError{reason: ReasonCanceled, message: "the evaluation was canceled"})
}

// Cancelled charges one step and reports whether the evaluation has to end.
func (m *meter) Cancelled() bool {
	if m.stopped != nil {
		return true
	}
	if m.left -= stepCost; m.left < 0 {
		m.stop(m.outOfMemory())
		return true
	}
	if m.steps++; m.steps%stepsPerLook == 0 {
		m.look()
	}
	return m.stopped != nil
}

// look ends the evaluation if its time is up or its caller has gone.
func (m *meter) look() {
	if err := m.ctx.Err(); err != nil {
		m.stop(stoppedBy(m.ctx))
	} else if time.Now().After(m.deadline) {
		m.stop(timedOut(m.limits))
	}
}

func (m *meter) stop(e *evaluationError) {
	if m.stopped == nil {
		m.stopped = e
	}
}

// charge takes bytes from what is left, or ends the evaluation.
func (m *meter) charge(bytes int64) error {
	if m.stopped == nil && bytes > m.left {
		m.stop(m.outOfMemory())
	}
	if m.stopped != nil {
		return topdown.Halt{Err: &topdown.Error{Code: topdown.CancelErr, Message: m.stopped.message}}
	}
	m.left -= bytes
	return nil
}

// Charge is charge, for the compiled engine.
func (m *meter) Charge(bytes int64) error { return m.charge(bytes) }

func (m *meter) outOfMemory() *evaluationError {
	return &evaluationError{reason: ReasonMemory, message: fmt.Sprintf("the evaluation built more than its limit of %d bytes", m.limits.MaxMemory)}
}

func timedOut(lim Limits) *evaluationError {
	return &evaluationError{reason: ReasonTimeout, message: fmt.Sprintf("the evaluation took longer than its limit of %v", lim.Timeout)}
}

// stoppedBy says why ctx ended: its deadline or its caller.
func stoppedBy(ctx context.Context) *evaluationError {
	if ctx.Err() == context.DeadlineExceeded {
		return &evaluationError{reason: ReasonTimeout, message: "the request's deadline passed during the evaluation"}
	}
	return &evaluationError{reason: ReasonCanceled, message: "the request was canceled during the evaluation"}
}
