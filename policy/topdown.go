package policy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/topdown/print"
	"github.com/open-policy-agent/opa/v1/types"
)

// topdownEngine evaluates with OPA's own evaluator.
type topdownEngine struct {
	compiler *ast.Compiler
	query    ast.Body
	output   ast.Var
	rules    int
	track    bool
	runner   runner
}

// newTopdown takes over p's compiler: it adds marks to the compiled rules and
// puts bounded built-ins in the place of unbounded ones.
func newTopdown(p *program) (*topdownEngine, error) {
	compiler := p.compiler.QueryCompiler()
	query, err := compiler.Compile(entryQuery())
	if err != nil {
		return nil, fmt.Errorf("compiling the entry point: %w", err)
	}
	e := &topdownEngine{compiler: p.compiler, query: query, output: outputVar, track: p.track}
	for rewritten, written := range compiler.RewrittenVars() {
		if written == outputVar {
			e.output = rewritten
		}
	}
	for i := range p.documents {
		m := p.compiler.Modules[moduleKey(i)]
		bindGuards(m)
		for _, r := range m.Rules {
			for part := r; p.track && part != nil; part = part.Else {
				mark(part, e.rules)
			}
			e.rules++
		}
	}
	return e, nil
}

// heldBuiltin is called at the end of each rule's body with the rule's number,
// its value and, for a rule that adds to a set or an object, the key it adds.
// Its name cannot be written in Rego.
var heldBuiltin = &ast.Builtin{
	Name: "caracal:held",
	Decl: types.NewFunction(types.Args(types.N, types.A, types.A), types.B),
}

var heldRef = ast.Ref{ast.VarTerm(heldBuiltin.Name)}

// mark makes rule r report that it held. It costs one call for each rule that
// does, where tracing costs an event for each expression and unification.
func mark(r *ast.Rule, number int) {
	if r.Default {
		return
	}
	value := ast.BooleanTerm(true)
	if r.Head.RuleKind() == ast.SingleValue && r.Head.Value != nil {
		value = r.Head.Value
	}
	key := ast.NullTerm()
	ref := r.Ref()
	if prefix := ref.StringPrefix(); len(prefix) < len(ref) {
		key = ref[len(prefix)]
	} else if r.Head.RuleKind() == ast.MultiValue {
		key = r.Head.Key
	}
	call := ast.NewExpr([]*ast.Term{ast.NewTerm(heldRef), ast.IntNumberTerm(number), value, key})
	call.Index = len(r.Body)
	call.Location = r.Location
	r.Body = append(r.Body, call)
}

func markHeld(bctx topdown.BuiltinContext, args []*ast.Term, iter func(*ast.Term) error) error {
	if m, ok := bctx.Cancel.(*meter); ok && !ast.Boolean(false).Equal(args[1].Value) {
		if n, ok := args[0].Value.(ast.Number); ok {
			if i, ok := n.Int(); ok && i < len(m.held) {
				m.held[i] = true
			}
		}
	}
	return iter(ast.InternedTerm(true))
}

func (e *topdownEngine) evaluate(ctx context.Context, in *Input, lim Limits, _ *results) (outcome, error) {
	in, err := in.whole() // an evaluation may outlast the caller's document
	if err != nil {
		return outcome{}, err
	}
	return e.runner.evaluate(ctx, lim, func(m *meter) (outcome, error) {
		return e.run(m, in.document(), nil)
	})
}

// evaluateSoon never evaluates: a call of a built-in cannot be interrupted.
func (e *topdownEngine) evaluateSoon(context.Context, *Input, Limits, *results, time.Duration) (outcome, error) {
	return outcome{}, errLater
}

// run evaluates for an input, nil for none, and tells tracers of it. hook, where it is
// not nil, is told what is printed.
func (e *topdownEngine) run(m *meter, in ast.Value, hook print.Hook, tracers ...topdown.QueryTracer) (o outcome, err error) {
	defer func() {
		if r := recover(); r != nil {
			o, err = outcome{}, &evaluationError{reason: ReasonError, message: "the evaluator failed: " + firstLine(r)}
		}
	}()
	if e.track {
		m.held = make([]bool, e.rules)
	}
	q := topdown.NewQuery(e.query).
		WithCompiler(e.compiler).
		WithStore(noData{}).
		WithTransaction(noTransaction{}).
		WithCancel(m).
		WithBuiltins(extraBuiltins()).
		WithSeed(noChance{}).
		WithTime(fixedTime).
		WithPrintHook(hook).
		WithEarlyExit(!e.track && tracers == nil).
		// An index leaves out rules that would read others before they fail, which
		// says nothing of what held.
		WithIndexing(!e.track && tracers == nil)
	if in != nil {
		q = q.WithInput(ast.NewTerm(in))
	}
	for _, t := range tracers {
		q = q.WithQueryTracer(t)
	}
	err = q.Iter(m.ctx, func(r topdown.QueryResult) error {
		if t := r[e.output]; t != nil {
			o.value = t.Value
		}
		return nil
	})
	if m.stopped != nil {
		return outcome{}, m.stopped
	}
	if err != nil {
		return outcome{}, evaluationFailure(err)
	}
	// What follows looks at all of the value, so it must be of bounded size.
	if o.value != nil && treeSize(o.value, m.left) >= m.left {
		return outcome{}, m.outOfMemory()
	}
	o.held = m.held
	return o, nil
}

// evaluationFailure keeps the place of the failure, for the author.
func evaluationFailure(err error) *evaluationError {
	var t *topdown.Error
	if !errors.As(err, &t) {
		return &evaluationError{reason: ReasonError, message: err.Error()}
	}
	message := t.Message
	if t.Location != nil {
		message = placed(message, t.Location.File, t.Location.Row, t.Location.Col)
	}
	return &evaluationError{reason: ReasonError, message: message, conflict: t.Code == topdown.ConflictErr}
}

// placed says where it was, for the author.
func placed(message, file string, row, col int) string {
	if row == 0 {
		return message
	}
	return fmt.Sprintf("%s (policy %s, row %d, col %d)", message, file, row, col)
}

// fixedTime and noChance take the place of the clock and of randomness, which
// no permitted built-in reads.
var (
	fixedTime     = time.Unix(0, 1).UTC()
	fixedTimeTerm = ast.IntNumberTerm(1)
)

type noChance struct{}

func (noChance) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// noData is a store without data: policies see their rules and the input only.
type noData struct {
	storage.TriggersNotSupported
	storage.PolicyNotSupported
	storage.WritesNotSupported
}

type noTransaction struct{}

func (noTransaction) ID() uint64 { return 0 }

func (noData) NewTransaction(context.Context, ...storage.TransactionParams) (storage.Transaction, error) {
	return noTransaction{}, nil
}

// errNoData is shared: reading what is not there is the normal case.
var errNoData = &storage.Error{Code: storage.NotFoundErr, Message: "document does not exist"}

func (noData) Read(_ context.Context, _ storage.Transaction, path storage.Path) (any, error) {
	if len(path) == 0 {
		return map[string]any{}, nil
	}
	return nil, errNoData
}

func (noData) Commit(context.Context, storage.Transaction) error { return nil }

func (noData) Abort(context.Context, storage.Transaction) {}

func (noData) Truncate(context.Context, storage.Transaction, storage.TransactionParams, storage.Iterator) error {
	return &storage.Error{Code: storage.WritesNotSupportedErr}
}
