package policy

import (
	"github.com/open-policy-agent/opa/v1/ast"
)

// relation is how a condition constrains the value at a path.
type relation int

const (
	isEqual relation = iota
	isNotEqual
	isTrue   // defined and not false
	isFalse  // undefined or false
	hasValue // an array or set that has the value among its elements
)

// condition is one conjunct of a rule's body that is simple enough to reason
// about: a relation between a path of the input or of data and a constant.
type condition struct {
	ref   ast.Ref
	is    relation
	value ast.Value
}

// conditions lists the simple conjuncts of a rule's own body. Where a rule has
// else branches they constrain its first value only, so there are none.
func conditions(r *ast.Rule) []condition {
	var found []condition
	if r.Else != nil {
		return nil
	}
	for _, e := range r.Body {
		if len(e.With) > 0 {
			continue
		}
		switch terms := e.Terms.(type) {
		case *ast.Term:
			if ref, ok := fixedRef(terms); ok {
				is := isTrue
				if e.Negated {
					is = isFalse
				}
				found = append(found, condition{ref: ref, is: is})
			}
		case []*ast.Term:
			if c, ok := comparison(terms, e.Negated); ok {
				found = append(found, c)
			}
		}
	}
	return found
}

// comparison reads a call of ==, =, != or in between a path and a constant.
func comparison(terms []*ast.Term, negated bool) (condition, bool) {
	operator, ok := terms[0].Value.(ast.Ref)
	if !ok || len(terms) != 3 {
		return condition{}, false
	}
	left, right := terms[1], terms[2]
	var is relation
	switch operator.String() {
	case ast.Equal.Name, ast.Equality.Name:
		is = isEqual
	case ast.NotEqual.Name:
		is = isNotEqual
	case ast.Member.Name:
		is = hasValue
	default:
		return condition{}, false
	}
	if is == hasValue {
		if negated {
			return condition{}, false
		}
	} else {
		if _, ok := fixedRef(left); !ok {
			left, right = right, left
		}
		left, right = right, left // as "value in path" has them
		if negated {
			return condition{}, false // also true where the path is undefined
		}
	}
	ref, ok := fixedRef(right)
	if !ok || !ast.IsConstant(left.Value) {
		return condition{}, false
	}
	return condition{ref: ref, is: is, value: left.Value}, true
}

// fixedRef is the reference that t is, where it is one value of the input or
// of data whose path is known.
func fixedRef(t *ast.Term) (ast.Ref, bool) {
	ref, ok := t.Value.(ast.Ref)
	if !ok || !isRoot(ref[0]) {
		return nil, false
	}
	_, whole := steps(ref)
	return ref, whole
}

// disjoint reports whether two rules provably never hold for one input.
func disjoint(a, b *rule) bool {
	for i := range min(len(a.Head.Args), len(b.Head.Args)) {
		x, y := a.Head.Args[i].Value, b.Head.Args[i].Value
		if ast.IsConstant(x) && ast.IsConstant(y) && x.Compare(y) != 0 {
			return true
		}
	}
	// Conditions of a rule with arguments are not about the input alone, but
	// those found are: a path and a constant on each side.
	for _, x := range a.conditions {
		for _, y := range b.conditions {
			if x.ref.Equal(y.ref) && (excludes(x, y) || excludes(y, x)) {
				return true
			}
		}
	}
	return false
}

// excludes reports whether x and y, about one path, never hold together.
func excludes(x, y condition) bool {
	switch x.is {
	case isEqual:
		switch y.is {
		case isEqual:
			return x.value.Compare(y.value) != 0
		case isNotEqual:
			return x.value.Compare(y.value) == 0
		case isTrue:
			return ast.Boolean(false).Equal(x.value)
		case isFalse:
			return !ast.Boolean(false).Equal(x.value)
		}
	case isTrue:
		return y.is == isFalse
	case isFalse:
		return y.is == hasValue
	}
	return false
}
