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

// decisions reports the decisions that a result with value t may have.
func (x *ruleIndex) decisions(t *ast.Term) possible {
	if _, ok := valueOf(t).(ast.Object); ok {
		if d := decisionTerm(t); d != nil {
			return x.decisionOf(d)
		}
		return possible{}
	}
	if t == nil || settled(t) {
		return possible{}
	}
	return x.follow(x.wholes, t, x.decisions)
}

// decisionOf reports what the value t of a decision may be.
func (x *ruleIndex) decisionOf(t *ast.Term) possible {
	if s, ok := t.Value.(ast.String); ok {
		return possible{allow: s == Allow, deny: s == Deny}
	}
	if settled(t) {
		return possible{}
	}
	return x.follow(x.choices, t, x.decisionOf)
}

// follow goes on to the rules that t takes its value from, if those are known.
// Each document is looked at once.
func (x *ruleIndex) follow(known map[string]possible, t *ast.Term, each func(*ast.Term) possible) possible {
	path, ok := documentRead(t)
	if !ok {
		return possible{true, true}
	}
	k := key(path)
	if p, seen := known[k]; seen {
		return p
	}
	known[k] = possible{}
	var p possible
	rules := x.at[k]
	if len(rules) == 0 {
		p = possible{true, true}
	}
	for _, r := range rules {
		for part := r.Rule; part != nil; part = part.Else {
			if part.Head.Value == nil || !r.ground {
				p = possible{true, true}
			} else {
				p = p.or(each(part.Head.Value))
			}
		}
	}
	known[k] = p
	return p
}

// documentRead is the path of the rule whose value t is: a reference to it or
// a call of it.
func documentRead(t *ast.Term) (path []string, ok bool) {
	if t == nil {
		return nil, false
	}
	if call, isCall := t.Value.(ast.Call); isCall && len(call) > 0 {
		t = call[0]
	}
	ref, ok := fixedRef(t)
	if !ok || isInput(ref) {
		return nil, false
	}
	path, _ = steps(ref)
	return path, true
}

// fieldProblems lists what is wrong with the rule of one field of the result.
// exact says that the rule gives the field itself and nothing inside it.
func fieldProblems(name string, exact bool, head *ast.Head) []string {
	multi := head.RuleKind() == ast.MultiValue
	switch {
	case !slices.Contains(resultFields, name):
		return []string{fmt.Sprintf("result has the unknown field %q", abbreviate(name))}
	case !exact:
		return []string{fmt.Sprintf("result.%s is an object", name)}
	case name != "decision" && name != "evaluation_status":
		if multi {
			return entriesProblems(name, ast.SetTerm(head.Key))
		}
		if head.Value == nil || !settled(head.Value) {
			return nil
		}
		return entriesProblems(name, head.Value)
	case multi:
		return []string{fmt.Sprintf("result.%s is a set, not a string", name)}
	case head.Value == nil || !settled(head.Value):
		return nil
	case name == "decision":
		return choiceProblem(name, head.Value, decisions)
	default:
		return choiceProblem(name, head.Value, statuses)
	}
}
