package admin_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/caracalai/caracald/admin/api"
)

// A write is audited whatever it is refused for, also where the refusal comes
// before the call itself is looked at. Asking and reading leave nothing.
func TestEveryRefusalIsAudited(t *testing.T) {
	p := newPlane(t, nil)
	zone, set, v := p.governed("one", readersOnly)
	in := "/v1/zones/" + zone
	author := p.createToken(api.TokenCreate{Name: "writer", Roles: []string{"author"}})
	bound := p.createToken(api.TokenCreate{Name: "bound", Roles: []string{"admin"}, ZoneID: pointerTo(p.zone("two"))})
	good := api.PolicyCreate{Name: "kept", Content: denyAll}
	if a := p.call("POST", in+"/policies", author.Secret, good, "Idempotency-Key", "k1"); a.status != 201 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := p.call("POST", "/v1/tokens", root, api.TokenCreate{Name: "t", Roles: []string{"viewer"}}, "Idempotency-Key", "k1"); a.status != 201 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := p.call("POST", set+"/activate", root, api.ActivateRequest{VersionID: v.ID}); a.status != 202 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	nowhere, huge := newID(), bytes.Repeat([]byte(" "), 10<<20)
	for _, tt := range []struct {
		name, method, path, token string
		body                      any
		key                       string
		status                    int
		code, action, actor       string
	}{
		{"a body too long", "POST", in + "/policies", author.Secret, huge, "", 413, "payload_too_large", "policy.create", "writer"},
		{"no body", "POST", in + "/policies", author.Secret, nil, "", 400, "invalid_body", "policy.create", "writer"},
		{"a key that cannot be one", "POST", in + "/policies", author.Secret, good, "a b", 400, "invalid_idempotency_key", "policy.create", "writer"},
		{"a key used for another call", "POST", in + "/policy-sets", author.Secret, good, "k1", 422, "idempotency_key_reused", "policy_set.create", "writer"},
		{"a secret asked for again", "POST", "/v1/tokens", root, api.TokenCreate{Name: "t", Roles: []string{"viewer"}}, "k1", 409, "idempotency_key_used", "token.create", "bootstrap"},
		{"a taken name", "POST", in + "/policies", author.Secret, good, "", 409, "policy_name_conflict", "policy.create", "writer"},
		{"an unknown zone", "POST", "/v1/zones/" + nowhere + "/policies", author.Secret, good, "", 404, "zone_not_found", "policy.create", "writer"},
		{"changing an unknown zone", "PATCH", "/v1/zones/" + nowhere, root, api.ZoneUpdate{}, "", 404, "zone_not_found", "zone.update", "bootstrap"},
		{"deleting an unknown zone", "DELETE", "/v1/zones/" + nowhere, root, nil, "", 404, "zone_not_found", "zone.delete", "bootstrap"},
		{"another zone", "POST", set + "/activate", bound.Secret, api.ActivateRequest{VersionID: v.ID}, "", 403, "forbidden", "policy_set.activate", "bound"},
		{"another role", "DELETE", set, author.Secret, nil, "", 403, "forbidden", "policy_set.delete", "writer"},
		{"another expectation", "POST", set + "/activate", root, api.ActivateRequest{VersionID: v.ID, ExpectedActiveVersionID: json.RawMessage("null")}, "", 409, "active_version_changed", "policy_set.activate", "bootstrap"},
		{"bad content", "POST", in + "/policies", author.Secret, api.PolicyCreate{Name: "n", Content: "{"}, "", 422, "invalid_rego", "policy.create", "writer"},

		{"asking an unknown zone", "POST", "/v1/zones/" + nowhere + "/policy-sets/x/simulate", root, api.SimulateRequest{VersionID: v.ID}, "", 404, "zone_not_found", "", ""},
		{"asking wrongly", "POST", set + "/simulate", root, nil, "", 400, "invalid_body", "", ""},
		{"reading an unknown zone", "GET", "/v1/zones/" + nowhere, root, nil, "", 404, "zone_not_found", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := p.in(t)
			request := "refused-" + strings.ReplaceAll(tt.name, " ", "-")
			header := []string{"X-Request-Id", request}
			if tt.key != "" {
				header = append(header, "Idempotency-Key", tt.key)
			}
			a := p.call(tt.method, tt.path, tt.token, tt.body, header...)
			p.refused(a, tt.status, tt.code)
			if got := a.header.Get("X-Request-Id"); got != request {
				t.Errorf("echoes the request id %q", got)
			}
			entries := p.adminAudit("/v1/admin-audit?request_id="+request, root)
			if tt.action == "" {
				if len(entries) != 0 {
					t.Errorf("audited as %+v", entries)
				}
				return
			}
			if len(entries) != 1 {
				t.Fatalf("audited as %+v", entries)
			}
			var why api.Error
			e := entries[0]
			if e.Action != tt.action || e.StatusCode != tt.status || e.ActorName != tt.actor || e.ActorID == "" || json.Unmarshal(e.PayloadJSON, &why) != nil || why.Code != tt.code {
				t.Errorf("audited as %+v: %s", e, e.PayloadJSON)
			}
		})
	}
	if wrong, err := p.store.Check(t.Context()); err != nil || len(wrong) > 0 {
		t.Errorf("the store's check says %v, %v", wrong, err)
	}
}

