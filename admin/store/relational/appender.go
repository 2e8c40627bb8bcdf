package relational

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/caracalai/caracald/admin/store"
)

// maxTogether is the most events of batches that are stored together.
const maxTogether = 4000

// Appender stores batches of events that come at the same time together, in one
// transaction: a commit waits for the disk, and many small batches would each
// wait for it in turn. A batch that comes alone does not wait for others.
//
// Transactions that run at the same time have no zone in common: a zone's events
// are stored one after the other, so one would wait for the other's commit.
type Appender struct {
	most  int
	store func(ctx context.Context, batches []store.EventBatch) ([]Appended, error)

	mu      sync.Mutex
	waiting []*waitingBatch // in the order they came
	running int
	// busy are the zones of the transactions that run.
	busy map[string]bool
}

// Appended is what became of one batch.
type Appended struct {
	Result store.AppendResult
	// Err is set where the batch alone was refused, and nothing of it was written.
	Err error
}

type waitingBatch struct {
	ctx   context.Context
	batch store.EventBatch
	zones map[string]bool
	done  chan struct{}
	Appended
}

// NewAppender makes an appender of at most so many transactions at a time. store
// runs one, with batches of streams that are not the same, which is not empty.
// Where it fails nothing was stored.
func NewAppender(most int, store func(ctx context.Context, batches []store.EventBatch) ([]Appended, error)) *Appender {
	return &Appender{most: most, store: store, busy: map[string]bool{}}
}

// Append stores a batch. It returns when it is known what became of it: where
// ctx ends, once nothing of it can be stored any more.
func (a *Appender) Append(ctx context.Context, b store.EventBatch) (store.AppendResult, error) {
	if err := ctx.Err(); err != nil {
		return store.AppendResult{}, err
	}
	w := &waitingBatch{ctx: ctx, batch: b, zones: map[string]bool{}, done: make(chan struct{})}
	for i := range b.Events {
		w.zones[b.Events[i].ZoneID] = true
	}
	a.mu.Lock()
	a.waiting = append(a.waiting, w)
	if a.running < a.most {
		a.running++
		go a.run()
	}
	a.mu.Unlock()
	select {
	case <-w.done:
	case <-ctx.Done():
		if a.leave(w) {
			return store.AppendResult{}, ctx.Err()
		}
		<-w.done
	}
	return w.Result, w.Err
}

// leave tells whether a batch was still waiting; it waits no more then.
func (a *Appender) leave(w *waitingBatch) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.Index(a.waiting, w)
	if i >= 0 {
		a.waiting = slices.Delete(a.waiting, i, i+1)
	}
	return i >= 0
}

// run stores what waits, until nothing does that another is not to store.
func (a *Appender) run() {
	var group []*waitingBatch
	for {
		group = a.take(group)
		if group == nil {
			return
		}
		a.do(group)
	}
}

// take gives the batches that are stored together next, after those that were;
// nil where there are none. Two of one stream follow each other, and a batch that
// must wait for its zones is not overtaken there.
func (a *Appender) take(before []*waitingBatch) []*waitingBatch {
	type stream struct{ daemon, epoch string }
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range before {
		for zone := range w.zones {
			delete(a.busy, zone)
		}
	}
	var group, later []*waitingBatch
	events, streams, kept := 0, map[stream]bool{}, map[string]bool{}
	for _, w := range a.waiting {
		if err := w.ctx.Err(); err != nil { // it is about to leave
			w.Err = err
			close(w.done)
			continue
		}
		s := stream{w.batch.DaemonID, w.batch.Epoch}
		waits := streams[s] || len(group) > 0 && events+len(w.batch.Events) > maxTogether
		for zone := range w.zones {
			waits = waits || a.busy[zone] || kept[zone]
		}
		streams[s] = true
		if !waits {
			group = append(group, w)
			events += len(w.batch.Events)
			continue
		}
		later = append(later, w)
		for zone := range w.zones {
			kept[zone] = true
		}
	}
	a.waiting = later
	for _, w := range group {
		for zone := range w.zones {
			a.busy[zone] = true
		}
	}
	if group == nil {
		a.running--
	}
	return group
}

// do stores batches together, and where that fails each by itself, so that one
// does not take the others with it.
func (a *Appender) do(group []*waitingBatch) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(group[0].ctx))
	defer cancel()
	batches := make([]store.EventBatch, len(group))
	var left atomic.Int64 // who waits for it
	left.Store(int64(len(group)))
	for i, w := range group {
		batches[i] = w.batch
		defer context.AfterFunc(w.ctx, func() {
			if left.Add(-1) == 0 {
				cancel()
			}
		})()
	}
	out, err := a.store(ctx, batches)
	if err != nil && len(group) > 1 && ctx.Err() == nil {
		for _, w := range group {
			a.do([]*waitingBatch{w})
		}
		return
	}
	for i, w := range group {
		switch {
		case err == nil:
			w.Appended = out[i]
		case w.ctx.Err() != nil:
			w.Err = fmt.Errorf("%w: %w", w.ctx.Err(), err)
		default:
			w.Err = err
		}
		close(w.done)
	}
}
