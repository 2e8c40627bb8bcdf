package engine_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/caracalai/caracald/policy/engine"
)

// Policies that differ in what a set or an object has share all that only looks
// something up in it, and nothing that is made of it.
func TestWhatOnlySearchesIsShared(t *testing.T) {
	const policy = `package a

names := {"x", "NAME"}

listed contains name if some name in ["x", "NAME"]

owners := {"x": {"team": "NAME"}}

member if input.id in names

absent if not input.id in names

has if listed[input.id]

owns := owners[input.id].team

each contains name if { some name in names; name != input.id }

single := owners.x.team if input.id

joined := [input.id, names]

known := "x" in names

derived := [input.id, known]

result := [member, absent, has, owns, each, single, joined, derived]
`
	var functions engine.Functions
	compile := func(name string) *engine.Program {
		t.Helper()
		compiler := ast.NewCompiler()
		compiler.Compile(map[string]*ast.Module{"a": ast.MustParseModule(strings.ReplaceAll(policy, "NAME", name))})
		if compiler.Failed() {
			t.Fatal(compiler.Errors)
		}
		plan, err := engine.Plan(t.Context(), compiler, ast.MustParseBody("x = data.a.result"), nil)
		if err != nil {
			t.Fatal(err)
		}
		program, err := engine.Compile(plan, engine.Options{Functions: &functions})
		if err != nil {
			t.Fatal(err)
		}
		return program
	}
	one, other := compile("one"), compile("other")
	shared := engine.Shared(one, other)
	for rule, want := range map[string]bool{
		"member": true, "absent": true, "has": true, "owns": true, "derived": true, "result": true,
		"names": false, "listed": false, "owners": false, "each": false, "single": false, "joined": false, "known": false,
	} {
		if got := slices.Contains(shared, "g0.data.a."+rule); got != want {
			t.Errorf("that %s is shared is %t", rule, got)
		}
	}
	if same := engine.Shared(one, compile("one")); len(same) != 12 { // all but known, which is made of what it calls
		t.Errorf("programs that are the same share %v", same)
	}
}
