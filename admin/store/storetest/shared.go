package storetest

import (
	"errors"
	"sync"
	"testing"

	"github.com/caracalai/caracald/admin/store"
)

// RunShared tests what a backend keeps between one opening and the next, and
// what several openings see of each other. place gives a new, empty place and
// the function that opens it, any number of times at once; the tests close what
// they open. Polling for the writes of others should be quick.
func RunShared(t *testing.T, place func(t *testing.T) (open func() (store.Store, error))) {
	for _, part := range []struct {
		name string
		test func(*testing.T, func() (store.Store, error))
	}{
		{"Reopened", reopened},
		{"OpenedAtOnce", openedAtOnce},
		{"Together", together},
		{"Leases", sharedLeases},
		{"Closed", closed},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, place(t)) })
	}
}

func opened(t *testing.T, open func() (store.Store, error)) *fixture {
	t.Helper()
	s, err := open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return newFixture(t, s)
}

func reopened(t *testing.T, open func() (store.Store, error)) {
	f := opened(t, open)
	p := f.published("zone")
	f.moved(p.zone, 0, nil)
	pointer, _ := f.moved(p.zone, 1, &p.first)
	event := f.adminEvent(1, nil)
	s := newSpool(p.zone, 5)
	f.append(s.batch(0, 3))
	f.ok(f.Close())

	f = opened(t, open)
	f.clean()
	f.same(read(f, func(r store.Reader) (store.Pointer, error) { return r.Pointer(f.ctx, p.zone) }), pointer)
	f.same(read(f, func(r store.Reader) (store.SetVersion, error) { return r.SetVersion(f.ctx, p.zone, p.set, p.second.ID) }), p.second)
	f.same(f.adminEvent(2, nil).ChainSeq, event.ChainSeq+1)
	f.same(f.nextOffset(s), uint64(3))
	wrong := s.batch(3, 5)
	wrong.PrevHash = [32]byte{}
	_, err := f.Events().Append(f.ctx, wrong)
	f.is(err, store.ErrChain) // the chain goes on where it was
	f.append(s.batch(3, 5))
	f.same(ids(f.since(p.zone, 0, 0)), ids(s.records))
	f.clean()
}

func openedAtOnce(t *testing.T, open func() (store.Store, error)) {
	const openers = 6
	stores := make([]store.Store, openers)
	errs := make([]error, openers)
	var all sync.WaitGroup
	for i := range openers {
		all.Go(func() { stores[i], errs[i] = open() })
	}
	all.Wait()
	for i, s := range stores {
		if errs[i] == nil {
			errs[i] = s.Close()
		}
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func together(t *testing.T, open func() (store.Store, error)) {
	a, b := opened(t, open), opened(t, open)
	p := a.published("zone")
	a.moved(p.zone, 0, nil)
	drain(b.Changes())
	pointer, _ := a.moved(p.zone, 1, &p.first)
	b.arrives(b.Changes())
	b.same(read(b, func(r store.Reader) (store.Pointer, error) { return r.Pointer(b.ctx, p.zone) }), pointer)
	again, activation := move(p.zone, 1, &p.second)
	b.refused(store.ErrChanged, func(tx store.Tx) error { return tx.MovePointer(b.ctx, again, activation) })
	drain(a.Changes())
	b.moved(p.zone, 2, &p.second)
	a.arrives(a.Changes())

	s := newSpool("z", 4)
	drain(b.Events().Added())
	a.append(s.batch(0, 2))
	b.arrives(b.Events().Added())
	b.same(b.append(s.batch(1, 4)), store.AppendResult{Accepted: 2, Duplicate: 1, NextOffset: 4})
	a.same(ids(a.since("z", 0, 0)), ids(s.records))

	const each = 10
	var all sync.WaitGroup
	errs := make([]error, 2)
	for i, f := range []*fixture{a, b} {
		all.Go(func() {
			for range each {
				errs[i] = errors.Join(errs[i], f.Update(f.ctx, func(tx store.Tx) error {
					_, err := tx.AppendAdminEvent(f.ctx, store.AdminEvent{ID: newID(), OccurredAt: start})
					return err
				}))
			}
		})
	}
	all.Wait()
	a.ok(errors.Join(errs...))
	newest := read(a, func(r store.Reader) ([]store.AdminEvent, error) {
		return r.AdminEvents(a.ctx, store.AdminEventQuery{Limit: 1})
	})
	a.same(newest[0].ChainSeq, int64(2*each))
	a.clean()
}

func closed(t *testing.T, open func() (store.Store, error)) {
	f := opened(t, open)
	f.ok(f.Close())
	f.ok(f.Close())
	for _, signal := range []<-chan struct{}{f.Changes(), f.Events().Added()} {
		drainClosed(f, signal)
	}
	if err := f.View(f.ctx, func(store.Reader) error { return nil }); err == nil {
		f.Fatal("a closed store reads")
	}
	if err := f.Update(f.ctx, func(store.Tx) error { return nil }); err == nil {
		f.Fatal("a closed store writes")
	}
}

// drainClosed fails the test unless a signal is closed, after what it may still hold.
func drainClosed(f *fixture, signal <-chan struct{}) {
	f.Helper()
	for range 2 {
		select {
		case _, ok := <-signal:
			if !ok {
				return
			}
		default:
			f.Fatal("a signal of a closed store is open")
		}
	}
	f.Fatal("a signal of a closed store goes on")
}
