package storetest

import (
	"encoding/json"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/caracalai/caracald/admin/store"
)

// published is a zone with a set of two versions.
type published struct {
	zone, set     string
	first, second store.SetVersion
}

func (f *fixture) published(name string) published {
	f.Helper()
	z := f.zone(name).ID
	s := f.set(z, "main")
	p := f.policy(z, "a")
	return published{z, s.ID, f.setVersion(s, p.Latest), f.setVersion(s, p.Latest)}
}

func pointers(f *fixture) {
	p, foreign := f.published("one"), f.published("two")
	get := func(r store.Reader) (store.Pointer, error) { return r.Pointer(f.ctx, p.zone) }
	active := func() *string {
		f.Helper()
		return read(f, func(r store.Reader) (store.PolicySet, error) { return r.PolicySet(f.ctx, p.zone, p.set) }).ActiveVersionID
	}
	missing(f, get)
	try := func(sequence int64, v *store.SetVersion) func(store.Tx) error {
		pointer, activation := move(p.zone, sequence, v)
		return func(tx store.Tx) error { return tx.MovePointer(f.ctx, pointer, activation) }
	}
	f.refused(store.ErrChanged, try(1, &p.first)) // the first is 0

	born, birth := f.moved(p.zone, 0, nil)
	f.same(read(f, get), born)
	f.same(active(), (*string)(nil))
	pointer, activation := f.moved(p.zone, 1, &p.first)
	f.same(read(f, get), pointer)
	f.same(active(), &p.first.ID)
	for _, wrong := range []int64{-1, 0, 1, 3} {
		f.refused(store.ErrChanged, try(wrong, &p.second))
	}
	f.refused(store.ErrNotFound, try(2, &foreign.first))
	altered := p.second
	altered.BundleSHA256 = foreign.first.BundleSHA256
	f.refused(store.ErrNotFound, try(2, &altered))
	f.refused(store.ErrNotFound, func(tx store.Tx) error {
		pointer, activation := move(newID(), 0, nil)
		return tx.MovePointer(f.ctx, pointer, activation)
	})
	pointer, activation2 := move(p.zone, 2, &p.second)
	activation2.ID = activation.ID
	f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.MovePointer(f.ctx, pointer, activation2) })
	f.same(read(f, get).Sequence, int64(1)) // the pointer did not move alone

	_, forth := move(p.zone, 2, &p.second)
	forth.PreviousVersionID = &p.first.ID
	pointer, _ = move(p.zone, 2, &p.second)
	f.update(func(tx store.Tx) error { return tx.MovePointer(f.ctx, pointer, forth) })
	back, third := f.moved(p.zone, 3, &p.first)
	f.same(active(), &p.first.ID)
	f.same(read(f, func(r store.Reader) ([]store.Activation, error) {
		return r.Activations(f.ctx, p.zone, 0, store.Cursor{})
	}),
		[]store.Activation{third, forth, activation, birth})
	f.same(read(f, func(r store.Reader) (store.Activation, error) { return r.Activation(f.ctx, p.zone, forth.ID) }), forth)
	missing(f, func(r store.Reader) (store.Activation, error) { return r.Activation(f.ctx, foreign.zone, forth.ID) })

	other, _ := f.moved(foreign.zone, 0, nil)
	f.update(func(tx store.Tx) error { return tx.ArchiveZone(f.ctx, p.zone, after(1)) })
	want := map[string]store.Pointer{p.zone: back, foreign.zone: other} // archived zones keep theirs
	got := map[string]store.Pointer{}
	for _, p := range read(f, func(r store.Reader) ([]store.Pointer, error) { return r.Pointers(f.ctx) }) {
		got[p.ZoneID] = p
	}
	f.same(got, want)
	f.same(read(f, get), back)
}

