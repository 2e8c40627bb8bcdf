package daemon_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caracalai/caracald/daemon"
)

// TestEvaluationMapping: what an AuthZEN request becomes, as the record has it.
func TestEvaluationMapping(t *testing.T) {
	p, n, v := one(t, nil)
	const fixed = `"schema_version":"2026-05-20","session":`
	for _, test := range []struct {
		name, body, input string
	}{
		{
			"least", `{"subject":{"type":"user","id":"u1"},"action":{"name":"read"},"resource":{"type":"doc","id":"d1"},"context":{"zone_id":"z1"}}`,
			`{"principal":{"type":"user","id":"u1","zone_id":"z1"},"resource":{"type":"doc","id":"d1","identifier":"d1","scopes":[]},"action":{"id":"read"},
			"context":{"actor_claims":{},"challenge_resolved":false,"requested_scopes":[]},"delegation_edge":null,` + fixed + `null}`,
		},
		{
			"properties", `{"subject":{"type":"user","id":"u1","properties":{"zone_id":"z1","labels":["a"]}},"action":{"name":"read","properties":{"method":"GET","requested_scopes":["x"]}},
			"resource":{"type":"doc","id":"d1","properties":{"identifier":"urn:d1","scopes":["x"]}},"context":{"challenge_resolved":true,"session":{"id":"s1"},"time":"now"}}`,
			`{"principal":{"type":"user","id":"u1","zone_id":"z1","labels":["a"]},"resource":{"type":"doc","id":"d1","identifier":"urn:d1","scopes":["x"]},"action":{"id":"read","method":"GET"},
			"context":{"actor_claims":{},"challenge_resolved":true,"requested_scopes":["x"],"time":"now"},"delegation_edge":null,` + fixed + `{"id":"s1"}}`,
		},
		{
			"properties do not replace", `{"subject":{"type":"user","id":"u1","properties":{"zone_id":"z1","id":"other","type":"other"}},"action":{"name":"read","properties":{"id":"other"}},"resource":{"type":"doc","id":"d1","properties":{"id":"other"}}}`,
			`{"principal":{"type":"user","id":"u1","zone_id":"z1"},"resource":{"type":"doc","id":"d1","identifier":"d1","scopes":[]},"action":{"id":"read"},
			"context":{"actor_claims":{},"challenge_resolved":false,"requested_scopes":[]},"delegation_edge":null,` + fixed + `null}`,
		},
	} {
		r := n.call("POST", "/access/v1/evaluation", []byte(test.body), "X-Request-Id", "az-1")
		got := parse[struct {
			Decision bool           `json:"decision"`
			Context  map[string]any `json:"context"`
		}](t, r.body)
		if r.status != 200 || got.Context["policy_set_version_id"] != v.id || got.Context["request_id"] != "az-1" || r.header.Get("X-Request-Id") != "az-1" {
			t.Errorf("%s: %d %s", test.name, r.status, r.body)
			continue
		}
		if want := !strings.Contains(test.input, `"requested_scopes":["x"]`); got.Decision != want {
			t.Errorf("%s: decision %v", test.name, got.Decision)
		}
		id, _ := got.Context["decision_id"].(string)
		if record := p.record(id); !sameJSON(t, string(record.Input), test.input) {
			t.Errorf("%s: the input is\n%s\nnot\n%s", test.name, record.Input, test.input)
		}
	}
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	one, err1 := json.Marshal(parse[any](t, []byte(a)))
	two, err2 := json.Marshal(parse[any](t, []byte(b)))
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	return string(one) == string(two)
}

func TestEvaluationRefusals(t *testing.T) {
	p, n, _ := one(t, nil)
	for _, test := range []struct{ body, code, says string }{
		{`{"action":{"name":"a"},"resource":{"type":"t","id":"i"}}`, "invalid_body", "/subject"},
		{`{"subject":{"type":"t","id":"i"},"resource":{"type":"t","id":"i"}}`, "invalid_body", "/action"},
		{`{"subject":{"type":"t","id":"i"},"action":{"name":"a"}}`, "invalid_body", "/resource"},
		{`{"subject":{"id":"i"},"action":{"name":"a"},"resource":{"type":"t","id":"i"}}`, "invalid_body", "/subject/type"},
		{`{"subject":{"type":"t","id":7},"action":{"name":"a"},"resource":{"type":"t","id":"i"}}`, "invalid_body", "/subject/id"},
		{`{"subject":{"type":"t","id":"i"},"action":{"name":"a"},"resource":{"type":"t","id":"i"}}`, "invalid_input", "/principal/zone_id"},
		{`{"subject":`, "invalid_body", ""},
		{`[]`, "invalid_body", ""},
	} {
		r := n.call("POST", "/access/v1/evaluation", []byte(test.body))
		if got := parse[decision](t, r.body); r.status != 400 || got.Error != test.code || !strings.Contains(got.ErrorDescription, test.says) {
			t.Errorf("%s: %d %s", test.body, r.status, r.body)
		}
	}
	if r := n.call("POST", "/access/v1/evaluations", []byte(`{"evaluations":[{}],"options":{"evaluations_semantic":"guess"}}`)); r.status != 400 || parse[decision](t, r.body).Error != "invalid_body" {
		t.Errorf("%d %s", r.status, r.body)
	}
	if len(p.kept()) != 0 {
		t.Error("refusals left records")
	}
}

