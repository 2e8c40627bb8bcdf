package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin/store"
)

// long is a time for which no test runs.
const long = time.Hour

func leases(f *fixture) {
	lease := func(name, holder string, ttl time.Duration) (int64, error) { return f.Lease(f.ctx, name, holder, ttl) }
	take := func(name, holder string, ttl time.Duration) int64 {
		f.Helper()
		generation, err := lease(name, holder, ttl)
		f.ok(err)
		return generation
	}
	held := func(name, holder string) {
		f.Helper()
		_, err := lease(name, holder, long)
		f.is(err, store.ErrHeld)
	}
	first := take("work", "a", long)
	f.same(take("work", "a", long), first) // renewed
	held("work", "b")
	f.same(take("other", "b", long) > 0, true) // each name has its own
	held("other", "a")
	f.ok(f.Release(f.ctx, "work", "b")) // who has it not
	held("work", "b")
	f.ok(f.Release(f.ctx, "nothing", "b"))
	f.ok(f.Release(f.ctx, "work", "a"))
	second := take("work", "b", long)
	f.same(second > first, true)
	held("work", "a")

	take("work", "b", time.Millisecond) // and then it ends by itself
	late := time.Now().Add(30 * time.Second)
	for {
		third, err := lease("work", "a", long)
		if err == nil {
			f.same(third > second, true)
			break
		}
		f.is(err, store.ErrHeld)
		if time.Now().After(late) {
			f.Fatal("a lease does not end")
		}
	}
	// Whoever lets it end, and comes back, is told by the generation.
	before := take("gone", "a", time.Microsecond)
	for take("gone", "a", time.Microsecond) == before {
		if time.Now().After(late) {
			f.Fatal("a lease that ended has the same generation")
		}
	}
}

// sharedLeases has holders of several openings want one lease at once.
func sharedLeases(t *testing.T, open func() (store.Store, error)) {
	stores := []*fixture{opened(t, open), opened(t, open), opened(t, open)}
	for round := range 10 {
		name := fmt.Sprint("work", round)
		errs := make([]error, len(stores))
		var all sync.WaitGroup
		for i, f := range stores {
			all.Go(func() { _, errs[i] = f.Lease(f.ctx, name, fmt.Sprint(i), long) })
		}
		all.Wait()
		holder := -1
		for i, err := range errs {
			if err == nil && holder >= 0 {
				t.Fatalf("%d and %d hold one lease", holder, i)
			}
			if err == nil {
				holder = i
			} else if !errors.Is(err, store.ErrHeld) {
				t.Fatal(err)
			}
		}
		if holder < 0 {
			t.Fatalf("nobody holds the lease: %v", errs)
		}
		stores[0].ok(stores[holder].Release(t.Context(), name, fmt.Sprint(holder)))
		next := stores[(holder+1)%len(stores)]
		_, err := next.Lease(t.Context(), name, "next", long)
		next.ok(err)
	}
}

func spent(f *fixture) {
	isSpent := func(id string) bool {
		return read(f, func(r store.Reader) (bool, error) { return r.Spent(f.ctx, id) })
	}
	spend := func(id string, at int) func(store.Tx) error {
		return func(tx store.Tx) error { return tx.Spend(f.ctx, id, after(at)) }
	}
	f.same(isSpent("a"), false)
	f.update(spend("a", 5))
	f.update(spend("b", 6))
	f.same([]bool{isSpent("a"), isSpent("b"), isSpent("c")}, []bool{true, true, false})
	f.refused(store.ErrConflict, spend("a", 7))
	f.update(func(tx store.Tx) error { return tx.DeleteSpentBefore(f.ctx, after(6)) })
	f.same([]bool{isSpent("a"), isSpent("b")}, []bool{false, true})

	// Of several who spend one at once, one does.
	const spenders = 8
	errs := make([]error, spenders)
	var all sync.WaitGroup
	for i := range spenders {
		all.Go(func() { errs[i] = f.Update(f.ctx, spend("once", 9)) })
	}
	all.Wait()
	n := 0
	for _, err := range errs {
		if err == nil {
			n++
			continue
		}
		f.is(err, store.ErrConflict)
	}
	f.same(n, 1)
}
