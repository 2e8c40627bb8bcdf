package admin_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/audit"
)

// What a candidate decides otherwise than the recent traffic was decided is
// told; what cannot be decided again is counted.
func TestReplay(t *testing.T) {
	p := newPlane(t, nil)
	zone, set, v := p.governed("one", readersOnly)
	at := time.Now().Truncate(time.Microsecond)
	made := func(request, action, outcome string, minute int) audit.Record {
		r := decision(zone, request, outcome, at.Add(time.Duration(minute)*time.Minute))
		r.Input = inputOf(zone, action)
		return r
	}
	records := []audit.Record{
		made("same-1", "read", "allow", -9), made("opened", "read", "deny", -8), made("closed", "write", "allow", -7), made("same-2", "write", "deny", -6),
		made("not kept", "read", "deny", -5), made("masked, read", "read", "deny", -4), made("masked, not read", "read", "allow", -3),
		{ID: "gap", EventType: audit.EventGap, ZoneID: zone, OccurredAt: at.Add(-2 * time.Minute)}, made("of another schema", "read", "allow", -1),
	}
	records[4].Input = nil
	records[5].Metadata, records[6].Metadata = json.RawMessage(`{"masked":["/action/id"]}`), json.RawMessage(`{"masked":["/principal/id"]}`)
	records[8].Input = json.RawMessage(`{"action":7}`)
	s := p.shipper("d1")
	s.add(records...)
	s.all()

	replay := func(req api.ReplayRequest) api.Replay {
		t.Helper()
		req.VersionID = v.ID
		return must[api.Replay](p, 200, "POST", set+"/replay", root, req)
	}
	got := replay(api.ReplayRequest{})
	if got.VersionID != v.ID || got.PolicySetID != v.PolicySetID || got.ManifestSHA256 != v.ManifestSHA256 || got.Replayed != 5 || got.Skipped != 3 ||
		got.Oldest == nil || !got.Oldest.Equal(records[0].OccurredAt) || len(got.Flipped) != 2 {
		t.Fatalf("%+v", got)
	}
	closed, opened := got.Flipped[0], got.Flipped[1] // newest first
	if closed.RequestID != "closed" || closed.Was != "allow" || closed.Now != "deny" || closed.EvaluationStatus != "complete" || !strings.Contains(closed.Reason, "no_grant") ||
		closed.EventID != records[2].ID || !closed.OccurredAt.Equal(records[2].OccurredAt) || closed.PolicySetVersionID != "version" {
		t.Errorf("the first is %+v", closed)
	}
	if opened.RequestID != "opened" || opened.Was != "deny" || opened.Now != "allow" || !strings.Contains(opened.Reason, "readers") {
		t.Errorf("the second is %+v", opened)
	}
	if r := replay(api.ReplayRequest{Decision: "deny"}); r.Replayed != 2 || r.Skipped != 2 || len(r.Flipped) != 1 {
		t.Errorf("of denials: %+v", r)
	}
	if r := replay(api.ReplayRequest{Since: records[3].OccurredAt}); r.Replayed != 2 || len(r.Flipped) != 0 {
		t.Errorf("of late: %+v", r)
	}
	if r := replay(api.ReplayRequest{Limit: 1}); r.Replayed+r.Skipped != 1 || r.Oldest != nil {
		t.Errorf("of one: %+v", r)
	}
	for name, body := range map[string]string{
		"/version_id": `{"version_id":"no id"}`, "/limit": `{"version_id":"` + v.ID + `","limit":1001}`, "/decision": `{"version_id":"` + v.ID + `","decision":"maybe"}`,
	} {
		if e := p.refused(p.call("POST", set+"/replay", root, []byte(body)), 400, "invalid_body"); !strings.Contains(e.Description, name) {
			t.Errorf("%s: %q does not name it", name, e.Description)
		}
	}
	// The audit is read, so that an author alone may not.
	body, err := json.Marshal(api.ReplayRequest{VersionID: v.ID})
	if err != nil {
		t.Fatal(err)
	}
	p.refused(p.call("POST", set+"/replay", p.token(zone, api.RoleAuthor), body), 403, "forbidden")
	if a := p.call("POST", set+"/replay", p.token(zone, api.RoleAuditor), body); a.status != 200 {
		t.Errorf("an auditor is answered %d %s", a.status, a.body)
	}
}
