package storetest

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/caracalai/caracald/admin/store"
)

func tokens(f *fixture) {
	z := f.zone("zone").ID
	expires := after(1000)
	hash := sha256.Sum256([]byte("secret"))
	t := store.Token{ID: newID(), Name: "ci", Hash: hash[:], Roles: []string{"author", "viewer"}, ZoneID: &z, CreatedAt: start, CreatedBy: "someone", ExpiresAt: &expires}
	insert := func(t store.Token) func(store.Tx) error {
		return func(tx store.Tx) error { return tx.InsertToken(f.ctx, t) }
	}
	f.update(insert(t))
	get := func(r store.Reader) (store.Token, error) { return r.Token(f.ctx, t.ID) }
	f.same(read(f, get), t)
	f.same(read(f, func(r store.Reader) (store.Token, error) { return r.TokenByHash(f.ctx, hash[:]) }), t)
	missing(f, func(r store.Reader) (store.Token, error) { return r.TokenByHash(f.ctx, hash[1:]) })
	missing(f, func(r store.Reader) (store.Token, error) { return r.Token(f.ctx, newID()) })
	f.refused(store.ErrConflict, insert(store.Token{ID: newID(), Name: "x", Hash: hash[:]}))
	everywhere := store.Token{ID: newID(), Name: "ci", Hash: hash[1:], Roles: []string{"admin"}, CreatedAt: after(1)}
	f.update(insert(everywhere)) // names need not be unique
	f.same(read(f, func(r store.Reader) ([]store.Token, error) { return r.Tokens(f.ctx, 0, store.Cursor{}) }), []store.Token{everywhere, t})

	touch := func(at int) {
		f.Helper()
		f.update(func(tx store.Tx) error { return tx.TouchToken(f.ctx, t.ID, after(at)) })
	}
	touch(5)
	touch(3) // an older use does not hide a newer one
	used := after(5)
	t.LastUsedAt = &used
	f.same(read(f, get), t)
	revoke := func(id string, at int) error {
		return f.Update(f.ctx, func(tx store.Tx) error { return tx.RevokeToken(f.ctx, id, after(at)) })
	}
	f.ok(revoke(t.ID, 7))
	f.ok(revoke(t.ID, 9)) // it was revoked when it was first
	revoked := after(7)
	t.RevokedAt = &revoked
	f.same(read(f, get), t)
	f.is(revoke(newID(), 1), store.ErrNotFound)
	f.refused(store.ErrNotFound, func(tx store.Tx) error { return tx.TouchToken(f.ctx, newID(), start) })
}

func idempotent(f *fixture) {
	a := store.IdempotentAnswer{ActorID: "me", Key: "k", RequestHash: []byte{1, 2}, StatusCode: 201, Body: []byte(`{"id":"x"}`), CreatedAt: after(10)}
	put := func(a store.IdempotentAnswer) func(store.Tx) error {
		return func(tx store.Tx) error { return tx.PutIdempotent(f.ctx, a) }
	}
	get := func(actor, key string) func(store.Reader) (store.IdempotentAnswer, error) {
		return func(r store.Reader) (store.IdempotentAnswer, error) { return r.Idempotent(f.ctx, actor, key) }
	}
	missing(f, get("me", "k"))
	f.update(put(a))
	f.same(read(f, get("me", "k")), a)
	missing(f, get("you", "k"))
	missing(f, get("me", "K"))
	f.refused(store.ErrConflict, put(a))
	yours := a
	yours.ActorID, yours.Body, yours.CreatedAt = "you", nil, after(11)
	f.update(put(yours))
	f.same(len(read(f, get("you", "k")).Body), 0)
	f.update(func(tx store.Tx) error { return tx.DeleteIdempotentBefore(f.ctx, after(11)) })
	missing(f, get("me", "k"))
	read(f, get("you", "k"))
	f.update(put(a))

	const callers = 8
	errs := make([]error, callers)
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			errs[i] = f.Update(f.ctx, put(store.IdempotentAnswer{ActorID: "all", Key: "k", StatusCode: 200 + i, CreatedAt: start}))
		})
	}
	all.Wait()
	won := 0
	for i, err := range errs {
		if err != nil {
			f.is(err, store.ErrConflict)
			continue
		}
		won++
		f.same(read(f, get("all", "k")).StatusCode, 200+i)
	}
	f.same(won, 1)
}

