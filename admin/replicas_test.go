package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin"
	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/postgres"
	"github.com/caracalai/caracald/admin/store/postgres/pgtest"
	"github.com/caracalai/caracald/bundle"
)

// shared are control planes that share one PostgreSQL, each with connections of its own.
type shared struct {
	a, b, c *plane
	store   pgtest.Database
}

func newShared(t *testing.T, change func(*admin.Config)) shared {
	t.Helper()
	d, err := pgtest.Own(t).Database(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	planes := make([]*plane, 3)
	for i := range planes {
		st, err := postgres.Open(t.Context(), d.URL, postgres.Options{OwnerURL: d.OwnerURL})
		if err != nil {
			t.Fatal(err)
		}
		planes[i] = newPlaneOn(t, st, change).run()
	}
	return shared{planes[0], planes[1], planes[2], d}
}

// TestAnyReplicaServesAnyCall begins things at one replica and goes on with them
// at others.
func TestAnyReplicaServesAnyCall(t *testing.T) {
	s := newShared(t, nil)
	zone := s.a.zone("one")
	v := s.a.publish(zone, "set")

	t.Run("tokens", func(t *testing.T) {
		made := must[api.TokenCreated](s.a.in(t), 201, "POST", "/v1/tokens", root, api.TokenCreate{Name: "x", Roles: []string{api.RoleViewer}})
		for _, p := range []*plane{s.a, s.b, s.c} {
			must[api.WhoAmI](p.in(t), 200, "GET", "/v1/whoami", made.Secret, nil)
		}
		must[any](s.b.in(t), 204, "DELETE", "/v1/tokens/"+made.ID, root, nil)
		for _, p := range []*plane{s.a, s.b, s.c} {
			p.in(t).refused(p.call("GET", "/v1/whoami", made.Secret, nil), 401, "unauthorized")
		}
	})
	t.Run("the console", func(t *testing.T) {
		at := func(p *plane) *browser { return newBrowser(t, p.in(t)) }
		code := fmt.Sprintf(`{"code":%q}`, at(s.a).link(root))
		cookie := at(s.b).want(http.MethodPost, "/console/session", code, 204, "").Cookies()[0]
		for _, p := range []*plane{s.a, s.b, s.c} {
			at(p).want(http.MethodPost, "/console/session", code, 401, "invalid_code")
		}
		// Behind one address the cookie has one name.
		named := func(p *plane) string {
			return "caracal_console_" + p.url[strings.LastIndex(p.url, ":")+1:] + "=" + cookie.Value
		}
		at(s.c).want(http.MethodGet, "/v1/whoami", "", 200, "", "Cookie", named(s.c))
		at(s.a).want(http.MethodDelete, "/console/session", "", 204, "", "Cookie", named(s.a))
		for _, p := range []*plane{s.a, s.b, s.c} {
			at(p).want(http.MethodGet, "/v1/whoami", "", 401, "unauthorized", "Cookie", named(p))
		}
		// A session is no link, nor a link a session.
		at(s.a).want(http.MethodPost, "/console/session", fmt.Sprintf(`{"code":%q}`, cookie.Value), 401, "invalid_code")
		link := at(s.a).link(root)
		at(s.a).want(http.MethodGet, "/v1/whoami", "", 401, "unauthorized", "Cookie", strings.Replace(named(s.a), cookie.Value, link, 1))
	})
	t.Run("repeated calls", func(t *testing.T) {
		ids := make([]string, 3)
		var all sync.WaitGroup
		for i, p := range []*plane{s.a, s.b, s.c} {
			all.Go(func() {
				a, err := p.try(t.Context(), "POST", "/v1/zones", root, api.ZoneCreate{Name: "once"}, "Idempotency-Key", "the-same")
				var z api.Zone
				if err != nil || a.status != 201 || json.Unmarshal(a.body, &z) != nil {
					t.Errorf("answered %d %s: %v", a.status, a.body, err)
				}
				ids[i] = z.ID
			})
		}
		all.Wait()
		if ids[0] == "" || ids[0] != ids[1] || ids[1] != ids[2] {
			t.Errorf("one call made zones %v", ids)
		}
	})
	t.Run("activations", func(t *testing.T) {
		answers := make(chan answer, 2)
		for _, p := range []*plane{s.b, s.c} {
			go func() {
				a, err := p.try(t.Context(), "POST", watchPath, root, watching(t, 60, map[string]int64{zone: 0}))
				if err != nil {
					t.Error(err)
				}
				answers <- a
			}()
			p.in(t).watchers(1)
		}
		done := must[api.Activated](s.a.in(t), 202, "POST", "/v1/zones/"+zone+"/policy-sets/"+v.set+"/activate", root, api.ActivateRequest{VersionID: v.version})
		for range 2 {
			if p := s.a.in(t).pointers(<-answers)[0]; p.Sequence != done.Sequence || p.BundleSHA256 != v.sha256 {
				t.Errorf("a watcher of another replica is told %+v", p)
			}
		}
		if got := s.c.call("GET", "/v1/bundles/"+v.sha256, root, nil); bundle.SHA256Hex(got.body) != v.sha256 {
			t.Errorf("the bundle is answered %d", got.status)
		}
		must[any](s.b.in(t), 204, "POST", "/v1/receipts", root, report("d1", loadedReceipt(v, done.Sequence)))
		s.c.in(t).eventually("every replica knows that it is loaded", func() bool {
			for _, p := range []*plane{s.a, s.b, s.c} {
				if p.in(t).status(v, "?outbox_id="+done.OutboxID).PropagationStatus != api.PropagationLoaded {
					return false
				}
			}
			return true
		})
	})
	t.Run("the audit", func(t *testing.T) {
		tail := s.c.in(t).tail(zone, "", "")
		ship := s.a.in(t).shipper("d2")
		ship.add(decision(zone, "first", "allow", time.Now()), decision(zone, "second", "deny", time.Now()))
		ship.ship(0, 1)
		first := tail.event()
		tail.close()
		ship.p = s.b.in(t)
		if got := ship.ship(0, 2); got.Accepted != 1 || got.Duplicate != 1 {
			t.Errorf("another replica takes %+v of a batch of which one record is stored", got)
		}
		if m := s.a.in(t).tail(zone, "", strconv.FormatInt(first.id, 10)).event(); m.data.RequestID != "second" {
			t.Errorf("resumed at another replica a tail goes on with %+v", m)
		}
	})
}

// leaders are the replicas that do the upkeep.
func (s shared) leaders() (list []*plane) {
	for _, p := range []*plane{s.a, s.b, s.c} {
		if p.measured("caracal.admin.leads") == 1 {
			list = append(list, p)
		}
	}
	return list
}

// TestLeases has one of the replicas do the upkeep: another when that one
// stops, and none while somebody else has the lease.
func TestLeases(t *testing.T) {
	s := newShared(t, func(c *admin.Config) { c.LeaseTTL = 300 * time.Millisecond; c.PointerTTL = 2 * time.Second })
	one := func() *plane {
		t.Helper()
		s.a.eventually("one replica does the upkeep", func() bool { return len(s.leaders()) == 1 })
		return s.leaders()[0]
	}
	zone := s.a.zone("renewed")
	issued := func() time.Time {
		t.Helper()
		return s.a.pointers(s.b.call("POST", watchPath, root, watching(t, 0, map[string]int64{zone: -1})))[0].IssuedAt
	}
	renewed := func() {
		t.Helper()
		before := issued()
		s.a.eventually("the pointer is renewed", func() bool { return issued().After(before) })
	}
	first := one()
	renewed()
	first.stop()
	second := one()
	if second == first {
		t.Fatal("who stopped does the upkeep")
	}
	renewed()

	// Somebody takes the lease away: the holder notices.
	if err := pgtest.Exec(t.Context(), s.store.SuperURL, `UPDATE caracal.leases SET holder = 'thief', generation = generation + 1, until = until + 3600000000 WHERE name = 'upkeep'`); err != nil {
		t.Fatal(err)
	}
	s.a.eventually("nobody does the upkeep", func() bool { return len(s.leaders()) == 0 })
	if err := pgtest.Exec(t.Context(), s.store.SuperURL, `UPDATE caracal.leases SET until = 0 WHERE name = 'upkeep'`); err != nil {
		t.Fatal(err)
	}
	one()
	renewed()
}

// TestLeadersAtOnce has two replicas that both believe to do the upkeep renew
// the same pointers: each renewal is later than the one before, and the sequence stays.
func TestLeadersAtOnce(t *testing.T) {
	d, err := pgtest.Own(t).Database(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	planes := make([]*plane, 2)
	for i := range planes {
		st, err := postgres.Open(t.Context(), d.URL, postgres.Options{OwnerURL: d.OwnerURL})
		if err != nil {
			t.Fatal(err)
		}
		planes[i] = newPlaneOn(t, leaseless{st}, func(c *admin.Config) { c.PointerTTL = 2 * time.Second }).run()
	}
	zone := planes[0].zone("renewed")
	held := bundle.Held{Sequence: -1}
	for n := range 6 {
		req := watching(t, 60, map[string]int64{zone: held.Sequence})
		req.Have = map[string]bundle.Held{zone: held}
		p := planes[n%2].pointers(planes[n%2].call("POST", watchPath, root, req))[0]
		if p.Sequence != 0 || !p.IssuedAt.After(held.IssuedAt) {
			t.Fatalf("after %+v the pointer is renewed to %+v", held, p)
		}
		held = bundle.Held{Sequence: p.Sequence, IssuedAt: p.IssuedAt}
	}
	for _, p := range planes {
		if p.measured("caracal.admin.leads") != 1 {
			t.Error("only one of the two believes to do the upkeep")
		}
	}
	if wrong, err := planes[0].store.Check(t.Context()); err != nil || len(wrong) > 0 {
		t.Errorf("%q is wrong: %v", wrong, err)
	}
}

// leaseless gives everybody every lease, as to one that has lost it and did not notice.
type leaseless struct{ store.Store }

func (leaseless) Lease(context.Context, string, string, time.Duration) (int64, error) { return 1, nil }
func (leaseless) Release(context.Context, string, string) error                       { return nil }
