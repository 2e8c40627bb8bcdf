package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/caracalai/caracald/bench/workload"
	"github.com/caracalai/caracald/policy"
)

var errNoResult = errors.New("the policy gave no decision")

// Prepare prepares OPA's query of a workload's policy, as a service that embeds OPA does.
func Prepare(ctx context.Context, w *workload.Workload) (rego.PreparedEvalQuery, error) {
	options := []func(*rego.Rego){rego.Query(policy.EntryPoint)}
	for _, m := range w.Modules {
		options = append(options, rego.Module(m.Name+".rego", m.Content))
	}
	return rego.New(options...).PrepareForEval(ctx)
}

// OPA is OPA as a library.
func OPA(ctx context.Context, w *workload.Workload) (*Peer, error) {
	q, err := Prepare(ctx, w)
	if err != nil {
		return nil, err
	}
	return &Peer{
		Name:  "opa",
		Parse: func(raw []byte) (any, error) { return ast.ValueFromReader(bytes.NewReader(raw)) },
		Decide: func(parsed any) (bool, error) {
			result, err := one(q.Eval(ctx, rego.EvalParsedInput(parsed.(ast.Value))))
			if err != nil {
				return false, err
			}
			object, ok := result.(map[string]any)
			if !ok {
				return false, errNoResult
			}
			return object["decision"] == policy.Allow, nil
		},
		Answer: func(dst, raw []byte) ([]byte, error) {
			var input any
			if err := json.Unmarshal(raw, &input); err != nil {
				return dst, err
			}
			result, err := one(q.Eval(ctx, rego.EvalInput(input)))
			if err != nil {
				return dst, err
			}
			data, err := json.Marshal(result)
			return append(dst, data...), err
		},
	}, nil
}

func one(rs rego.ResultSet, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	if len(rs) != 1 || len(rs[0].Expressions) != 1 {
		return nil, errNoResult
	}
	return rs[0].Expressions[0].Value, nil
}
