package policy

import (
	"fmt"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// findConflict looks for rules of different policies that cannot stand
// together whatever the input, and reports the first.
func findConflict(x *ruleIndex) error {
	for _, r := range x.all {
		at := x.at[key(r.path)]
		if at[0] == r {
			for i, a := range at {
				for _, b := range at[i+1:] {
					if why := contradict(a, b); why != "" && a.doc != b.doc {
						return conflict(x, a, b, why)
					}
				}
			}
		}
		if err := within(x, r); err != nil {
			return err
		}
	}
	return nil
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
	va, oka := a.constant()
	vb, okb := b.constant()
	if oka && okb && va.Compare(vb) != 0 {
		return fmt.Sprintf("give it the different values %s and %s", abbreviate(va.String()), abbreviate(vb.String()))
	}
	return ""
}

// within looks for rules and packages of other policies at a path inside the
// value of r.
func within(x *ruleIndex, r *rule) error {
	if !r.ground {
		return nil
	}
	for _, other := range x.under[key(r.path)] {
		if other.doc != r.doc && len(other.path) > len(r.path) {
			return conflict(x, r, other, fmt.Sprintf("define it and, inside its value, %s", other.name()))
		}
	}
	for i, d := range x.docs {
		if path, _ := steps(d.resolved.Package.Path); i != r.doc && slices.Equal(path, r.path) {
			return &ConflictError{
				Rule:      r.name(),
				Policies:  []string{x.docs[r.doc].name, d.name},
				Message:   fmt.Sprintf("policies %q and %q use %s as a rule and as a package", x.docs[r.doc].name, d.name, r.name()),
				Locations: []Location{location(r.Location), location(d.resolved.Package.Location)},
			}
		}
	}
	return nil
}

func conflict(x *ruleIndex, a, b *rule, why string) error {
	if b.doc < a.doc {
		a, b = b, a
	}
	na, nb := x.docs[a.doc].name, x.docs[b.doc].name
	return &ConflictError{
		Rule:      a.name(),
		Policies:  []string{na, nb},
		Message:   fmt.Sprintf("policies %q and %q %s: rule %s", na, nb, why, a.name()),
		Locations: []Location{location(a.Location), location(b.Location)},
	}
}

// possibleConflict reports whether two rules at one path may give it different
// values for some input.
func possibleConflict(a, b *rule) bool {
	if a.Default || b.Default || a.Head.RuleKind() != ast.SingleValue || b.Head.RuleKind() != ast.SingleValue {
		return false
	}
	if a.Else == nil && b.Else == nil {
		va, oka := a.constant()
		vb, okb := b.constant()
		if oka && okb && va.Compare(vb) == 0 {
			return false
		}
	}
	return !disjoint(a, b)
}
