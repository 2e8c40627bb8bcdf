package admin_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/policy"
)

func TestSimulateShape(t *testing.T) {
	p := newPlane(t, nil)
	zone, set, v := p.governed("one", readersOnly)
	sim := must[map[string]any](p, 200, "POST", set+"/simulate", root, api.SimulateRequest{VersionID: v.ID, Input: inputOf(zone, "read")})
	if keys := keysOf(sim); keys != "dry_run explanation input_schema_version manifest_sha256 policies policy_set_id result schema_version version_id warnings would_activate" {
		t.Errorf("the answer has the keys %q", keys)
	}
	if keys := keysOf(sim["explanation"]); keys != "decision evaluation manifest_sha256 policy_set_version_id reason" {
		t.Errorf("the explanation has the keys %q", keys)
	}
	if keys := keysOf(sim["result"]); keys != "decision determining_policies diagnostics evaluation_status" {
		t.Errorf("the result has the keys %q", keys)
	}
	if sim["dry_run"] != true || sim["version_id"] != v.ID || sim["policy_set_id"] != v.PolicySetID || sim["manifest_sha256"] != v.ManifestSHA256 ||
		sim["schema_version"] != "2026-05-20" || sim["input_schema_version"] != "2026-05-20" {
		t.Errorf("answered %v", sim)
	}
	policies := sim["policies"].([]any)
	if len(policies) != 1 || policies[0].(map[string]any)["name"] != "readers" {
		t.Errorf("the policies are %v", policies)
	}
	determining := sim["result"].(map[string]any)["determining_policies"].([]any)[0].(map[string]any)
	if determining["policy"] != "readers" || determining["policy_id"] != policies[0].(map[string]any)["policy_id"] || determining["policy_version_id"] == nil {
		t.Errorf("determined by %v", determining)
	}
}

