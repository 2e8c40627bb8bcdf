package admin_test

import (
	"testing"
	"time"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/audit"
)

// Decisions are counted by step and by daemon; what else the audit has is not.
func TestAuditSummary(t *testing.T) {
	p := newPlane(t, nil)
	zone, other := p.zone("one"), p.zone("other")
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	busy, idle := p.shipper("d1"), p.shipper("d2")
	for i := range 12 {
		outcome := "allow"
		if i%4 == 0 {
			outcome = "deny"
		}
		busy.add(decision(zone, request(i), outcome, start.Add(time.Duration(i)*30*time.Second)))
	}
	failed := decision(zone, "failed", "deny", start.Add(10*time.Minute))
	failed.EvaluationStatus = "error"
	idle.add(failed, decision(other, "elsewhere", "deny", start), audit.Record{ID: "gap", EventType: audit.EventGap, ZoneID: zone, OccurredAt: start})
	busy.all()
	idle.all()
	path := "/v1/zones/" + zone + "/audit/summary?"
	got := must[api.AuditSummary](p, 200, "GET", path+"since=2026-03-01T12:00:59Z&until=2026-03-01T13:00:00Z&step_seconds=120", root, nil)
	if got.ZoneID != zone || !got.Since.Equal(start) || got.StepSeconds != 120 || got.Allowed != 9 || got.Denied != 4 || got.Failed != 1 {
		t.Fatalf("%+v", got)
	}
	want := []api.SummaryPoint{
		{At: start, DecisionCount: api.DecisionCount{Allowed: 3, Denied: 1}}, {At: start.Add(2 * time.Minute), DecisionCount: api.DecisionCount{Allowed: 3, Denied: 1}},
		{At: start.Add(4 * time.Minute), DecisionCount: api.DecisionCount{Allowed: 3, Denied: 1}}, {At: start.Add(10 * time.Minute), DecisionCount: api.DecisionCount{Denied: 1, Failed: 1}},
	}
	if len(got.Points) != len(want) {
		t.Fatalf("the points are %+v", got.Points)
	}
	for i, point := range got.Points {
		if !point.At.Equal(want[i].At) || point.DecisionCount != want[i].DecisionCount {
			t.Errorf("point %d is %+v, want %+v", i, point, want[i])
		}
	}
	if len(got.Daemons) != 2 || got.Daemons[0].DaemonID != busy.daemon || got.Daemons[0].Allowed != 9 || got.Daemons[0].Denied != 3 ||
		!got.Daemons[0].LastAt.Equal(start.Add(330*time.Second)) || got.Daemons[0].ShippedAfterMS <= 0 || got.Daemons[1].Failed != 1 {
		t.Errorf("the daemons are %+v", got.Daemons)
	}
	if now := must[api.AuditSummary](p, 200, "GET", path, root, nil); now.Until.Sub(now.Since) < time.Hour || now.StepSeconds != 60 || len(now.Points) != 0 || len(now.Daemons) != 0 {
		t.Errorf("of the last hour: %+v", now)
	}
	for _, bad := range []string{"step_seconds=0", "step_seconds=x", "since=yesterday", "since=2026-03-01T12:00:00Z&until=2026-02-01T12:00:00Z", "since=2026-03-01T12:00:00Z&step_seconds=1"} {
		p.refused(p.call("GET", path+bad, root, nil), 400, "invalid_query")
	}
	p.refused(p.call("GET", path, p.token("", api.RoleViewer), nil), 403, "forbidden")
}
