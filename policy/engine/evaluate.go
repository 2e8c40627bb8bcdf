package engine

import (
	"github.com/open-policy-agent/opa/v1/topdown"
)

// Evaluation is what a caller says of one evaluation.
type Evaluation struct {
	// Input is the input document, undefined for none.
	Input Value
	// Meter bounds it; nil for no bounds.
	Meter Meter
	// Context gives OPA's built-ins their surroundings, where one is called.
	Context func() topdown.BuiltinContext
}

// Outcome is what an evaluation found. It is only good until the function that
// was given it returns.
type Outcome struct {
	// Results are the query's results: objects from variable to value.
	Results []Value
	// Held says of each marked rule whether it held.
	Held []bool
}

// Evaluate runs the query and gives its outcome to use.
func (p *Program) Evaluate(e Evaluation, use func(Outcome) error) error {
	m := p.machine(e.Meter)
	defer m.release()
	m.context = e.Context
	if len(m.stack) < p.locals {
		m.stack = make([]Value, max(p.locals, 128))
	}
	m.frame = m.stack[:p.locals:p.locals]
	m.top = p.locals
	m.frame[inputLocal], m.frame[dataLocal] = e.Input, p.data
	runAll(p.plans, m)
	if m.err != nil {
		return m.err
	}
	return use(Outcome{Results: m.results, Held: m.held})
}

// Get is v[name], for an object.
func (v Value) Get(name string) Value {
	if v.k != objectKind {
		return Value{}
	}
	return get(v, str(name))
}
