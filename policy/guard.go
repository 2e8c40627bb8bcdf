package policy

import (
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// guard gives an upper bound, in bytes, of what a call of a built-in builds.
// It may stop counting at most. A guard that finds operands of a wrong type
// returns 0 and lets the built-in say so.
type guard func(args []ast.Value, most int64) int64

// guardPrefix begins the name under which a bounded built-in is known to the
// compiled policies. It cannot be written in Rego.
const guardPrefix = "bounded:"

// guardedRefs maps the references of guarded built-ins to their bounded ones.
var guardedRefs = sync.OnceValue(func() map[string]ast.Ref {
	refs := make(map[string]ast.Ref, len(guards))
	for name := range guards {
		if b, ok := ast.BuiltinMap[name]; ok {
			refs[name] = (&ast.Builtin{Name: guardPrefix + b.Name}).Ref()
		}
	}
	return refs
})

// guardedDecls declares the bounded built-ins to the compiler, so that they
// may also stand for others in "with" modifiers.
var guardedDecls = sync.OnceValue(func() map[string]*ast.Builtin {
	decls := make(map[string]*ast.Builtin, len(guards))
	for name := range guards {
		if b, ok := ast.BuiltinMap[name]; ok {
			decls[guardPrefix+name] = &ast.Builtin{Name: guardPrefix + name, Decl: b.Decl}
		}
	}
	return decls
})

// extraBuiltins are the built-ins that OPA does not have.
var extraBuiltins = sync.OnceValue(func() map[string]*topdown.Builtin {
	all := map[string]*topdown.Builtin{
		heldBuiltin.Name: {Decl: heldBuiltin, Func: markHeld},
	}
	for name, decl := range guardedDecls() {
		original := name[len(guardPrefix):]
		f := topdown.GetBuiltin(original)
		switch {
		case original == "time.parse_ns":
			f = parseTime
		case strings.HasPrefix(original, "time."):
			f = inNamedZone(f)
		}
		all[name] = &topdown.Builtin{Decl: decl, Func: bounded(f, guards[original])}
	}
	return all
})

// bounded runs f only if the evaluation can afford what g says it builds.
func bounded(f topdown.BuiltinFunc, g guard) topdown.BuiltinFunc {
	return func(bctx topdown.BuiltinContext, operands []*ast.Term, iter func(*ast.Term) error) error {
		if m, ok := bctx.Cancel.(*meter); ok {
			var few [4]ast.Value
			args := few[:0]
			for _, t := range operands {
				args = append(args, t.Value)
			}
			if err := m.charge(g(args, m.left+1)); err != nil {
				return err
			}
		}
		return f(bctx, operands, iter)
	}
}

// bindGuards replaces, in a compiled module, the references to built-ins that
// have a guard by references to the bounded ones.
func bindGuards(m *ast.Module) { rebind(m, guardedRefs()) }

// rebind replaces references to built-ins in a compiled module.
func rebind(m *ast.Module, refs map[string]ast.Ref) {
	bind := func(t *ast.Term) {
		if ref, ok := t.Value.(ast.Ref); ok && !ref[0].Equal(ast.DefaultRootDocument) {
			if to, ok := refs[ref.String()]; ok {
				t.Value = to
			}
		}
	}
	ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case *ast.Expr:
			if terms, ok := x.Terms.([]*ast.Term); ok && len(terms) > 0 {
				// The operator's term may be shared between expressions.
				operator := *terms[0]
				bind(&operator)
				terms[0] = &operator
			}
		case *ast.With:
			target, value := *x.Target, *x.Value
			bind(&target)
			bind(&value)
			x.Target, x.Value = &target, &value
		}
		return false
	}).Walk(m)
}

// unbindRelations is the reverse of bindGuards for built-ins that have any number of
// results: the planner knows only OPA's own for such. builtinFunc bounds them all the same.
func unbindRelations(m *ast.Module) { rebind(m, unguardedRelations()) }

// unguardedRelations maps the references of bounded relations to their own.
var unguardedRelations = sync.OnceValue(func() map[string]ast.Ref {
	refs := map[string]ast.Ref{}
	for name, ref := range guardedRefs() {
		if b := ast.BuiltinMap[name]; b.Relation {
			refs[ref.String()] = b.Ref()
		}
	}
	return refs
})

// Sizes that guards reckon with; they include the term around each value.
const (
	scalarSize = 64
	slotSize   = 32
)

// treeSize is the size of v when each part is counted as often as it occurs:
// what a copy, an encoding or a comparison has to go through. It stops
// counting at most.
func treeSize(v ast.Value, most int64) int64 {
	size := int64(scalarSize)
	switch v := v.(type) {
	case ast.String:
		size += int64(len(v))
	case ast.Number:
		size += int64(len(v))
	case *ast.Array:
		for i := 0; i < v.Len() && size < most; i++ {
			size += treeSize(v.Elem(i).Value, most-size)
		}
	case ast.Set:
		v.Until(func(t *ast.Term) bool {
			size += slotSize + treeSize(t.Value, most-size)
			return size >= most
		})
	case ast.Object:
		v.Until(func(k, t *ast.Term) bool {
			size += slotSize + treeSize(k.Value, most-size)
			if size < most {
				size += treeSize(t.Value, most-size)
			}
			return size >= most
		})
	}
	return size
}
