package policy

import (
	"github.com/open-policy-agent/opa/v1/ast"
)

// selfContained lists rules with equations that a value would have to contain itself
// for, such as x = [x], and y = [x] beside x = [y]. Nothing does, so they never hold; but
// OPA's evaluator, which binds x without looking into what it binds it to, follows it
// round and round until the process has no stack left, which nothing can stop.
func selfContained(docs []*document, c *ast.Compiler) (refused []ContentError) {
	for i, d := range docs {
		for _, r := range c.Modules[moduleKey(i)].Rules {
			if circular(equations(r)) {
				refused = append(refused, ContentError{
					Message:  "a variable is equated with something that contains it, which no value does",
					Location: location(r.Location), Policy: d.name,
				})
			}
		}
	}
	return refused
}

// circular tells whether variables that are equated with such terms contain themselves.
func circular(equations map[ast.Var][]*ast.Term) bool {
	// Variables that equal each other are one, for which root stands.
	same := map[ast.Var]ast.Var{}
	root := func(v ast.Var) ast.Var {
		for next, ok := same[v]; ok; next, ok = same[v] {
			v = next
		}
		return v
	}
	for v, terms := range equations {
		for _, t := range terms {
			if w, ok := t.Value.(ast.Var); ok {
				if from, to := root(v), root(w); from != to {
					same[from] = to
				}
			}
		}
	}
	parts := map[ast.Var][]ast.Var{}
	for v, terms := range equations {
		for _, t := range terms {
			eachPart(t, func(w ast.Var) { parts[root(v)] = append(parts[root(v)], root(w)) })
		}
	}
	const open, done = 1, 2
	state := map[ast.Var]int{}
	var contains func(v ast.Var) bool
	contains = func(v ast.Var) bool {
		if state[v] != 0 {
			return state[v] == open
		}
		state[v] = open
		for _, w := range parts[v] {
			if contains(w) {
				return true
			}
		}
		state[v] = done
		return false
	}
	for v := range parts {
		if contains(v) {
			return true
		}
	}
	return false
}

// eachPart calls f with the variables that are parts of a collection as it is written,
// not of what is computed.
func eachPart(t *ast.Term, f func(ast.Var)) {
	part := func(t *ast.Term) {
		if v, ok := t.Value.(ast.Var); ok {
			f(v)
		} else {
			eachPart(t, f)
		}
	}
	switch v := t.Value.(type) {
	case *ast.Array:
		v.Foreach(part)
	case ast.Set:
		v.Foreach(part)
	case ast.Object:
		v.Foreach(func(key, val *ast.Term) {
			part(key)
			part(val)
		})
	}
}
