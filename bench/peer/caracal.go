package peer

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/caracalai/caracald/bench/workload"
	"github.com/caracalai/caracald/policy"
)

// Caracal is this project's engine.
func Caracal(ctx context.Context, w *workload.Workload) (*Peer, error) {
	worker, err := CaracalWorkers(ctx, w)
	if err != nil {
		return nil, err
	}
	return worker(), nil
}

// CaracalWorkers compiles a workload's policy once. What it gives back makes
// peers of it, one for each goroutine.
func CaracalWorkers(ctx context.Context, w *workload.Workload) (func() *Peer, error) {
	set, err := policy.Compile(ctx, Modules(w))
	if err != nil {
		return nil, err
	}
	return func() *Peer { return caracal(ctx, set) }, nil
}

func caracal(ctx context.Context, set *policy.Set) *Peer {
	decide := func(in *policy.Input) (policy.Result, error) {
		r := set.Evaluate(ctx, in, policy.DefaultLimits)
		if r.EvaluationStatus != policy.StatusComplete {
			return r, fmt.Errorf("the evaluation failed: %v", r.Diagnostics)
		}
		return r, nil
	}
	var read policy.Input // reused, as by a daemon's worker
	return &Peer{
		Name:  "caracal",
		Parse: func(raw []byte) (any, error) { return policy.ParseInput(raw) },
		Decide: func(parsed any) (bool, error) {
			r, err := decide(parsed.(*policy.Input))
			return r.Decision == policy.Allow, err
		},
		Answer: func(dst, raw []byte) ([]byte, error) {
			if err := set.ReadInput(raw, &read); err != nil {
				return dst, err
			}
			r, err := decide(&read)
			if err != nil {
				return dst, err
			}
			return appendResult(dst, r)
		},
	}
}

// Modules are a workload's modules as a policy set has them.
func Modules(w *workload.Workload) []policy.Module {
	mods := make([]policy.Module, len(w.Modules))
	for i, m := range w.Modules {
		mods[i] = policy.Module{PolicyID: m.Name, VersionID: m.Name + "-1", Name: m.Name, Content: m.Content}
	}
	return mods
}

// appendResult encodes as the daemon does: by hand, apart from what an author wrote.
func appendResult(dst []byte, r policy.Result) ([]byte, error) {
	dst = append(dst, `{"decision":"`...)
	dst = append(dst, r.Decision...)
	dst = append(dst, `","evaluation_status":"`...)
	dst = append(dst, r.EvaluationStatus...)
	dst = append(dst, `","determining_policies":`...)
	dst, err := appendEntries(dst, r.DeterminingPolicies)
	if err != nil {
		return dst, err
	}
	dst = append(dst, `,"diagnostics":`...)
	if dst, err = appendEntries(dst, r.Diagnostics); err != nil {
		return dst, err
	}
	return append(dst, '}'), nil
}

func appendEntries(dst []byte, entries []policy.Entry) ([]byte, error) {
	if len(entries) == 0 {
		return append(dst, "[]"...), nil
	}
	data, err := json.Marshal(entries)
	return append(dst, data...), err
}
