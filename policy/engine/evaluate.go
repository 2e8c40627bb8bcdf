package engine

import (
	"github.com/open-policy-agent/opa/v1/topdown"
)

// Evaluation is what a caller says of one evaluation.
type Evaluation struct {
	// Input is the input document, undefined for none.
	Input Value
	// Slots are what a Projection of the program has read, where the caller has
	// that instead of the whole document; nil otherwise.
	Slots []Value
	// Meter bounds it; nil for no bounds.
	Meter Meter
	// Prompt ends an evaluation with ErrSlow that comes to a built-in of OPA which
	// may take long, as Options.Prompt tells, and cannot be interrupted.
	Prompt bool
	// Context gives OPA's built-ins their surroundings, where one is called; nil
	// for none. It is given the evaluation's meter.
	Context func(Meter) topdown.BuiltinContext
}

// Outcome is what an evaluation found. It has to be released.
type Outcome struct {
	// Results are the query's results: objects from variable to value. They are
	// only good until the outcome is released.
	Results []Value
	// Held says of each marked rule whether it held, and Marked lists those that
	// did in the order in which that was found, both as long.
	Held   []bool
	Marked []int32
	m      *machine
}

// Release gives back what the evaluation used.
func (o Outcome) Release() { o.m.release() }

// Evaluate runs the query. The error is an *Error, ErrSlow, what the meter or OPA's
// built-ins said, or matches none of these where the meter stopped it.
func (p *Program) Evaluate(e Evaluation) (Outcome, error) {
	m := p.machine(e.Meter)
	m.context, m.prompt = e.Context, e.Prompt
	if len(m.stack) < p.locals {
		m.stack = make([]Value, max(p.locals, 128))
	}
	m.frame = m.stack[:p.locals:p.locals]
	m.top = p.locals
	if m.slots = e.Slots; m.slots == nil {
		if cap(m.room) < p.slots {
			m.room = make([]Value, p.slots)
		}
		m.room = m.room[:p.slots]
		p.input.fill(m.room, e.Input)
		m.slots = m.room
	}
	if p.input.slot >= 0 {
		m.frame[inputLocal] = m.slots[p.input.slot]
	}
	m.frame[dataLocal] = p.data
	runAll(p.plans, m)
	return Outcome{Results: m.results, Held: m.held, Marked: m.marked, m: m}, m.err
}