// A request id is echoed where it is sound and made where it is not, in every
// kind of answer.
func TestRequestIDs(t *testing.T) {
	p := newPlane(t, nil)
	for _, c := range []struct {
		method, path, token string
		status              int
	}{
		{"GET", "/v1/whoami", root, 200},
		{"GET", "/v1/whoami", "wrong", 401},
		{"GET", "/v1/nothing", root, 404},
		{"PUT", "/v1/zones", root, 405},
		{"POST", "/v1/zones", root, 400},
		{"GET", "/v1/zones/x", root, 404},
		{"GET", "/healthz", "", 200},
	} {
		for sent, kept := range map[string]bool{
			"r1": true, "A_z.0:9-": true, strings.Repeat("r", 128): true,
			"": false, strings.Repeat("r", 129): false, "a b": false, "a/b": false, "ä": false, `"`: false,
		} {
			a := p.call(c.method, c.path, c.token, nil, "X-Request-Id", sent)
			got := a.header.Values("X-Request-Id")
			if a.status != c.status || len(got) != 1 || got[0] == "" || (got[0] == sent) != kept {
				t.Errorf("%s %s with the request id %q: %d with %q", c.method, c.path, sent, a.status, got)
			}
		}
	}
	if a := p.call("POST", "/v1/zones", root, api.ZoneCreate{Name: "one"}, "X-Request-Id", "bad id"); a.status != http.StatusCreated ||
		len(p.adminAudit("/v1/admin-audit?request_id="+a.header.Get("X-Request-Id"), root)) != 1 {
		t.Errorf("the made request id %q is not the audited one", a.header.Get("X-Request-Id"))
	}
}

// Ids in paths are whatever callers write; none of them is more than not found.
func TestStrangeIDsInPaths(t *testing.T) {
	p := newPlane(t, nil)
	zone, set, _ := p.governed("one", readersOnly)
	viewer := p.roleToken("viewer")
	for _, id := range []string{"%00", "%ff", "%C3%28", "%2F", "%2e%2e", "..%2f..", "%27%20OR%201=1--", "%F0%9D%84%9E", strings.Repeat("x", 100000), "null", "*"} {
		for _, c := range []struct{ method, path string }{
			{"GET", "/v1/zones/" + id},
			{"DELETE", "/v1/zones/" + id},
			{"POST", "/v1/zones/" + id + "/policies"},
			{"GET", "/v1/zones/" + id + "/admin-audit"},
			{"GET", "/v1/zones/" + zone + "/policies/" + id},
			{"DELETE", "/v1/zones/" + zone + "/policies/" + id},
			{"GET", "/v1/zones/" + zone + "/policies/" + id + "/versions/" + id},
			{"GET", "/v1/zones/" + zone + "/policy-sets/" + id},
			{"DELETE", "/v1/zones/" + zone + "/policy-sets/" + id},
			{"GET", set + "/versions/" + id},
			{"DELETE", "/v1/tokens/" + id},
		} {
			for token, want := range map[string][]int{root: {404}, viewer: {403, 404}} {
				a := p.call(c.method, c.path, token, nil)
				// The path's cleaning may lead to another call.
				if a.status != want[0] && (token == root || a.status != 404) || len(a.body) > 2000 {
					t.Errorf("%s %.100s: %d with %d bytes %.200s", c.method, c.path, a.status, len(a.body), a.body)
				}
			}
		}
	}
	if wrong, err := p.store.Check(t.Context()); err != nil || len(wrong) > 0 {
		t.Errorf("the store's check says %v, %v", wrong, err)
	}
}