func concurrentMoves(f *fixture) {
	const movers, rounds = 8, 12
	p := f.published("zone")
	f.moved(p.zone, 0, nil)
	for round := range int64(rounds) {
		before := read(f, func(r store.Reader) (store.Pointer, error) { return r.Pointer(f.ctx, p.zone) })
		f.same(before.Sequence, round)
		errs := make([]error, movers)
		ids := make([]string, movers)
		var all sync.WaitGroup
		for i := range movers {
			all.Go(func() {
				pointer, activation := move(p.zone, before.Sequence+1, &p.first)
				ids[i] = activation.ID
				errs[i] = f.Update(f.ctx, func(tx store.Tx) error { return tx.MovePointer(f.ctx, pointer, activation) })
			})
		}
		all.Wait()
		won := ""
		for i, err := range errs {
			switch {
			case err == nil && won == "":
				won = ids[i]
			case err == nil:
				f.Fatalf("two moved the pointer to %d", round+1)
			default:
				f.is(err, store.ErrChanged)
			}
		}
		if won == "" {
			f.Fatalf("none moved the pointer to %d: %v", round+1, errors.Join(errs...))
		}
		newest := read(f, func(r store.Reader) ([]store.Activation, error) {
			return r.Activations(f.ctx, p.zone, 1, store.Cursor{})
		})[0]
		f.same(newest.ID, won)
		f.same(newest.Sequence, round+1)
	}
	f.same(len(read(f, func(r store.Reader) ([]store.Activation, error) {
		return r.Activations(f.ctx, p.zone, 0, store.Cursor{})
	})), rounds+1)
}

func resigned(f *fixture) {
	p := f.published("zone")
	f.moved(p.zone, 0, nil)
	pointer, _ := f.moved(p.zone, 1, &p.first)
	renewed := pointer
	renewed.Envelope, renewed.IssuedAt = json.RawMessage(`{"again":true}`), pointer.IssuedAt.Add(time.Microsecond)
	renewed.ExpiresAt = pointer.ExpiresAt.Add(time.Hour)
	f.update(func(tx store.Tx) error { return tx.ResignPointer(f.ctx, renewed) })
	get := func(r store.Reader) (store.Pointer, error) { return r.Pointer(f.ctx, p.zone) }
	f.same(read(f, get), renewed)
	for name, wrong := range map[string]func(*store.Pointer){
		"an older sequence":    func(p *store.Pointer) { p.Sequence = 0 },
		"a later sequence":     func(p *store.Pointer) { p.Sequence = 2 },
		"not issued later":     func(*store.Pointer) {},
		"a zone without a one": func(p *store.Pointer) { p.ZoneID = newID() },
	} {
		again := renewed
		wrong(&again)
		err := f.Update(f.ctx, func(tx store.Tx) error { return tx.ResignPointer(f.ctx, again) })
		if !errors.Is(err, store.ErrChanged) {
			f.Fatalf("%s: %v", name, err)
		}
	}
	f.same(read(f, get), renewed)
	f.same(len(read(f, func(r store.Reader) ([]store.Activation, error) {
		return r.Activations(f.ctx, p.zone, 0, store.Cursor{})
	})), 2)
}

