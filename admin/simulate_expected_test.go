package admin_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/caracalai/caracald/admin/api"
)

// An expectation that nothing was decided against is not fulfilled.
func TestExpectingADecisionWithoutInput(t *testing.T) {
	p := newPlane(t, nil)
	_, set, v := p.governed("one", readersOnly)
	for _, tt := range []struct {
		body    string
		would   bool
		results string // of the answer, "" where it has none
	}{
		{`{"version_id":%q}`, true, ""},
		{`{"version_id":%q,"inputs":[]}`, true, "[]"},
		{`{"version_id":%q,"expected_decision":"allow"}`, false, ""},
		{`{"version_id":%q,"expected_decision":"deny"}`, false, ""},
		{`{"version_id":%q,"expected_decision":"deny","inputs":[]}`, false, "[]"},
	} {
		sim := must[map[string]json.RawMessage](p, 200, "POST", set+"/simulate", root, []byte(fmt.Sprintf(tt.body, v.ID)))
		var e api.Explanation
		if err := json.Unmarshal(sim["explanation"], &e); err != nil {
			t.Fatal(err)
		}
		if string(sim["would_activate"]) != fmt.Sprint(tt.would) || e.Evaluation != "not_evaluated" || string(sim["results"]) != tt.results || string(sim["result"]) != "null" {
			t.Errorf("%s: answered %s", tt.body, sim)
		}
		if !tt.would && !strings.Contains(e.Reason, "was expected") {
			t.Errorf("%s: the reason is %q", tt.body, e.Reason)
		}
	}
}

// The inputs of one simulation may each have a reason of their own; the whole
// is judged by all of them, and names the first that speaks against it.
func TestSimulateMixedInputs(t *testing.T) {
	p := newPlane(t, nil)
	zone, set, v := p.governed("one", readersOnly)
	inputs := []json.RawMessage{
		inputOf(zone, "read"), inputOf(zone, "write"), json.RawMessage(`7`), inputOf("elsewhere", "read"), json.RawMessage(`{"principal":{}}`), inputOf(zone, "read"),
	}
	sim := must[api.Simulation](p, 200, "POST", set+"/simulate", root, api.SimulateRequest{VersionID: v.ID, Inputs: inputs, ExpectedDecision: "allow"})
	want := []string{"allow", "deny", "", "", "", "allow"}
	if len(sim.Results) != len(inputs) || sim.WouldActivate || sim.Result != nil {
		t.Fatalf("answered %+v", sim)
	}
	for i, r := range sim.Results {
		decision := ""
		if r.Result != nil {
			decision = r.Result.Decision
		}
		if decision != want[i] || r.Explanation.Decision != want[i] || r.WouldActivate != (want[i] == "allow") || r.Explanation.Reason == "" {
			t.Errorf("inputs[%d] is answered %+v", i, r)
		}
		alone := must[api.Simulation](p, 200, "POST", set+"/simulate", root, api.SimulateRequest{VersionID: v.ID, Input: inputs[i], ExpectedDecision: "allow"})
		if alone.WouldActivate != r.WouldActivate || alone.Explanation != r.Explanation || !reflect.DeepEqual(alone.Result, r.Result) {
			t.Errorf("inputs[%d] alone is answered %+v, among others %+v", i, alone, r)
		}
	}
	if e := sim.Explanation; !strings.Contains(e.Reason, "4 of 6") || !strings.Contains(e.Reason, "inputs[1]") || e.Decision != "deny" {
		t.Errorf("explained as %+v", e)
	}
}
