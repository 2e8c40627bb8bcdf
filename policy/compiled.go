package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/caracalai/caracald/policy/engine"
)

// compiledEngine evaluates with the compiled engine.
type compiledEngine struct {
	program *engine.Program
	// reference has the last word where rules contradict each other; nil where none can.
	reference *reference
	runner    runner
	// unprompted is how many evaluations more do not begin where the caller is.
	unprompted atomic.Int32
}

// outputVar is the variable that the entry point's value is bound to.
const outputVar = ast.Var("result")

// noRuntime is what policies see of the process: nothing.
var noRuntime = ast.NewTerm(ast.NewObject())

// entryQuery asks for the entry point's value.
func entryQuery() ast.Body {
	return ast.NewBody(ast.Equality.Expr(ast.NewTerm(entryRef.Copy()), ast.NewTerm(outputVar)))
}

// foldLimits bounds what is evaluated once, when a set is compiled, in all.
var foldLimits = Limits{Timeout: 100 * time.Millisecond, MaxMemory: 8 << 20}

// newCompiled compiles what newTopdown has prepared, sharing functions with others
// where shared is not nil. It fails where the plan has
// something that the engine does not evaluate as topdown does.
func newCompiled(ctx context.Context, p *program, rules int, shared *engine.Functions) (*compiledEngine, error) {
	if err := errors.Join(keyedAlike(p), plannedAlike(p)); err != nil {
		return nil, err
	}
	program, err := compileQuery(ctx, p.compiler, entryQuery(), p.track, engine.Options{Rules: rules, Fold: newMeter(ctx, foldLimits), Functions: shared})
	if err != nil {
		return nil, err
	}
	return &compiledEngine{program: program}, nil
}

// compileQuery compiles a query over modules whose built-ins are guarded, and whose
// rules are marked where it is asked which of them hold.
func compileQuery(ctx context.Context, compiler *ast.Compiler, query ast.Body, track bool, opts engine.Options) (*engine.Program, error) {
	decls := map[string]*ast.Builtin{heldBuiltin.Name: heldBuiltin}
	for name, decl := range guardedDecls() {
		decls[name] = decl
	}
	for _, m := range compiler.Modules {
		unbindRelations(m)
		defer bindGuards(m) // for OPA's evaluator
	}
	plan, err := engine.Plan(ctx, compiler, query, decls)
	if err != nil {
		return nil, err
	}
	opts.Builtin, opts.Native = builtinFunc, unguarded
	if track {
		opts.Held = heldBuiltin.Name
	}
	opts.Prompt = func(name string) bool { return prompt[name] }
	return engine.Compile(plan, opts)
}