func TestSimulate(t *testing.T) {
	p := newPlane(t, nil)
	zone, set, readers := p.governed("one", readersOnly)
	open := p.version(set, p.policy(zone, "open", allowByDefault).VersionID)
	failing := p.version(set, p.policy(zone, "failing", `package caracal.authz

result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []} if input.action.id == "read"

result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []} if input.principal.id == "a1"
`).VersionID)
	partial := json.RawMessage(`{"principal":{"type":"agent"}}`)
	type want struct {
		would                bool
		evaluation, decision string
		says                 string
	}
	for _, tt := range []struct {
		name string
		req  api.SimulateRequest
		want want
	}{
		{"an allow", api.SimulateRequest{VersionID: readers.ID, Input: inputOf(zone, "read")}, want{true, "evaluated", "allow", "readers"}},
		{"a deny is an answer", api.SimulateRequest{VersionID: readers.ID, Input: inputOf(zone, "write")}, want{true, "evaluated", "deny", "no_grant"}},
		{"an expected allow", api.SimulateRequest{VersionID: readers.ID, Input: inputOf(zone, "read"), ExpectedDecision: "allow"}, want{true, "evaluated", "allow", "allow"}},
		{"an expected deny", api.SimulateRequest{VersionID: readers.ID, Input: inputOf(zone, "write"), ExpectedDecision: "deny"}, want{true, "evaluated", "deny", "deny"}},
		{"an unexpected deny", api.SimulateRequest{VersionID: readers.ID, Input: inputOf(zone, "write"), ExpectedDecision: "allow"}, want{false, "evaluated", "deny", "allow was expected"}},
		{"an unexpected allow", api.SimulateRequest{VersionID: readers.ID, Input: inputOf(zone, "read"), ExpectedDecision: "deny"}, want{false, "evaluated", "allow", "deny was expected"}},
		{"no input", api.SimulateRequest{VersionID: readers.ID}, want{true, "not_evaluated", "", "no input"}},
		{"an input outside the schema", api.SimulateRequest{VersionID: readers.ID, Input: partial}, want{false, "not_evaluated", "", "/schema_version"}},
		{"an input of another kind", api.SimulateRequest{VersionID: readers.ID, Input: json.RawMessage(`[1]`)}, want{false, "not_evaluated", "", "object"}},
		{"null for an input", api.SimulateRequest{VersionID: readers.ID, Input: json.RawMessage(`null`)}, want{false, "not_evaluated", "", "object"}},
		{"another zone's input", api.SimulateRequest{VersionID: readers.ID, Input: inputOf("elsewhere", "read")}, want{false, "not_evaluated", "", "elsewhere"}},
		{"a blocking warning", api.SimulateRequest{VersionID: open.ID, Input: inputOf(zone, "read")}, want{false, "evaluated", "allow", "default_result_allows_access"}},
		{"a blocking warning without input", api.SimulateRequest{VersionID: open.ID}, want{false, "not_evaluated", "", "default_result_allows_access"}},
		{"a failing evaluation", api.SimulateRequest{VersionID: failing.ID, Input: inputOf(zone, "read")}, want{false, "failed", "deny", "evaluation"}},
		{"a failing evaluation that would be expected", api.SimulateRequest{VersionID: failing.ID, Input: inputOf(zone, "read"), ExpectedDecision: "deny"}, want{false, "failed", "deny", "evaluation"}},
		{"an input that does not fail", api.SimulateRequest{VersionID: failing.ID, Input: inputOf(zone, "write")}, want{true, "evaluated", "deny", "deny"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := p.in(t)
			sim := must[api.Simulation](p, 200, "POST", set+"/simulate", root, tt.req)
			e := sim.Explanation
			if got := (want{sim.WouldActivate, e.Evaluation, e.Decision, tt.want.says}); got != tt.want || !strings.Contains(e.Reason, tt.want.says) {
				t.Errorf("explained as %v, %+v; want %+v", sim.WouldActivate, e, tt.want)
			}
			if e.PolicySetVersionID != tt.req.VersionID || e.ManifestSHA256 != sim.ManifestSHA256 {
				t.Errorf("explained %+v", e)
			}
			if (sim.Result == nil) != (e.Evaluation == "not_evaluated") || sim.Results != nil {
				t.Errorf("the result is %+v, the results are %+v", sim.Result, sim.Results)
			}
			if sim.Result != nil && (sim.Result.EvaluationStatus == "error") != (e.Evaluation == "failed") {
				t.Errorf("the result is %+v", sim.Result)
			}
			one := tt.req
			if one.Input != nil { // in a batch it is answered the same
				one.Inputs, one.Input = []json.RawMessage{one.Input}, nil
				batch := must[api.Simulation](p, 200, "POST", set+"/simulate", root, one)
				if len(batch.Results) != 1 || batch.WouldActivate != sim.WouldActivate || batch.Results[0].WouldActivate != sim.WouldActivate || batch.Results[0].Explanation != e {
					t.Errorf("in a batch answered %+v, alone %+v", batch, sim)
				}
			}
		})
	}
	if now := p.active(zone); now.Sequence != 0 || now.PolicySetVersionID != nil {
		t.Errorf("simulating left %+v", now)
	}
}

func TestSimulateManyKeepsTheirOrder(t *testing.T) {
	p := newPlane(t, nil)
	zone, set, v := p.governed("one", readersOnly)
	req := api.SimulateRequest{VersionID: v.ID}
	var want []string
	for i := range 300 {
		action, decision := "read", "allow"
		if i%7 == 3 {
			action, decision = "write", "deny"
		}
		req.Inputs = append(req.Inputs, inputOf(zone, action))
		want = append(want, decision)
	}
	sim := must[api.Simulation](p, 200, "POST", set+"/simulate", root, req)
	var got []string
	for _, r := range sim.Results {
		got = append(got, r.Result.Decision)
	}
	if !slices.Equal(got, want) || !sim.WouldActivate || sim.Result != nil || sim.Explanation.Evaluation != "evaluated" {
		t.Errorf("answered %v, %+v", got, sim.Explanation)
	}
	req.ExpectedDecision = "allow"
	sim = must[api.Simulation](p, 200, "POST", set+"/simulate", root, req)
	if sim.WouldActivate || !strings.Contains(sim.Explanation.Reason, "inputs[3]") || sim.Results[2].WouldActivate == sim.Results[3].WouldActivate {
		t.Errorf("expecting allow: %v, %+v", sim.WouldActivate, sim.Explanation)
	}
	req.Inputs, req.ExpectedDecision = []json.RawMessage{}, ""
	if a := p.call("POST", set+"/simulate", root, []byte(fmt.Sprintf(`{"version_id":%q,"inputs":[]}`, v.ID))); a.status != 200 || !bytes.Contains(a.body, []byte(`"not_evaluated"`)) {
		t.Errorf("no inputs: %d %s", a.status, a.body)
	}
}

