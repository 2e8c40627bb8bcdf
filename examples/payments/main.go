// Command payments walks a policy from writing to audit, against caracal dev:
// validate, publish, simulate, activate, decide, and explain a denial. It can be
// run again: what is there already is used.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/examples/internal/scene"
	"github.com/caracalai/caracald/policy"
)

func main() {
	dir := flag.String("dir", "examples/payments", "directory of the example")
	flag.Parse()
	if err := walk(context.Background(), *dir); err != nil {
		fmt.Fprintln(os.Stderr, "payments:", err)
		os.Exit(1)
	}
}

func walk(ctx context.Context, dir string) error {
	s, err := scene.New(os.Stdout)
	if err != nil {
		return err
	}
	main, stepUp := filepath.Join(dir, "policies", "payments.rego"), filepath.Join(dir, "policies", "step_up.rego")

	s.Step("Validate the policy: OPA's compiler checks it, and a preview says what it reads.", "caracal policy validate "+main)
	content, err := os.ReadFile(main)
	if err != nil {
		return err
	}
	v, err := s.Validate(ctx, string(content))
	if err != nil {
		return err
	}
	s.Say("valid; decides %v; reads %v", v.Preview.Decisions, v.Preview.InputsReferenced)

	s.Step("Publish it: immutable versions, put together into one signed policy-set version.", "caracal policy create "+main+" && caracal policy-set add-version payments payments step-up")
	first, err := s.Publish(ctx, "payments", main)
	if err != nil {
		return err
	}
	second, err := s.Publish(ctx, "step-up", stepUp)
	if err != nil {
		return err
	}
	set, err := s.Set(ctx, "payments")
	if err != nil {
		return err
	}
	version, err := s.AddSetVersion(ctx, s.Zone, set.ID, first, second)
	if err != nil {
		return err
	}
	s.Say("version %d of the set %q", version.Version, set.Name)
	s.Say("manifest %s", version.ManifestSHA256)
	s.Say("bundle   %s (%d bytes)", version.BundleSHA256, version.BundleSize)

	refund, err := s.Input(filepath.Join(dir, "inputs", "refund.json"))
	if err != nil {
		return err
	}
	s.Step("Simulate it, before anybody is governed by it: a refund without step-up should be denied.", "caracal policy-set simulate payments --input "+filepath.Join(dir, "inputs", "refund.json")+" --expect deny")
	sim, err := s.Simulate(ctx, s.Zone, set.ID, api.SimulateRequest{VersionID: version.ID, Input: refund, ExpectedDecision: policy.Deny})
	if err != nil {
		return err
	}
	if !sim.WouldActivate {
		return fmt.Errorf("the simulation speaks against the version: %s", sim.Explanation.Reason)
	}
	s.Say("%s; nothing speaks against activation", sim.Explanation.Reason)

	s.Step("Activate it: the zone's signed pointer moves, and the daemon loads the bundle.", "caracal policy-set activate payments --wait 30s")
	done, err := s.ActivateAndWait(ctx, set.ID, version.ID, "the payments walk")
	if err != nil {
		return err
	}
	s.Say("sequence %d, loaded by the daemon", done.Sequence)

	for _, ask := range []struct{ file, what, want string }{
		{"read.json", "Ask the daemon, as an STS would before it mints a token: may this agent read?", policy.Allow},
		{"refund-confirmed.json", "May this operator's agent refund, once a person has confirmed?", policy.Allow},
		{"refund.json", "And without that?", policy.Deny},
	} {
		path := filepath.Join(dir, "inputs", ask.file)
		s.Step(ask.what, "caracal decide "+path)
		input, err := s.Input(path)
		if err != nil {
			return err
		}
		d, err := s.Decide(ctx, input)
		if err != nil {
			return err
		}
		s.Say("%s %s", d.Decision, scene.Why(d.Result))
		if d.Decision != ask.want {
			return fmt.Errorf("%s: the decision is %s, not %s", path, d.Decision, ask.want)
		}
		if d.BundleSHA256 != version.BundleSHA256 {
			return fmt.Errorf("%s: the decision was made by the bundle %s", path, d.BundleSHA256)
		}
		if d.Decision == policy.Allow {
			continue
		}
		s.Step("Explain the denial from the audit: which policy, why, and the exact input.", "caracal audit explain "+d.RequestID)
		e, err := s.Denial(ctx, d.RequestID)
		if err != nil {
			return err
		}
		denied := e.Denied[0]
		s.Say("%s by %s", e.FinalDecision, denied.DeterminingPolicies)
		s.Say("because %s", denied.Diagnostics)
		var asked, audited bytes.Buffer
		if err := errors.Join(json.Compact(&asked, input), json.Compact(&audited, denied.PolicyInput)); err != nil {
			return err
		}
		if audited.String() != asked.String() {
			return fmt.Errorf("the audit has another input than was evaluated")
		}
		s.Say("the audit has the very input that was evaluated (%d bytes of JSON)", len(denied.PolicyInput))
	}
	return nil
}
