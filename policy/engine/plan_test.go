package engine_test

import (
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"weak"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/ir"

	"github.com/caracalai/caracald/policy/engine"
)

// A program keeps nothing of the plan that it was compiled from, which is larger.
func TestPlanIsLetGo(t *testing.T) {
	content, err := os.ReadFile("../testdata/reference/policy.rego")
	if err != nil {
		t.Fatal(err)
	}
	const more = `package caracal.more

import rego.v1

grouped[label] contains scope if { some label in input.principal.labels; some scope in input.resource.scopes }
named[label] := count(label) if some label in input.principal.labels
text := sprintf("%v", [input.principal.id])
other if { data.caracal.more.text == "x" with data.caracal.more.y as 1 }
many if { every l in input.principal.labels { not l in {"a", input.principal.id} } }
f(x) := {x: [y | y := x[_]]}
result := {"a": f(input.principal.labels), "b": grouped, "c": named[input.principal.id], "d": object.get(input, "x", other), "e": many}
`
	compiler := ast.NewCompiler()
	compiler.Compile(map[string]*ast.Module{"a": ast.MustParseModule(string(content)), "b": ast.MustParseModule(more)})
	if compiler.Failed() {
		t.Fatal(compiler.Errors)
	}
	compiled := func() (*engine.Program, []weak.Pointer[ir.Block]) {
		plan, err := engine.Plan(t.Context(), compiler, ast.MustParseBody("x = data.caracal.authz.result; y = data.caracal.more.result"), nil)
		if err != nil {
			t.Fatal(err)
		}
		program, err := engine.Compile(plan, engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var blocks []weak.Pointer[ir.Block]
		for _, f := range plan.Funcs.Funcs {
			for _, b := range f.Blocks {
				blocks = append(blocks, weak.Make(b))
			}
		}
		return program, blocks
	}
	program, blocks := compiled()
	if len(blocks) < 20 {
		t.Fatalf("the plan has %d blocks", len(blocks))
	}
	runtime.GC()
	runtime.GC()
	kept := 0
	for _, b := range blocks {
		if b.Value() != nil {
			kept++
		}
	}
	if kept > 0 {
		t.Errorf("%d of %d blocks of the plan are still there", kept, len(blocks))
	}
	runtime.KeepAlive(program)
}

// A plan whose functions call each other in a circle is refused.
func TestFunctionsInACircle(t *testing.T) {
	compiler := ast.NewCompiler()
	compiler.Compile(map[string]*ast.Module{"a": ast.MustParseModule("package a\n\nimport rego.v1\n\nb := input.x\n\nc := b\n\nd := c")})
	if compiler.Failed() {
		t.Fatal(compiler.Errors)
	}
	for _, opts := range []engine.Options{{}, {Functions: new(engine.Functions)}} {
		plan, err := engine.Plan(t.Context(), compiler, ast.MustParseBody("x = data.a.d"), nil)
		if err != nil {
			t.Fatal(err)
		}
		byName := map[string]*ir.Func{}
		for _, f := range plan.Funcs.Funcs {
			byName[f.Name] = f
		}
		b, d := byName["g0.data.a.b"], byName["g0.data.a.d"]
		if b == nil || d == nil {
			t.Fatalf("the functions are %v", slices.Collect(maps.Keys(byName)))
		}
		call := &ir.CallStmt{Func: d.Name, Args: []ir.Operand{{Value: ir.Input}, {Value: ir.Data}}, Result: 9}
		b.Blocks[0].Stmts = append([]ir.Stmt{call}, b.Blocks[0].Stmts...)
		if _, err := engine.Compile(plan, opts); err == nil || !strings.Contains(err.Error(), "calls itself") {
			t.Errorf("compiled: %v", err)
		}
	}
}
