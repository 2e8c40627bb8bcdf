package admin_test

import (
	"fmt"
	"math"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/caracalai/caracald/admin"
	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/bundle"
)

// well is the status of a daemon that serves.
func well() *bundle.DaemonStatus {
	return &bundle.DaemonStatus{StartedAt: time.Now().UTC().Truncate(time.Second), UptimeSeconds: 60, Ready: true, AuditKept: true}
}

// names lists the ids of the daemons that a path lists, page by page.
func (p *plane) names(path string, limit int) []string {
	p.t.Helper()
	ids := []string{}
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	path = fmt.Sprintf("%s%slimit=%d", path, sep, limit)
	at := path
	for {
		page := must[api.Page[api.Daemon]](p, 200, "GET", at, root, nil)
		for _, d := range page.Items {
			ids = append(ids, d.ID)
		}
		if page.NextCursor == nil {
			return ids
		}
		at = path + "&cursor=" + url.QueryEscape(*page.NextCursor)
	}
}

func (p *plane) daemon(id string) api.Daemon {
	p.t.Helper()
	return must[api.Daemon](p, 200, "GET", "/v1/daemons/"+id, root, nil)
}

// stated fails the test unless a daemon is in a state, by itself and in lists.
func (p *plane) stated(id, state, why string) api.Daemon {
	p.t.Helper()
	d := p.daemon(id)
	if d.State != state || !strings.Contains(d.Reason, why) || (d.Reason == "") != (state == api.DaemonHealthy) {
		p.t.Errorf("daemon %s is %s because %q, since %v; want %s because %q", id, d.State, d.Reason, d.Since, state, why)
	}
	if listed := p.names("/v1/daemons?state="+state+"&q="+id, 10); !slices.Equal(listed, []string{id}) {
		p.t.Errorf("in the state %s are %v", state, listed)
	}
	return d
}

func TestDaemonStates(t *testing.T) {
	p := newPlane(t, func(c *admin.Config) { c.HeartbeatTimeout = time.Minute })
	one, two := p.publish(p.zone("one"), "set"), p.publish(p.zone("two"), "set")
	p.activate(one)
	second := p.activate(one)
	p.activate(two)
	r := report("a", loadedReceipt(one, second.Sequence))
	r.Zones = append(r.Zones, loadedReceipt(two, 1))
	r.Status = well()
	p.report(r)
	if d := p.stated("a", api.DaemonHealthy, ""); d.Since == nil || d.FirstSeenAt == nil || d.ZonesTotal != 2 || d.ReportedBy == nil || *d.ReportedBy != "bootstrap" {
		t.Errorf("%+v", d)
	}

	third := p.activate(one)
	if d := p.stated("a", api.DaemonLagging, "zone "+one.zone+": is at sequence 2, not at 3"); d.Since == nil || d.Zones[0].ZoneID != one.zone || d.Zones[0].Behind != 1 || d.Zones[0].WantedSequence != 3 || d.Zones[1].Behind != 0 {
		t.Errorf("%+v", d)
	}
	r.Zones[0] = failedReceipt(one, third.Sequence, "no such rule", one, second.Sequence)
	p.report(r)
	if d := p.stated("a", api.DaemonFailing, "no such rule"); d.Since == nil || d.Zones[0].ServingSequence != second.Sequence {
		t.Errorf("%+v", d)
	}
	if got := p.names("/v1/zones/"+two.zone+"/daemons?state=healthy", 5); !slices.Equal(got, []string{"a"}) {
		t.Errorf("in the other zone healthy are %v", got)
	}
	if got := p.names("/v1/daemons?state=healthy&zone="+one.zone, 5); len(got) != 0 {
		t.Errorf("in the zone healthy are %v", got)
	}

	r.Zones[0] = loadedReceipt(one, third.Sequence)
	r.Status.Ready, r.Status.Detail = false, "zone x is not loaded"
	p.report(r)
	before := p.stated("a", api.DaemonFailing, "zone x is not loaded")
	r.Status.UptimeSeconds++
	p.ahead.Store(int64(50 * time.Second))
	p.report(r)
	if after := p.stated("a", api.DaemonFailing, "zone x"); !after.Since.Equal(*before.Since) || after.Status.UptimeSeconds != 61 {
		t.Errorf("it fails since %v, and then since %v", before.Since, after.Since)
	}
	r.Status = nil // another version of the daemon, that says nothing of itself
	p.report(r)
	if d := p.stated("a", api.DaemonHealthy, ""); d.Status != nil {
		t.Errorf("%+v", d.Status)
	}
	p.ahead.Store(int64(2 * time.Minute))
	if d := p.stated("a", api.DaemonUnreachable, "longer than 1m0s"); !d.Since.Equal(d.LastSeenAt) {
		t.Errorf("%+v", d)
	}
	p.refused(p.call("GET", "/v1/daemons/nobody", root, nil), 404, "daemon_not_found")
	p.refused(p.call("GET", "/v1/daemons/a", p.token(p.zone("three"), api.RoleViewer), nil), 404, "daemon_not_found")
	if d := must[api.Daemon](p, 200, "GET", "/v1/daemons/a", p.token(two.zone, api.RoleViewer), nil); len(d.Zones) != 1 || d.Zones[0].ZoneID != two.zone {
		t.Errorf("a token for one zone sees %+v", d.Zones)
	}
}

