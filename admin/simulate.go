package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/policy"
)

// maxInputs is the most inputs of one simulation.
const maxInputs = 1000

// Values of api.Explanation.Evaluation.
const (
	evaluated    = "evaluated"
	notEvaluated = "not_evaluated"
	failed       = "failed"
)

func simulateRoutes() []route {
	return []route{
		asks("/v1/zones/{zone}/policy-sets/{set}/simulate", "policy_set.simulate",
			"Evaluate inputs by a set version with the engine that serves traffic; nothing changes", anyone, (*Server).simulate),
	}
}

func (s *Server) simulate(ctx context.Context, c *call, req *api.SimulateRequest) (api.Simulation, error) {
	var sim api.Simulation
	switch {
	case req.Input != nil && req.Inputs != nil:
		return sim, invalidBody("/inputs", "cannot be given together with input")
	case req.Trace && req.Inputs != nil:
		return sim, invalidBody("/trace", "cannot be given together with inputs: a trace is of one input")
	case req.Trace && req.Input == nil:
		return sim, invalidBody("/trace", "needs an input")
	case len(req.Inputs) > maxInputs:
		return sim, invalidBody("/inputs", "has %d inputs; at most %d are accepted", len(req.Inputs), maxInputs)
	case req.ExpectedDecision != "" && req.ExpectedDecision != policy.Allow && req.ExpectedDecision != policy.Deny:
		return sim, invalidBody("/expected_decision", "must be %q or %q", policy.Allow, policy.Deny)
	case !bundle.ValidID(req.VersionID):
		return sim, invalidBody("/version_id", "is no id")
	}
	var v store.SetVersion
	var list []api.SetPolicy
	err := s.store.View(ctx, func(tx store.Reader) (err error) {
		v, list, err = setVersion(ctx, tx, c, req.VersionID)
		return err
	})
	if err != nil {
		return sim, err
	}
	sim = api.Simulation{
		DryRun: true, PolicySetID: v.PolicySetID, VersionID: v.ID, SchemaVersion: v.SchemaVersion,
		InputSchemaVersion: policy.InputSchemaVersion, ManifestSHA256: v.ManifestSHA256, Policies: list, Warnings: []policy.Warning{},
	}
	set, err := s.compiled(ctx, v)
	if err != nil {
		p := invalidBundle(err)
		if p == nil {
			return sim, err
		}
		sim.Explanation = explain(v, failed, "", "the version cannot be loaded: "+p.reason)
		return sim, nil
	}
	sim.Warnings = append(sim.Warnings, set.Warnings()...)
	m := simulator{s: s, version: v, set: set, zone: c.zone(), expected: req.ExpectedDecision, blocked: blockedBy(sim.Warnings)}
	switch {
	case req.Inputs != nil:
		if sim.Results, err = m.all(ctx, req.Inputs); err != nil {
			return sim, err
		}
		sim.WouldActivate, sim.Explanation = m.sum(sim.Results)
	case req.Input != nil:
		one := m.one(ctx, req.Input)
		sim.WouldActivate, sim.Explanation, sim.Result = one.WouldActivate, one.Explanation, one.Result
		if req.Trace && one.Result != nil {
			if sim.Trace, err = m.trace(ctx, req.Input); err != nil {
				return sim, err
			}
		}
	case m.blocked != "":
		sim.Explanation = explain(v, notEvaluated, "", m.blocked)
	case m.expected != "":
		sim.Explanation = explain(v, notEvaluated, "", m.undecided())
	default:
		sim.WouldActivate = true
		sim.Explanation = explain(v, notEvaluated, "", "no input was given; the version compiles and nothing blocks it")
	}
	return sim, ctx.Err()
}

// blockedBy says which warning stops activation, "" for none.
func blockedBy(warnings []policy.Warning) string {
	for _, w := range warnings {
		if w.Blocking {
			return fmt.Sprintf("the warning %s blocks activation: %s", w.Code, w.Message)
		}
	}
	return ""
}

func explain(v store.SetVersion, evaluation, decision, reason string) api.Explanation {
	return api.Explanation{Evaluation: evaluation, Decision: decision, PolicySetVersionID: v.ID, ManifestSHA256: v.ManifestSHA256, Reason: reason}
}

// simulator evaluates inputs by one version.
type simulator struct {
	s        *Server
	version  store.SetVersion
	set      *policy.Set
	zone     string
	expected string
	blocked  string
}

