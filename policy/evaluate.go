package policy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Evaluate decides. Results may share what is in them: it must not be modified.
// It never fails: an evaluation that does is a deny with
// status error and one diagnostic that says why. It is deterministic: equal
// sets and inputs give equal results, limits apart.
//
// A result that is undefined is a deny, complete, with the reason
// no_rule_matched. Any other value than an object of exactly decision,
// evaluation_status, determining_policies and diagnostics, each of its type,
// is a deny, error, invalid_result: a field that is missing or not known could
// carry a condition that would be lost. An author's status error never allows.
//
// Entries of determining_policies that name a policy of the set get its
// policy_id and policy_version_id, over what the author wrote there. Where the
// author left the array empty, it names, in the order of the set, the policies
// that produced the result: those of the rules of the result that held, that
// is, were evaluated to a value other than undefined and false; of the rules
// that held and that these asked to hold; and of those that kept away what
// these asked not to hold. Defaults do not count; where no rule of the result
// held, it is the policy whose default gave the result.
func (s *Set) Evaluate(ctx context.Context, in *Input, lim Limits) Result {
	r, _ := s.evaluate(ctx, in, lim)
	return r
}

// Decide is Evaluate for those who answer in JSON: what most decisions come to has
// been encoded before.
func (s *Set) Decide(ctx context.Context, in *Input, lim Limits) *Answer {
	return answered(s.evaluate(ctx, in, lim))
}

// DecideSoon is Decide for those whom nothing may hold up: nil where it would take longer
// than soon, or might not end soon after that.
func (s *Set) DecideSoon(ctx context.Context, in *Input, lim Limits, soon time.Duration) *Answer {
	o, err := s.evaluator.evaluateSoon(ctx, in, lim.orDefault(), &s.results, soon)
	if errors.Is(err, errLater) {
		return nil
	}
	return answered(s.conclude(o, err))
}

// answered is what a result comes to in JSON, where it is not known already.
func answered(r Result, known *Answer) *Answer {
	if known != nil {
		return known
	}
	return NewAnswer(r)
}

// evaluate also gives the result as JSON, where there is that already.
func (s *Set) evaluate(ctx context.Context, in *Input, lim Limits) (Result, *Answer) {
	return s.conclude(s.evaluator.evaluate(ctx, in, lim.orDefault(), &s.results))
}

// conclude makes a result of what an evaluator came to.
func (s *Set) conclude(o outcome, err error) (Result, *Answer) {
	if err != nil {
		reason, message := ReasonError, err.Error()
		var named *evaluationError
		if errors.As(err, &named) {
			reason, message = named.reason, named.message
		}
		return failed(reason, message), nil
	}
	if o.known != nil {
		return o.known.result, o.known.answer
	}
	if o.value == nil {
		return DenyResult(StatusComplete, ReasonNoRuleMatched), undefinedAnswer
	}
	r, err := readResult(o.value)
	if err != nil {
		return failed(ReasonInvalidResult, err.Error()), nil
	}
	if len(r.DeterminingPolicies) == 0 {
		for _, i := range s.origins.determining(o.held) {
			r.DeterminingPolicies = append(r.DeterminingPolicies, entryOf(s.modules[i], Entry{}))
		}
	} else {
		for _, e := range r.DeterminingPolicies {
			name, _ := e["policy"].(string)
			if m, ok := s.named(name); ok {
				entryOf(m, e)
			}
		}
	}
	if r.EvaluationStatus == StatusError && r.Decision != Deny {
		r.Decision = Deny
		r.Diagnostics = append(r.Diagnostics, Entry{
			"reason":  ReasonError,
			"message": "a result with evaluation_status error cannot allow",
		})
	}
	if o.keep == nil {
		return r, nil
	}
	a := NewAnswer(r)
	o.keep(remembered{r, a})
	return r, a
}

