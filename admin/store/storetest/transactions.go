package storetest

import (
	"context"
	"errors"

	"github.com/caracalai/caracald/admin/store"
)

func rollBack(f *fixture) {
	z := f.zone("before")
	cause := errors.New("changed my mind")
	rename := func(tx store.Tx) error {
		changed := z
		changed.Name = "after"
		f.ok(tx.UpdateZone(f.ctx, changed))
		return tx.InsertPolicySet(f.ctx, store.PolicySet{ID: newID(), ZoneID: z.ID, Name: "new"})
	}
	unchanged := func() {
		f.Helper()
		f.same(read(f, func(r store.Reader) (store.Zone, error) { return r.Zone(f.ctx, z.ID) }), z)
		f.same(len(read(f, func(r store.Reader) ([]store.PolicySet, error) { return r.PolicySets(f.ctx, z.ID, 0, store.Cursor{}) })), 0)
	}
	f.refused(cause, func(tx store.Tx) error {
		f.ok(rename(tx))
		return cause
	})
	unchanged()
	func() {
		defer func() {
			if recover() != cause {
				f.Fatal("the panic did not come through")
			}
		}()
		_ = f.Update(f.ctx, func(tx store.Tx) error {
			f.ok(rename(tx))
			panic(cause)
		})
	}()
	unchanged()
	f.update(rename) // and the store is not stuck
	f.is(f.View(f.ctx, func(store.Reader) error { return cause }), cause)
}

func refusedWrites(f *fixture) {
	f.zone("taken")
	f.refused(store.ErrConflict, func(tx store.Tx) error {
		if err := tx.InsertZone(f.ctx, store.Zone{ID: newID(), Name: "other", Slug: "other"}); err != nil {
			return err
		}
		err := tx.InsertZone(f.ctx, store.Zone{ID: newID(), Name: "taken", Slug: "free"})
		f.is(err, store.ErrConflict)
		return nil // the Update fails all the same
	})
	f.same(len(read(f, func(r store.Reader) ([]store.Zone, error) { return r.Zones(f.ctx, 0, store.Cursor{}) })), 1)
	f.update(func(tx store.Tx) error { // what merely found nothing does not spoil the rest
		f.is(tx.TouchToken(f.ctx, newID(), start), store.ErrNotFound)
		return tx.InsertZone(f.ctx, store.Zone{ID: newID(), Name: "free", Slug: "free"})
	})
}

func canceled(f *fixture) {
	ctx, cancel := context.WithCancel(f.ctx)
	err := f.Update(ctx, func(tx store.Tx) error {
		f.ok(tx.InsertZone(ctx, store.Zone{ID: newID(), Name: "never", Slug: "never"}))
		cancel()
		return nil
	})
	f.is(err, context.Canceled)
	f.is(f.Update(ctx, func(store.Tx) error { return nil }), context.Canceled)
	f.is(f.View(ctx, func(store.Reader) error { return nil }), context.Canceled)
	f.same(len(read(f, func(r store.Reader) ([]store.Zone, error) { return r.Zones(f.ctx, 0, store.Cursor{}) })), 0)
	f.zone("never")
}

func snapshot(f *fixture) {
	z := f.zone("before")
	f.view(func(r store.Reader) error {
		first, err := r.Zone(f.ctx, z.ID)
		f.ok(err)
		changed := z
		changed.Name = "after"
		f.update(func(tx store.Tx) error { return tx.UpdateZone(f.ctx, changed) })
		p := f.policy(z.ID, "later")
		again, err := r.Zone(f.ctx, z.ID)
		f.ok(err)
		f.same(again, first)
		_, err = r.Policy(f.ctx, z.ID, p.ID)
		f.is(err, store.ErrNotFound)
		return nil
	})
	f.same(read(f, func(r store.Reader) (store.Zone, error) { return r.Zone(f.ctx, z.ID) }).Name, "after")
}

func ownWrites(f *fixture) {
	z := store.Zone{ID: newID(), Name: "mine", Slug: "mine", CreatedAt: start, UpdatedAt: start}
	f.update(func(tx store.Tx) error {
		f.ok(tx.InsertZone(f.ctx, z))
		got, err := tx.Zone(f.ctx, z.ID)
		f.ok(err)
		f.same(got.Name, "mine")
		missing(f, func(r store.Reader) (store.Zone, error) { return r.Zone(f.ctx, z.ID) }) // nobody else sees it yet
		return nil
	})
}
