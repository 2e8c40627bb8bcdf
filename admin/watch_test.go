package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin"
	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/bundle"
)

const watchPath = "/v1/pointers/watch"

// watching is a watch request for zones at sequences.
func watching(t *testing.T, wait int, zones map[string]int64) bundle.WatchRequest {
	t.Helper()
	some, err := bundle.SomeZones(zones)
	if err != nil {
		t.Fatal(err)
	}
	return bundle.WatchRequest{Zones: some, WaitSeconds: wait}
}

func TestWatchAnswersAtOnceWhatIsNewer(t *testing.T) {
	p := newPlane(t, nil)
	zone := p.zone("one")
	got := p.pointers(p.call("POST", watchPath, root, watching(t, 60, map[string]int64{zone: -1})))
	if len(got) != 1 || got[0].Sequence != 0 || got[0].PolicySetVersionID != nil {
		t.Fatalf("a new zone's pointer is %+v", got)
	}
	v := p.publish(zone, "set")
	p.activate(v)
	got = p.pointers(p.call("POST", watchPath, root, watching(t, 60, map[string]int64{zone: 0})))
	if len(got) != 1 || got[0].Sequence != 1 || *got[0].PolicySetVersionID != v.version || got[0].BundleSHA256 != v.sha256 {
		t.Fatalf("after the activation it is %+v", got)
	}
	for name, req := range map[string]bundle.WatchRequest{
		"the same": watching(t, 0, map[string]int64{zone: 1}),
		"a newer":  watching(t, 0, map[string]int64{zone: 7}),
		"all":      {Zones: bundle.AllZones(), Have: map[string]bundle.Held{zone: {Sequence: 1, IssuedAt: got[0].IssuedAt}}},
	} {
		if a := p.call("POST", watchPath, root, req); a.status != 204 || len(a.body) != 0 {
			t.Errorf("%s held: %d %s, want 204", name, a.status, a.body)
		}
	}
}

func TestWatchWakesOnActivation(t *testing.T) {
	p := newPlane(t, nil).run()
	zone, other := p.zone("one"), p.zone("other")
	v := p.publish(zone, "set")
	for sequence, name := range []string{"named", "all"} {
		req := watching(t, 60, map[string]int64{zone: int64(sequence), other: 0})
		if name == "all" {
			req = bundle.WatchRequest{Zones: bundle.AllZones(), Have: map[string]bundle.Held{zone: {Sequence: int64(sequence)}, other: {}}, WaitSeconds: 60}
		}
		answers := make(chan answer, 1)
		go func() {
			a, err := p.try(t.Context(), "POST", watchPath, root, req)
			if err != nil {
				t.Error(err)
			}
			answers <- a
		}()
		p.watchers(1)
		select {
		case a := <-answers:
			t.Fatalf("%s: answered %d %s before anything moved", name, a.status, a.body)
		default:
		}
		done := p.activate(v)
		got := p.pointers(<-answers)
		if len(got) != 1 || got[0].ZoneID != zone || got[0].Sequence != done.Sequence {
			t.Errorf("%s: woke with %+v, want sequence %d of %s", name, got, done.Sequence, zone)
		}
		p.watchers(0)
	}
}

func TestWatchEndsEmpty(t *testing.T) {
	p := newPlane(t, nil).run()
	zone := p.zone("one")
	if a := p.call("POST", watchPath, root, watching(t, 1, map[string]int64{zone: 0})); a.status != 204 || len(a.body) != 0 {
		t.Fatalf("answered %d %s, want 204", a.status, a.body)
	}
	p.watchers(0)
}

