package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin"
	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
)

// often makes maintenance run all the time.
func often(c *admin.Config) { c.MaintenanceInterval = 10 * time.Millisecond }

func TestRetentionByAge(t *testing.T) {
	p := newPlane(t, often)
	zone, keeping := p.zone("short"), p.zone("keeping")
	must[api.Zone](p, 200, "PATCH", "/v1/zones/"+zone, root, api.ZoneUpdate{Settings: &api.ZoneSettings{RetentionDays: 7}})
	s := p.shipper("d1")
	for day := range 10 {
		at := time.Now().AddDate(0, 0, -day).Add(-time.Hour)
		s.add(decision(zone, fmt.Sprintf("day-%d", day), "allow", at), decision(keeping, fmt.Sprintf("day-%d", day), "allow", at))
	}
	s.all()
	p.run()
	p.eventually("old events are removed", func() bool { return len(p.listed(zone, "")) == 7 })
	for _, e := range p.listed(zone, "") {
		if e.RequestID > "day-6" {
			t.Errorf("%s is still there", e.RequestID)
		}
	}
	p.refused(p.call("GET", "/v1/zones/"+zone+"/audit/by-request/day-9", root, nil), 404, "request_not_found")
	if n := len(p.listed(keeping, "")); n != 10 {
		t.Errorf("the other zone has %d events left", n)
	}
	p.eventually("what was removed is counted", func() bool { return p.measured("caracal.admin.audit.trimmed") == 3 })
	// What was removed does not come back when the daemon ships it again.
	if got := s.all(); got.Accepted != 0 {
		t.Errorf("shipped again: %+v", got)
	}
}

func TestRetentionBySize(t *testing.T) {
	p := newPlane(t, often)
	zone := p.zone("small")
	const size = 256 << 10
	must[api.Zone](p, 200, "PATCH", "/v1/zones/"+zone, root, api.ZoneUpdate{Settings: &api.ZoneSettings{RetentionBytes: size}})
	s := p.shipper("d1")
	for i := range 1000 {
		r := decision(zone, request(i), "allow", time.Now().Add(time.Duration(i-1000)*time.Second))
		r.Input = json.RawMessage(fmt.Sprintf(`{"filler":%q}`, strings.Repeat("x", 1000)))
		s.add(r)
	}
	s.all()
	p.run()
	p.eventually("the oldest events are removed", func() bool { n := len(p.listed(zone, "limit=500")); return n > 0 && n < 300 })
	events := p.listed(zone, "limit=500")
	for i, e := range events { // the newest are kept, without a hole
		if e.RequestID != request(999-i) {
			t.Fatalf("event %d is %s", i, e.RequestID)
		}
	}
	if len(events) < 50 {
		t.Errorf("only %d events of about 1.3 kB are kept in %d bytes", len(events), size)
	}
}

// TestActivationsMadeWithoutRunAreDispatched starts Run over an outbox that
// another process left behind.
func TestActivationsMadeWithoutRunAreDispatched(t *testing.T) {
	p := newPlane(t, nil)
	v := p.publish(p.zone("one"), "set")
	for range 3 {
		p.activate(v)
	}
	if s := p.status(v, ""); s.Outbox.State != "pending" {
		t.Fatalf("before Run: %+v", s.Outbox)
	}
	p.run()
	p.eventually("the outbox is emptied", func() bool {
		var pending []store.Activation
		err := p.store.View(t.Context(), func(tx store.Reader) (err error) {
			pending, err = tx.PendingOutbox(t.Context(), 10)
			return err
		})
		return err == nil && len(pending) == 0
	})
}

func TestIdempotencyKeysAreForgotten(t *testing.T) {
	p := newPlane(t, func(c *admin.Config) { often(c); c.IdempotencyTTL = time.Hour }).run()
	create := func() answer {
		return p.call("POST", "/v1/zones", root, api.ZoneCreate{Name: "one"}, "Idempotency-Key", "key")
	}
	if a := create(); a.status != 201 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := create(); a.status != 201 || a.header.Get("Idempotency-Replayed") != "true" {
		t.Fatalf("again: %d %s", a.status, a.body)
	}
	p.ahead.Store(int64(2 * time.Hour))
	p.eventually("the key is forgotten", func() bool { return create().status == 409 })
}