// builtinFunc finds what a compiled policy calls by that name.
func builtinFunc(name string) topdown.BuiltinFunc {
	for _, known := range [...]string{name, guardPrefix + name} {
		if b, ok := extraBuiltins()[known]; ok {
			return b.Func
		}
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
// it asks, as p.q := 1 beside p[x] := 2 or p[x][y] := z: OPA's evaluator then
// neither runs the others nor sees that they contradict each other, and its plan
// does both.
func keyedAlike(p *program) error {
	for i := range p.documents {
		for _, r := range p.compiler.Modules[moduleKey(i)].Rules {
			ref := r.Ref()
			prefix := ref.StringPrefix()
			beyond := len(ref) - len(prefix)
			if r.Head.RuleKind() == ast.MultiValue {
				if !p.track {
					continue
				}
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

// plannedAlike refuses expressions that OPA's planner takes for something else than its
// evaluator does. Relations, which walk is: in a negation the plan goes on where nothing
// was found, and without a place for what is found it goes on once, whatever the number
// of results. Comprehensions whose value nobody uses: the plan does not work them out,
// though rules may contradict each other in them, or hold.
func plannedAlike(p *program) (err error) {
	for i := range p.documents {
		ast.WalkExprs(p.compiler.Modules[moduleKey(i)], func(e *ast.Expr) bool {
			if t, ok := e.Terms.(*ast.Term); ok && ast.IsComprehension(t.Value) {
				err = errors.New("there is a comprehension whose value nobody uses")
			}
			if e.IsCall() {
				name := unguarded(e.Operator().String())
				if b := ast.BuiltinMap[name]; b != nil && b.Relation && (e.Negated || len(e.Operands()) <= b.Decl.Arity()) {
					err = fmt.Errorf("%s is negated, or without a place for what it finds", name)
				}
			}
			return err != nil
		})
	}
	return err
}

// evaluate runs the program where the caller is, unless that comes to a built-in
// that may take long: then it is run again where it can be left behind.
func (e *compiledEngine) evaluate(ctx context.Context, in *Input, lim Limits, known *results) (outcome, error) {
	in, err := e.readable(in)
	if err != nil {
		return outcome{}, err
	}
	contradicts := false
	if e.unprompted.Load() <= 0 || e.unprompted.Add(-1) < 0 {
		o, left, err := e.inPlace(ctx, in, lim, known)
		contradicts = e.doubted(err)
		switch {
		case errors.Is(err, engine.ErrSlow):
			e.unprompted.Store(unpromptedRuns)
		case !contradicts:
			return o, err
		}
		lim.Timeout = left
	}
	// A call that cannot be interrupted may outlast the caller's document.
	whole, err := in.whole()
	if err != nil {
		return outcome{}, err
	}
	return e.apart(ctx, whole, lim, known, contradicts)
}

// apart evaluates where the evaluation can be left behind; one that contradicts, as is
// known already, with OPA's evaluator.
func (e *compiledEngine) apart(ctx context.Context, in *Input, lim Limits, known *results, contradicts bool) (outcome, error) {
	return e.runner.evaluate(ctx, lim, func(m *meter) (outcome, error) {
		if !contradicts {
			o, err := e.run(in, m, known, false)
			if !e.doubted(err) {
				return o, err
			}
			m.left = m.limits.MaxMemory // what was built is garbage
		}
		return e.reference.evaluate(m, in)
	})
}

// doubted reports whether an evaluation failed as OPA's evaluator perhaps would not,
// which runs fewer rules where it is asked for one key of a document or finds that
// several rules agree, and does not see what others contradict.
func (e *compiledEngine) doubted(err error) bool {
	if err == nil || e.reference == nil {
		return false
	}
	var failure *evaluationError
	return errors.As(err, &failure) && failure.conflict
}

// readable is the input as the program reads it: whole, where it was read for another.
func (e *compiledEngine) readable(in *Input) (*Input, error) {
	if in.program == e.program {
		return in, nil
	}
	return in.whole()
}

// evaluateSoon runs the program where the caller is, for as long as that may take.
func (e *compiledEngine) evaluateSoon(ctx context.Context, in *Input, lim Limits, known *results, soon time.Duration) (outcome, error) {
	if e.unprompted.Load() > 0 {
		return outcome{}, errLater
	}
	in, err := e.readable(in)
	if err != nil {
		return outcome{}, err
	}
	short := lim
	short.Timeout = min(soon, lim.Timeout)
	o, _, err := e.inPlace(ctx, in, short, known)
	switch {
	case err == nil:
		return o, nil
	case errors.Is(err, engine.ErrSlow):
		e.unprompted.Store(unpromptedRuns)
		return outcome{}, errLater
	case e.doubted(err):
		return outcome{}, errLater
	case soon < lim.Timeout && outOfTime(err):
		return outcome{}, errLater
	}
	return outcome{}, err
}

func outOfTime(err error) bool {
	var stopped *evaluationError
	return errors.As(err, &stopped) && stopped.reason == ReasonTimeout
}

// unpromptedRuns is how many evaluations do not begin where the caller is after one
// that came to a built-in which may take long.
const unpromptedRuns = 64

// inPlace evaluates where the caller is. Where that fails, left is the time that was
// not used yet.
func (e *compiledEngine) inPlace(ctx context.Context, in *Input, lim Limits, known *results) (o outcome, left time.Duration, err error) {
	m := meters.Get().(*meter)
	m.begin(ctx, lim)
	if o, err = e.run(in, m, known, true); err != nil {
		left = time.Until(m.deadline)
	}
	*m = meter{}
	meters.Put(m)
	return o, left, err
}

// meters are those of evaluations that end when their caller's do.
var meters = sync.Pool{New: func() any { return new(meter) }}

// promptResult is the most parts that a result has which is put together where the
// caller is.
const promptResult = 1 << 14

func (e *compiledEngine) run(in *Input, m *meter, known *results, prompt bool) (o outcome, err error) {
	defer func() {
		if r := recover(); r != nil {
			o, err = outcome{}, &evaluationError{reason: ReasonError, message: "the evaluator failed: " + firstLine(r)}
		}
	}()
	if m.ctx.Err() != nil {
		return outcome{}, stoppedBy(m.ctx)
	}
	asked := engine.Evaluation{Input: in.compact, Meter: m, Prompt: prompt, Context: surroundings}
	if in.program != nil {
		asked.Slots = in.reading.Slots()
	}
	found, err := e.program.Evaluate(asked)
	defer found.Release()
	switch {
	case m.stopped != nil:
		return outcome{}, m.stopped
	case errors.Is(err, engine.ErrSlow):
		return outcome{}, err
	case err != nil:
		return outcome{}, engineFailure(err)
	case len(found.Results) == 0:
		return outcome{}, nil
	}
	value := found.Results[0].Get(string(outputVar))
	if n := value.Constant(); n != nil && known != nil {
		marks := unsafe.String((*byte)(unsafe.Pointer(unsafe.SliceData(found.Marked))), 4*len(found.Marked))
		if r := known.get(resultKey{n, marks}); r != nil {
			return outcome{known: r}, nil
		}
		o.keep = known.keeper(resultKey{n, strings.Clone(marks)})
	}
	// What follows looks at all of the value, so it must be of bounded size, as
	// topdownEngine has it.
	switch size := value.Parts(); {
	case size > m.left/scalarSize:
		return outcome{}, m.outOfMemory()
	case prompt && size > promptResult:
		return outcome{}, engine.ErrSlow
	}
	if o.value = value.AST(); treeSize(o.value, m.left) >= m.left {
		return outcome{}, m.outOfMemory()
	}
	o.held = slices.Clone(found.Held)
	return o, nil
}

// surroundings are those that OPA's built-ins see.
func surroundings(of engine.Meter) topdown.BuiltinContext {
	b := topdown.BuiltinContext{
		Time: fixedTimeTerm, Seed: noChance{}, Cache: map[any]any{}, Runtime: noRuntime,
		Capabilities: regoLanguage().capabilities,
	}
	if m, ok := of.(*meter); ok {
		b.Context = m.ctx
	}
	return b
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
