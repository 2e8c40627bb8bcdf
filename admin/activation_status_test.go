package admin_test

import (
	"strings"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin"
	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/bundle"
)

// report is a daemon's receipt for one zone.
func report(daemon string, r bundle.Receipt) bundle.ReceiptReport {
	return bundle.ReceiptReport{DaemonID: daemon, Name: "daemon " + daemon, Version: "1.0.0", Labels: map[string]string{"region": "eu"}, Zones: []bundle.Receipt{r}}
}

// loadedReceipt says that a version was loaded under a sequence.
func loadedReceipt(v published, sequence int64) bundle.Receipt {
	return bundle.Receipt{ZoneID: v.zone, State: bundle.ReceiptLoaded, Sequence: sequence, PolicySetVersionID: &v.version, ManifestSHA256: v.manifest,
		BundleSHA256: v.sha256, LoadedAt: time.Now(), ServingSequence: sequence, ServingVersionID: &v.version}
}

// failedReceipt says that a version could not be loaded and another goes on.
func failedReceipt(v published, sequence int64, why string, serving published, servingSequence int64) bundle.Receipt {
	return bundle.Receipt{ZoneID: v.zone, State: bundle.ReceiptFailed, Sequence: sequence, PolicySetVersionID: &v.version, ManifestSHA256: v.manifest,
		BundleSHA256: v.sha256, Detail: why, ServingSequence: servingSequence, ServingVersionID: &serving.version}
}

func (p *plane) report(r bundle.ReceiptReport) {
	p.t.Helper()
	must[any](p, 204, "POST", "/v1/receipts", root, r)
}

func (p *plane) status(v published, query string) api.ActivationStatus {
	p.t.Helper()
	return must[api.ActivationStatus](p, 200, "GET", "/v1/zones/"+v.zone+"/policy-sets/"+v.set+"/activation-status"+query, root, nil)
}

// TestActivationStatus walks an activation through all states.
func TestActivationStatus(t *testing.T) {
	p := newPlane(t, func(c *admin.Config) { c.HeartbeatTimeout = time.Minute })
	zone := p.zone("one")
	old, next := p.publish(zone, "old"), p.publish(zone, "next")
	type want struct {
		propagation, sts string
		active           bool
		counts           api.DaemonCounts
		serving          *string // what sts says is loaded
		detail           string
	}
	expect := func(step string, v published, query string, w want) api.ActivationStatus {
		t.Helper()
		got := p.status(v, query)
		if got.PropagationStatus != w.propagation || got.STS.State != w.sts || got.Active != w.active || got.Daemons != w.counts ||
			got.STS.Loaded != (w.sts == "loaded") || !strings.Contains(got.STS.Detail, w.detail) {
			t.Errorf("%s: %+v\nwant %+v", step, got, w)
		}
		if got.ZoneID != zone || got.PolicySetID != v.set || got.VersionID != v.version || got.ManifestSHA256 != v.manifest {
			t.Errorf("%s: is about %+v, not %+v", step, got, v)
		}
		if (got.STS.PolicySetVersionID == nil) != (w.serving == nil) || w.serving != nil && *got.STS.PolicySetVersionID != *w.serving {
			t.Errorf("%s: says that %v is loaded, want %v", step, got.STS.PolicySetVersionID, w.serving)
		}
		return got
	}

	s := expect("before", old, "", want{propagation: "waiting_for_activation", sts: "not_configured"})
	if s.Outbox != nil || s.ActiveVersionID != nil {
		t.Errorf("before: %+v", s)
	}

	first := p.activate(old) // Run was not started: nobody dispatches
	query := "?version_id=" + old.version + "&outbox_id=" + first.OutboxID
	s = expect("in the outbox", old, query, want{propagation: "waiting_for_outbox", sts: "not_configured", active: true})
	if s.Outbox == nil || s.Outbox.ID != first.OutboxID || s.Outbox.State != "pending" || s.Outbox.DispatchedAt != nil || s.Outbox.Attempts != 0 {
		t.Errorf("in the outbox: %+v", s.Outbox)
	}

	p.run()
	p.eventually("the outbox is emptied", func() bool { return p.status(old, query).Outbox.State == "dispatched" })
	s = expect("without daemons", old, query, want{propagation: "waiting_for_sts", sts: "not_configured", active: true})
	if s.Outbox.DispatchedAt == nil || s.Outbox.Attempts < 1 || s.Outbox.LastError != nil {
		t.Errorf("dispatched: %+v", s.Outbox)
	}

	p.report(report("a", bundle.Receipt{ZoneID: zone, State: bundle.ReceiptLoaded, Sequence: 0}))
	expect("one lags", old, query, want{propagation: "waiting_for_sts", sts: "not_loaded", active: true, counts: api.DaemonCounts{Total: 1, Lagging: 1}, detail: "0 of 1"})
	p.report(report("b", loadedReceipt(old, 1)))
	expect("one of two", old, query, want{propagation: "waiting_for_sts", sts: "not_loaded", active: true, counts: api.DaemonCounts{Total: 2, Loaded: 1, Lagging: 1}, detail: "daemon a is at sequence 0"})
	p.report(report("a", loadedReceipt(old, 1)))
	s = expect("both", old, query, want{propagation: "loaded", sts: "loaded", active: true, counts: api.DaemonCounts{Total: 2, Loaded: 2}, serving: &old.version})
	if s.STS.ManifestSHA256 == nil || *s.STS.ManifestSHA256 != old.manifest || s.STS.LoadedAt == nil || s.STS.AgeSeconds == nil || *s.STS.AgeSeconds < 0 {
		t.Errorf("both: %+v", s.STS)
	}

	second := p.activate(next)
	p.eventually("the next is dispatched", func() bool { return p.status(next, "").Outbox.State == "dispatched" })
	expect("next", next, "?outbox_id="+second.OutboxID, want{propagation: "waiting_for_sts", sts: "not_loaded", active: true, counts: api.DaemonCounts{Total: 2, Lagging: 2}, serving: &old.version})
	s = expect("replaced", old, query, want{propagation: "waiting_for_activation", sts: "loaded", counts: api.DaemonCounts{Total: 2, Loaded: 2}, serving: &old.version})
	if s.ActiveVersionID == nil || *s.ActiveVersionID != next.version {
		t.Errorf("replaced: %+v", s)
	}

	p.report(report("a", failedReceipt(next, second.Sequence, "rego_type_error: undefined function", old, 1)))
	p.report(report("b", loadedReceipt(next, second.Sequence)))
	s = expect("one fails", next, "", want{propagation: "failed", sts: "failed", active: true, counts: api.DaemonCounts{Total: 2, Loaded: 1, Failed: 1}, serving: &old.version, detail: "rego_type_error: undefined function"})
	if s.STS.ManifestSHA256 == nil || *s.STS.ManifestSHA256 != old.manifest {
		t.Errorf("one fails: the manifest that goes on is %v", s.STS.ManifestSHA256)
	}

	p.ahead.Store(int64(2 * time.Minute)) // everybody falls silent
	p.report(report("a", loadedReceipt(next, second.Sequence)))
	expect("one is silent", next, "", want{propagation: "loaded", sts: "loaded", active: true, counts: api.DaemonCounts{Total: 2, Loaded: 1}, serving: &next.version})
	p.ahead.Store(int64(4 * time.Minute))
	expect("all are silent", next, "", want{propagation: "waiting_for_sts", sts: "unreachable", active: true, counts: api.DaemonCounts{Total: 2}, serving: &next.version, detail: "since"})
	p.ahead.Store(int64(30 * time.Hour))
	expect("for long", next, "", want{propagation: "waiting_for_sts", sts: "unreachable", active: true, serving: &next.version})
	p.report(report("a", failedReceipt(next, second.Sequence, "disk full", old, 1)))
	p.ahead.Store(int64(31 * time.Hour))
	expect("silent after a failure", next, "", want{propagation: "failed", sts: "failed", active: true, counts: api.DaemonCounts{Total: 1}, serving: &old.version, detail: "disk full"})
}

