// Command iterate fixes a denial the way it is done in earnest, against caracal
// dev after the payments walk: a real denial is explained, its exact input is
// simulated against a candidate, cases that must not change are simulated too,
// and only then the candidate is activated.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/examples/internal/scene"
	"github.com/caracalai/caracald/policy"
)

func main() {
	dir := flag.String("dir", "examples", "directory of the examples")
	flag.Parse()
	if err := iterate(context.Background(), *dir); err != nil {
		fmt.Fprintln(os.Stderr, "iterate:", err)
		os.Exit(1)
	}
}

// regression are cases whose decision the candidate must keep.
var regression = map[string]string{"read.json": policy.Allow, "refund-confirmed.json": policy.Allow, "refund-reader.json": policy.Deny}

func iterate(ctx context.Context, dir string) error {
	s, err := scene.New(os.Stdout)
	if err != nil {
		return err
	}
	payments := filepath.Join(dir, "payments")
	set, err := s.Set(ctx, "payments")
	if err != nil {
		return err
	}
	main, err := s.Publish(ctx, "payments", filepath.Join(payments, "policies", "payments.rego"))
	if err != nil {
		return err
	}

	s.Step("Begin where the payments walk ends: refunds need step-up.", "caracal policy-set activate payments --wait 30s")
	strict, err := s.Publish(ctx, "step-up", filepath.Join(payments, "policies", "step_up.rego"))
	if err != nil {
		return err
	}
	before, err := s.AddSetVersion(ctx, s.Zone, set.ID, main, strict)
	if err != nil {
		return err
	}
	if _, err := s.ActivateAndWait(ctx, set.ID, before.ID, "iterate: the strict policy"); err != nil {
		return err
	}
	s.Say("version %d governs the zone", before.Version)

	s.Step("An agent is denied.", "caracal decide "+filepath.Join(payments, "inputs", "refund.json"))
	input, err := s.Input(filepath.Join(payments, "inputs", "refund.json"))
	if err != nil {
		return err
	}
	denial, err := s.Decide(ctx, input)
	if err != nil {
		return err
	}
	s.Say("%s %s", denial.Decision, scene.Why(denial.Result))

	s.Step("The denial is explained from the audit.", "caracal audit explain "+denial.RequestID)
	e, err := s.Denial(ctx, denial.RequestID)
	if err != nil {
		return err
	}
	evaluated := e.Denied[0].PolicyInput
	s.Say("because %s", e.Denied[0].Diagnostics)

	s.Step("Its input, simulated against the version that denied it, gives the same decision.", "caracal audit explain "+denial.RequestID+" --input | caracal policy-set simulate payments "+before.ID+" --input -")
	again, err := s.Simulate(ctx, s.Zone, set.ID, api.SimulateRequest{VersionID: before.ID, Input: evaluated})
	if err != nil {
		return err
	}
	if again.Result == nil || again.Result.Decision != denial.Decision || scene.Why(*again.Result) != scene.Why(denial.Result) {
		return fmt.Errorf("the simulation came to something else: %s", again.Explanation.Reason)
	}
	s.Say("%s", again.Explanation.Reason)

	s.Step("A candidate exempts managed agents of operators, and is simulated with that very input.", "caracal policy add-version step-up "+filepath.Join(dir, "iterate", "policies", "step_up.rego"))
	lenient, err := s.Publish(ctx, "step-up", filepath.Join(dir, "iterate", "policies", "step_up.rego"))
	if err != nil {
		return err
	}
	candidate, err := s.AddSetVersion(ctx, s.Zone, set.ID, main, lenient)
	if err != nil {
		return err
	}
	if err := expect(ctx, s, set.ID, candidate.ID, evaluated, policy.Allow, "the denied input"); err != nil {
		return err
	}

	s.Step("Cases that must not change are simulated against it too.", "caracal policy-set simulate payments --input ... --expect ...")
	for _, name := range []string{"read.json", "refund-confirmed.json", "refund-reader.json"} {
		input, err := s.Input(filepath.Join(payments, "inputs", name))
		if err != nil {
			return err
		}
		if err := expect(ctx, s, set.ID, candidate.ID, input, regression[name], name); err != nil {
			return err
		}
	}

	s.Step("The candidate is activated, if nobody else activated something meanwhile, and loaded.", "caracal policy-set activate payments --expect-active "+before.ID+" --wait 30s")
	done, err := s.Activate(ctx, s.Zone, set.ID, api.ActivateRequest{
		VersionID: candidate.ID, ExpectedActiveVersionID: json.RawMessage(`"` + before.ID + `"`), Reason: "fixes the denial of request " + denial.RequestID,
	})
	if err != nil {
		return err
	}
	if _, err := s.WaitLoaded(ctx, s.Zone, set.ID, candidate.ID, done.OutboxID, nil); err != nil {
		return err
	}
	s.Say("sequence %d is loaded", done.Sequence)

	s.Step("The agent asks again.", "caracal decide "+filepath.Join(payments, "inputs", "refund.json"))
	now, err := s.Decide(ctx, input)
	if err != nil {
		return err
	}
	s.Say("%s by version %d of the set", now.Decision, candidate.Version)
	if now.Decision != policy.Allow || now.PolicySetVersionID != candidate.ID {
		return fmt.Errorf("the decision is %s, by %s", now.Decision, now.PolicySetVersionID)
	}
	return nil
}

// expect simulates an input and fails where the decision is not the expected one.
func expect(ctx context.Context, s *scene.Scene, set, version string, input json.RawMessage, want, what string) error {
	sim, err := s.Simulate(ctx, s.Zone, set, api.SimulateRequest{VersionID: version, Input: input, ExpectedDecision: want})
	if err != nil {
		return err
	}
	if !sim.WouldActivate {
		return fmt.Errorf("%s: %s", what, sim.Explanation.Reason)
	}
	s.Say("%s: %s", what, sim.Explanation.Reason)
	return nil
}