func secrets(f *fixture) {
	get := func(r store.Reader) ([]byte, error) { return r.Secret(f.ctx, "key") }
	missing(f, get)
	for _, value := range [][]byte{{0, 1, 255}, []byte("other"), {}} {
		f.update(func(tx store.Tx) error { return tx.PutSecret(f.ctx, "key", value) })
		f.same(string(read(f, get)), string(value))
	}
}

func (f *fixture) adminEvent(n int, change func(*store.AdminEvent)) store.AdminEvent {
	f.Helper()
	e := store.AdminEvent{
		ID: newID(), RequestID: fmt.Sprint("r", n), ZoneID: "zone", ActorID: "actor", ActorName: "someone", Action: "policy.create",
		EntityType: "policy", EntityID: newID(), StatusCode: 201, Payload: json.RawMessage(`{"n":1}`), OccurredAt: after(n),
	}
	if change != nil {
		change(&e)
	}
	var stored store.AdminEvent
	f.update(func(tx store.Tx) (err error) {
		stored, err = tx.AppendAdminEvent(f.ctx, e)
		return err
	})
	e.ChainSeq, e.ChainHash = stored.ChainSeq, stored.ChainHash
	f.same(stored, e)
	return stored
}

func adminEvents(f *fixture) {
	first := f.adminEvent(1, nil)
	twin := f.adminEvent(1, func(e *store.AdminEvent) { e.EntityID = first.EntityID })
	zone := f.adminEvent(2, func(e *store.AdminEvent) { e.ZoneID = "other" })
	actor := f.adminEvent(3, func(e *store.AdminEvent) { e.ActorID = "robot" })
	action := f.adminEvent(4, func(e *store.AdminEvent) { e.Action = "zone.create" })
	f.same([]int64{first.ChainSeq, twin.ChainSeq, zone.ChainSeq, actor.ChainSeq, action.ChainSeq}, []int64{1, 2, 3, 4, 5})
	hashes := map[string]bool{}
	for _, e := range []store.AdminEvent{first, twin, zone, actor, action} {
		if len(e.ChainHash) != 64 || hashes[e.ChainHash] {
			f.Fatalf("entry %d has the hash %q", e.ChainSeq, e.ChainHash)
		}
		hashes[e.ChainHash] = true
	}
	for _, c := range []struct {
		q    store.AdminEventQuery
		want []store.AdminEvent
	}{
		{store.AdminEventQuery{}, []store.AdminEvent{action, actor, zone, twin, first}},
		{store.AdminEventQuery{Limit: 2}, []store.AdminEvent{action, actor}},
		{store.AdminEventQuery{ZoneID: "other"}, []store.AdminEvent{zone}},
		{store.AdminEventQuery{ActorID: "robot"}, []store.AdminEvent{actor}},
		{store.AdminEventQuery{Action: "zone.create"}, []store.AdminEvent{action}},
		{store.AdminEventQuery{RequestID: "r1"}, []store.AdminEvent{twin, first}},
		{store.AdminEventQuery{Since: after(2), Until: after(4)}, []store.AdminEvent{actor, zone}},
		{store.AdminEventQuery{BeforeSeq: 3}, []store.AdminEvent{twin, first}},
		{store.AdminEventQuery{BeforeSeq: 1}, nil},
		{store.AdminEventQuery{ZoneID: "zone", Limit: 1, BeforeSeq: 4}, []store.AdminEvent{twin}},
	} {
		f.same(read(f, func(r store.Reader) ([]store.AdminEvent, error) { return r.AdminEvents(f.ctx, c.q) }), c.want)
	}
	f.refused(store.ErrConflict, func(tx store.Tx) error {
		_, err := tx.AppendAdminEvent(f.ctx, first)
		return err
	})
	f.same(f.adminEvent(9, func(e *store.AdminEvent) { e.Payload = json.RawMessage(`null`) }).ChainSeq, int64(6)) // what failed left no gap
}

func concurrentAdminEvents(f *fixture) {
	const writers, each = 8, 10
	errs := make([]error, writers)
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			for range each {
				errs[i] = errors.Join(errs[i], f.Update(f.ctx, func(tx store.Tx) error {
					_, err := tx.AppendAdminEvent(f.ctx, store.AdminEvent{ID: newID(), ActorID: fmt.Sprint(i), OccurredAt: start})
					return err
				}))
			}
		})
	}
	all.Wait()
	f.ok(errors.Join(errs...))
	list := read(f, func(r store.Reader) ([]store.AdminEvent, error) { return r.AdminEvents(f.ctx, store.AdminEventQuery{}) })
	f.same(len(list), writers*each)
	for i, e := range list {
		f.same(e.ChainSeq, int64(writers*each-i))
	}
}
