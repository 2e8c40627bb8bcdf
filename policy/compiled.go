package policy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/caracalai/caracald/policy/engine"
)

// compiledEngine evaluates with the compiled engine.
type compiledEngine struct {
	program *engine.Program
	runner  *runner
}

// outputVar is the variable that the entry point's value is bound to.
const outputVar = ast.Var("result")

// noRuntime is what policies see of the process: nothing.
var noRuntime = ast.NewTerm(ast.NewObject())

// entryQuery asks for the entry point's value.
func entryQuery() ast.Body {
	return ast.NewBody(ast.Equality.Expr(ast.NewTerm(entryRef.Copy()), ast.NewTerm(outputVar)))
}

// foldLimits bounds what is evaluated once, when a set is compiled.
var foldLimits = Limits{Timeout: 100 * time.Millisecond, MaxMemory: 8 << 20}

// newCompiled compiles what newTopdown has prepared. It fails where the plan has
// something that the engine does not evaluate as topdown does.
func newCompiled(ctx context.Context, p *program, rules int) (*compiledEngine, error) {
	if p.track {
		if err := keyedAlike(p); err != nil {
			return nil, err
		}
	}
	decls := map[string]*ast.Builtin{heldBuiltin.Name: heldBuiltin}
	for name, decl := range guardedDecls() {
		decls[name] = decl
	}
	plan, err := engine.Plan(ctx, p.compiler, entryQuery(), decls)
	if err != nil {
		return nil, err
	}
	program, err := engine.Compile(plan, engine.Options{
		Builtin: builtinFunc,
		Native:  unguarded,
		Held:    heldBuiltin.Name,
		Rules:   rules,
		Fold:    func() engine.Meter { return newMeter(ctx, foldLimits) },
	})
	if err != nil {
		return nil, err
	}
	return &compiledEngine{program: program, runner: &runner{}}, nil
}

// builtinFunc finds what a compiled policy calls by that name.
func builtinFunc(name string) topdown.BuiltinFunc {
	if b, ok := extraBuiltins()[name]; ok {
		return b.Func
	}
	return topdown.GetBuiltin(name)
}

// unguarded is the name of the built-in that a bounded one bounds.
func unguarded(name string) string {
	if len(name) > len(guardPrefix) && name[:len(guardPrefix)] == guardPrefix {
		return name[len(guardPrefix):]
	}
	return name
}

// keyedAlike refuses rules for which a lookup by key does not say which of them
// it asks, as p.q := 1 beside p[x] := 2.
func keyedAlike(p *program) error {
	for i := range p.documents {
		for _, r := range p.compiler.Modules[moduleKey(i)].Rules {
			ref := r.Ref()
			prefix := ref.StringPrefix()
			beyond := len(ref) - len(prefix)
			if r.Head.RuleKind() == ast.MultiValue {
				beyond++
			}
			if beyond > 1 {
				return fmt.Errorf("the rule %s has keys of keys", ref)
			}
			if beyond == 1 && len(p.compiler.GetRulesWithPrefix(prefix)) != len(p.compiler.GetRulesExact(prefix)) {
				return fmt.Errorf("the rule %s has other rules below it", ref)
			}
		}
	}
	return nil
}

func (e *compiledEngine) evaluate(ctx context.Context, in *Input, lim Limits) (outcome, error) {
	if !e.program.Foreign() {
		return e.run(in, newMeter(ctx, lim))
	}
	return e.runner.evaluate(ctx, lim, func(m *meter) (outcome, error) { return e.run(in, m) })
}

func (e *compiledEngine) run(in *Input, m *meter) (o outcome, err error) {
	defer func() {
		if r := recover(); r != nil {
			o, err = outcome{}, &evaluationError{reason: ReasonError, message: "the evaluator failed: " + firstLine(r)}
		}
	}()
	if m.look(); m.stopped != nil {
		return outcome{}, m.stopped
	}
	err = e.program.Evaluate(engine.Evaluation{
		Input: in.compact,
		Meter: m,
		Context: func() topdown.BuiltinContext {
			return topdown.BuiltinContext{
				Context: m.ctx, Time: fixedTimeTerm, Seed: noChance{}, Cache: map[any]any{}, Runtime: noRuntime,
				Capabilities: regoLanguage().capabilities,
			}
		},
	}, func(found engine.Outcome) error {
		if len(found.Results) > 0 {
			o.value = found.Results[0].Get(string(outputVar)).AST()
		}
		o.held = append([]bool(nil), found.Held...)
		return nil
	})
	if m.stopped != nil {
		return outcome{}, m.stopped
	}
	if err != nil {
		return outcome{}, engineFailure(err)
	}
	return o, nil
}

// engineFailure keeps the place of the failure, for the author.
func engineFailure(err error) *evaluationError {
	failure := &evaluationError{reason: ReasonError, message: err.Error(), conflict: errors.Is(err, engine.ErrConflict)}
	var at *engine.Error
	if errors.As(err, &at) {
		failure.message = placed(at.Message, at.File, at.Row, at.Col)
	}
	return failure
}