func raised(f *fixture) {
	p := f.published("zone")
	get := func(r store.Reader) (store.Pointer, error) { return r.Pointer(f.ctx, p.zone) }
	raise := func(sequence int64, v *store.SetVersion) (store.Pointer, store.Activation) {
		pointer, activation := move(p.zone, 2, v) // in a time of its own, whatever the sequence
		pointer.Sequence, activation.Sequence, activation.PreviousVersionID = sequence, sequence, activation.VersionID
		return pointer, activation
	}
	pointer, activation := raise(9, nil)
	f.refused(store.ErrNotFound, func(tx store.Tx) error { return tx.RaisePointer(f.ctx, pointer, activation) }) // nothing is there yet
	_, birth := f.moved(p.zone, 0, nil)
	old, first := f.moved(p.zone, 1, &p.first)

	for name, wrong := range map[string]func(*store.Pointer, *store.Activation){
		"the same sequence":         func(p *store.Pointer, a *store.Activation) { p.Sequence, a.Sequence = 1, 1 },
		"a lower sequence":          func(p *store.Pointer, a *store.Activation) { p.Sequence, a.Sequence = 0, 0 },
		"not issued later":          func(p *store.Pointer, _ *store.Activation) { p.IssuedAt = old.IssuedAt },
		"another version":           func(q *store.Pointer, _ *store.Activation) { q.VersionID = &p.second.ID },
		"another bundle":            func(q *store.Pointer, _ *store.Activation) { q.BundleSHA256 = p.second.BundleSHA256 },
		"no version":                func(p *store.Pointer, _ *store.Activation) { p.PolicySetID, p.VersionID = nil, nil },
		"another version before it": func(_ *store.Pointer, a *store.Activation) { a.PreviousVersionID = nil },
	} {
		pointer, activation := raise(9, &p.first)
		wrong(&pointer, &activation)
		if err := f.Update(f.ctx, func(tx store.Tx) error { return tx.RaisePointer(f.ctx, pointer, activation) }); !errors.Is(err, store.ErrChanged) {
			f.Fatalf("%s: %v", name, err)
		}
	}
	for _, beyond := range []int64{store.MaxSequence + 1, math.MaxInt64} {
		pointer, activation := raise(beyond, &p.first)
		if f.Update(f.ctx, func(tx store.Tx) error { return tx.RaisePointer(f.ctx, pointer, activation) }) == nil {
			f.Fatalf("it was raised to %d", beyond)
		}
	}
	f.same(read(f, get), old)

	drain(f.Changes())
	pointer, nine := raise(9, &p.first)
	f.update(func(tx store.Tx) error { return tx.RaisePointer(f.ctx, pointer, nine) })
	f.arrives(f.Changes())
	f.same(read(f, get), pointer)
	f.refused(store.ErrChanged, func(tx store.Tx) error { // it moves on from there, by one step
		p, a := move(p.zone, 2, &p.second)
		return tx.MovePointer(f.ctx, p, a)
	})
	_, ten := f.moved(p.zone, 10, &p.second)
	_, eleven := f.moved(p.zone, 11, nil)
	top, last := raise(store.MaxSequence, nil)
	top.IssuedAt, last.CreatedAt = start.Add(time.Hour), start.Add(time.Hour)
	f.update(func(tx store.Tx) error { return tx.RaisePointer(f.ctx, top, last) })
	beyond, further := move(p.zone, 12, &p.first)
	beyond.Sequence, further.Sequence, further.CreatedAt = top.Sequence+1, top.Sequence+1, start.Add(2*time.Hour)
	f.update(func(tx store.Tx) error { return tx.MovePointer(f.ctx, beyond, further) })
	f.same(read(f, get).Sequence, int64(store.MaxSequence+1))
	var sequences []int64
	for _, a := range read(f, func(r store.Reader) ([]store.Activation, error) {
		return r.Activations(f.ctx, p.zone, 0, store.Cursor{})
	}) {
		sequences = append(sequences, a.Sequence)
	}
	f.same(sequences, []int64{further.Sequence, last.Sequence, eleven.Sequence, ten.Sequence, nine.Sequence, first.Sequence, birth.Sequence})
}

func changes(f *fixture) {
	p := f.published("zone")
	drain(f.Changes())
	pointer, _ := f.moved(p.zone, 0, nil)
	f.arrives(f.Changes())
	pointer.IssuedAt = pointer.IssuedAt.Add(time.Second)
	f.update(func(tx store.Tx) error { return tx.ResignPointer(f.ctx, pointer) })
	f.arrives(f.Changes())
	for n := range int64(5) { // nobody listens, and nothing blocks
		f.moved(p.zone, n+1, &p.first)
	}
	f.arrives(f.Changes())
}

func outbox(f *fixture) {
	p, other := f.published("one"), f.published("two")
	_, first := f.moved(p.zone, 0, nil)
	_, second := f.moved(p.zone, 1, &p.first)
	_, third := f.moved(other.zone, 0, nil)
	pending := func(limit int) []string {
		ids := []string{}
		for _, a := range read(f, func(r store.Reader) ([]store.Activation, error) { return r.PendingOutbox(f.ctx, limit) }) {
			ids = append(ids, a.ID)
		}
		return ids
	}
	if third.ID < first.ID {
		first, third = third, first
	}
	f.same(pending(0), []string{first.ID, third.ID, second.ID}) // oldest first
	f.same(pending(1), []string{first.ID})
	mark := func(id, lastErr string, at int) {
		f.Helper()
		f.update(func(tx store.Tx) error { return tx.MarkOutbox(f.ctx, id, after(at), lastErr) })
	}
	mark(second.ID, "no route", 1)
	second.Attempts, second.LastError = 1, "no route"
	get := func(r store.Reader) (store.Activation, error) { return r.Activation(f.ctx, p.zone, second.ID) }
	f.same(read(f, get), second)
	mark(second.ID, "", 2)
	at := after(2)
	second.Attempts, second.LastError, second.DispatchedAt = 2, "", &at
	f.same(read(f, get), second)
	f.same(pending(0), []string{first.ID, third.ID})
	mark(second.ID, "late", 3) // what was dispatched stays so
	f.same(read(f, get).DispatchedAt, &at)
	f.refused(store.ErrNotFound, func(tx store.Tx) error { return tx.MarkOutbox(f.ctx, newID(), start, "") })
}
