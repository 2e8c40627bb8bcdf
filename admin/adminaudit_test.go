package admin_test

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/bundle"
)

func (p *plane) adminAudit(path, token string) []api.AdminEvent {
	p.t.Helper()
	return must[api.Page[api.AdminEvent]](p, 200, "GET", path, token, nil).Items
}

// Every call that the document says changes something leaves an entry when it
// is done and one when it is refused.
func TestEveryWriteIsAudited(t *testing.T) {
	p := newPlane(t, nil)
	zone, set, v := p.governed("one", readersOnly)
	in := "/v1/zones/" + zone
	token := p.createToken(api.TokenCreate{Name: "ci", Roles: []string{"admin"}, ZoneID: &zone})
	pol := p.policy(zone, "second", denyAll)
	who := p.token("", "admin")
	viewer := p.token("", "viewer")
	p.report(bundle.ReceiptReport{DaemonID: "gone"})

	writes := map[string]struct {
		method, path string
		good         any
		status       int
		entity       string
	}{
		"zone.create":               {"POST", "/v1/zones", api.ZoneCreate{Name: "new"}, 201, "zone"},
		"zone.update":               {"PATCH", in, api.ZoneUpdate{Slug: pointerTo("renamed")}, 200, "zone"},
		"zone.delete":               {"DELETE", "/v1/zones/" + p.zone("gone"), nil, 204, "zone"},
		"policy.create":             {"POST", in + "/policies", api.PolicyCreate{Name: "third", Content: denyAll}, 201, "policy"},
		"policy.delete":             {"DELETE", in + "/policies/" + p.policy(zone, "gone", denyAll).ID, nil, 204, "policy"},
		"policy_version.create":     {"POST", in + "/policies/" + pol.ID + "/versions", api.PolicyVersionCreate{Content: denyAll}, 201, "policy_version"},
		"policy_set.create":         {"POST", in + "/policy-sets", api.PolicySetCreate{Name: "more"}, 201, "policy_set"},
		"policy_set.delete":         {"DELETE", p.set(zone, "gone"), nil, 204, "policy_set"},
		"policy_set_version.create": {"POST", set + "/versions", manifest(pol.VersionID), 201, "policy_set_version"},
		"policy_set.activate":       {"POST", set + "/activate", api.ActivateRequest{VersionID: v.ID}, 202, "policy_set_version"},
		"token.create":              {"POST", "/v1/tokens", api.TokenCreate{Name: "t", Roles: []string{"viewer"}}, 201, "token"},
		"daemon.retire":             {"DELETE", "/v1/daemons/gone", nil, 204, "daemon"},
		"token.revoke":              {"DELETE", "/v1/tokens/" + token.ID, nil, 204, "token"},
	}
	// What daemons report and what only asks is no act of anybody's.
	unaudited := []string{"pointer.watch", "receipt.put", "audit.ingest", "policy.validate", "policy.test", "policy_set.simulate", "policy_set.replay"}
	var described []string
	for _, methods := range operations(t, p) {
		for method, op := range methods {
			if method != "get" && !slices.Contains(unaudited, op.OperationID) {
				described = append(described, op.OperationID)
			}
		}
	}
	slices.Sort(described)
	if known := slices.Sorted(maps.Keys(writes)); !slices.Equal(known, described) {
		t.Fatalf("the document has the writes %v, the test %v", described, known)
	}
	for _, id := range described {
		w := writes[id]
		t.Run(id, func(t *testing.T) {
			p := p.in(t)
			request := "req-" + id
			p.refused(p.call(w.method, w.path, viewer, w.good, "X-Request-Id", request), 403, "forbidden")
			a := p.call(w.method, w.path, who, w.good, "X-Request-Id", request)
			if a.status != w.status || a.header.Get("X-Request-Id") != request {
				t.Fatalf("answered %d %s", a.status, a.body)
			}
			entries := p.adminAudit("/v1/admin-audit?request_id="+request, root)
			if len(entries) != 2 {
				t.Fatalf("the audit has %+v", entries)
			}
			done, refused := entries[0], entries[1]
			if done.Action != id || done.StatusCode != w.status || done.EntityType != w.entity || done.EntityID == "" || done.ActorName != "[admin]" || done.ActorID == "" || done.OccurredAt.IsZero() {
				t.Errorf("audited as %+v", done)
			}
			var why api.Error
			if refused.Action != id || refused.StatusCode != 403 || refused.ActorName != "[viewer]" || json.Unmarshal(refused.PayloadJSON, &why) != nil || why.Code != "forbidden" {
				t.Errorf("the refusal is audited as %+v", refused)
			}
			if bytes.Contains(done.PayloadJSON, []byte("crcl_")) {
				t.Errorf("the audit has a secret: %s", done.PayloadJSON)
			}
			if w.method != "DELETE" && w.method != "PATCH" {
				broken := p.call(w.method, w.path, who, []byte(`{"unknown":1}`), "X-Request-Id", request)
				p.refused(broken, 400, "invalid_body")
				if entries := p.adminAudit("/v1/admin-audit?request_id="+request, root); len(entries) != 3 || entries[0].StatusCode != 400 {
					t.Errorf("a malformed call is audited as %+v", entries)
				}
			}
		})
	}
	all := p.adminAudit("/v1/admin-audit?limit=500", root)
	for i, e := range all {
		if e.ChainSeq != int64(len(all)-i) || len(e.ChainHash) != 64 || i > 0 && e.OccurredAt.After(all[i-1].OccurredAt) {
			t.Fatalf("of %d entries that at %d is %+v", len(all), i, e)
		}
	}
	if wrong, err := p.store.Check(t.Context()); err != nil || len(wrong) > 0 {
		t.Errorf("the store's check says %v, %v", wrong, err)
	}
}

