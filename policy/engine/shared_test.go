package engine_test

import (
	"errors"
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
		return compiled(t, &functions, strings.ReplaceAll(policy, "NAME", name), "x = data.a.result")
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

// Rules are shared wherever they stand in the text, and say where that is.
func TestRulesInOtherRowsAreShared(t *testing.T) {
	const policy = `package a

names := {
	"x",
}

given := input.id

given := input.other

pairs[k] := input.id if some k in ["a"]

pairs[k] := input.other if some k in ["a"]

one := given if input.id in names

other := pairs.a if input.id in names

parsed := json.unmarshal(input.text) if input.id in names
`
	var functions engine.Functions
	short := compiled(t, &functions, policy, "x = data.a[input.rule]")
	long := compiled(t, &functions, strings.Replace(policy, `"x",`, "\"x\",\n\t\"y\",\n\t\"z\",", 1), "x = data.a[input.rule]")
	shared := engine.Shared(short, long)
	for rule, want := range map[string]bool{"given": true, "pairs": true, "one": true, "other": true, "parsed": true, "names": false} {
		if got := slices.Contains(shared, "g0.data.a."+rule); got != want {
			t.Errorf("that %s is shared is %t", rule, got)
		}
	}
	for rule, row := range map[string]int{"one": 9, "other": 13} {
		for by, program := range map[int]*engine.Program{0: short, 2: long} {
			input, err := engine.FromAST(ast.MustParseTerm(`{"id": "x", "other": "o", "rule": "` + rule + `"}`).Value)
			if err != nil {
				t.Fatal(err)
			}
			found, err := program.Evaluate(engine.Evaluation{Input: input})
			found.Release()
			var at *engine.Error
			if !errors.As(err, &at) || at.Row != row+by || !errors.Is(err, engine.ErrConflict) {
				t.Errorf("%s, %d rows further down: %v", rule, by, err)
			}
		}
	}
}

// compiled compiles a module for a query.
func compiled(t *testing.T, functions *engine.Functions, module, query string) *engine.Program {
	t.Helper()
	compiler := ast.NewCompiler()
	compiler.Compile(map[string]*ast.Module{"a": ast.MustParseModule(module)})
	if compiler.Failed() {
		t.Fatal(compiler.Errors)
	}
	plan, err := engine.Plan(t.Context(), compiler, ast.MustParseBody(query), nil)
	if err != nil {
		t.Fatal(err)
	}
	program, err := engine.Compile(plan, engine.Options{Functions: functions})
	if err != nil {
		t.Fatal(err)
	}
	return program
}
