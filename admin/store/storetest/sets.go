package storetest

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/caracalai/caracald/admin/store"
)

func policySets(f *fixture) {
	z, elsewhere := f.zone("one").ID, f.zone("two").ID
	s := f.set(z, "main")
	get := func(r store.Reader) (store.PolicySet, error) { return r.PolicySet(f.ctx, z, s.ID) }
	f.same(read(f, get), s)
	missing(f, func(r store.Reader) (store.PolicySet, error) { return r.PolicySet(f.ctx, elsewhere, s.ID) })
	insert := func(zone, name string) func(store.Tx) error {
		return func(tx store.Tx) error {
			return tx.InsertPolicySet(f.ctx, store.PolicySet{ID: newID(), ZoneID: zone, Name: name, CreatedAt: start})
		}
	}
	f.refused(store.ErrConflict, insert(z, "main"))
	f.refused(store.ErrNotFound, insert(newID(), "main"))
	f.update(insert(z, "Main"))
	f.update(insert(elsewhere, "main"))

	f.refused(store.ErrNotFound, func(tx store.Tx) error { return tx.ArchivePolicySet(f.ctx, elsewhere, s.ID, after(1)) })
	f.update(func(tx store.Tx) error { return tx.ArchivePolicySet(f.ctx, z, s.ID, after(1)) })
	f.refused(store.ErrNotFound, func(tx store.Tx) error { return tx.ArchivePolicySet(f.ctx, z, s.ID, after(1)) })
	missing(f, get)
	f.refused(store.ErrNotFound, func(tx store.Tx) error {
		_, err := tx.NextSetVersion(f.ctx, z, s.ID)
		return err
	})
	f.same(len(read(f, func(r store.Reader) ([]store.PolicySet, error) { return r.PolicySets(f.ctx, z, 0, store.Cursor{}) })), 1)
	f.update(insert(z, "main"))
}

func setVersions(f *fixture) {
	z, elsewhere := f.zone("one").ID, f.zone("two").ID
	s, other := f.set(z, "main"), f.set(z, "other")
	a, b, foreign := f.policy(z, "a"), f.policy(z, "b"), f.policy(elsewhere, "a")
	v := f.setVersion(s, b.Latest, a.Latest)
	f.same(v.Version, 1)
	get := func(r store.Reader) (store.SetVersion, error) { return r.SetVersion(f.ctx, z, s.ID, v.ID) }
	f.same(read(f, get), v)
	missing(f, func(r store.Reader) (store.SetVersion, error) { return r.SetVersion(f.ctx, z, other.ID, v.ID) })
	missing(f, func(r store.Reader) (store.SetVersion, error) { return r.SetVersion(f.ctx, elsewhere, s.ID, v.ID) })
	members := func() []store.SetPolicy {
		return read(f, func(r store.Reader) ([]store.SetPolicy, error) { return r.SetVersionPolicies(f.ctx, v.ID) })
	}
	want := []store.SetPolicy{{PolicyVersion: b.Latest, PolicyName: "b"}, {PolicyVersion: a.Latest, PolicyName: "a"}}
	f.same(members(), want) // in the manifest's order

	insert := func(v store.SetVersion, ids []string, b store.Bundle) func(store.Tx) error {
		return func(tx store.Tx) error { return tx.InsertSetVersion(f.ctx, v, ids, b) }
	}
	f.refused(store.ErrChanged, insert(draft(s, 1, a.Latest)))
	f.refused(store.ErrChanged, insert(draft(s, 3, a.Latest)))
	f.refused(store.ErrNotFound, insert(draft(s, 2, a.Latest, foreign.Latest)))
	f.refused(store.ErrNotFound, insert(draft(store.PolicySet{ID: s.ID, ZoneID: elsewhere}, 1, foreign.Latest)))
	f.refused(store.ErrNotFound, insert(draft(s, 2, store.PolicyVersion{ID: newID()})))
	next := f.setVersion(s, a.Latest)
	f.same(next.Version, 2)

	f.update(func(tx store.Tx) error { return tx.ArchivePolicy(f.ctx, z, a.ID, after(1)) })
	f.same(members(), want) // what was published stays whole
	f.update(func(tx store.Tx) error { return tx.ArchivePolicySet(f.ctx, z, s.ID, after(1)) })
	missing(f, get)
	f.refused(store.ErrNotFound, insert(draft(s, 3, b.Latest)))
}

func bundles(f *fixture) {
	one, two := f.zone("one").ID, f.zone("two").ID
	s, t := f.set(one, "main"), f.set(two, "main")
	a, b := f.policy(one, "a"), f.policy(two, "a")
	v, ids, packed := draft(s, 1, a.Latest)
	f.update(func(tx store.Tx) error { return tx.InsertSetVersion(f.ctx, v, ids, packed) })
	get := func(r store.Reader) (store.Bundle, error) { return r.Bundle(f.ctx, packed.SHA256) }
	f.same(read(f, get), packed)
	missing(f, func(r store.Reader) (store.Bundle, error) { return r.Bundle(f.ctx, hashOf(nil)) })

	// The same bundle once more, with another signature: what is there stays.
	again, ids, _ := draft(t, 1, b.Latest)
	again.BundleSHA256, again.BundleSize = packed.SHA256, int64(len(packed.Data))
	resigned := packed
	resigned.Envelope = json.RawMessage(`{"payload":"again"}`)
	f.update(func(tx store.Tx) error { return tx.InsertSetVersion(f.ctx, again, ids, resigned) })
	f.same(read(f, get), packed)
	zones := read(f, func(r store.Reader) ([]string, error) { return r.BundleZones(f.ctx, packed.SHA256) })
	slices.Sort(zones)
	want := []string{one, two}
	slices.Sort(want)
	f.same(zones, want)
	f.same(len(read(f, func(r store.Reader) ([]string, error) { return r.BundleZones(f.ctx, hashOf(nil)) })), 0)

	// All of them, the newest first, also of a set that is archived.
	newest, ids, other := draft(s, 2, a.Latest)
	newest.CreatedAt = v.CreatedAt.Add(time.Hour)
	f.update(func(tx store.Tx) error { return tx.InsertSetVersion(f.ctx, newest, ids, other) })
	f.update(func(tx store.Tx) error { return tx.ArchivePolicySet(f.ctx, one, s.ID, after(1)) })
	since := func(at time.Time) []string {
		return read(f, func(r store.Reader) ([]string, error) { return r.Bundles(f.ctx, at) })
	}
	f.same(since(time.Time{}), []string{other.SHA256, packed.SHA256})
	f.same(since(newest.CreatedAt), []string{other.SHA256})
	f.same(len(since(newest.CreatedAt.Add(time.Microsecond))), 0)
}