func TestSimulateRefusals(t *testing.T) {
	p := newPlane(t, nil)
	zone, set, v := p.governed("one", readersOnly)
	_, foreignSet, foreign := p.governed("two", readersOnly)
	other := p.set(zone, "other")
	input := inputOf(zone, "read")
	tooMany := make([]json.RawMessage, 1001)
	for i := range tooMany {
		tooMany[i] = json.RawMessage("{}")
	}
	for _, tt := range []struct {
		name, path string
		req        any
		status     int
		code       string
	}{
		{"an unknown version", set, api.SimulateRequest{VersionID: newID()}, 404, "policy_set_version_not_found"},
		{"another set's version", other, api.SimulateRequest{VersionID: v.ID}, 404, "policy_set_version_not_found"},
		{"another zone's version", set, api.SimulateRequest{VersionID: foreign.ID}, 404, "policy_set_version_not_found"},
		{"another zone's set", strings.Replace(foreignSet, strings.Split(foreignSet, "/")[3], zone, 1), api.SimulateRequest{VersionID: foreign.ID}, 404, "policy_set_version_not_found"},
		{"no id", set, api.SimulateRequest{VersionID: "a b"}, 400, "invalid_body"},
		{"input and inputs", set, api.SimulateRequest{VersionID: v.ID, Input: input, Inputs: []json.RawMessage{input}}, 400, "invalid_body"},
		{"1001 inputs", set, api.SimulateRequest{VersionID: v.ID, Inputs: tooMany}, 400, "invalid_body"},
		{"an unknown decision", set, api.SimulateRequest{VersionID: v.ID, ExpectedDecision: "maybe"}, 400, "invalid_body"},
		{"duplicate names in the input", set, []byte(`{"version_id":"` + v.ID + `","input":{"a":1,"a":2}}`), 400, "invalid_body"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := p.in(t)
			p.refused(p.call("POST", tt.path+"/simulate", root, tt.req), tt.status, tt.code)
		})
	}
}

// A simulation may ask for more than it gets: an evaluation that does not end
// is stopped, and says so.
func TestSimulationIsBounded(t *testing.T) {
	p := newPlane(t, nil)
	zone, set, v := p.governed("one", `package caracal.authz

default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}

many := numbers.range(1, 100000)

result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []} if {
	input.action.id == "read"
	some a in many
	some b in many
	a + b == -1
}
`)
	sim := must[api.Simulation](p, 200, "POST", set+"/simulate", root, api.SimulateRequest{VersionID: v.ID, Input: inputOf(zone, "read")})
	if sim.WouldActivate || sim.Explanation.Evaluation != "failed" || sim.Result == nil || sim.Result.Decision != policy.Deny {
		t.Errorf("simulated as %+v", sim)
	}
}

// Simulations and activations by many at once share the compiled set.
func TestSimulateConcurrently(t *testing.T) {
	p := newPlane(t, nil)
	zone, set, v := p.governed("one", readersOnly)
	answers := make(chan error, 16)
	for i := range cap(answers) {
		go func() {
			action, decision := "read", `"decision":"allow"`
			if i%2 == 1 {
				action, decision = "write", `"decision":"deny"`
			}
			a, err := p.try(t.Context(), http.MethodPost, set+"/simulate", root, api.SimulateRequest{VersionID: v.ID, Input: inputOf(zone, action)})
			if err == nil && (a.status != 200 || !bytes.Contains(a.body, []byte(decision))) {
				err = fmt.Errorf("answered %d %s", a.status, a.body)
			}
			answers <- err
		}()
	}
	for range cap(answers) {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
}
