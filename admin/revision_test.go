package admin_test

import (
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/caracalai/caracald/admin"
	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/bundle"
)

// built sends a report and gives the revision that its answer names.
func (p *plane) built(r bundle.ReceiptReport) string {
	p.t.Helper()
	a := p.call("POST", "/v1/receipts", root, r)
	if a.status != 204 {
		p.t.Fatalf("a report of %d zones on %q is answered %d %s", len(r.Zones), r.Base, a.status, a.body)
	}
	return a.header.Get(bundle.RevisionHeader)
}

// whole is a report of all zones of daemon a.
func whole(zones ...bundle.Receipt) bundle.ReceiptReport {
	r := report("a", bundle.Receipt{})
	r.Zones, r.Complete, r.Status = zones, true, well()
	return r
}

// since is a report of what changed.
func since(base string, zones ...bundle.Receipt) bundle.ReceiptReport {
	r := whole(zones...)
	r.Complete, r.Base = false, base
	if zones == nil {
		r.Zones = []bundle.Receipt{}
	}
	return r
}

// sequences are those that a daemon reported, by zone.
func (p *plane) sequences(daemon string) map[string]int64 {
	p.t.Helper()
	got := map[string]int64{}
	for _, z := range p.daemon(daemon).Zones {
		got[z.ZoneID] = z.Sequence
	}
	return got
}

func TestReportsBuildOnARevision(t *testing.T) {
	p := newPlane(t, nil).run()
	one, two := p.publish(p.zone("one"), "set"), p.publish(p.zone("two"), "set")
	holds := func(what string, first, second int64) {
		t.Helper()
		if got := p.sequences("a"); len(got) != 2 || got[one.zone] != first || got[two.zone] != second {
			t.Errorf("%s: it is at %v", what, got)
		}
	}
	refusedBase := func(what string, r bundle.ReceiptReport) {
		t.Helper()
		t.Log(what)
		p.refused(p.call("POST", "/v1/receipts", root, r), 409, "report_base_unknown")
	}
	refusedBase("nothing is stored", since("made-up", loadedReceipt(one, 1)))
	base := p.built(whole(loadedReceipt(one, 1), loadedReceipt(two, 1)))
	if base == "" {
		t.Fatal("nothing can be built on a whole report")
	}
	if again := p.built(since(base)); again != base {
		t.Errorf("a heartbeat changes the revision from %s to %s", base, again)
	}
	holds("a heartbeat", 1, 1)
	changed := since(base, loadedReceipt(two, 2))
	next := p.built(changed)
	holds("one zone moved", 1, 2)
	if next == base || next == "" {
		t.Errorf("what changed makes the revision %q from %q", next, base)
	}
	if again := p.built(changed); again != next { // as a proxy may send it twice
		t.Errorf("the same once more makes the revision %q, and %q before", again, next)
	}
	refusedBase("what changed since is lost", since(base, loadedReceipt(one, 3)))
	refusedBase("so it is for a heartbeat", since(base))
	holds("refused reports", 1, 2)

	unwell := since(next)
	unwell.Status.Ready, unwell.Status.Detail = false, "it starts"
	if got := p.built(unwell); got != next {
		t.Errorf("a status changes the revision to %q", got)
	}
	p.stated("a", api.DaemonFailing, "it starts")
	next = p.built(since(next, loadedReceipt(one, 4)))
	p.stated("a", api.DaemonHealthy, "")
	holds("then it is well", 4, 2)

	both := since(next, loadedReceipt(one, 5))
	both.Complete = true
	p.refused(p.call("POST", "/v1/receipts", root, both), 400, "invalid_body")
	p.refused(p.call("POST", "/v1/receipts", p.token("", api.RoleDaemon), since(next)), 409, "report_base_unknown")
	must[any](p, 204, "DELETE", "/v1/daemons/a", root, nil)
	refusedBase("it was retired", since(next))
	if got := p.built(whole(loadedReceipt(two, 6))); got == "" || len(p.sequences("a")) != 1 {
		t.Errorf("it is back at %v", p.sequences("a"))
	}
	some := whole(loadedReceipt(one, 7))
	some.Complete = false
	if got := p.built(some); got != "" {
		t.Errorf("on a report of some zones %q can be built", got)
	}
}

