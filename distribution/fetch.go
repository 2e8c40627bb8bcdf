package distribution

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caracalai/caracald/bundle"
)

// How a source was left, as Fetcher.Tried is told.
const (
	OutcomeFetched = "fetched"
	// OutcomeMissing is that the source does not have the bundle.
	OutcomeMissing = "missing"
	// OutcomeWrong is that it has other bytes under the hash, or fewer or more.
	OutcomeWrong = "wrong_bytes"
	// OutcomeTimeout is that it took too long.
	OutcomeTimeout = "timeout"
	// OutcomeFailed is that it could not be reached or answered an error.
	OutcomeFailed = "failed"
)

const (
	// DefaultTimeout is how long a source has, where there is another to try.
	DefaultTimeout = 10 * time.Second
	// lastTimeout is how long the last one has: enough for the largest bundle
	// over a slow line.
	lastTimeout = time.Minute
	// rest is for how long a source that failed is only tried after the others,
	// so that one which hangs holds up a load once and not every load.
	rest = 30 * time.Second
)

// Fetcher fetches bundles from sources, in order. Its exported fields are set
// before it is used; then it is safe for concurrent use.
type Fetcher struct {
	// Sources are tried in this order. The last one has a minute, however long
	// Timeout is, unless that is longer.
	Sources []Source
	// Timeout bounds each try. Default DefaultTimeout.
	Timeout time.Duration
	// Tried, where set, is told how each try ended; err is nil for OutcomeFetched.
	Tried func(ctx context.Context, source Source, outcome string, err error)

	mu sync.Mutex
	// resting are the sources that failed, and until when they come last.
	resting map[Source]time.Time
}

// Fetch gives the bundle that has a hash and a size in bytes, from the first
// source that has it. Nothing that does not have both is given. The error says
// what was wrong with each source; it matches ErrUnavailable where trying again
// may help, otherwise bundle.ErrHash.
func (f *Fetcher) Fetch(ctx context.Context, sha256 string, size int64) ([]byte, error) {
	if most := bundle.DefaultLimits().MaxCompressed; size > most {
		return nil, fmt.Errorf("%w: the bundle has %d bytes; at most %d are accepted", bundle.ErrLimit, size, most)
	}
	if err := checkHash(sha256); err != nil {
		return nil, err
	}
	var failed []error
	order := f.order(time.Now())
	for i, source := range order {
		timeout := f.Timeout
		if timeout == 0 {
			timeout = DefaultTimeout
		}
		if i == len(order)-1 {
			timeout = max(timeout, lastTimeout)
		}
		data, outcome, err := try(ctx, source, sha256, size, timeout)
		f.note(source, outcome)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if f.Tried != nil {
			f.Tried(ctx, source, outcome, err)
		}
		if err == nil {
			return data, nil
		}
		if outcome != OutcomeWrong {
			err = fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		failed = append(failed, fmt.Errorf("%s: %w", source.Name(), err))
	}
	if failed == nil {
		return nil, fmt.Errorf("%w: there is no source", ErrUnavailable)
	}
	return nil, errors.Join(failed...)
}

// try asks one source. It does not wait for one that ignores the end of its time.
func try(ctx context.Context, source Source, sha256 string, size int64, timeout time.Duration) (data []byte, outcome string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("there was no answer in %v: %w", timeout, context.DeadlineExceeded))
	defer cancel()
	type answer struct {
		data []byte
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		data, err := source.Get(ctx, sha256, size)
		answered <- answer{data, err}
	}()
	var a answer
	select {
	case a = <-answered:
	case <-ctx.Done():
		a.err = context.Cause(ctx)
	}
	if a.err == nil {
		if int64(len(a.data)) != size {
			a.err = fmt.Errorf("%w: there are %d bytes, not the bundle's %d", bundle.ErrHash, len(a.data), size)
		} else {
			a.err = Verify(a.data, sha256)
		}
	}
	switch {
	case a.err == nil:
		return a.data, OutcomeFetched, nil
	case errors.Is(a.err, bundle.ErrHash):
		return nil, OutcomeWrong, a.err
	case errors.Is(a.err, ErrMissing):
		return nil, OutcomeMissing, a.err
	case ctx.Err() != nil:
		return nil, OutcomeTimeout, context.Cause(ctx)
	}
	return nil, OutcomeFailed, a.err
}

// order is the sources, those that rest after the others.
func (f *Fetcher) order(now time.Time) []Source {
	f.mu.Lock()
	defer f.mu.Unlock()
	var ready, resting []Source
	for _, s := range f.Sources {
		if now.Before(f.resting[s]) {
			resting = append(resting, s)
		} else {
			ready = append(ready, s)
		}
	}
	return append(ready, resting...)
}

// note remembers how a source was left.
func (f *Fetcher) note(source Source, outcome string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch outcome {
	case OutcomeTimeout, OutcomeFailed:
		if f.resting == nil {
			f.resting = map[Source]time.Time{}
		}
		f.resting[source] = time.Now().Add(rest)
	case OutcomeFetched:
		delete(f.resting, source)
	}
}

// Close closes the sources.
func (f *Fetcher) Close() error {
	var failed []error
	for _, s := range f.Sources {
		failed = append(failed, s.Close())
	}
	return errors.Join(failed...)
}
