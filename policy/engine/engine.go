// Package engine evaluates Rego compiled ahead. It takes the plan that OPA makes
// of a policy (its intermediate representation) and turns each function of it
// into Go closures over compact values: constants are built once, what does not
// depend on the input is evaluated once, rules that compare one path with
// constants are looked up, and an evaluation takes what it builds from an arena
// of its own.
//
// What a policy means is what OPA's evaluator says. Built-ins that have no
// implementation here are OPA's own.
package engine

import (
	"errors"
	"fmt"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/ir"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// ErrConflict says that rules gave one document, or one key of an object, two
// different values.
var ErrConflict = errors.New("conflict")

// Error is a failure at a place of a policy.
type Error struct {
	// Message says what failed, in the words that OPA has for it.
	Message string
	// File, Row and Col are the place, Row 0 where there is none.
	File     string
	Row, Col int
	err      error
}

func (e *Error) Error() string {
	if e.Row == 0 {
		return e.Message
	}
	return fmt.Sprintf("%s (%s:%d:%d)", e.Message, e.File, e.Row, e.Col)
}

func (e *Error) Unwrap() error { return e.err }

// Options say how a plan is compiled.
type Options struct {
	// Data is the base document, an object; nil for an empty one.
	Data ast.Value
	// Builtin finds the implementation of a built-in by name, which may be one
	// that OPA does not have; nil for OPA's own.
	Builtin func(name string) topdown.BuiltinFunc
	// Native gives the name under which the engine may know a built-in, where
	// that is not its own: a built-in that only bounds another has the same
	// meaning. nil for none.
	Native func(name string) string
	// Prompt tells, by the name that Native gives, which of OPA's built-ins take no
	// longer than going through their operands; nil for none.
	Prompt func(name string) bool
	// Held is the name of the built-in that marks rules: held(number, value) or,
	// in rules for sets and objects, held(number, value, key). "" for none.
	Held string
	// Rules is how many rules are marked.
	Rules int
	// Fold is the meter of all that is evaluated at compile time, which is each
	// rule that does not depend on the input; rules that it stops are left to each
	// evaluation. nil for a bound on steps and on the engine's own memory.
	Fold Meter
	// Functions are shared among the programs that are compiled with them, whose
	// options must otherwise be the same but for Held, Rules and Fold; nil for none.
	Functions *Functions
	// Strict makes errors of built-ins end the evaluation. Otherwise, as in OPA,
	// the call is undefined.
	Strict bool
}

// Program is a compiled plan. It is immutable and safe for concurrent use.
type Program struct {
	plans     []block
	locals    int // the most that a plan has
	functions []*function
	// byPath are the functions by what they are called in the plan, nil where none
	// is called by a path that is worked out in an evaluation.
	byPath map[string]*function
	rows   rows
	rules  int
	strict bool
	// foreign are the built-ins that the plan calls which the engine has not itself.
	foreign []string
	// slow says that one of them may take long.
	slow bool
	// contradicts says that an evaluation may fail with ErrConflict.
	contradicts bool
	data        Value
	// input is what is read of the input document; slots is how many places. Both
	// are the tree's, which programs that read the same share.
	input  *inputNode
	slots  int
	tree   *inputTree
	tables []Table
}

// Compile compiles a plan. It refuses statements and operands that it does not
// know, and built-ins for which there is no implementation.
func Compile(plan *ir.Policy, opts Options) (p *Program, err error) {
	defer func() {
		if r := recover(); r != nil {
			p, err = nil, fmt.Errorf("compiling the plan: %v", r)
		}
	}()
	c := newCompiler(plan, opts)
	return c.compile()
}

// Tables are the dispatch tables that were made.
func (p *Program) Tables() []Table { return slices.Clone(p.tables) }

// Foreign reports whether an evaluation may call built-ins of OPA that take long,
// and which cannot be interrupted.
func (p *Program) Foreign() bool { return p.slow }

// MayContradict reports whether there may be inputs for which evaluations fail with
// ErrConflict.
func (p *Program) MayContradict() bool { return p.contradicts }

// ForeignBuiltins are the names of OPA's built-ins that an evaluation may call.
func (p *Program) ForeignBuiltins() []string { return slices.Clone(p.foreign) }

// Folded are the names of the functions that were evaluated at compile time.
func (p *Program) Folded() []string {
	var names []string
	for _, f := range p.functions {
		if f.done {
			names = append(names, f.name)
		}
	}
	return names
}
