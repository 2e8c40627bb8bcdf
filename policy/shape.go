package policy

import (
	"fmt"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// shapeProblems lists what can be seen to be wrong with a result before
// evaluation. Terms whose value is only known then are given the benefit of
// the doubt.
func shapeProblems(t *ast.Term) []string {
	if t == nil {
		return nil
	}
	object, ok := t.Value.(ast.Object)
	if !ok {
		if settled(t) {
			return []string{fmt.Sprintf("result is %s; it must be an object with %v", typeName(t.Value), resultFields)}
		}
		return nil
	}
	var problems []string
	open := false // a computed key may be any field
	object.Foreach(func(k, _ *ast.Term) {
		if !settled(k) {
			open = true
		} else if name, ok := k.Value.(ast.String); !ok || !slices.Contains(resultFields, string(name)) {
			problems = append(problems, fmt.Sprintf("result has the unknown field %s", abbreviate(k.String())))
		}
	})
	for _, name := range resultFields {
		value := object.Get(ast.StringTerm(name))
		switch {
		case value == nil && !open:
			problems = append(problems, "result lacks "+name)
		case value == nil || !settled(value):
		case name == "decision":
			problems = append(problems, choiceProblem(name, value, decisions)...)
		case name == "evaluation_status":
			problems = append(problems, choiceProblem(name, value, statuses)...)
		default:
			problems = append(problems, entriesProblems(name, value)...)
		}
	}
	slices.Sort(problems)
	return problems
}

// settled reports whether the type of t's value is known before evaluation.
func settled(t *ast.Term) bool {
	switch t.Value.(type) {
	case ast.Null, ast.Boolean, ast.Number, ast.String, *ast.Array, ast.Set, ast.Object:
		return true
	case *ast.ArrayComprehension, *ast.SetComprehension, *ast.ObjectComprehension:
		return false
	}
	return false
}

func choiceProblem(name string, t *ast.Term, choices []string) []string {
	if _, err := readChoice(name, t.Value, choices); err != nil {
		return []string{err.Error()}
	}
	return nil
}

func entriesProblems(name string, t *ast.Term) []string {
	var entries []*ast.Term
	switch list := t.Value.(type) {
	case *ast.Array:
		list.Foreach(func(e *ast.Term) { entries = append(entries, e) })
	case ast.Set:
		list.Foreach(func(e *ast.Term) { entries = append(entries, e) })
	default:
		return []string{fmt.Sprintf("result.%s is %s, not an array", name, typeName(t.Value))}
	}
	for _, e := range entries {
		object, ok := e.Value.(ast.Object)
		if !ok {
			if settled(e) {
				return []string{fmt.Sprintf("result.%s has an entry that is %s, not an object", name, typeName(e.Value))}
			}
			continue
		}
		if name != "determining_policies" {
			continue
		}
		computed := false
		object.Foreach(func(k, _ *ast.Term) { computed = computed || !settled(k) })
		policy := object.Get(ast.StringTerm("policy"))
		if policy == nil && !computed {
			return []string{"result.determining_policies has an entry without policy"}
		}
		if policy != nil && settled(policy) {
			if _, ok := policy.Value.(ast.String); !ok {
				return []string{"result.determining_policies has an entry whose policy is not a string"}
			}
		}
	}
	return nil
}

// decisionTerm is the decision of a result that is written as an object.
func decisionTerm(t *ast.Term) *ast.Term {
	object, ok := valueOf(t).(ast.Object)
	if !ok {
		return nil
	}
	return object.Get(ast.StringTerm("decision"))
}

// possible is which decisions a result may have.
type possible struct{ allow, deny bool }

func (p possible) list() []string {
	list := []string{}
	if p.allow {
		list = append(list, Allow)
	}
	if p.deny {
		list = append(list, Deny)
	}
	return list
}

func (p possible) or(q possible) possible { return possible{p.allow || q.allow, p.deny || q.deny} }

// decisions reports the decisions that a result with value t may have. A
// default has no more than its constants.
func (x *ruleIndex) decisions(t *ast.Term, constant bool) possible {
	switch valueOf(t).(type) {
	case nil:
		return possible{}
	case ast.Object:
		if d := decisionTerm(t); d != nil {
			return x.decisionOf(d, 0)
		}
		return possible{}
	case ast.Ref:
		return possible{true, true}
	}
	if constant || settled(t) {
		return possible{}
	}
	return possible{true, true}
}

// decisionOf follows a decision through the rules it is taken from.
func (x *ruleIndex) decisionOf(t *ast.Term, depth int) possible {
	if s, ok := t.Value.(ast.String); ok {
		return possible{allow: s == Allow, deny: s == Deny}
	}
	if settled(t) {
		return possible{}
	}
	ref, ok := fixedRef(t)
	if !ok || isInput(ref) || depth > 8 {
		return possible{true, true}
	}
	path, _ := steps(ref)
	rules := x.at[key(path)]
	if len(rules) == 0 {
		return possible{true, true}
	}
	var p possible
	for _, r := range rules {
		ast.WalkRules(r.Rule, func(part *ast.Rule) bool {
			if part.Head.Value == nil {
				p = possible{true, true}
			} else {
				p = p.or(x.decisionOf(part.Head.Value, depth+1))
			}
			return false
		})
	}
	return p
}
