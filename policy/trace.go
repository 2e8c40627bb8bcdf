package policy

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
)

// Trace says how the rules of a set came to a result: which of them were tried, which
// held, and where the others failed.
type Trace struct {
	// Rules are the rules that were tried, in the order in which they were first asked
	// for, so that a rule follows the one that asked for it. Never nil.
	Rules []RuleTrace `json:"rules"`
	// Differs is what OPA's evaluator, which makes the trace, came to where that is not
	// what the engine decided. It is nil unless one of the two has a defect.
	Differs *Result `json:"differs,omitempty"`
	// Incomplete says why rules may be missing and results were not compared, such as
	// a limit that ended the evaluation; "" where everything is there.
	Incomplete string `json:"incomplete,omitempty"`
}

// RuleTrace is one rule, or one else branch of it, that was tried.
type RuleTrace struct {
	Policy    string `json:"policy"`
	PolicyID  string `json:"policy_id"`
	VersionID string `json:"policy_version_id"`
	// Rule is the full path of the rule, such as data.caracal.authz.result.
	Rule string `json:"rule"`
	// Location is where the rule or the branch begins.
	Location Location `json:"location"`
	// Depth is 0 for rules that the result consists of, and one more than that of the
	// rule that asked for it first for others.
	Depth int `json:"depth"`
	// Default says that the rule is the default, tried where no other one held.
	Default bool `json:"default,omitempty"`
	// Tried is how many times it was tried: a function for each call of it, for one.
	Tried int `json:"tried"`
	// Held says that the rule gave a value, be it false.
	Held bool `json:"held"`
	// Value is what it gave: of a rule that adds to a set an array of what it added,
	// of one that adds to an object an object of that, of a function what it gave
	// first. It is nil where the rule did not hold.
	Value json.RawMessage `json:"value,omitempty"`
	// ValueTruncated says that the value is larger than a trace keeps: Value is then
	// the first elements of it, or a string that describes it.
	ValueTruncated bool `json:"value_truncated,omitempty"`
	// Failed is the condition that kept the rule from holding; of several attempts
	// that of the one that came furthest. It is nil where the rule held.
	Failed *FailedCondition `json:"failed,omitempty"`
}

// FailedCondition is the part of a rule that was false or undefined: an expression of
// its body, or its head where the arguments or the key did not match or its value is
// undefined.
type FailedCondition struct {
	Location Location `json:"location"`
	// Text is the condition as it is written, its beginning where it is long.
	Text string `json:"text"`
}

// Trace evaluates in as Evaluate does, and again with OPA's evaluator, to tell what
// each rule came to. The second evaluation is within lim too; where it ends at a
// limit, the trace is incomplete. Nothing is left out for speed in it: rules that an
// index would rule out are tried.
//
// It compiles the set anew, so it is for people and not for traffic. It fails only
// where ctx ends before the set is compiled, and where a Library has compiled it.
func (s *Set) Trace(ctx context.Context, in *Input, lim Limits) (*Trace, error) {
	decided := s.Evaluate(ctx, in, lim)
	p, e, err := s.again(ctx)
	if err != nil {
		return nil, err
	}
	whole, err := in.whole()
	if err != nil {
		return nil, err
	}
	t := newRuleTracer(p)
	o, err := s.tracing.evaluate(ctx, lim.orDefault(), func(m *meter) (outcome, error) {
		return e.run(m, whole.document(), nil, t)
	})
	traced := &Trace{Rules: []RuleTrace{}}
	for _, r := range t.report() {
		m := s.modules[r.document]
		r.Policy, r.PolicyID, r.VersionID = m.Name, m.PolicyID, m.VersionID
		traced.Rules = append(traced.Rules, r.RuleTrace)
	}
	result, _ := s.conclude(o, err)
	switch limit := limitOf(result); {
	case limit != "":
		traced.Incomplete = limit
	case limitOf(decided) != "": // there is nothing to compare with
	case !alike(decided, result):
		traced.Differs = &result
	}
	if traced.Incomplete == "" {
		traced.Incomplete = t.incomplete()
	}
	return traced, nil
}

// errContentLeft says that a set does not have what its policies say, or not at hand.
var errContentLeft = errors.New("the set does not keep what its policies say")

// again compiles the set for OPA's evaluator.
func (s *Set) again(ctx context.Context) (*program, *topdownEngine, error) {
	if slices.ContainsFunc(s.modules, func(m Module) bool { return m.Content == "" }) {
		return nil, nil, errContentLeft
	}
	return compileAgain(ctx, s.modules, s.track)
}

// limitOf says which limit ended the evaluation that gave r, "" for none.
func limitOf(r Result) string {
	if r.EvaluationStatus != StatusError || len(r.Diagnostics) == 0 {
		return ""
	}
	switch d := r.Diagnostics[0]; d["reason"] {
	case ReasonTimeout, ReasonCanceled, ReasonMemory:
		message, _ := d["message"].(string)
		return message
	}
	return ""
}

// alike compares two results of one evaluation. Of several errors, one evaluator may
// come to another first.
func alike(a, b Result) bool {
	reason := func(r Result) any {
		if r.EvaluationStatus != StatusError || len(r.Diagnostics) == 0 {
			return nil
		}
		return r.Diagnostics[0]["reason"]
	}
	if reason(a) == ReasonError && reason(b) == ReasonError {
		return true
	}
	return reflect.DeepEqual(a, b)
}
