package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// Bounds of a trace.
const (
	// maxTraceEvents is the most steps that are followed.
	maxTraceEvents = 1 << 18
	// maxTraceRules is the most rules of a trace.
	maxTraceRules = 10000
	// maxTraceElements is the most elements of a set or an object.
	maxTraceElements = 16
	// maxTraceValue is the most bytes of a value.
	maxTraceValue = 4096
)

// ruleTracer follows an evaluation of OPA's evaluator. An evaluation that is left to
// end by itself goes on telling it: it can be asked at any time.
type ruleTracer struct {
	compiled map[*ast.Rule]rulePart

	mu      sync.Mutex
	closed  bool
	events  int
	dropped bool // rules beyond maxTraceRules
	tried   map[*ast.Rule]*attempts
	order   []*attempts
	queries map[uint64]*ruleQuery
}

// rulePart is a rule or an else branch of it.
type rulePart struct {
	document int
	// written is the part as it was written.
	written *ast.Rule
	// full is the compiled rule that the part is of, which has the path.
	full *ast.Rule
}

// ruleQuery is one attempt to evaluate a rule, or a query inside of one.
type ruleQuery struct {
	// rule is nil for comprehensions and the like.
	rule    *attempts
	depth   int
	reached bool
	failed  bool
}

// attempts is what is known of all attempts at a part of a rule.
type attempts struct {
	rulePart
	rule      *ast.Rule // compiled
	positions map[*ast.Expr]int
	depth     int
	tried     int
	held      bool
	values    []ast.Value
	object    ast.Object
	more      bool
	// best is how far the attempt that came furthest came: the number of the
	// expression that failed, -1 for none, and at is its place; nil for the head.
	best int
	at   *ast.Location
}

// tracedRule is a rule's trace and the number of its document.
type tracedRule struct {
	RuleTrace
	document int
}

var _ topdown.QueryTracer = (*ruleTracer)(nil)

// newRuleTracer follows all rules of a program.
func newRuleTracer(p *program) *ruleTracer {
	t := emptyTracer()
	for i, d := range p.documents {
		m := p.compiler.Modules[moduleKey(i)]
		for j, full := range m.Rules {
			if j >= len(d.parsed.Rules) {
				break
			}
			t.follow(i, full, d.parsed.Rules[j])
		}
	}
	return t
}

// newPartTracer follows one rule.
func newPartTracer(compiled, written *ast.Rule) *ruleTracer {
	t := emptyTracer()
	t.follow(0, compiled, written)
	return t
}

func emptyTracer() *ruleTracer {
	return &ruleTracer{compiled: map[*ast.Rule]rulePart{}, tried: map[*ast.Rule]*attempts{}, queries: map[uint64]*ruleQuery{}}
}

// follow adds a rule and its else branches.
func (t *ruleTracer) follow(document int, compiled, written *ast.Rule) {
	for part := compiled; part != nil && written != nil; part, written = part.Else, written.Else {
		t.compiled[part] = rulePart{document: document, written: written, full: compiled}
	}
}

// Enabled says that there is something to tell.
func (t *ruleTracer) Enabled() bool { return true }

// Config asks for no variables.
func (t *ruleTracer) Config() topdown.TraceConfig { return topdown.TraceConfig{} }