// TestReplicasShareRevisions: what is built on is compared with what is stored, and
// not with what one control plane believes.
func TestReplicasShareRevisions(t *testing.T) {
	p := newPlane(t, nil).run()
	q := p.replica(t)
	v := p.publish(p.zone("one"), "set")
	refused := func(at *plane, r bundle.ReceiptReport) {
		t.Helper()
		at.refused(at.call("POST", "/v1/receipts", root, r), 409, "report_base_unknown")
	}
	at := loadedReceipt(v, 1)
	base := p.built(whole(at))
	refused(q, since(base)) // it has read nothing of the daemon
	if other := q.built(whole(at)); other != base {
		t.Errorf("for the same report one says %s and the other %s", base, other)
	}
	next := q.built(since(base, loadedReceipt(v, 2)))
	refused(p, since(base, loadedReceipt(v, 3))) // p believes in the base, and the store does not
	refused(p, since(next))
	if got := p.sequences("a")[v.zone]; got != 2 {
		t.Errorf("it is at %d", got)
	}
	base = p.built(whole(loadedReceipt(v, 4)))
	q.built(since(next)) // believed for a moment
	p.eventually("the other is told", func() bool { return q.call("POST", "/v1/receipts", root, since(next)).status == 409 })
	if got := p.sequences("a")[v.zone]; got != 4 {
		t.Errorf("it is at %d", got)
	}
	p.built(since(base, loadedReceipt(v, 5)))
}

// receiptsCounted are the zones that were counted in a state.
func (p *plane) receiptsCounted(state string) int64 {
	p.t.Helper()
	var all metricdata.ResourceMetrics
	if err := p.reader.Collect(p.t.Context(), &all); err != nil {
		p.t.Fatal(err)
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if data, ok := m.Data.(metricdata.Sum[int64]); ok && m.Name == "caracal.admin.receipts" {
				for _, point := range data.DataPoints {
					if v, _ := point.Attributes.Value("state"); v.AsString() == state {
						return point.Value
					}
				}
			}
		}
	}
	return 0
}

// TestUnchangedFailuresCount: a zone that cannot be loaded is counted with each report
// of its daemon, though only the first one names it, so that alerts go on.
func TestUnchangedFailuresCount(t *testing.T) {
	p := newPlane(t, nil).run()
	one, two, three := p.publish(p.zone("one"), "set"), p.publish(p.zone("two"), "set"), p.publish(p.zone("three"), "set")
	counted := int64(0)
	counts := func(what string, zones int64) {
		t.Helper()
		now := p.measured("caracal.admin.receipts")
		if now-counted != zones {
			t.Errorf("%s: %d zones were counted, want %d", what, now-counted, zones)
		}
		counted = now
	}
	base := p.built(whole(loadedReceipt(one, 1), failedReceipt(two, 1, "it does not compile", two, 0)))
	counts("whole", 2)
	base = p.built(since(base))
	counts("nothing changed", 2)
	base = p.built(since(base, failedReceipt(three, 1, "nor does it", three, 0)))
	counts("one is new", 3)
	base = p.built(since(base, loadedReceipt(two, 2), loadedReceipt(three, 2)))
	counts("they are loaded", 3)
	p.built(since(base))
	counts("and stay it", 3)
	if failed := p.receiptsCounted("failed"); failed != 4 {
		t.Errorf("%d failures were counted, want 4", failed)
	}
}

// TestWholeReportsNowAndThen: what is stored does not get old without a whole report.
func TestWholeReportsNowAndThen(t *testing.T) {
	p := newPlane(t, func(c *admin.Config) { c.HeartbeatTimeout = time.Minute })
	v := p.publish(p.zone("one"), "set")
	base := p.built(whole(loadedReceipt(v, 1)))
	last := time.Duration(0)
	for at := 20 * time.Second; ; at += 20 * time.Second {
		p.ahead.Store(int64(at))
		if p.built(since(base)) == "" {
			break
		}
		last = at
	}
	if last < 8*time.Minute || last >= 10*time.Minute {
		t.Errorf("without a whole report it goes on for %v", last)
	}
	p.ahead.Store(int64(10 * time.Minute))
	p.refused(p.call("POST", "/v1/receipts", root, since(base)), 409, "report_base_unknown")
	if p.built(whole(loadedReceipt(v, 1))) == "" {
		t.Error("nothing can be built on the whole report")
	}
}
