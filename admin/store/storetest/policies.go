package storetest

import (
	"errors"
	"sync"

	"github.com/caracalai/caracald/admin/store"
)

func zones(f *fixture) {
	z := f.zone("payments")
	get := func(r store.Reader) (store.Zone, error) { return r.Zone(f.ctx, z.ID) }
	f.same(read(f, get), z)
	missing(f, func(r store.Reader) (store.Zone, error) { return r.Zone(f.ctx, newID()) })

	for _, taken := range []store.Zone{
		{ID: newID(), Name: "payments", Slug: "other"},
		{ID: newID(), Name: "other", Slug: "payments"},
		{ID: z.ID, Name: "other", Slug: "other"},
	} {
		f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.InsertZone(f.ctx, taken) })
	}
	other := f.zone("Payments") // names are taken exactly as they are
	other.Name = "payments"
	f.refused(store.ErrConflict, func(tx store.Tx) error { return tx.UpdateZone(f.ctx, other) })

	z.Name, z.Slug, z.Settings, z.UpdatedAt = "cards", "cards-1", []byte(`{"retention_days":7}`), after(1)
	f.update(func(tx store.Tx) error { return tx.UpdateZone(f.ctx, z) })
	f.same(read(f, get), z)
	f.refused(store.ErrNotFound, func(tx store.Tx) error { return tx.UpdateZone(f.ctx, store.Zone{ID: newID(), Name: "x", Slug: "x"}) })

	f.update(func(tx store.Tx) error { return tx.ArchiveZone(f.ctx, z.ID, after(2)) })
	missing(f, get)
	f.refused(store.ErrNotFound, func(tx store.Tx) error { return tx.ArchiveZone(f.ctx, z.ID, after(3)) })
	f.refused(store.ErrNotFound, func(tx store.Tx) error { return tx.UpdateZone(f.ctx, z) })
	f.same(len(read(f, func(r store.Reader) ([]store.Zone, error) { return r.Zones(f.ctx, 0, store.Cursor{}) })), 1)
	f.refused(store.ErrNotFound, func(tx store.Tx) error {
		return tx.InsertPolicySet(f.ctx, store.PolicySet{ID: newID(), ZoneID: z.ID, Name: "late"})
	})
	f.zone("cards") // the name is free again
}

func policies(f *fixture) {
	z, elsewhere := f.zone("one").ID, f.zone("two").ID
	p := f.policy(z, "grants")
	get := func(r store.Reader) (store.Policy, error) { return r.Policy(f.ctx, z, p.ID) }
	bare := func(v store.PolicyVersion) store.PolicyVersion { v.Content, v.Tests = "", ""; return v }
	want := p
	want.Latest = bare(p.Latest)
	f.same(read(f, get), want)
	f.same(read(f, func(r store.Reader) (store.PolicyVersion, error) { return r.PolicyVersion(f.ctx, z, p.Latest.ID) }), p.Latest)
	missing(f, func(r store.Reader) (store.Policy, error) { return r.Policy(f.ctx, elsewhere, p.ID) })
	missing(f, func(r store.Reader) (store.PolicyVersion, error) {
		return r.PolicyVersion(f.ctx, elsewhere, p.Latest.ID)
	})
	missing(f, func(r store.Reader) ([]store.PolicyVersion, error) { return r.PolicyVersions(f.ctx, elsewhere, p.ID) })

	insert := func(p store.Policy) func(store.Tx) error {
		return func(tx store.Tx) error { return tx.InsertPolicy(f.ctx, p, version(p, "x")) }
	}
	f.refused(store.ErrConflict, insert(store.Policy{ID: newID(), ZoneID: z, Name: "grants"}))
	f.refused(store.ErrNotFound, insert(store.Policy{ID: newID(), ZoneID: newID(), Name: "grants"}))
	f.update(insert(store.Policy{ID: newID(), ZoneID: z, Name: "Grants"}))
	f.update(insert(store.Policy{ID: newID(), ZoneID: elsewhere, Name: "grants"}))

	second := version(p, "package caracal.authz # second, and 日本")
	second.Version = 99 // the store numbers
	f.update(func(tx store.Tx) (err error) {
		second, err = tx.InsertPolicyVersion(f.ctx, second)
		return err
	})
	f.same(second.Version, 2)
	want.Latest = bare(second)
	f.same(read(f, get), want)
	f.same(read(f, func(r store.Reader) (store.PolicyVersion, error) { return r.PolicyVersion(f.ctx, z, second.ID) }), second)
	f.same(read(f, func(r store.Reader) ([]store.PolicyVersion, error) { return r.PolicyVersions(f.ctx, z, p.ID) }),
		[]store.PolicyVersion{bare(second), bare(p.Latest)})
	for _, foreign := range []store.PolicyVersion{{ID: newID(), PolicyID: p.ID, ZoneID: elsewhere}, {ID: newID(), PolicyID: newID(), ZoneID: z}} {
		f.refused(store.ErrNotFound, func(tx store.Tx) error {
			_, err := tx.InsertPolicyVersion(f.ctx, foreign)
			return err
		})
	}

	f.refused(store.ErrNotFound, func(tx store.Tx) error { return tx.ArchivePolicy(f.ctx, elsewhere, p.ID, after(1)) })
	f.update(func(tx store.Tx) error { return tx.ArchivePolicy(f.ctx, z, p.ID, after(1)) })
	f.refused(store.ErrNotFound, func(tx store.Tx) error { return tx.ArchivePolicy(f.ctx, z, p.ID, after(1)) })
	missing(f, get)
	missing(f, func(r store.Reader) (store.PolicyVersion, error) { return r.PolicyVersion(f.ctx, z, second.ID) })
	missing(f, func(r store.Reader) ([]store.PolicyVersion, error) { return r.PolicyVersions(f.ctx, z, p.ID) })
	f.refused(store.ErrNotFound, func(tx store.Tx) error {
		_, err := tx.InsertPolicyVersion(f.ctx, version(p, "late"))
		return err
	})
	f.same(len(read(f, func(r store.Reader) ([]store.Policy, error) { return r.Policies(f.ctx, z, 0, store.Cursor{}) })), 1)
	f.update(insert(store.Policy{ID: newID(), ZoneID: z, Name: "grants"}))
}

func concurrentVersions(f *fixture) {
	const writers = 8
	p := f.policy(f.zone("zone").ID, "grants")
	numbers := make([]int, writers)
	errs := make([]error, writers)
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			errs[i] = f.Update(f.ctx, func(tx store.Tx) error {
				v, err := tx.InsertPolicyVersion(f.ctx, version(p, "x"))
				numbers[i] = v.Version
				return err
			})
		})
	}
	all.Wait()
	f.ok(errors.Join(errs...))
	seen := map[int]bool{}
	for _, n := range numbers {
		if seen[n] || n < 2 || n > writers+1 {
			f.Fatalf("versions are numbered %v", numbers)
		}
		seen[n] = true
	}
}