// undecided is the reason where a decision is expected and there is nothing to decide.
func (m *simulator) undecided() string {
	return fmt.Sprintf("%s was expected, but no input was given", m.expected)
}

// one evaluates an input and says whether it speaks against activation.
func (m *simulator) one(ctx context.Context, raw json.RawMessage) api.SimulationResult {
	in, err := policy.ParseInput(raw)
	var invalid *policy.InputError
	switch {
	case errors.As(err, &invalid):
		e := explain(m.version, notEvaluated, "", "the input does not fit the schema: "+err.Error())
		e.InputError = api.InputError{Pointer: invalid.Pointer, Message: invalid.Message}
		return api.SimulationResult{Explanation: e}
	case err != nil:
		return api.SimulationResult{Explanation: explain(m.version, notEvaluated, "", err.Error())}
	case in.ZoneID() != m.zone:
		return api.SimulationResult{Explanation: explain(m.version, notEvaluated, "", fmt.Sprintf("the input is of the zone %q (/principal/zone_id), not of this one", in.ZoneID()))}
	}
	r := m.set.Evaluate(ctx, in, m.s.cfg.Limits)
	out := api.SimulationResult{Result: &r}
	switch {
	case r.EvaluationStatus == policy.StatusError:
		out.Explanation = explain(m.version, failed, r.Decision, "the evaluation failed: "+reasonOf(r))
	case m.blocked != "":
		out.Explanation = explain(m.version, evaluated, r.Decision, m.blocked)
	case m.expected != "" && r.Decision != m.expected:
		out.Explanation = explain(m.version, evaluated, r.Decision, fmt.Sprintf("the decision is %s, %s was expected: %s", r.Decision, m.expected, reasonOf(r)))
	default:
		out.WouldActivate = true
		out.Explanation = explain(m.version, evaluated, r.Decision, reasonOf(r))
	}
	return out
}

// trace tells how the rules came to the result of an input that was evaluated.
// Few are made at once: each compiles the set anew.
func (m *simulator) trace(ctx context.Context, raw json.RawMessage) (*policy.Trace, error) {
	in, err := policy.ParseInput(raw)
	if err != nil {
		return nil, err
	}
	var trace *policy.Trace
	err = m.s.work.use(ctx, func() (err error) {
		trace, err = m.set.Trace(ctx, in, m.s.cfg.Limits)
		return err
	})
	return trace, err
}

// reasonOf says in a line what gave a result.
func reasonOf(r policy.Result) string {
	text := r.Decision
	for i, p := range r.DeterminingPolicies {
		if name, ok := p["policy"].(string); ok {
			if i == 0 {
				text += " by " + name
			} else {
				text += ", " + name
			}
		}
	}
	for i, d := range r.Diagnostics {
		reason, ok := d["reason"].(string)
		if !ok {
			continue
		}
		if i == 0 {
			text += ": " + reason
		} else {
			text += ", " + reason
		}
		if message, ok := d["message"].(string); ok {
			text += " (" + message + ")"
		}
	}
	return text
}

// all evaluates inputs on all processors and keeps their order.
func (m *simulator) all(ctx context.Context, inputs []json.RawMessage) ([]api.SimulationResult, error) {
	results := make([]api.SimulationResult, len(inputs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, raw := range inputs {
		g.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			results[i] = m.one(ctx, raw)
			return nil
		})
	}
	return results, g.Wait()
}

// sum says whether any input speaks against activation, and gives the first that does.
func (m *simulator) sum(results []api.SimulationResult) (bool, api.Explanation) {
	against, first := 0, -1
	for i, r := range results {
		if !r.WouldActivate {
			against++
			if first < 0 {
				first = i
			}
		}
	}
	if first >= 0 {
		e := results[first].Explanation
		e.Reason = fmt.Sprintf("%d of %d inputs speak against it; the first is inputs[%d]: %s", against, len(results), first, e.Reason)
		return false, e
	}
	if m.blocked != "" {
		return false, explain(m.version, notEvaluated, "", m.blocked)
	}
	evaluation := evaluated
	if len(results) == 0 {
		if m.expected != "" {
			return false, explain(m.version, notEvaluated, "", m.undecided())
		}
		evaluation = notEvaluated
	}
	return true, explain(m.version, evaluation, "", fmt.Sprintf("none of %d inputs speaks against it", len(results)))
}
