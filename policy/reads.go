package policy

import (
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// sense is how the success of a rule depends on what it reads.
type sense int

const (
	// asked: the rule holds because what it reads does.
	asked sense = iota
	// refused: the rule holds because what it reads does not.
	refused
	// either: a comprehension has a value whether or not its body ever holds.
	either
)

// walkRefs calls f for each reference to the input or to data at or below x.
// What a "with" modifier replaces is not read by it.
func walkRefs(x any, f func(ref ast.Ref, loc *ast.Location)) {
	walkReads(x, asked, func(ref ast.Ref, loc *ast.Location, _ sense) { f(ref, loc) })
}

// walkReads is walkRefs that also tells f in which sense the reference is
// read, where x itself is in the sense s.
func walkReads(x any, s sense, f func(ref ast.Ref, loc *ast.Location, s sense)) {
	var v *ast.GenericVisitor
	v = ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case *ast.Expr:
			if x.Negated {
				plain := *x
				plain.Negated = false
				walkReads(&plain, s.negated(), f)
				return true
			}
		case *ast.ArrayComprehension, *ast.SetComprehension, *ast.ObjectComprehension:
			if s != either {
				walkReads(x, either, f)
				return true
			}
		case *ast.With:
			v.Walk(x.Value)
			return true
		case *ast.Term:
			switch value := x.Value.(type) {
			case ast.Ref:
				if isRoot(value[0]) {
					f(value, x.Location, s)
				} else {
					v.Walk(value[0])
				}
				for _, t := range value[1:] {
					v.Walk(t)
				}
				return true
			case ast.Var:
				if isRoot(x) {
					f(ast.Ref{x}, x.Location, s)
				}
			}
		}
		return false
	})
	v.Walk(x)
}

func (s sense) negated() sense {
	switch s {
	case asked:
		return refused
	case refused:
		return asked
	}
	return either
}

func isRoot(t *ast.Term) bool {
	return t.Equal(ast.InputRootDocument) || t.Equal(ast.DefaultRootDocument)
}

func isInput(ref ast.Ref) bool { return ref[0].Equal(ast.InputRootDocument) }

// steps are the leading names of a reference after its root: as far as it is
// known before evaluation. whole says whether that is all of the reference.
func steps(ref ast.Ref) (path []string, whole bool) {
	for _, t := range ref[1:] {
		s, ok := t.Value.(ast.String)
		if !ok {
			return path, false
		}
		path = append(path, string(s))
	}
	return path, true
}

// pathRef is the reference with the given steps below root.
func pathRef(root *ast.Term, path []string) ast.Ref {
	ref := ast.Ref{root}
	for _, s := range path {
		ref = append(ref, ast.StringTerm(s))
	}
	return ref
}

// inputReads is the set of input paths that rules read.
type inputReads struct {
	paths [][]string
}

func findInputReads(docs []*document) *inputReads {
	seen := map[string][]string{}
	for _, d := range docs {
		for _, r := range d.resolved.Rules {
			walkRefs(r, func(ref ast.Ref, _ *ast.Location) {
				if isInput(ref) {
					path, _ := steps(ref)
					seen[pathRef(ref[0], path).String()] = path
				}
			})
		}
	}
	r := &inputReads{paths: make([][]string, 0, len(seen))}
	for _, path := range seen {
		own := make([]string, len(path))
		for i, step := range path {
			own[i] = strings.Clone(step) // a part of the policy's text would keep all of it
		}
		r.paths = append(r.paths, own)
	}
	slices.SortFunc(r.paths, slices.Compare[[]string])
	return r
}

// names lists the paths as references, sorted.
func (r *inputReads) names() []string {
	names := make([]string, 0, len(r.paths))
	for _, path := range r.paths {
		names = append(names, pathRef(ast.InputRootDocument, path).String())
	}
	slices.Sort(names)
	return names
}

// touch reports whether a rule may read the value at pointer, below it, or
// around it.
func (r *inputReads) touch(pointer string) bool {
	var want []string
	if pointer != "" {
		if pointer[0] != '/' {
			return true
		}
		for s := range strings.SplitSeq(pointer[1:], "/") {
			want = append(want, strings.NewReplacer("~1", "/", "~0", "~").Replace(s))
		}
	}
	for _, path := range r.paths {
		n := min(len(path), len(want))
		if slices.Equal(path[:n], want[:n]) {
			return true
		}
	}
	return false
}