// TraceEvent takes note of a step.
func (t *ruleTracer) TraceEvent(e topdown.Event) {
	switch e.Op {
	case topdown.EnterOp, topdown.ExitOp, topdown.EvalOp, topdown.FailOp:
	default:
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.events >= maxTraceEvents {
		return
	}
	t.events++
	switch e.Op {
	case topdown.EnterOp:
		t.enter(e)
	case topdown.ExitOp:
		if q := t.queries[e.QueryID]; q != nil && q.rule != nil {
			if rule, ok := e.Node.(*ast.Rule); ok && rule == q.rule.rule {
				q.rule.hold(e)
			}
		}
	case topdown.EvalOp:
		if q := t.queries[e.QueryID]; q != nil {
			q.reached = true
		}
	case topdown.FailOp:
		if q := t.queries[e.QueryID]; q != nil && q.rule != nil {
			q.fail(e.Node)
		}
	}
}

func (t *ruleTracer) enter(e topdown.Event) {
	q := &ruleQuery{depth: -1}
	if asking := t.queries[e.ParentID]; asking != nil && e.ParentID != e.QueryID {
		q.depth = asking.depth
	}
	t.queries[e.QueryID] = q
	rule, ok := e.Node.(*ast.Rule)
	if !ok {
		return
	}
	q.depth++
	part, known := t.compiled[rule]
	if !known {
		return
	}
	a := t.tried[rule]
	if a == nil {
		if len(t.order) >= maxTraceRules {
			t.dropped = true
			return
		}
		a = &attempts{rulePart: part, rule: rule, depth: q.depth, best: -1, positions: make(map[*ast.Expr]int, len(rule.Body))}
		for i, expr := range rule.Body {
			a.positions[expr] = i
		}
		t.tried[rule] = a
		t.order = append(t.order, a)
	}
	a.tried++
	q.rule = a
}

// fail notes how far an attempt came.
func (q *ruleQuery) fail(node ast.Node) {
	a := q.rule
	switch node := node.(type) {
	case *ast.Expr:
		if i, ok := a.positions[node]; ok {
			q.failed = true
			if i > a.best {
				a.best, a.at = i, node.Location
			}
		}
	case *ast.Rule: // the key that was asked for is not what the rule gives
		if q.reached && !q.failed {
			a.best, a.at = len(a.rule.Body), nil
		}
	}
}

// hold notes what the rule gave.
func (a *attempts) hold(e topdown.Event) {
	a.held = true
	head := a.rule.Head
	ref := a.full.Ref()
	keys := ref[len(ref.GroundPrefix()):]
	switch {
	case head.RuleKind() == ast.MultiValue && len(keys) == 0:
		if head.Key == nil {
			return
		}
		a.add(e.Plug(head.Key).Value)
	case head.Value == nil && head.RuleKind() != ast.MultiValue:
		a.add(ast.Boolean(true))
	case len(keys) == 0:
		if len(a.values) == 0 {
			a.values = append(a.values, e.Plug(head.Value).Value)
		}
	default:
		a.put(e, keys)
	}
}

// add notes an element of a set.
func (a *attempts) add(v ast.Value) {
	for _, known := range a.values {
		if known.Compare(v) == 0 {
			return
		}
	}
	if len(a.values) >= maxTraceElements {
		a.more = true
		return
	}
	a.values = append(a.values, v)
}

// put notes an entry of an object.
func (a *attempts) put(e topdown.Event, keys ast.Ref) {
	if a.object != nil && a.object.Len() >= maxTraceElements {
		a.more = true
		return
	}
	var leaf *ast.Term
	switch head := a.rule.Head; {
	case head.RuleKind() == ast.MultiValue:
		leaf = ast.ArrayTerm(e.Plug(head.Key))
	case head.Value != nil:
		leaf = e.Plug(head.Value)
	default:
		leaf = ast.BooleanTerm(true)
	}
	for i := len(keys) - 1; i >= 0; i-- {
		leaf = ast.ObjectTerm([2]*ast.Term{e.Plug(keys[i]), leaf})
	}
	entry, ok := leaf.Value.(ast.Object)
	if !ok || !entry.IsGround() {
		return
	}
	if a.object == nil {
		a.object = entry
	} else if merged, ok := a.object.Merge(entry); ok {
		a.object = merged
	} else if a.object.Compare(entry) != 0 {
		a.more = true
	}
}

// report gives what was found, and ends the tracing.
func (t *ruleTracer) report() []tracedRule {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	list := make([]tracedRule, 0, len(t.order))
	for _, a := range t.order {
		list = append(list, a.trace())
	}
	return list
}

// incomplete says why something is missing, "" where nothing is.
func (t *ruleTracer) incomplete() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.events >= maxTraceEvents:
		return fmt.Sprintf("the evaluation has more steps than the %d that are followed", maxTraceEvents)
	case t.dropped:
		return fmt.Sprintf("more rules were tried than the %d that are listed", maxTraceRules)
	}
	return ""
}

func (a *attempts) trace() tracedRule {
	ref := a.full.Ref()
	r := tracedRule{document: a.document, RuleTrace: RuleTrace{
		Rule: ref.GroundPrefix().String(), Location: location(a.written.Location),
		Depth: a.depth, Default: a.full.Default, Tried: a.tried, Held: a.held,
	}}
	switch {
	case !a.held && a.best < 0:
		r.Failed = headOf(a.written)
	case !a.held && a.at == nil:
		r.Failed = headOf(a.written)
	case !a.held:
		r.Failed = conditionAt(a.written, a.at)
	default:
		r.Value, r.ValueTruncated = a.value()
	}
	return r
}

// value is what the rule gave, within bounds.
func (a *attempts) value() (json.RawMessage, bool) {
	switch {
	case a.object != nil:
		return boundedJSON(a.object, a.more)
	case a.rule.Head.RuleKind() == ast.MultiValue:
		terms := make([]*ast.Term, len(a.values))
		for i, v := range a.values {
			terms[i] = ast.NewTerm(v)
		}
		return boundedJSON(ast.NewArray(terms...), a.more)
	case len(a.values) > 0:
		return boundedJSON(a.values[0], a.more)
	}
	return nil, a.more
}

// boundedJSON encodes a value, or describes it where it is large or cannot be said in JSON.
func boundedJSON(v ast.Value, cut bool) (json.RawMessage, bool) {
	const most = 32 * maxTraceValue // in treeSize's measure, which counts much for a scalar
	if treeSize(v, most) < most {
		if x, err := ast.JSONWithOpt(v, ast.JSONOpt{SortSets: true}); err == nil {
			var buf bytes.Buffer
			e := json.NewEncoder(&buf)
			e.SetEscapeHTML(false)
			if err := e.Encode(x); err == nil && buf.Len() <= maxTraceValue {
				return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), cut
			}
		}
	}
	text := typeName(v)
	switch v := v.(type) {
	case *ast.Array:
		text = fmt.Sprintf("an array of %d elements", v.Len())
	case ast.Set:
		text = fmt.Sprintf("a set of %d elements", v.Len())
	case ast.Object:
		text = fmt.Sprintf("an object of %d keys", v.Len())
	case ast.String:
		text = beginning(string(v), maxConditionText)
	}
	data, err := json.Marshal(text)
	if err != nil {
		return nil, true
	}
	return data, true
}
