package policy

import (
	"context"
	"fmt"
	"slices"

	"github.com/caracalai/caracald/policy/engine"
)

// Set is the policies of one policy-set version compiled together. It is
// immutable and safe for concurrent use.
type Set struct {
	*compiledSet
	modules []Module
	results results
	// tracing runs the evaluations of traces.
	tracing runner
}

// compiledSet is what does not depend on what policies are called in their zone
// but by name: sets of equal policies share it.
type compiledSet struct {
	evaluator evaluator
	warnings  []Warning
	inputs    *inputReads
	origins   *provenance
	// track says whether evaluations have to find what held.
	track bool
	// notCompiled says why OPA's evaluator evaluates the set, nil where the
	// compiled engine does.
	notCompiled error
	// program is that of the compiled engine, and projection what it reads of an
	// input; nil where OPA's evaluator evaluates the set.
	program    *engine.Program
	projection *engine.Projection
}

// newSet makes the set of modules that were compiled together.
func newSet(c *compiledSet, mods []Module) *Set {
	return &Set{compiledSet: c, modules: slices.Clone(mods)}
}

// named finds a module by its name. There are few, and it is asked once for each
// result that a set comes to.
func (s *Set) named(name string) (Module, bool) {
	// The last, where several of a set that was not published have one name.
	for i := len(s.modules) - 1; i >= 0; i-- {
		if s.modules[i].Name == name {
			return s.modules[i], true
		}
	}
	return Module{}, false
}

// interpretedWarning tells authors that their policies are not compiled.
func interpretedWarning(why error) Warning {
	return Warning{Code: WarnInterpreted, Message: "OPA's evaluator evaluates this, which is slower and gives the same answers: " + why.Error()}
}

// Interpreted says why the set is evaluated by OPA's evaluator, which is slower
// and gives the same answers, instead of the compiled engine; nil where it is not.
func (s *Set) Interpreted() error { return s.notCompiled }

// Compile compiles the modules of a set together, in the order of its
// manifest. It refuses content that Validate would refuse, and a whole that
// does not compile, with an *InvalidError; and policies that contradict each
// other whatever the input with a *ConflictError. ctx ends the work between
// its stages.
func Compile(ctx context.Context, mods []Module) (*Set, error) {
	return compileSet(ctx, mods, true)
}

// compileSet compiles a set, for the compiled engine or for OPA's evaluator.
func compileSet(ctx context.Context, mods []Module, ahead bool) (*Set, error) {
	c, err := compileModules(ctx, mods, ahead, nil)
	if err != nil {
		return nil, err
	}
	return newSet(c, mods), nil
}

func compileModules(ctx context.Context, mods []Module, ahead bool, library *Library) (*compiledSet, error) {
	if len(mods) > MaxPolicies {
		return nil, &InvalidError{Errors: []ContentError{{
			Message:  fmt.Sprintf("a set has at most %d policies, not %d", MaxPolicies, len(mods)),
			Location: location(nil),
		}}}
	}
	docs := make([]*document, len(mods))
	var refused []ContentError
	for i, m := range mods {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("compiling policies: %w", err)
		}
		d, errs := parse(m.Name, m.Content)
		docs[i] = d
		refused = append(refused, errs...)
	}
	if refused != nil {
		return nil, &InvalidError{Errors: refused}
	}
	if refused = resolve(docs); refused != nil {
		return nil, &InvalidError{Errors: refused}
	}
	rules := collectRules(docs)
	if refused = largeTrees(rules); refused != nil {
		return nil, &InvalidError{Errors: refused}
	}
	if conflict := findConflict(rules); conflict != nil {
		return nil, conflict
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("compiling policies: %w", err)
	}
	compiler, refused := compile(docs)
	if refused != nil {
		return nil, &InvalidError{Errors: refused}
	}
	p := &program{documents: docs, compiler: compiler, track: needsTracking(rules)}
	interpreter, err := newTopdown(p)
	if err != nil {
		return nil, &InvalidError{Errors: contentErrors(err, "")}
	}
	var e evaluator = interpreter
	var notCompiled error
	if ahead {
		var compiled *compiledEngine
		if compiled, notCompiled = newCompiled(ctx, p, interpreter.rules, library.compiling()); notCompiled == nil {
			e = compiled
			if compiled.program.MayContradict() {
				if compiled.reference, err = newReference(mods, interpreter); err != nil {
					return nil, err
				}
				defer compiled.reference.rest()
			}
		}
	}
	c := &compiledSet{
		evaluator: e, track: p.track, notCompiled: notCompiled,
		inputs: library.reads(findInputReads(docs)), origins: library.provenance(newProvenance(rules)),
		warnings: setWarnings(ctx, rules, e),
	}
	if compiled, ok := e.(*compiledEngine); ok {
		c.program = compiled.program
		c.projection = c.program.Projection(inputFields(), readAlways...)
	}
	if notCompiled != nil {
		c.warnings = append(c.warnings, interpretedWarning(notCompiled))
	}
	return c, nil
}

// Warnings are those of each policy and those across policies, with Policy
// naming the policy, in the order of the set. What a policy lacks by itself
// and has from another is not among them.
func (s *Set) Warnings() []Warning { return slices.Clone(s.warnings) }

// Modules are the modules the set was compiled from, in their order; without their
// content, where a Library has compiled it.
func (s *Set) Modules() []Module { return slices.Clone(s.modules) }

// InputsReferenced lists, sorted, the values of the input that rules read, such
// as "input.principal.id". A value that is read whole or by a computed key
// stands for all that is below it; "input" alone stands for everything.
func (s *Set) InputsReferenced() []string { return s.inputs.names() }

// ReadsInput reports whether a rule may read the value at an RFC 6901 pointer,
// something below it, or something that contains it. Where it cannot tell, it
// reports true.
func (s *Set) ReadsInput(pointer string) bool { return s.inputs.touch(pointer) }