func TestWatchersGetTheirZonesAndNoOthers(t *testing.T) {
	const watchers, zones = 500, 5
	p := newPlane(t, nil).run()
	var published [zones]published
	for i := range published {
		published[i] = p.publish(p.zone(fmt.Sprintf("zone %d", i)), "set")
	}
	type woken struct {
		zone   int
		answer answer
	}
	answers := make(chan woken, watchers)
	for i := range watchers {
		go func() {
			a, err := p.try(t.Context(), "POST", watchPath, root, watching(t, 60, map[string]int64{published[i%zones].zone: 0}))
			if err != nil {
				t.Error(err)
			}
			answers <- woken{i % zones, a}
		}()
	}
	p.watchers(watchers)
	for i, v := range published {
		p.activate(v)
		for range watchers / zones {
			w := <-answers
			got := p.pointers(w.answer)
			if w.zone != i || len(got) != 1 || got[0].ZoneID != v.zone || got[0].Sequence != 1 || *got[0].PolicySetVersionID != v.version {
				t.Fatalf("a watcher of zone %d was answered %+v when zone %d moved", w.zone, got, i)
			}
		}
		p.watchers(int64(watchers - (i+1)*watchers/zones))
	}
	if n := p.measured("caracal.admin.watch.wakes"); n != watchers {
		t.Errorf("%d polls were woken; %d had reason to", n, watchers)
	}
}

// TestWatchSeesEveryMove follows a zone while it moves and never sees it go back.
func TestWatchSeesEveryMove(t *testing.T) {
	p := newPlane(t, nil).run()
	zone := p.zone("one")
	a, b := p.publish(zone, "a"), p.publish(zone, "b")
	const moves = 40
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			held := int64(-1)
			for held < moves {
				got, err := p.try(ctx, "POST", watchPath, root, watching(t, 60, map[string]int64{zone: held}))
				if err != nil {
					t.Error(err)
					return
				}
				for _, pointer := range p.pointers(got) {
					if pointer.Sequence <= held {
						t.Errorf("sequence %d after %d", pointer.Sequence, held)
					}
					held = pointer.Sequence
				}
			}
		})
	}
	for i := range moves {
		p.activate([]published{a, b}[i%2])
	}
	wait.Wait()
}

func TestWatchBringsRenewedPointers(t *testing.T) {
	p := newPlane(t, nil).run()
	zone := p.zone("one")
	first := p.pointers(p.call("POST", watchPath, root, watching(t, 0, map[string]int64{zone: -1})))[0]
	req := watching(t, 60, map[string]int64{zone: 0})
	req.Have = map[string]bundle.Held{zone: {Sequence: 0, IssuedAt: first.IssuedAt}}
	answers := make(chan answer, 1)
	go func() {
		a, _ := p.try(t.Context(), "POST", watchPath, root, req)
		answers <- a
	}()
	p.watchers(1)
	must[api.Zone](p, 200, "PATCH", "/v1/zones/"+zone, root, api.ZoneUpdate{Settings: &api.ZoneSettings{AuditMask: []string{"/principal/id"}}})
	got := p.pointers(<-answers)
	if len(got) != 1 || got[0].Sequence != 0 || !got[0].IssuedAt.After(first.IssuedAt) || !slices.Equal(got[0].Settings.AuditMask, []string{"/principal/id"}) {
		t.Fatalf("the renewed pointer is %+v, the first was %+v", got, first)
	}
	// Who does not say which one it holds, gets only what has moved.
	if a := p.call("POST", watchPath, root, watching(t, 0, map[string]int64{zone: 0})); a.status != 204 {
		t.Errorf("without have: %d %s, want 204", a.status, a.body)
	}
}

func TestPointersAreRenewedBeforeTheyExpire(t *testing.T) {
	p := newPlane(t, func(c *admin.Config) { c.PointerTTL = time.Hour; c.MaintenanceInterval = 10 * time.Millisecond })
	zone := p.zone("one")
	first := p.pointers(p.call("POST", watchPath, root, watching(t, 0, map[string]int64{zone: -1})))[0]
	p.run()
	req := watching(t, 60, map[string]int64{zone: 0})
	req.Have = map[string]bundle.Held{zone: {IssuedAt: first.IssuedAt}}
	answers := make(chan answer, 1)
	go func() {
		a, _ := p.try(t.Context(), "POST", watchPath, root, req)
		answers <- a
	}()
	p.watchers(1)
	p.ahead.Store(int64(40 * time.Minute))
	got := p.pointers(<-answers)
	if len(got) != 1 || got[0].Sequence != 0 || !got[0].ExpiresAt.After(first.ExpiresAt) {
		t.Fatalf("renewed to %+v from %+v", got, first)
	}
}

