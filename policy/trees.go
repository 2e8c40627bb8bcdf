package policy

import (
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"
)

// maxTree is the most parts that a value may have which rules put together from
// variables and from each other, counting each part as often as it occurs, as
// after x1 := [x0, x0], x2 := [x1, x1] and so on. The type checker goes through
// such values whole, and the evaluator writes out those of one rule, before any
// limit can be looked at.
const maxTree = 1 << 20

// trees measures the values that rules put together.
type trees struct {
	*ruleIndex
	// documents and rules have the sizes known, or 1 while they are worked out.
	documents map[string]int
	rules     map[*rule]int
}

// largeTrees refuses rules with values beyond maxTree.
func largeTrees(x *ruleIndex) []ContentError {
	s := trees{x, map[string]int{}, map[*rule]int{}}
	for _, r := range x.all {
		if s.rule(r) > maxTree {
			return []ContentError{{
				Message:  fmt.Sprintf("a value is put together from itself so often that it would have more than %d parts", maxTree),
				Location: location(r.Location),
				Policy:   x.docs[r.doc].name,
			}}
		}
	}
	return nil
}

// document is the size of what a reference to data with that path reads.
func (s trees) document(path []string) int {
	k := key(path)
	if n, known := s.documents[k]; known {
		return n
	}
	s.documents[k] = 1
	largest := map[string]int{} // of the rules of each path
	for _, r := range s.read(path) {
		at := key(r.path)
		largest[at] = max(largest[at], s.rule(r))
	}
	n := 1
	for _, size := range largest {
		n = min(n+size, maxTree+1)
	}
	s.documents[k] = n
	return n
}

// rule is the size of the largest value in r, whether or not it is r's own.
// Variables of one name in different scopes count as one.
func (s trees) rule(r *rule) int {
	if n, known := s.rules[r]; known {
		return n
	}
	s.rules[r] = 1
	b := bindings{s, equations(r.Rule), map[ast.Var]int{}}
	n := 1
	for part := r.Rule; part != nil; part = part.Else {
		for _, t := range []*ast.Term{part.Head.Key, part.Head.Value} {
			if t != nil {
				n = max(n, b.size(t))
			}
		}
	}
	for _, terms := range b.equations {
		for _, t := range terms {
			n = max(n, b.size(t))
		}
	}
	s.rules[r] = n
	return n
}

// equations lists what each variable of a rule is unified with.
func equations(r *ast.Rule) map[ast.Var][]*ast.Term {
	found := map[ast.Var][]*ast.Term{}
	var unify func(a, b *ast.Term)
	unify = func(a, b *ast.Term) {
		if v, ok := a.Value.(ast.Var); ok {
			found[v] = append(found[v], b)
		}
		if v, ok := b.Value.(ast.Var); ok {
			found[v] = append(found[v], a)
		}
		switch a := a.Value.(type) {
		case *ast.Array:
			if b, ok := b.Value.(*ast.Array); ok {
				for i := range min(a.Len(), b.Len()) {
					unify(a.Elem(i), b.Elem(i))
				}
			}
		case ast.Object:
			if b, ok := b.Value.(ast.Object); ok {
				a.Foreach(func(k, v *ast.Term) {
					if other := b.Get(k); other != nil {
						unify(v, other)
					}
				})
			}
		}
	}
	ast.WalkExprs(r, func(e *ast.Expr) bool {
		if (e.IsEquality() || e.IsAssignment()) && len(e.Operands()) == 2 {
			unify(e.Operand(0), e.Operand(1))
		}
		return false
	})
	return found
}

// bindings measures terms of one rule.
type bindings struct {
	trees
	equations map[ast.Var][]*ast.Term
	sizes     map[ast.Var]int
}

func (b bindings) size(t *ast.Term) int {
	n := 1
	add := func(t *ast.Term) { n = min(n+b.size(t), maxTree+1) }
	switch value := t.Value.(type) {
	case ast.Var:
		known, seen := b.sizes[value]
		if seen {
			return known
		}
		b.sizes[value] = 1
		for _, other := range b.equations[value] {
			n = max(n, b.size(other))
		}
		b.sizes[value] = n
	case ast.Ref, ast.Call:
		if path, ok := dataRead(t); ok {
			return b.document(path)
		}
	case *ast.Array:
		value.Foreach(add)
	case ast.Set:
		value.Foreach(add)
	case ast.Object:
		value.Foreach(func(k, v *ast.Term) { add(k); add(v) })
	case *ast.ArrayComprehension:
		add(value.Term)
	case *ast.SetComprehension:
		add(value.Term)
	case *ast.ObjectComprehension:
		add(value.Key)
		add(value.Value)
	}
	return n
}

// dataRead is the path of the data that t reads or calls.
func dataRead(t *ast.Term) (path []string, ok bool) {
	if call, isCall := t.Value.(ast.Call); isCall && len(call) > 0 {
		t = call[0]
	}
	ref, ok := t.Value.(ast.Ref)
	if !ok || !ref[0].Equal(ast.DefaultRootDocument) {
		return nil, false
	}
	path, _ = steps(ref)
	return path, true
}
