package policy_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/caracalai/caracald/policy"
)

func referenceInput(t testing.TB) []byte {
	t.Helper()
	raw, err := os.ReadFile("testdata/reference/input.json")
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// zoneModules are policies of one content in different zones.
func zoneModules(zone int, content string) []policy.Module {
	return []policy.Module{{Name: "grants", PolicyID: fmt.Sprint("policy-", zone), VersionID: fmt.Sprint("version-", zone), Content: content}}
}

const plainGrants = `package caracal.authz

import rego.v1

default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}

result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []} if {
	input.action.id == "token:exchange"
	count(input.context.requested_scopes) > 0
}
`

// Zones with equal policies share what was compiled, and answer with their own ids.
func TestLibrary(t *testing.T) {
	var l policy.Library
	in, err := policy.ParseInput(referenceInput(t))
	if err != nil {
		t.Fatal(err)
	}
	const zones = 8
	sets := make([]*policy.Set, zones)
	var work sync.WaitGroup
	for zone := range zones {
		work.Go(func() {
			s, err := l.Compile(context.Background(), zoneModules(zone, plainGrants))
			if err != nil {
				t.Error(err)
				return
			}
			sets[zone] = s
		})
	}
	work.Wait()
	again, err := l.Compile(t.Context(), zoneModules(zones, plainGrants))
	if err != nil {
		t.Fatal(err)
	}
	for zone, s := range append(sets, again) {
		for range 2 { // evaluated, then remembered
			r := s.Evaluate(t.Context(), in, policy.Limits{})
			if len(r.DeterminingPolicies) != 1 || r.DeterminingPolicies[0]["policy_id"] != fmt.Sprint("policy-", zone) || r.DeterminingPolicies[0]["policy_version_id"] != fmt.Sprint("version-", zone) {
				t.Fatalf("zone %d: %+v", zone, r)
			}
		}
	}
	if !policy.Share(again, sets[0]) && !policy.Share(again, sets[zones-1]) {
		t.Error("nothing is shared")
	}
	other, err := l.Compile(t.Context(), zoneModules(0, strings.Replace(plainGrants, "> 0", "> 1", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if policy.Share(other, again) {
		t.Error("other policies share what was compiled")
	}
	if _, err := l.Compile(t.Context(), zoneModules(0, "package caracal.authz\nresult := ")); err == nil {
		t.Error("broken content compiled")
	}
	// What nobody has any more is compiled anew.
	runtime.KeepAlive(sets)
}

// A set that OPA's evaluator evaluates says so, in its warnings, its plan, and where
// a policy is validated by itself.
func TestInterpreted(t *testing.T) {
	content := plainGrants + "\ntable[x][y] := true if { some x in input.principal.labels; some y in input.resource.scopes }\n"
	s := compile(t, content)
	if s.Interpreted() == nil {
		t.Fatal("keys of keys are compiled: another policy is wanted for this test")
	}
	warned := func(warnings []policy.Warning) bool {
		for _, w := range warnings {
			if w.Code == policy.WarnInterpreted && !w.Blocking && strings.Contains(w.Message, "keys of keys") {
				return true
			}
		}
		return false
	}
	if !warned(s.Warnings()) {
		t.Errorf("the set warns of %+v", s.Warnings())
	}
	v, err := policy.Validate(t.Context(), content)
	if err != nil {
		t.Fatal(err)
	}
	if !warned(v.Warnings) {
		t.Errorf("validation warns of %+v", v.Warnings)
	}
	if p := s.Plan(); p.Evaluator != "interpreted" || p.Reason == "" || len(p.Inputs) != 1 || p.Inputs[0].Pointer != "" {
		t.Errorf("the plan is %+v", p)
	}
	if plain, err := policy.Validate(t.Context(), plainGrants); err != nil || warned(plain.Warnings) {
		t.Errorf("a compiled policy is warned of: %+v, %v", plain, err)
	}
}

// The plan tells what is read, evaluated beforehand and looked up.
func TestPlan(t *testing.T) {
	var rules strings.Builder
	rules.WriteString("package caracal.authz\n\nimport rego.v1\n\n")
	for i := range 20 {
		fmt.Fprintf(&rules, "allowed if { input.resource.identifier == \"r%d\"; input.principal.labels[_] in words }\n", i)
	}
	rules.WriteString("words := {lower(\"A\"), \"b\"}\nnamed := json.marshal(input.context.trace_id)\n")
	rules.WriteString("result := {\"decision\": \"allow\", \"evaluation_status\": \"complete\", \"determining_policies\": [], \"diagnostics\": []} if { allowed; named != \"\"; input.session == null }\n")
	p := compile(t, rules.String()).Plan()
	if p.Evaluator != "compiled" {
		t.Fatalf("%+v", p)
	}
	inputs := fmt.Sprint(p.Inputs)
	for _, want := range []string{"{/context/trace_id false}", "{/principal/labels false}", "{/resource/identifier true}", "{/session true}"} {
		if !strings.Contains(inputs, want) {
			t.Errorf("reads %v, not %s", inputs, want)
		}
	}
	if fmt.Sprint(p.Folded) != "[data.caracal.authz.words]" || fmt.Sprint(p.Foreign) != "[json.marshal]" ||
		len(p.Tables) != 1 || p.Tables[0] != (policy.DispatchTable{Rule: "data.caracal.authz.allowed", Pointer: "/resource/identifier", Values: 20}) {
		t.Errorf("%+v", p)
	}
}