func TestWatchOfArchivedZone(t *testing.T) {
	p := newPlane(t, nil).run()
	zone := p.zone("one")
	p.activate(p.publish(zone, "set"))
	if a := p.call("DELETE", "/v1/zones/"+zone, root, nil); a.status != 204 {
		t.Fatalf("deleting: %d %s", a.status, a.body)
	}
	got := p.pointers(p.call("POST", watchPath, root, watching(t, 60, map[string]int64{zone: 1})))
	if len(got) != 1 || got[0].Sequence != 2 || got[0].PolicySetVersionID != nil {
		t.Fatalf("an archived zone's pointer is %+v", got)
	}
}

func TestWatchKeepsToTheTokensZone(t *testing.T) {
	p := newPlane(t, nil).run()
	mine, foreign := p.zone("mine"), p.zone("foreign")
	token := p.token(mine, api.RoleDaemon)
	got := p.pointers(p.call("POST", watchPath, token, bundle.WatchRequest{Zones: bundle.AllZones(), WaitSeconds: 60}))
	if len(got) != 1 || got[0].ZoneID != mine {
		t.Fatalf("\"*\" shows %+v", got)
	}
	e := p.refused(p.call("POST", watchPath, token, watching(t, 0, map[string]int64{mine: 0, foreign: 0})), 403, "forbidden")
	if !strings.Contains(e.Description, foreign) {
		t.Errorf("%q does not name the zone", e.Description)
	}
	req := bundle.WatchRequest{Zones: bundle.AllZones(), Have: map[string]bundle.Held{mine: {}, foreign: {}}, WaitSeconds: 60}
	answers := make(chan answer, 1)
	go func() {
		a, _ := p.try(t.Context(), "POST", watchPath, token, req)
		answers <- a
	}()
	p.watchers(1)
	p.activate(p.publish(foreign, "set"))
	p.eventually("the foreign move is dispatched", func() bool {
		return len(p.pointers(p.call("POST", watchPath, root, watching(t, 60, map[string]int64{foreign: 0})))) == 1
	})
	select {
	case a := <-answers:
		t.Fatalf("a foreign zone woke the watcher: %d %s", a.status, a.body)
	default:
	}
	p.activate(p.publish(mine, "set"))
	if got := p.pointers(<-answers); len(got) != 1 || got[0].ZoneID != mine {
		t.Fatalf("woke with %+v", got)
	}
}

