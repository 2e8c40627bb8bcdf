package policy

import (
	"context"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/caracalai/caracald/policy/engine"
)

// CompileInterpreted compiles a set that OPA's evaluator evaluates.
func CompileInterpreted(ctx context.Context, mods []Module) (*Set, error) {
	return compileSet(ctx, mods, false)
}

// CompileQuery compiles a query for the engine as sets of policies are, with marks for
// the rules that hold and with bounds for built-ins.
func CompileQuery(ctx context.Context, compiler *ast.Compiler, query ast.Body, opts engine.Options) (*engine.Program, error) {
	for _, m := range compiler.Modules {
		bindGuards(m)
		for _, r := range m.Rules {
			for part := r; part != nil; part = part.Else {
				mark(part, opts.Rules)
			}
			opts.Rules++
		}
	}
	return compileQuery(ctx, compiler, query, true, opts)
}

// Share reports whether two sets are one but for the ids of their policies.
func Share(a, b *Set) bool { return a.compiledSet == b.compiledSet }

// ReadInputSlowly is ParseInput without the reader for ordinary documents.
func ReadInputSlowly(raw []byte) (*Input, error) { return readInput(raw) }

// SameDocument reports whether two inputs are the same to policies.
func SameDocument(a, b *Input) bool {
	return a.zoneID == b.zoneID && a.traceID == b.traceID && a.document().Compare(b.document()) == 0 && a.document().String() == b.document().String()
}

// ReadAlike reports whether two sets share what reads their inputs.
func ReadAlike(a, b *Set) bool { return a.projection != nil && a.projection == b.projection }

// KeepsContent reports whether a set has what is needed to compile it for OPA's evaluator.
func KeepsContent(s *Set) bool {
	e, ok := s.evaluator.(*compiledEngine)
	return ok && e.reference != nil
}