func TestDaemonFilters(t *testing.T) {
	p := newPlane(t, nil)
	v := p.publish(p.zone("one"), "set")
	p.activate(v)
	for i := range 23 {
		r := report(fmt.Sprintf("d%02d", i), loadedReceipt(v, int64(i%2)))
		r.Name, r.Version, r.Labels = fmt.Sprintf("Node-%02d", i), fmt.Sprintf("1.%d", i%3), map[string]string{"rack": fmt.Sprint(i % 4), "eu": "=yes&"}
		p.report(r)
	}
	for query, want := range map[string]int{
		"":                                     23,
		"?state=lagging":                       12,
		"?state=healthy":                       11,
		"?state=failing":                       0,
		"?label=rack%3D3":                      5,
		"?label=rack%3D1&label=eu%3D%3Dyes%26": 6,
		"?label=rack%3D1&label=eu%3D":          0,
		"?q=node-1":                            10,
		"?q=NODE-1&state=healthy":              5,
		"?zone=" + v.zone + "&state=lagging&q=d2": 2,
		"?zone=" + p.zone("other"):                0,
	} {
		all := p.names("/v1/daemons"+query, 500)
		if len(all) != want || !slices.IsSorted(all) {
			t.Errorf("%s lists %v", query, all)
		}
		for _, limit := range []int{1, 4} {
			if paged := p.names("/v1/daemons"+query, limit); !slices.Equal(paged, all) {
				t.Errorf("%s in pages of %d lists %v, at once %v", query, limit, paged, all)
			}
		}
	}
	f := must[api.Fleet](p, 200, "GET", "/v1/fleet", root, nil)
	if f.Daemons != 23 || f.States != (api.FleetStates{Healthy: 11, Lagging: 12}) ||
		!slices.Equal(f.Versions, []api.FleetVersion{{Version: "1.0", Daemons: 8}, {Version: "1.1", Daemons: 8}, {Version: "1.2", Daemons: 7}}) {
		t.Errorf("the fleet is %+v", f)
	}
	if f := must[api.Fleet](p, 200, "GET", "/v1/fleet?label=rack%3D0&state=lagging", root, nil); f.Daemons != 6 {
		t.Errorf("of it %+v", f)
	}
	for _, query := range []string{"state=fine", "label=x", "label=%3Dx", "label=a%3D1&label=a%3D2", "zone=a%20b", "limit=0", "cursor=x", "q=" + strings.Repeat("x", 300)} {
		p.refused(p.call("GET", "/v1/daemons?"+query, root, nil), 400, "invalid_query")
	}
	p.refused(p.call("GET", "/v1/daemons?zone="+v.zone, p.token(p.zone("two"), api.RoleViewer), nil), 403, "forbidden")
	p.refused(p.call("GET", "/v1/fleet?zone="+v.zone, p.token(p.zone("three"), api.RoleViewer), nil), 403, "forbidden")
}