func TestWatchRefuses(t *testing.T) {
	p := newPlane(t, nil)
	zone := p.zone("one")
	viewer := p.token("", api.RoleViewer)
	for name, c := range map[string]struct {
		token  string
		body   any
		status int
		code   string
		names  string
	}{
		"no daemon":        {viewer, watching(t, 0, map[string]int64{zone: 0}), 403, "forbidden", "daemon"},
		"no token":         {"x", watching(t, 0, map[string]int64{zone: 0}), 401, "unauthorized", ""},
		"unknown zone":     {root, watching(t, 0, map[string]int64{zone: 0, "nowhere": 0}), 404, "zone_not_found", "nowhere"},
		"no zones":         {root, []byte(`{}`), 400, "invalid_body", "/zones"},
		"null zones":       {root, []byte(`{"zones":null}`), 400, "invalid_body", "/zones"},
		"no zone":          {root, []byte(`{"zones":{}}`), 400, "invalid_body", "/zones"},
		"a list":           {root, []byte(`{"zones":["a"]}`), 400, "invalid_body", "/zones"},
		"no star":          {root, []byte(`{"zones":"all"}`), 400, "invalid_body", "/zones"},
		"no number":        {root, []byte(`{"zones":{"a":"1"}}`), 400, "invalid_body", "/zones"},
		"duplicate zone":   {root, []byte(`{"zones":{"a":1,"a":2}}`), 400, "invalid_body", "/zones"},
		"too long a wait":  {root, []byte(`{"zones":"*","wait_seconds":61}`), 400, "invalid_body", "/wait_seconds"},
		"negative wait":    {root, []byte(`{"zones":"*","wait_seconds":-1}`), 400, "invalid_body", "/wait_seconds"},
		"unknown field":    {root, []byte(`{"zones":"*","wait":1}`), 400, "invalid_body", "/wait"},
		"truncated":        {root, []byte(`{"zones":"*"`), 400, "invalid_body", ""},
		"empty":            {root, []byte(``), 400, "invalid_body", ""},
		"invalid UTF-8":    {root, []byte("{\"zones\":{\"\xff\":1}}"), 400, "invalid_body", ""},
		"deeply nested":    {root, []byte(`{"zones":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`), 400, "invalid_body", ""},
		"too long":         {root, []byte(`{"zones":"` + strings.Repeat("x", 9<<20) + `"}`), 413, "payload_too_large", ""},
		"wrong held":       {root, []byte(`{"zones":"*","have":{"a":{"sequence":"1"}}}`), 400, "invalid_body", "/have/a/sequence"},
		"not even a float": {root, []byte(`{"zones":{"a":NaN}}`), 400, "invalid_body", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p.t = t
			if e := p.refused(p.call("POST", watchPath, c.token, c.body), c.status, c.code); !strings.Contains(e.Description, c.names) {
				t.Errorf("%q does not name %q", e.Description, c.names)
			}
		})
	}
}

func TestWatchersAreBounded(t *testing.T) {
	p := newPlane(t, func(c *admin.Config) { c.MaxWatchers = 2 }).run()
	zone := p.zone("one")
	req := watching(t, 60, map[string]int64{zone: 0})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := p.try(ctx, "POST", watchPath, root, req)
			ended <- err
		}()
	}
	p.watchers(2)
	a := p.call("POST", watchPath, root, req)
	p.refused(a, 503, "too_many_watchers")
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	p.refused(p.call("GET", "/v1/zones/"+zone+"/audit/tail", root, nil), 503, "too_many_watchers")
	// What is answered at once takes no place.
	if got := p.pointers(p.call("POST", watchPath, root, watching(t, 60, map[string]int64{zone: -1}))); len(got) != 1 {
		t.Errorf("answered %+v", got)
	}
	// Whoever goes gives the place back.
	cancel()
	for range 2 {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	}
	p.watchers(0)
	if a := p.call("POST", watchPath, root, watching(t, 1, map[string]int64{zone: 0})); a.status != 204 {
		t.Errorf("then: %d %s, want 204", a.status, a.body)
	}
}

func TestWatchEndsAtShutdown(t *testing.T) {
	p := newPlane(t, nil).run()
	zone := p.zone("one")
	answers := make(chan answer, 1)
	go func() {
		a, _ := p.try(t.Context(), "POST", watchPath, root, watching(t, 60, map[string]int64{zone: 0}))
		answers <- a
	}()
	p.watchers(1)
	p.stop()
	a := <-answers
	p.refused(a, 503, "shutting_down")
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

func TestWatchOfManyZonesIsOrderedAndWhole(t *testing.T) {
	p := newPlane(t, nil)
	want := map[string]int64{}
	for i := range 30 {
		want[p.zone(fmt.Sprintf("zone %d", i))] = 0
	}
	a := p.call("POST", watchPath, root, bundle.WatchRequest{Zones: bundle.AllZones()})
	got := map[string]int64{}
	var order []string
	for _, pointer := range p.pointers(a) {
		got[pointer.ZoneID] = pointer.Sequence
		order = append(order, pointer.ZoneID)
	}
	if !maps.Equal(got, want) || !slices.IsSorted(order) {
		t.Errorf("answered %v in the order %v, want %v", got, order, want)
	}
	if !json.Valid(a.body) {
		t.Error("not JSON")
	}
	if n := p.measured("caracal.admin.zones"); n != 30 {
		t.Errorf("caracal.admin.zones is %d", n)
	}
}
