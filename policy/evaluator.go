package policy

import (
	"context"
	"errors"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
)

// evaluator evaluates the entry point of one compiled set. Simulation, replay and
// production all go through the evaluator of a Set, so that a faster one takes
// over everywhere at once. An evaluator is immutable and safe for concurrent use.
type evaluator interface {
	// evaluate gives the value of the entry point for in, within lim. It
	// fails with an *evaluationError, or any other error, when there is no
	// value to trust.
	//
	// known are the results that the set remembers, nil for none.
	evaluate(ctx context.Context, in *Input, lim Limits, known *results) (outcome, error)
	// evaluateSoon is evaluate where that is done within a time, and errLater where it
	// is not. It never waits for anything.
	evaluateSoon(ctx context.Context, in *Input, lim Limits, known *results, soon time.Duration) (outcome, error)
}

// errLater is that an evaluation takes more time than there was.
var errLater = errors.New("the evaluation takes longer")

// outcome is what an evaluator found.
type outcome struct {
	// value is the value of the entry point, nil where it is undefined.
	value ast.Value
	// held says, for each rule of the set, numbered through its policies in
	// their order, whether it was evaluated to a value other than undefined
	// and false; nil where the evaluator was told not to track that. Defaults
	// never hold, and a rule with else branches is one rule.
	held []bool
	// known is the result, where the evaluator has it from an earlier evaluation;
	// value and held are nil then.
	known *remembered
	// keep remembers the result for the next evaluation that comes to the same;
	// nil where it may not.
	keep func(remembered)
}

// program is what evaluators are made from.
type program struct {
	documents []*document
	// compiler has the modules under moduleKey(i) for documents[i].
	compiler *ast.Compiler
	// track says whether outcomes need held.
	track bool
}

// evaluationError is a failure that an evaluator names.
type evaluationError struct {
	// reason is the diagnostic's reason.
	reason  string
	message string
	// conflict says that rules gave one document different values.
	conflict bool
}

func (e *evaluationError) Error() string { return e.reason + ": " + e.message }

// Reasons of diagnostics that the platform adds.
const (
	// ReasonNoRuleMatched says that the result is undefined.
	ReasonNoRuleMatched = "no_rule_matched"
	// ReasonInvalidResult says that the result has a wrong shape.
	ReasonInvalidResult = "invalid_result"
	// ReasonError says that evaluation failed, for example because two rules
	// gave one document different values.
	ReasonError = "evaluation_error"
	// ReasonTimeout says that the time limit ended the evaluation.
	ReasonTimeout = "evaluation_timeout"
	// ReasonCanceled says that the caller went away.
	ReasonCanceled = "evaluation_canceled"
	// ReasonMemory says that the memory limit ended the evaluation.
	ReasonMemory = "evaluation_memory_limit"
)