// TestDaemonIsBoundToItsToken: whoever used a daemon's id first, alone may use it.
func TestDaemonIsBoundToItsToken(t *testing.T) {
	p := newPlane(t, nil)
	v := p.publish(p.zone("one"), "set")
	mine := p.createToken(api.TokenCreate{Name: "mine", Roles: []string{api.RoleDaemon}})
	other := p.createToken(api.TokenCreate{Name: "other", Roles: []string{api.RoleDaemon}})
	next := p.createToken(api.TokenCreate{Name: "mine", Roles: []string{api.RoleDaemon}})
	send := func(secret string) answer {
		return p.call("POST", "/v1/receipts", secret, report("a", loadedReceipt(v, 1)))
	}
	s := p.shipper("b")
	s.add(decision(v.zone, "r1", "allow", time.Now()), decision(v.zone, "r2", "allow", time.Now()))
	ship := func(secret string, first, end int) answer {
		return p.call("POST", batchPath, secret, s.encoded(first, end))
	}
	accepted := func(a answer, status int) {
		t.Helper()
		if a.status != status {
			t.Errorf("answered %d %s", a.status, a.body)
		}
	}
	accepted(send(mine.Secret), 204)
	p.refused(send(other.Secret), 403, "daemon_taken")
	p.refused(send(root), 403, "daemon_taken")
	accepted(send(mine.Secret), 204)
	accepted(ship(mine.Secret, 0, 1), 200) // audit binds too
	p.refused(ship(other.Secret, 1, 2), 403, "daemon_taken")
	p.refused(p.call("POST", "/v1/receipts", other.Secret, report("b", loadedReceipt(v, 1))), 403, "daemon_taken")
	if n := len(p.listed(v.zone, "")); n != 1 {
		t.Errorf("%d events are stored", n)
	}
	// The id of the other half is bound by the first to use either.
	a := p.shipper("a")
	a.add(decision(v.zone, "r3", "allow", time.Now()))
	p.refused(p.call("POST", batchPath, other.Secret, a.encoded(0, 1)), 403, "daemon_taken")
	accepted(p.call("POST", batchPath, mine.Secret, a.encoded(0, 1)), 200)
	if d := p.daemon("a"); d.ReportedBy == nil || *d.ReportedBy != mine.ID {
		t.Errorf("it is %v's", d.ReportedBy)
	}

	// A token that is good no more owns nothing.
	p.refused(send(next.Secret), 403, "daemon_taken")
	accepted(p.call("DELETE", "/v1/tokens/"+mine.ID, root, nil), 204)
	accepted(send(next.Secret), 204)
	p.refused(send(other.Secret), 403, "daemon_taken")
	accepted(ship(next.Secret, 1, 2), 200)

	// Retiring makes the daemon anybody's.
	accepted(p.call("DELETE", "/v1/daemons/a", root, nil), 204)
	accepted(send(other.Secret), 204)
	p.refused(send(next.Secret), 403, "daemon_taken")
	soon := time.Now().Add(time.Hour)
	brief := p.createToken(api.TokenCreate{Name: "brief", Roles: []string{api.RoleDaemon}, ExpiresAt: &soon})
	accepted(p.call("POST", "/v1/receipts", brief.Secret, report("c", loadedReceipt(v, 1))), 204)
	p.ahead.Store(int64(2 * time.Hour))
	accepted(p.call("POST", "/v1/receipts", other.Secret, report("c", loadedReceipt(v, 1))), 204)
}