// entryOf puts into e which policy it names.
func entryOf(m Module, e Entry) Entry {
	e["policy"], e["policy_id"], e["policy_version_id"] = m.Name, m.PolicyID, m.VersionID
	return e
}

func failed(reason, message string) Result {
	r := DenyResult(StatusError, reason)
	r.Diagnostics[0]["message"] = message
	return r
}

// readResult checks the shape of a value of the entry point.
func readResult(v ast.Value) (Result, error) {
	object, ok := v.(ast.Object)
	if !ok {
		return Result{}, fmt.Errorf("result is %s, not an object", typeName(v))
	}
	var r Result
	var err error
	seen := 0
	object.Until(func(k, t *ast.Term) bool {
		name, ok := k.Value.(ast.String)
		if !ok {
			err = fmt.Errorf("result has a key that is not a string: %v", abbreviate(k.String()))
			return true
		}
		seen++
		switch name {
		case "decision":
			r.Decision, err = readChoice(string(name), t.Value, decisions)
		case "evaluation_status":
			r.EvaluationStatus, err = readChoice(string(name), t.Value, statuses)
		case "determining_policies":
			r.DeterminingPolicies, err = readEntries(string(name), t.Value)
		case "diagnostics":
			r.Diagnostics, err = readEntries(string(name), t.Value)
		default:
			err = fmt.Errorf("result has the unknown field %q", abbreviate(string(name)))
		}
		return err != nil
	})
	if err != nil {
		return Result{}, err
	}
	if seen < len(resultFields) {
		for _, name := range resultFields {
			if object.Get(ast.StringTerm(name)) == nil {
				return Result{}, fmt.Errorf("result lacks %s", name)
			}
		}
	}
	for i, e := range r.DeterminingPolicies {
		if _, ok := e["policy"].(string); !ok {
			return Result{}, fmt.Errorf("result.determining_policies[%d] lacks the string policy", i)
		}
	}
	return r, nil
}

// The contract of a result.
var (
	resultFields = []string{"decision", "evaluation_status", "determining_policies", "diagnostics"}
	decisions    = []string{Allow, Deny}
	statuses     = []string{StatusComplete, StatusPartial, StatusError}
)

func readChoice(name string, v ast.Value, choices []string) (string, error) {
	s, ok := v.(ast.String)
	if !ok {
		return "", fmt.Errorf("result.%s is %s, not a string", name, typeName(v))
	}
	for _, c := range choices {
		if string(s) == c {
			return c, nil
		}
	}
	return "", fmt.Errorf("result.%s is %q, not one of %v", name, abbreviate(string(s)), choices)
}

// readEntries reads an array, or a set in its sorted order, of objects.
func readEntries(name string, v ast.Value) ([]Entry, error) {
	var terms []*ast.Term
	switch v := v.(type) {
	case *ast.Array:
		for i := range v.Len() {
			terms = append(terms, v.Elem(i))
		}
	case ast.Set:
		terms = v.Slice() // sorted
	default:
		return nil, fmt.Errorf("result.%s is %s, not an array", name, typeName(v))
	}
	entries := make([]Entry, 0, len(terms))
	for i, t := range terms {
		if _, ok := t.Value.(ast.Object); !ok {
			return nil, fmt.Errorf("result.%s[%d] is %s, not an object", name, i, typeName(t.Value))
		}
		x, err := ast.JSONWithOpt(t.Value, ast.JSONOpt{SortSets: true})
		if err != nil {
			return nil, fmt.Errorf("result.%s[%d]: %w", name, i, err)
		}
		entry, ok := x.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("result.%s[%d] is not an object", name, i)
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

func typeName(v ast.Value) string {
	switch v.(type) {
	case ast.Null:
		return "null"
	case ast.Boolean:
		return "a boolean"
	case ast.Number:
		return "a number"
	case ast.String:
		return "a string"
	case *ast.Array:
		return "an array"
	case ast.Set:
		return "a set"
	case ast.Object:
		return "an object"
	}
	return "another type"
}