func pointerTo[T any](v T) *T { return &v }

func TestAdminAuditFilters(t *testing.T) {
	p := newPlane(t, nil)
	zone, other := p.zone("one"), p.zone("two")
	author := p.createToken(api.TokenCreate{Name: "author", Roles: []string{"author"}})
	p.ahead.Store(int64(time.Hour))
	middle := p.now()
	p.ahead.Store(int64(2 * time.Hour))
	for _, z := range []string{zone, other} {
		for _, name := range []string{"a", "b"} {
			a := p.call("POST", "/v1/zones/"+z+"/policies", author.Secret, api.PolicyCreate{Name: name, Content: denyAll}, "X-Request-Id", "make-"+name)
			if a.status != 201 {
				t.Fatalf("%d %s", a.status, a.body)
			}
		}
	}
	at := middle.Format(time.RFC3339Nano)
	for query, want := range map[string]int{
		"/v1/zones/" + zone + "/admin-audit":                                3,
		"/v1/zones/" + zone + "/admin-audit?actor_id=" + author.ID:          2,
		"/v1/zones/" + zone + "/admin-audit?request_id=make-a":              1,
		"/v1/zones/" + zone + "/admin-audit?action=zone.create":             1,
		"/v1/zones/" + zone + "/admin-audit?action=zone.create&since=" + at: 0,
		"/v1/zones/" + zone + "/admin-audit?since=" + at:                    2,
		"/v1/zones/" + zone + "/admin-audit?until=" + at:                    1,
		"/v1/admin-audit":                                                         7,
		"/v1/admin-audit?actor_id=" + author.ID:                                   4,
		"/v1/admin-audit?request_id=make-a":                                       2,
		"/v1/admin-audit?action=policy.create&actor_id=bootstrap":                 0,
		"/v1/admin-audit?action=token.create":                                     1,
		"/v1/admin-audit?limit=2":                                                 2,
		"/v1/admin-audit?since=" + strings.Replace(at, "Z", "%2B00:00", 1):        4,
		"/v1/zones/" + zone + "/admin-audit?request_id=make-a&actor_id=bootstrap": 0,
	} {
		if got := p.adminAudit(query, root); len(got) != want {
			t.Errorf("%s has %d entries, want %d", query, len(got), want)
		}
	}
	for _, query := range []string{"since=yesterday", "until=1", "limit=0", "limit=501", "limit=x", "cursor=x", "cursor=LTE", "format=xml"} {
		p.refused(p.call("GET", "/v1/admin-audit?"+query, root, nil), 400, "invalid_query")
	}
	p.refused(p.call("GET", "/v1/admin-audit", p.token(zone, "auditor"), nil), 403, "forbidden")
	p.refused(p.call("GET", "/v1/zones/"+other+"/admin-audit", p.token(zone, "auditor"), nil), 403, "forbidden")
	if got := p.adminAudit("/v1/zones/"+zone+"/admin-audit", p.token(zone, "auditor")); len(got) != 3 {
		t.Errorf("the zone's auditor sees %d entries", len(got))
	}
	if a := p.call("DELETE", "/v1/zones/"+zone, root, nil); a.status != 204 {
		t.Fatal(a.status)
	}
	if got := p.adminAudit("/v1/zones/"+zone+"/admin-audit", root); len(got) != 4 || got[0].Action != "zone.delete" {
		t.Errorf("of the archived zone the audit has %+v", got)
	}
	p.refused(p.call("GET", "/v1/zones/"+newID()+"/admin-audit", root, nil), 404, "zone_not_found")
}

func TestAdminAuditExports(t *testing.T) {
	p := newPlane(t, nil)
	for _, name := range []string{"one", "two", "=1+1", "four"} {
		p.zone(name)
	}
	list := p.adminAudit("/v1/admin-audit", root)

	lines := p.call("GET", "/v1/admin-audit?format=ndjson", root, nil)
	var got []api.AdminEvent
	scanner := bufio.NewScanner(bytes.NewReader(lines.body))
	for scanner.Scan() {
		var e api.AdminEvent
		if err := json.Unmarshal(scanner.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	same := func(a, b api.AdminEvent) bool {
		return a.ID == b.ID && a.ChainHash == b.ChainHash && a.EntityID == b.EntityID
	}
	if len(list) != 4 || !slices.EqualFunc(got, list, same) {
		t.Errorf("the lines are %+v, the list is %+v", got, list)
	}
	if kind := lines.header.Get("Content-Disposition"); !strings.Contains(kind, ".ndjson") {
		t.Errorf("the file is %q", kind)
	}

	records, err := csv.NewReader(bytes.NewReader(p.call("GET", "/v1/admin-audit?format=csv&limit=2", root, nil).body)).ReadAll()
	if err != nil || len(records) != 3 {
		t.Fatalf("%v: %v", err, records)
	}
	if records[0][0] != "id" || records[1][0] != list[0].ID || records[2][0] != list[1].ID || len(records[0]) != 13 {
		t.Errorf("the table is %v", records)
	}
}
