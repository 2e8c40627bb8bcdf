package storetest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/caracalai/caracald/admin/store"
)

// list is one of the store's lists: page gives the cursors of a page's rows.
type list struct {
	name string
	page func(limit int, after store.Cursor) ([]store.Cursor, error)
}

// listOf makes a list of a call of the Reader.
func listOf[V any](f *fixture, name string, call func(r store.Reader, limit int, after store.Cursor) ([]V, error), place func(V) store.Cursor) list {
	return list{name, func(limit int, after store.Cursor) ([]store.Cursor, error) {
		rows, err := tryRead(f, func(r store.Reader) ([]V, error) { return call(r, limit, after) })
		return places(rows, place), err
	}}
}

func places[V any](rows []V, place func(V) store.Cursor) []store.Cursor {
	cursors := []store.Cursor{}
	for _, r := range rows {
		cursors = append(cursors, place(r))
	}
	return cursors
}

// newestFirst is the order of all lists.
func newestFirst(a, b store.Cursor) int {
	if c := b.At.Compare(a.At); c != 0 {
		return c
	}
	return strings.Compare(b.ID, a.ID)
}

// walk reads a list page by page and fails unless it gives each wanted row once, in order.
func (l list) walk(t testing.TB, limit int, want []store.Cursor) {
	t.Helper()
	var got []store.Cursor
	var after store.Cursor
	for {
		page, err := l.page(limit, after)
		if err != nil {
			t.Fatalf("%s: %v", l.name, err)
		}
		if limit > 0 && len(page) > limit {
			t.Fatalf("%s: a page of %d has %d rows", l.name, limit, len(page))
		}
		got = append(got, page...)
		if limit <= 0 || len(page) < limit {
			break
		}
		after = page[len(page)-1]
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%s in pages of %d: got\n\t%v\nwant\n\t%v", l.name, limit, got, want)
	}
}

// drawTimes draws the times of some rows, most of them equal to another.
func drawTimes(t *rapid.T) []time.Time {
	offsets := rapid.SliceOfN(rapid.IntRange(0, 2), 0, 12).Draw(t, "times")
	times := make([]time.Time, len(offsets))
	for i, o := range offsets {
		times[i] = after(o)
	}
	return times
}

func scopedLists(f *fixture) {
	rapid.Check(f.T, func(t *rapid.T) {
		z := f.zone(newID()).ID
		f.zone(newID()) // and one that must not show
		s := f.set(z, "main")
		p := f.policy(z, "member")
		var policies, sets, versions, activations []store.Cursor
		policies = append(policies, store.Cursor{At: p.CreatedAt, ID: p.ID})
		sets = append(sets, store.Cursor{At: s.CreatedAt, ID: s.ID})
		times := drawTimes(t)
		f.update(func(tx store.Tx) error {
			for i, at := range times {
				// Version 4, so that ids and times are in different orders.
				id := uuid.NewString()
				p := store.Policy{ID: id, ZoneID: z, Name: id, CreatedAt: at}
				f.ok(tx.InsertPolicy(f.ctx, p, version(p, "x")))
				f.ok(tx.InsertPolicySet(f.ctx, store.PolicySet{ID: id, ZoneID: z, Name: id, CreatedAt: at}))
				v, ids, b := draft(s, i+1)
				v.ID, v.CreatedAt = id, at
				f.ok(tx.InsertSetVersion(f.ctx, v, ids, b))
				pointer, a := move(z, int64(i), nil)
				a.ID, a.CreatedAt = id, at
				f.ok(tx.MovePointer(f.ctx, pointer, a))
				place := store.Cursor{At: at, ID: id}
				policies, sets = append(policies, place), append(sets, place)
				versions, activations = append(versions, place), append(activations, place)
			}
			return nil
		})
		limit := rapid.IntRange(0, len(times)+2).Draw(t, "limit")
		for _, c := range []struct {
			list
			want []store.Cursor
		}{
			{listOf(f, "policies", func(r store.Reader, limit int, after store.Cursor) ([]store.Policy, error) {
				return r.Policies(f.ctx, z, limit, after)
			}, func(p store.Policy) store.Cursor { return store.Cursor{At: p.CreatedAt, ID: p.ID} }), policies},
			{listOf(f, "policy sets", func(r store.Reader, limit int, after store.Cursor) ([]store.PolicySet, error) {
				return r.PolicySets(f.ctx, z, limit, after)
			}, func(s store.PolicySet) store.Cursor { return store.Cursor{At: s.CreatedAt, ID: s.ID} }), sets},
			{listOf(f, "set versions", func(r store.Reader, limit int, after store.Cursor) ([]store.SetVersion, error) {
				return r.SetVersions(f.ctx, z, s.ID, limit, after)
			}, func(v store.SetVersion) store.Cursor { return store.Cursor{At: v.CreatedAt, ID: v.ID} }), versions},
			{listOf(f, "activations", func(r store.Reader, limit int, after store.Cursor) ([]store.Activation, error) {
				return r.Activations(f.ctx, z, limit, after)
			}, func(a store.Activation) store.Cursor { return store.Cursor{At: a.CreatedAt, ID: a.ID} }), activations},
		} {
			slices.SortFunc(c.want, newestFirst)
			c.walk(f, limit, c.want)
		}
	})
}

func wholeLists(f *fixture) {
	const rows = 20
	var zones, tokens []store.Cursor
	f.update(func(tx store.Tx) error {
		for i := range rows {
			place := store.Cursor{At: after(i % 3), ID: uuid.NewString()}
			f.ok(tx.InsertZone(f.ctx, store.Zone{ID: place.ID, Name: place.ID, Slug: place.ID, CreatedAt: place.At, UpdatedAt: start}))
			f.ok(tx.InsertToken(f.ctx, store.Token{ID: place.ID, Name: "same", Hash: []byte(place.ID), CreatedAt: place.At}))
			tokens = append(tokens, place)
			if i == 7 || i == 8 {
				f.ok(tx.ArchiveZone(f.ctx, place.ID, after(9)))
				continue
			}
			zones = append(zones, place)
		}
		return nil
	})
	slices.SortFunc(zones, newestFirst)
	slices.SortFunc(tokens, newestFirst)
	for limit := range rows + 2 {
		listOf(f, "zones", func(r store.Reader, limit int, after store.Cursor) ([]store.Zone, error) {
			return r.Zones(f.ctx, limit, after)
		}, func(z store.Zone) store.Cursor { return store.Cursor{At: z.CreatedAt, ID: z.ID} }).walk(f, limit, zones)
		listOf(f, "tokens", func(r store.Reader, limit int, after store.Cursor) ([]store.Token, error) {
			return r.Tokens(f.ctx, limit, after)
		}, func(t store.Token) store.Cursor { return store.Cursor{At: t.CreatedAt, ID: t.ID} }).walk(f, limit, tokens)
	}
}