func TestActivatingTheSameAgainWaitsForTheNewSequence(t *testing.T) {
	p := newPlane(t, nil).run()
	v := p.publish(p.zone("one"), "set")
	p.report(report("a", loadedReceipt(v, p.activate(v).Sequence)))
	if s := p.status(v, ""); s.PropagationStatus != "loaded" {
		t.Fatalf("%+v", s)
	}
	again := p.activate(v)
	if s := p.status(v, ""); s.PropagationStatus == "loaded" || s.Daemons.Lagging != 1 || s.Outbox.ID != again.OutboxID {
		t.Fatalf("after activating it again: %+v", s)
	}
	p.report(report("a", loadedReceipt(v, again.Sequence)))
	if s := p.status(v, ""); s.PropagationStatus != "loaded" {
		t.Fatalf("%+v", s)
	}
}

func TestActivationStatusRefusals(t *testing.T) {
	p := newPlane(t, nil)
	zone := p.zone("one")
	a, b := p.publish(zone, "a"), p.publish(zone, "b")
	foreign := p.publish(p.zone("other"), "c")
	done := p.activate(a)
	base := "/v1/zones/" + zone + "/policy-sets/" + a.set + "/activation-status"
	p.refused(p.call("GET", base+"?version_id="+b.version, root, nil), 404, "policy_set_version_not_found")
	p.refused(p.call("GET", base+"?version_id="+foreign.version, root, nil), 404, "policy_set_version_not_found")
	p.refused(p.call("GET", base+"?outbox_id=none", root, nil), 404, "outbox_not_found")
	p.refused(p.call("GET", "/v1/zones/"+zone+"/policy-sets/"+b.set+"/activation-status?outbox_id="+done.OutboxID, root, nil), 400, "invalid_query")
	p.refused(p.call("GET", "/v1/zones/"+zone+"/policy-sets/"+foreign.set+"/activation-status", root, nil), 404, "policy_set_not_found")
	p.refused(p.call("GET", "/v1/zones/"+zone+"/policy-sets/"+p.emptySet(zone, "empty")+"/activation-status", root, nil), 404, "policy_set_version_not_found")
	p.refused(p.call("GET", base, p.token(foreign.zone, api.RoleViewer), nil), 403, "forbidden")
	p.refused(p.call("GET", base, p.token("", api.RoleDaemon), nil), 403, "forbidden")
}