// TestOneOfManyBindsADaemon: of many tokens that use an id at once, one has it.
func TestOneOfManyBindsADaemon(t *testing.T) {
	p := newPlane(t, nil).run()
	v := p.publish(p.zone("one"), "set")
	const tokens = 8
	answers := make([]answer, tokens)
	var all sync.WaitGroup
	for i := range tokens {
		secret := p.token("", api.RoleDaemon)
		all.Go(func() {
			var err error
			if answers[i], err = p.try(t.Context(), "POST", "/v1/receipts", secret, report("a", loadedReceipt(v, 1))); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	won := 0
	for _, a := range answers {
		if a.status == 204 {
			won++
		} else {
			p.refused(a, 403, "daemon_taken")
		}
	}
	if won != 1 {
		t.Errorf("%d tokens have the daemon", won)
	}
}

func TestRetiredDaemon(t *testing.T) {
	p := newPlane(t, nil).run()
	v := p.publish(p.zone("one"), "set")
	p.activate(v)
	p.report(report("a", loadedReceipt(v, 0)))
	p.report(report("b", loadedReceipt(v, 1)))
	if s := p.status(v, ""); s.PropagationStatus == "loaded" {
		t.Fatalf("%+v", s)
	}
	for _, role := range []string{api.RoleActivator, api.RoleDaemon} {
		p.refused(p.call("DELETE", "/v1/daemons/a", p.token("", role), nil), 403, "forbidden")
	}
	p.refused(p.call("DELETE", "/v1/daemons/a", p.token(v.zone, api.RoleAdmin), nil), 403, "forbidden")
	p.refused(p.call("DELETE", "/v1/daemons/nobody", root, nil), 404, "daemon_not_found")
	must[any](p, 204, "DELETE", "/v1/daemons/a", root, nil)
	p.refused(p.call("DELETE", "/v1/daemons/a", root, nil), 409, "daemon_retired")
	if d := p.stated("a", api.DaemonRetired, "retired"); d.RetiredAt == nil || d.ReportedBy != nil || len(d.Zones) != 0 {
		t.Errorf("%+v", d)
	}
	if got := p.names("/v1/daemons", 5); !slices.Equal(got, []string{"b"}) {
		t.Errorf("listed are %v", got)
	}
	if s := p.status(v, ""); s.PropagationStatus != "loaded" || s.Daemons.Total != 1 {
		t.Errorf("without it the activation is %+v", s)
	}
	p.report(report("a", loadedReceipt(v, 0))) // it was not gone
	p.stated("a", api.DaemonLagging, "is at sequence 0")
}

func TestDaemonsAreForgotten(t *testing.T) {
	p := newPlane(t, func(c *admin.Config) {
		c.HeartbeatTimeout, c.ForgetDaemonsAfter, c.MaintenanceInterval = time.Second, time.Hour, 20*time.Millisecond
	}).run()
	one, two := p.publish(p.zone("one"), "set"), p.publish(p.zone("two"), "set")
	r := report("kept", loadedReceipt(one, 1))
	r.Zones = append(r.Zones, loadedReceipt(two, 1))
	p.report(r)
	p.report(report("gone", loadedReceipt(one, 1)))
	p.ahead.Store(int64(59 * time.Minute))
	p.report(report("kept", r.Zones[0])) // it serves one zone now, and does not say that this is all
	p.eventually("the receipt for a zone that is served no more goes", func() bool { return p.daemon("kept").ZonesTotal == 1 })
	if got := p.names("/v1/daemons", 5); !slices.Equal(got, []string{"gone", "kept"}) {
		t.Errorf("listed are %v", got)
	}
	p.ahead.Store(int64(61 * time.Minute))
	p.eventually("a daemon is forgotten", func() bool { return slices.Equal(p.names("/v1/daemons", 5), []string{"kept"}) })

	r.Complete = true
	p.report(r)
	if n := p.daemon("kept").ZonesTotal; n != 2 {
		t.Errorf("it has %d zones", n)
	}
	r.Zones = r.Zones[1:]
	p.report(r)
	if d := p.daemon("kept"); d.ZonesTotal != 1 || d.Zones[0].ZoneID != two.zone {
		t.Errorf("it has %+v", d.Zones)
	}
}

// TestHeartbeatsAreGathered: what only says again what is stored is written
// later, and in the end is.
func TestHeartbeatsAreGathered(t *testing.T) {
	p := newPlane(t, nil).run()
	v := p.publish(p.zone("one"), "set")
	const daemons = 100
	beat := func(n int) {
		t.Helper()
		for i := range daemons {
			r := report(fmt.Sprintf("d%03d", i), loadedReceipt(v, 1))
			r.Zones[0].LoadedAt = time.Unix(1e9, 0)
			r.Status = well()
			r.Status.SpoolRecords = int64(n)
			p.report(r)
		}
	}
	all := func(n int) bool {
		for _, d := range must[api.Page[api.Daemon]](p, 200, "GET", "/v1/daemons", root, nil).Items {
			if d.Status.SpoolRecords != int64(n) {
				return false
			}
		}
		return true
	}
	beat(1)
	if !all(1) {
		t.Error("what is new was not stored before it was answered")
	}
	first := p.daemon("d000")
	beat(2)
	p.eventually("heartbeats are stored", func() bool { return all(2) })
	if again := p.daemon("d000"); !again.LastSeenAt.After(first.LastSeenAt) || !again.Zones[0].Since.Equal(*first.Zones[0].Since) {
		t.Errorf("it was\n%+v, and is\n%+v", first, again)
	}
	beat(3)
	p.stop() // which stores what is gathered
	if !all(3) {
		t.Error("a stop loses heartbeats")
	}
	beat(4)
	if !all(4) {
		t.Error("without Run heartbeats are not stored at once")
	}
}

// replica is another control plane of the same store, which runs too.
func (p *plane) replica(t *testing.T) *plane {
	t.Helper()
	second, err := admin.New(t.Context(), admin.Config{Store: p.store, Keys: p.keys, BootstrapToken: root})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(second.Handler())
	t.Cleanup(web.Close)
	q := p.in(t)
	q.url, q.server = web.URL, second
	q.run()
	return q
}

// TestReplicasShareDaemons: a daemon that goes from one control plane to another
// and back is always what it last said.
func TestReplicasShareDaemons(t *testing.T) {
	p := newPlane(t, nil).run()
	q := p.replica(t)
	v := p.publish(p.zone("one"), "set")
	p.activate(v)
	behind, loaded := report("a", loadedReceipt(v, 0)), report("a", loadedReceipt(v, 1))
	for range 3 {
		p.report(behind)
		p.eventually("it is behind", func() bool { return p.daemon("a").State == api.DaemonLagging })
		q.report(loaded)
		p.eventually("it has loaded", func() bool { return p.daemon("a").State == api.DaemonHealthy })
	}
	mine, other := p.token("", api.RoleDaemon), p.token("", api.RoleDaemon)
	must[any](p, 204, "POST", "/v1/receipts", mine, report("b", loadedReceipt(v, 1)))
	must[any](q, 204, "DELETE", "/v1/daemons/b", root, nil)
	must[any](q, 204, "POST", "/v1/receipts", other, report("b", loadedReceipt(v, 0)))
	p.call("POST", "/v1/receipts", mine, report("b", loadedReceipt(v, 1))) // believed for a moment, and not stored
	p.eventually("the first owner is told", func() bool {
		return p.call("POST", "/v1/receipts", mine, report("b", loadedReceipt(v, 1))).status == 403
	})
	if d := p.daemon("b"); d.State != api.DaemonLagging {
		t.Errorf("the daemon is %+v", d)
	}
}

func TestStatusOfADaemon(t *testing.T) {
	p := newPlane(t, nil)
	half, tenth := 0.5, 0.0001
	want := bundle.DaemonStatus{
		StartedAt: time.Unix(1e9, 0).UTC(), UptimeSeconds: 5.5, Ready: true, AuditKept: true, SpoolRecords: 1, SpoolBytes: 2, SpoolMaxBytes: 3, AuditGaps: 4,
		WindowSeconds: 15, DecisionsPerSecond: 1234.5, LatencyP50Seconds: &tenth, LatencyP99Seconds: &half, CacheHitShare: &half,
	}
	r := bundle.ReceiptReport{DaemonID: "a", Status: &want}
	p.report(r)
	got := p.daemon("a").Status
	if got == nil || got.StartedAt != want.StartedAt || *got.CacheHitShare != half || *got.LatencyP50Seconds != tenth || got.AuditGaps != 4 || got.DecisionsPerSecond != 1234.5 || got.SpoolMaxBytes != 3 {
		t.Errorf("stored was %+v", got)
	}
	for field, change := range map[string]func(*bundle.DaemonStatus){
		"/status/spool_records":        func(s *bundle.DaemonStatus) { s.SpoolRecords = -1 },
		"/status/audit_gaps":           func(s *bundle.DaemonStatus) { s.AuditGaps = math.MinInt64 },
		"/status/cache_hit_share":      func(s *bundle.DaemonStatus) { two := 2.0; s.CacheHitShare = &two },
		"/status/latency_p99_seconds":  func(s *bundle.DaemonStatus) { minus := -1.0; s.LatencyP99Seconds = &minus },
		"/status/decisions_per_second": func(s *bundle.DaemonStatus) { s.DecisionsPerSecond = 1e300 },
		"/status/uptime_seconds":       func(s *bundle.DaemonStatus) { s.UptimeSeconds = -1 },
	} {
		bad := want
		change(&bad)
		r.Status = &bad
		if e := p.refused(p.call("POST", "/v1/receipts", root, r), 400, "invalid_body"); !strings.Contains(e.Description, field) {
			t.Errorf("%q does not name %s", e.Description, field)
		}
	}
	long := want
	long.Ready, long.Detail = false, strings.Repeat("é", 5000)
	r.Status = &long
	p.report(r)
	if d := p.stated("a", api.DaemonFailing, "é"); len(d.Status.Detail) > 4096 {
		t.Errorf("%d bytes of the detail are kept", len(d.Status.Detail))
	}
}

func TestWantedShare(t *testing.T) {
	p := newPlane(t, func(c *admin.Config) { c.LoadedShare, c.HeartbeatTimeout = 0.5, time.Minute })
	v := p.publish(p.zone("one"), "set")
	done := p.activate(v)
	put := func(from, to int, make func(id string) bundle.ReceiptReport) {
		for i := from; i < to; i++ {
			p.report(make(fmt.Sprintf("d%03d", i)))
		}
	}
	loaded := func(id string) bundle.ReceiptReport { return report(id, loadedReceipt(v, done.Sequence)) }
	behind := func(id string) bundle.ReceiptReport { return report(id, loadedReceipt(v, done.Sequence-1)) }
	set := func(share *float64) {
		must[api.Zone](p, 200, "PATCH", "/v1/zones/"+v.zone, root, api.ZoneUpdate{Settings: &api.ZoneSettings{LoadedShare: share}})
	}
	expect := func(step, propagation string, share float64, wanted, loaded int) api.ActivationStatus {
		t.Helper()
		s := p.status(v, "")
		if s.PropagationStatus != propagation || s.Rollout.LoadedShare != share || s.Rollout.Wanted != wanted || s.Rollout.Loaded != loaded {
			t.Errorf("%s: %s, %+v", step, s.PropagationStatus, s.Rollout)
		}
		return s
	}
	p.run()
	p.eventually("it is dispatched", func() bool { return p.status(v, "").Outbox.State == "dispatched" })
	expect("nobody", "waiting_for_sts", 0.5, 0, 0)
	put(0, 60, behind)
	s := expect("all lag", "waiting_for_sts", 0.5, 30, 0)
	if l := s.Rollout; l.LaggingTotal != 60 || len(l.Lagging) != 20 || l.Lagging[0].ID != "d000" || l.Lagging[0].Name != "daemon d000" ||
		!strings.Contains(l.Lagging[0].Reason, "is at sequence 0, not at 1") || l.Lagging[0].Since == nil || !strings.Contains(s.STS.Detail, "30 are wanted") {
		t.Errorf("lagging: %+v, %s", l, s.STS.Detail)
	}
	put(0, 29, loaded)
	expect("one too few", "waiting_for_sts", 0.5, 30, 29)
	put(29, 30, loaded)
	s = expect("half", "loaded", 0.5, 30, 30)
	if s.STS.State != "loaded" || s.Daemons.Lagging != 30 {
		t.Errorf("half: %+v", s)
	}
	all, most := 1.0, 0.95
	set(&all)
	expect("the zone wants all", "waiting_for_sts", 1, 60, 30)
	put(30, 57, loaded)
	set(&most)
	expect("the zone wants most", "loaded", 0.95, 57, 57)
	set(nil)
	p.report(report("d059", failedReceipt(v, done.Sequence, "it does not compile", v, 0)))
	s = expect("one fails", "failed", 0.5, 30, 57)
	if f := s.Rollout; f.FailingTotal != 1 || len(f.Failing) != 1 || f.Failing[0].ID != "d059" || f.Failing[0].Reason != "it does not compile" || f.LaggingTotal != 2 {
		t.Errorf("failing: %+v", f)
	}
	p.ahead.Store(int64(2 * time.Minute)) // of all only these are heard
	put(0, 2, loaded)
	put(58, 59, behind)
	s = expect("few are reachable", "loaded", 0.5, 2, 2)
	if u := s.Rollout; u.Reachable != 3 || u.UnreachableTotal != 57 || len(u.Unreachable) != 20 || !strings.Contains(u.Unreachable[0].Reason, "has not reported since") {
		t.Errorf("unreachable: %+v", u)
	}
	for _, bad := range []float64{0, -0.1, 1.01} {
		if e := p.refused(p.call("PATCH", "/v1/zones/"+v.zone, root, api.ZoneUpdate{Settings: &api.ZoneSettings{LoadedShare: &bad}}), 400, "invalid_body"); !strings.Contains(e.Description, "/settings/loaded_share") {
			t.Errorf("%q", e.Description)
		}
	}
}

func TestDaemonsAreMeasured(t *testing.T) {
	p := newPlane(t, nil)
	v := p.publish(p.zone("one"), "set")
	p.activate(v)
	p.report(report("a", loadedReceipt(v, 1)))
	p.report(report("b", loadedReceipt(v, 0)))
	p.report(report("c", loadedReceipt(v, 0)))
	var all metricdata.ResourceMetrics
	if err := p.reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if data, ok := m.Data.(metricdata.Gauge[int64]); ok && m.Name == "caracal.admin.daemons" {
				for _, point := range data.DataPoints {
					state, _ := point.Attributes.Value("state")
					got[state.AsString()] = point.Value
				}
			}
		}
	}
	if len(got) != 4 || got["healthy"] != 1 || got["lagging"] != 2 {
		t.Errorf("measured are %v", got)
	}
}
