package admin_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/caracalai/caracald/admin/api"
)

// A trace tells of each rule that was tried what it came to, beside the decision.
func TestSimulateTrace(t *testing.T) {
	p := newPlane(t, nil)
	zone, set, v := p.governed("one", readersOnly)
	content := strings.Split(readersOnly, "\n")
	for action, want := range map[string]string{"read": "allow", "write": "deny"} {
		req := api.SimulateRequest{VersionID: v.ID, Input: inputOf(zone, action)}
		plain := must[api.Simulation](p, 200, "POST", set+"/simulate", root, req)
		if plain.Trace != nil {
			t.Error("a trace that was not asked for")
		}
		req.Trace = true
		sim := must[api.Simulation](p, 200, "POST", set+"/simulate", root, req)
		if sim.Result == nil || sim.Result.Decision != want || sim.Explanation != plain.Explanation {
			t.Fatalf("%s: answered %+v", action, sim)
		}
		trace := sim.Trace
		if trace == nil || len(trace.Rules) == 0 || trace.Differs != nil || trace.Incomplete != "" {
			t.Fatalf("%s: the trace is %+v", action, trace)
		}
		held := false
		for _, r := range trace.Rules {
			if r.Policy != "readers" || r.PolicyID != sim.Policies[0].PolicyID || r.VersionID != sim.Policies[0].PolicyVersionID {
				t.Errorf("%s: a rule of %+v", action, r)
			}
			if r.Held && strings.Contains(string(r.Value), `"`+want+`"`) {
				held = true
			}
			if r.Failed != nil && !strings.Contains(content[r.Failed.Location.Row-1], r.Failed.Text) {
				t.Errorf("%s: line %d is %q, not %q", action, r.Failed.Location.Row, content[r.Failed.Location.Row-1], r.Failed.Text)
			}
			if r.Held == (r.Failed != nil) {
				t.Errorf("%s: %+v", action, r)
			}
		}
		if !held {
			t.Errorf("%s: no rule that held gave %s: %+v", action, want, trace.Rules)
		}
	}
	raw := must[map[string]any](p, 200, "POST", set+"/simulate", root, api.SimulateRequest{VersionID: v.ID, Input: inputOf(zone, "write"), Trace: true})
	rule := raw["trace"].(map[string]any)["rules"].([]any)[0]
	if keys := keysOf(rule); keys != "depth failed held location policy policy_id policy_version_id rule tried" {
		t.Errorf("a rule has the keys %q", keys)
	}
}

func TestSimulateTraceRefusals(t *testing.T) {
	p := newPlane(t, nil)
	zone, set, v := p.governed("one", readersOnly)
	for name, body := range map[string]string{
		"several inputs": fmt.Sprintf(`{"version_id":%q,"trace":true,"inputs":[%s]}`, v.ID, inputOf(zone, "read")),
		"no input":       fmt.Sprintf(`{"version_id":%q,"trace":true}`, v.ID),
		"no boolean":     fmt.Sprintf(`{"version_id":%q,"trace":"yes","input":%s}`, v.ID, inputOf(zone, "read")),
	} {
		t.Run(name, func(t *testing.T) {
			p := p.in(t)
			a := p.call("POST", set+"/simulate", root, []byte(body))
			p.refused(a, 400, "invalid_body")
			if !strings.Contains(string(a.body), "/trace") {
				t.Errorf("refused with %s", a.body)
			}
		})
	}
	// An input that is not evaluated has no trace, and says which of its values is wrong.
	sim := must[api.Simulation](p, 200, "POST", set+"/simulate", root, api.SimulateRequest{VersionID: v.ID, Trace: true,
		Input: json.RawMessage(strings.Replace(string(inputOf(zone, "read")), `"a1"`, `7`, 1))})
	if sim.Trace != nil || sim.Explanation.InputError.Pointer != "/principal/id" || sim.Explanation.InputError.Message == "" {
		t.Errorf("answered %+v, %+v", sim.Trace, sim.Explanation)
	}
}
