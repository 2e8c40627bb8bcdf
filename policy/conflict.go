package policy

import (
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"
)

// findConflict looks for rules of different policies that cannot stand
// together whatever the input, and reports the first.
func findConflict(x *ruleIndex) error {
	packages := map[string][]int{} // policies by the path of their package
	for i, d := range x.docs {
		path, _ := steps(d.resolved.Package.Path)
		packages[key(path)] = append(packages[key(path)], i)
	}
	for _, r := range x.all {
		at := x.at[key(r.path)]
		if at[0] != r { // once for each path
			continue
		}
		if a, b, why := clash(at); why != "" {
			return conflict(x, a.name(), a, b, why)
		}
		if err := within(x, at, packages[key(r.path)]); err != nil {
			return err
		}
	}
	return nil
}

// clash finds two rules of different policies among those of one path that
// contradict each other. It compares, of each policy, one rule of each sort
// that matters, so that many rules of one name take no longer than few.
func clash(at []*rule) (a, b *rule, why string) {
	var kept sorts
	for _, b := range at {
		if !kept.add(b) {
			continue
		}
		for _, a := range kept.rules {
			if a.doc != b.doc {
				if why := contradict(a, b); why != "" {
					return a, b, why
				}
			}
		}
	}
	return nil, nil, ""
}

// sorts keeps, of the rules of one path, enough of each policy's to contradict
// whatever any of its rules does: for each kind a default, two with different
// constants that hold always, and one other.
type sorts struct {
	rules  []*rule
	first  map[string]ast.Value
	closed map[string]bool
}

// add reports whether r was worth keeping.
func (s *sorts) add(r *rule) bool {
	if s.closed == nil {
		s.first, s.closed = map[string]ast.Value{}, map[string]bool{}
	}
	fixed := r.unconditional() && r.value != nil && !r.Default
	sort := fmt.Sprint(r.doc, len(r.Head.Args), r.Head.RuleKind(), r.ground, r.Default, fixed)
	if s.closed[sort] {
		return false
	}
	if fixed {
		first, seen := s.first[sort]
		if seen && first.Compare(r.value) == 0 {
			return false
		}
		s.first[sort], s.closed[sort] = r.value, seen
	} else {
		s.closed[sort] = true
	}
	s.rules = append(s.rules, r)
	return true
}

// contradict says why two rules at one path cannot stand together, if so.
func contradict(a, b *rule) string {
	switch {
	case len(a.Head.Args) != len(b.Head.Args):
		return "define it with different numbers of arguments"
	case a.Head.RuleKind() != b.Head.RuleKind() || a.ground != b.ground:
		return "define it as different kinds of rule"
	case a.Default && b.Default:
		return "both give it a default"
	case a.Default || b.Default || !a.complete() || !a.unconditional() || !b.unconditional():
		return ""
	}
	if a.value != nil && b.value != nil && a.value.Compare(b.value) != 0 {
		return fmt.Sprintf("give it the different values %s and %s", abbreviate(a.value.String()), abbreviate(b.value.String()))
	}
	return ""
}

// within looks for rules and packages of other policies at a path inside the
// value of one of the rules at a path. packages are the policies whose package
// is that path.
func within(x *ruleIndex, at []*rule, packages []int) error {
	under := x.under[key(at[0].path)]
	seen := map[int]bool{}
	for _, r := range at {
		if !r.ground || seen[r.doc] {
			continue
		}
		seen[r.doc] = true
		if len(under) > len(at) {
			for _, other := range under {
				if other.doc != r.doc && len(other.path) > len(r.path) {
					return conflict(x, r.name(), r, other, fmt.Sprintf("define it and, inside its value, %s", other.name()))
				}
			}
		}
		for _, i := range packages {
			if d := x.docs[i]; i != r.doc {
				return &ConflictError{
					Rule:      r.name(),
					Policies:  []string{x.docs[r.doc].name, d.name},
					Message:   fmt.Sprintf("policies %q and %q use %s as a rule and as a package", x.docs[r.doc].name, d.name, r.name()),
					Locations: []Location{location(r.Location), location(d.resolved.Package.Location)},
				}
			}
		}
	}
	return nil
}

// conflict reports that a and b contradict each other about the rule called name.
func conflict(x *ruleIndex, name string, a, b *rule, why string) error {
	if b.doc < a.doc {
		a, b = b, a
	}
	na, nb := x.docs[a.doc].name, x.docs[b.doc].name
	return &ConflictError{
		Rule:      name,
		Policies:  []string{na, nb},
		Message:   fmt.Sprintf("policies %q and %q %s: rule %s", na, nb, why, name),
		Locations: []Location{location(a.Location), location(b.Location)},
	}
}

// possibleConflict reports whether two rules at one path may give it different
// values for some input.
func possibleConflict(a, b *rule) bool {
	if a.Default || b.Default || a.Head.RuleKind() != ast.SingleValue || b.Head.RuleKind() != ast.SingleValue {
		return false
	}
	if a.Else == nil && b.Else == nil && len(a.Ref()) == len(b.Ref()) && a.value != nil && b.value != nil && a.value.Compare(b.value) == 0 {
		return false
	}
	return !disjoint(a, b)
}
