package admin_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/bundle"
)

func TestDaemonsAreListedWithWhatTheyLoaded(t *testing.T) {
	p := newPlane(t, nil)
	one, other := p.publish(p.zone("one"), "set"), p.publish(p.zone("other"), "set")
	both := report("b", loadedReceipt(one, 1))
	both.Zones = append(both.Zones, failedReceipt(other, 1, "no such key", other, 0))
	p.report(both)
	p.report(report("a", loadedReceipt(other, 3)))
	p.report(report("a", loadedReceipt(other, 4))) // replaces the one before

	all := must[api.Page[api.Daemon]](p, 200, "GET", "/v1/daemons", root, nil)
	if len(all.Items) != 2 || all.NextCursor != nil || all.Items[0].ID != "a" || all.Items[1].ID != "b" || len(all.Items[1].Zones) != 2 {
		t.Fatalf("all: %+v", all)
	}
	a := all.Items[0]
	if a.Name != "daemon a" || a.Version != "1.0.0" || a.Labels["region"] != "eu" || a.LastSeenAt.IsZero() || len(a.Zones) != 1 ||
		a.Zones[0].Sequence != 4 || a.Zones[0].State != "loaded" || *a.Zones[0].PolicySetVersionID != other.version ||
		a.Zones[0].ManifestSHA256 != other.manifest || a.Zones[0].BundleSHA256 != other.sha256 || a.Zones[0].LoadedAt == nil {
		t.Errorf("daemon a is %+v", a)
	}
	for _, z := range all.Items[1].Zones {
		if z.ZoneID == other.zone && (z.State != "failed" || z.Detail != "no such key" || z.LoadedAt != nil) {
			t.Errorf("the failure is %+v", z)
		}
	}
	for _, path := range []string{"/v1/zones/" + one.zone + "/daemons", "/v1/daemons"} {
		got := must[api.Page[api.Daemon]](p, 200, "GET", path, p.token(one.zone, api.RoleViewer), nil)
		if len(got.Items) != 1 || got.Items[0].ID != "b" || len(got.Items[0].Zones) != 1 || got.Items[0].Zones[0].ZoneID != one.zone {
			t.Errorf("%s of one zone's token: %+v", path, got)
		}
	}
	if n := p.measured("caracal.admin.receipts"); n != 4 {
		t.Errorf("%d receipts were counted", n)
	}
}

func TestDaemonsArePaged(t *testing.T) {
	p := newPlane(t, nil)
	const daemons = 7
	for i := range daemons {
		p.report(bundle.ReceiptReport{DaemonID: fmt.Sprintf("d%d", i)})
	}
	var seen []string
	path := "/v1/daemons?limit=3"
	for {
		page := must[api.Page[api.Daemon]](p, 200, "GET", path, root, nil)
		for _, d := range page.Items {
			seen = append(seen, d.ID)
		}
		if page.NextCursor == nil {
			break
		}
		path = "/v1/daemons?limit=3&cursor=" + *page.NextCursor
	}
	if got := strings.Join(seen, " "); got != "d0 d1 d2 d3 d4 d5 d6" {
		t.Errorf("paged %s", got)
	}
}

func TestReceiptRefusals(t *testing.T) {
	p := newPlane(t, nil)
	v, foreign := p.publish(p.zone("one"), "set"), p.publish(p.zone("other"), "set")
	bound := p.token(v.zone, api.RoleDaemon)
	change := func(f func(*bundle.ReceiptReport)) bundle.ReceiptReport {
		r := report("a", loadedReceipt(v, 1))
		f(&r)
		return r
	}
	upper := strings.Repeat("A", 64)
	for name, c := range map[string]struct {
		token  string
		body   any
		status int
		code   string
		names  string
	}{
		"viewer":           {p.token("", api.RoleViewer), report("a", loadedReceipt(v, 1)), 403, "forbidden", "daemon"},
		"foreign zone":     {bound, change(func(r *bundle.ReceiptReport) { r.Zones = append(r.Zones, loadedReceipt(foreign, 1)) }), 403, "forbidden", foreign.zone},
		"unknown zone":     {root, change(func(r *bundle.ReceiptReport) { r.Zones[0].ZoneID = "nowhere" }), 404, "zone_not_found", "nowhere"},
		"no daemon":        {root, change(func(r *bundle.ReceiptReport) { r.DaemonID = "" }), 400, "invalid_body", "/daemon_id"},
		"bad daemon":       {root, change(func(r *bundle.ReceiptReport) { r.DaemonID = "a b" }), 400, "invalid_body", "/daemon_id"},
		"long name":        {root, change(func(r *bundle.ReceiptReport) { r.Name = strings.Repeat("x", 300) }), 400, "invalid_body", "/name"},
		"long version":     {root, change(func(r *bundle.ReceiptReport) { r.Version = strings.Repeat("x", 300) }), 400, "invalid_body", "/version"},
		"long label":       {root, change(func(r *bundle.ReceiptReport) { r.Labels["x"] = strings.Repeat("x", 300) }), 400, "invalid_body", "/labels"},
		"state":            {root, change(func(r *bundle.ReceiptReport) { r.Zones[0].State = "fine" }), 400, "invalid_body", "/zones/0/state"},
		"sequence":         {root, change(func(r *bundle.ReceiptReport) { r.Zones[0].Sequence = -1 }), 400, "invalid_body", "/zones/0/sequence"},
		"serving sequence": {root, change(func(r *bundle.ReceiptReport) { r.Zones[0].ServingSequence = -2 }), 400, "invalid_body", "/zones/0/serving_sequence"},
		"manifest":         {root, change(func(r *bundle.ReceiptReport) { r.Zones[0].ManifestSHA256 = upper }), 400, "invalid_body", "/zones/0/manifest_sha256"},
		"bundle":           {root, change(func(r *bundle.ReceiptReport) { r.Zones[0].BundleSHA256 = "x" }), 400, "invalid_body", "/zones/0/bundle_sha256"},
		"twice":            {root, change(func(r *bundle.ReceiptReport) { r.Zones = append(r.Zones, r.Zones[0]) }), 400, "invalid_body", "/zones/1/zone_id"},
		"no JSON":          {root, []byte("{"), 400, "invalid_body", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p.t = t
			if e := p.refused(p.call("POST", "/v1/receipts", c.token, c.body), c.status, c.code); !strings.Contains(e.Description, c.names) {
				t.Errorf("%q does not name %q", e.Description, c.names)
			}
		})
	}
	p.t = t
	if got := must[api.Page[api.Daemon]](p, 200, "GET", "/v1/daemons", root, nil); len(got.Items) != 0 {
		t.Errorf("a refused report left %+v", got.Items)
	}
	if a := p.call("POST", "/v1/receipts", bound, report("a", loadedReceipt(v, 1))); a.status != 204 || len(a.body) != 0 {
		t.Errorf("its own zone: %d %s", a.status, a.body)
	}
}

// TestLongReasonIsKept keeps what a daemon says of a failure, shortened.
func TestLongReasonIsKept(t *testing.T) {
	p := newPlane(t, nil)
	v := p.publish(p.zone("one"), "set")
	done := p.activate(v)
	p.report(report("a", failedReceipt(v, done.Sequence, "begin "+strings.Repeat("é", 5000), v, 0)))
	s := p.status(v, "")
	if s.PropagationStatus != "failed" || !strings.Contains(s.STS.Detail, "begin é") || len(s.STS.Detail) > 4500 || strings.Contains(s.STS.Detail, "\uFFFD") {
		t.Errorf("%+v", s)
	}
}
