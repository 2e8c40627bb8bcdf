package policy

import "context"

// CompileInterpreted compiles a set that OPA's evaluator evaluates.
func CompileInterpreted(ctx context.Context, mods []Module) (*Set, error) {
	return compileSet(ctx, mods, false)
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
