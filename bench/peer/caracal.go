package peer

import (
	"context"
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
	var read policy.Input // reused, as by a daemon's worker
	return &Peer{
		Name:  "caracal",
		Parse: func(raw []byte) (any, error) { return policy.ParseInput(raw) },
		Decide: func(parsed any) (bool, error) {
			r := set.Evaluate(ctx, parsed.(*policy.Input), policy.DefaultLimits)
			if r.EvaluationStatus != policy.StatusComplete {
				return false, fmt.Errorf("the evaluation failed: %v", r.Diagnostics)
			}
			return r.Decision == policy.Allow, nil
		},
		Answer: func(dst, raw []byte) ([]byte, error) {
			if err := set.ReadInput(raw, &read); err != nil {
				return dst, err
			}
			a := set.Decide(ctx, &read, policy.DefaultLimits)
			if a.EvaluationStatus != policy.StatusComplete {
				return dst, fmt.Errorf("the evaluation failed: %s", a.Diagnostics)
			}
			return append(a.AppendJSON(append(dst, '{')), '}'), nil
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