func TestEvaluations(t *testing.T) {
	_, n, _ := one(t, func(c *daemon.Config) { c.MaxBatch = 4 })
	action := func(name string) string { return fmt.Sprintf(`{"action":{"name":%q}}`, name) }
	body := func(semantic string, evaluations ...string) []byte {
		options := ""
		if semantic != "" {
			options = fmt.Sprintf(`,"options":{"evaluations_semantic":%q,"other":1}`, semantic)
		}
		return []byte(`{"subject":{"type":"user","id":"u1"},"resource":{"type":"doc","id":"d1"},"context":{"zone_id":"z1"},"evaluations":[` +
			strings.Join(evaluations, ",") + `]` + options + `}`)
	}
	const malformed = `{"subject":{"type":"","id":""},"action":{"name":"read"}}`
	for _, test := range []struct {
		semantic    string
		evaluations []string
		want        []bool
	}{
		{"", []string{action("read"), action("write"), malformed, action("read")}, []bool{true, false, false, true}},
		{"execute_all", []string{action("write"), action("read")}, []bool{false, true}},
		{"deny_on_first_deny", []string{action("read"), action("write"), action("read")}, []bool{true, false}},
		{"deny_on_first_deny", []string{action("read"), malformed, action("read")}, []bool{true, false}},
		{"deny_on_first_deny", []string{action("read"), action("read")}, []bool{true, true}},
		{"permit_on_first_permit", []string{action("write"), action("read"), action("read")}, []bool{false, true}},
		{"permit_on_first_permit", []string{action("write"), action("write")}, []bool{false, false}},
		{"permit_on_first_permit", []string{malformed, action("read")}, []bool{false, true}},
	} {
		r := n.call("POST", "/access/v1/evaluations", body(test.semantic, test.evaluations...))
		got := parse[struct {
			Evaluations []struct {
				Decision bool `json:"decision"`
				Context  struct {
					DecisionID string `json:"decision_id"`
					Error      *struct {
						Status  int    `json:"status"`
						Message string `json:"message"`
					} `json:"error"`
				} `json:"context"`
			} `json:"evaluations"`
		}](t, r.body).Evaluations
		if r.status != http.StatusOK || len(got) != len(test.want) {
			t.Errorf("%s %v: %d %s", test.semantic, test.evaluations, r.status, r.body)
			continue
		}
		for i, e := range got {
			if e.Decision != test.want[i] {
				t.Errorf("%s %v: %d is %v", test.semantic, test.evaluations, i, e.Decision)
			}
			if wrong := test.evaluations[i] == malformed; wrong != (e.Context.Error != nil) || wrong == (e.Context.DecisionID != "") {
				t.Errorf("%s %v: %d is %+v", test.semantic, test.evaluations, i, e)
			} else if wrong && (e.Context.Error.Status != 400 || e.Context.Error.Message == "") {
				t.Errorf("error %+v", e.Context.Error)
			}
		}
	}
	// Without evaluations it is one evaluation.
	r := n.call("POST", "/access/v1/evaluations", []byte(`{"subject":{"type":"user","id":"u1"},"action":{"name":"read"},"resource":{"type":"doc","id":"d1"},"context":{"zone_id":"z1"}}`))
	if got := parse[map[string]any](t, r.body); r.status != 200 || got["decision"] != true || got["evaluations"] != nil {
		t.Errorf("%d %s", r.status, r.body)
	}
	many := []string{action("read"), action("read"), action("read"), action("read"), action("read")}
	if r := n.call("POST", "/access/v1/evaluations", body("", many...)); r.status != 413 {
		t.Errorf("%d %s", r.status, r.body)
	}
}