func TestUseOfTokensIsNoted(t *testing.T) {
	p := newPlane(t, often).run()
	viewer := p.token("", api.RoleViewer)
	p.call("GET", "/v1/zones", viewer, nil)
	p.eventually("the use is stored", func() bool {
		var tokens []store.Token
		err := p.store.View(t.Context(), func(tx store.Reader) (err error) {
			tokens, err = tx.Tokens(t.Context(), 10, store.Cursor{})
			return err
		})
		return err == nil && len(tokens) == 1 && tokens[0].LastUsedAt != nil
	})
}

func TestRunEndsAndRunsOnce(t *testing.T) {
	p := newPlane(t, nil).run()
	p.zone("one")
	p.stop()
	if err := p.server.Run(t.Context()); err == nil {
		t.Error("it runs twice")
	}
	if a := p.call("GET", "/v1/zones", root, nil); a.status != 200 {
		t.Errorf("after Run: %d %s", a.status, a.body)
	}
}

// failing is a store whose transactions fail while it is told to.
type failing struct {
	store.Store
	fail atomic.Bool
	hits atomic.Int64
}

var errDisk = errors.New("the disk is on fire")

func (f *failing) View(ctx context.Context, g func(store.Reader) error) error {
	if f.fail.Load() {
		f.hits.Add(1)
		return errDisk
	}
	return f.Store.View(ctx, g)
}

func (f *failing) Update(ctx context.Context, g func(store.Tx) error) error {
	if f.fail.Load() {
		f.hits.Add(1)
		return errDisk
	}
	return f.Store.Update(ctx, g)
}

func TestReadinessAndRecovery(t *testing.T) {
	var broken *failing
	p := newPlane(t, func(c *admin.Config) {
		often(c)
		broken = &failing{Store: c.Store}
		c.Store = broken
	}).run()
	zone := p.zone("one")
	v := p.publish(zone, "set")
	if a := p.call("GET", "/readyz", "", nil); a.status != 200 {
		t.Fatalf("ready: %d %s", a.status, a.body)
	}
	broken.fail.Store(true)
	p.refused(p.call("GET", "/readyz", "", nil), 503, "not_ready")
	if a := p.call("GET", "/healthz", "", nil); a.status != 200 {
		t.Errorf("alive: %d %s", a.status, a.body)
	}
	before := broken.hits.Load()
	p.eventually("background work meets the failure", func() bool { return broken.hits.Load() > before+5 })
	if a := p.call("GET", "/v1/daemons", root, nil); a.status != 500 || strings.Contains(string(a.body), "fire") {
		t.Errorf("a call answers %d %s", a.status, a.body)
	}
	broken.fail.Store(false)
	done := p.activate(v)
	p.eventually("the activation is dispatched all the same", func() bool {
		return p.status(v, "?outbox_id="+done.OutboxID).Outbox.State == "dispatched"
	})
	if got := p.pointers(p.call("POST", watchPath, root, watching(t, 60, map[string]int64{zone: 0}))); got[0].Sequence != 1 {
		t.Errorf("watched %+v", got)
	}
	if a := p.call("GET", "/readyz", "", nil); a.status != 200 {
		t.Errorf("ready again: %d %s", a.status, a.body)
	}
}

// TestExportThatBreaksOffIsSeen fails the store in the midst of an export.
func TestExportThatBreaksOffIsSeen(t *testing.T) {
	var events *failingEvents
	p := newPlane(t, func(c *admin.Config) {
		events = &failingEvents{Events: c.Store.Events()}
		c.Store = eventsStore{c.Store, events}
	})
	zone := p.zone("one")
	s := p.shipper("d1")
	for i := range 1200 {
		s.add(decision(zone, request(i), "allow", time.Now()))
	}
	s.all()
	for _, format := range []string{"csv", "ndjson"} {
		events.left.Store(2) // the first two pages are read
		a, err := p.try(t.Context(), "GET", "/v1/zones/"+zone+"/audit?format="+format, root, nil)
		if err == nil {
			t.Errorf("%s: an export that broke off after %d bytes looks whole", format, len(a.body))
		}
		events.left.Store(0) // nothing is read: an error like any other
		p.refused(p.call("GET", "/v1/zones/"+zone+"/audit?format="+format, root, nil), 500, "internal_error")
	}
}

// eventsStore is a store with other events.
type eventsStore struct {
	store.Store
	events store.Events
}

func (s eventsStore) Events() store.Events { return s.events }

// failingEvents answers so many queries and fails the rest.
type failingEvents struct {
	store.Events
	left atomic.Int64
}

func (e *failingEvents) Query(ctx context.Context, q store.EventQuery) ([]store.Event, error) {
	if e.left.Add(-1) < 0 {
		return nil, errDisk
	}
	return e.Events.Query(ctx, q)
}
