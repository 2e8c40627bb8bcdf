package policy

import "context"

// CompileInterpreted compiles a set that OPA's evaluator evaluates.
func CompileInterpreted(ctx context.Context, mods []Module) (*Set, error) {
	return compileSet(ctx, mods, false)
}
