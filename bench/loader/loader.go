// Package loader asks a server over HTTP: as fast as it answers (closed loop),
// or at a fixed rate (open loop), where the time of each request counts from
// when it was due and not from when the loader came to send it. So a server
// that stalls is charged for all who would have asked meanwhile.
package loader

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/caracalai/caracald/bench/workload"
)

// Target is a server and what it is asked.
type Target struct {
	// Network is "tcp" where it is empty, or "unix". Addr is a host and port, or
	// the path of a socket.
	Network, Addr string
	// Path is what is posted to.
	Path string
	// Wrapped puts the input into {"input": ...}, as OPA's API has it.
	Wrapped bool
	// Cerbos asks as Cerbos's API has it, for the effect on one action.
	Cerbos bool
	// Batch is the number of inputs of each request, in {"inputs": [...]}; 0 is
	// one input, which is the body.
	Batch int
	// Blind takes any answer with status 200, of a server that decides nothing.
	Blind bool
	// Workload gives the inputs, in Zones.
	Workload *workload.Workload
	Zones    []string
}

// Load is how much is asked. Equal seeds ask the same.
type Load struct {
	Seed        uint64
	Connections int
	Duration    time.Duration
	// Rate is the number of requests that are due each second; 0 is as many as
	// are answered.
	Rate float64
	// Grace is how long answers are waited for when all is asked; 0 is 10 s. Those
	// that do not come are failures.
	Grace time.Duration
}

// Result is what came of it.
type Result struct {
	// Answered counts requests that were answered rightly. Failed counts the
	// others, and Failure is one of their reasons: ErrWrong where there is one.
	Answered, Failed int64
	Failure          error
	// Decisions counts the inputs of answered requests.
	Decisions int64
	Elapsed   time.Duration
	// Latency is in nanoseconds, of all requests.
	Latency *hdrhistogram.Histogram
}

// Rate is the number of right decisions each second.
func (r *Result) Rate() float64 { return float64(r.Decisions) / r.Elapsed.Seconds() }

// grace is that of a load that does not say.
const grace = 10 * time.Second

// lateness is how many times its duration a load may take before it is given up.
const lateness = 3

// Run asks until the load's duration is over. With a rate it also ends, unmet
// requests counted as failed, when it is three times as late.
func Run(ctx context.Context, t Target, l Load) (*Result, error) {
	callers := make([]*caller, l.Connections)
	for i := range callers {
		c, err := dial(ctx, t, l.Seed<<16|uint64(i))
		if err != nil {
			return nil, err
		}
		defer c.close()
		callers[i] = c
	}
	start := time.Now()
	l.Grace = cmp.Or(l.Grace, grace)
	ask := pace
	if l.Rate == 0 {
		ask = saturate
	}
	if err := ask(ctx, callers, start, l); err != nil {
		return nil, err
	}
	r := &Result{Elapsed: time.Since(start), Latency: histogram()}
	for _, c := range callers {
		r.Answered += c.answered
		r.Failed += c.failed
		if c.failure != nil && !errors.Is(r.Failure, ErrWrong) {
			r.Failure = c.failure
		}
		r.Latency.Merge(c.latency)
	}
	r.Decisions = r.Answered * int64(max(1, t.Batch))
	return r, ctx.Err()
}

// schedule tells when the requests of a load with a rate are due.
type schedule struct {
	start time.Time
	load  Load
}

// requests is how many there are.
func (s schedule) requests() int64 { return int64(s.load.Rate * s.load.Duration.Seconds()) }

// due is when the nth is.
func (s schedule) due(n int64) time.Time {
	return s.start.Add(time.Duration(float64(n) / s.load.Rate * float64(time.Second)))
}

// givenUp tells of a request that is not made any more, because the server is too far behind.
func (s schedule) givenUp(n int64, now time.Time) error {
	if late := now.Sub(s.due(n)); late > lateness*s.load.Duration {
		return fmt.Errorf("the server is %v behind the rate", late)
	}
	return nil
}

// Check asks n requests one after another and fails unless every one is
// answered rightly.
func Check(ctx context.Context, t Target, seed uint64, n int) error {
	c, err := dial(ctx, t, seed<<16|0xffff)
	if err != nil {
		return err
	}
	defer c.close()
	for range n {
		if err := errors.Join(ctx.Err(), c.exchange()); err != nil {
			return err
		}
	}
	return nil
}

// longest is the largest latency that is told apart.
const longest = time.Minute

func histogram() *hdrhistogram.Histogram { return hdrhistogram.New(1000, int64(longest), 3) }
