package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/client"
	"github.com/caracalai/caracald/policy"
)

func newSetCommand(a *app) *cobra.Command {
	return group("policy-set", "Policy sets: what a zone can be governed by",
		a.setList(), a.setCreate(), a.setGet(), a.setAddVersion(), a.setVersions(), a.setVersion(), a.setSimulate(), a.setReplay(),
		a.setActivate("activate SET [VERSION-ID]", "Make a version govern the zone; the newest by default", "caracal policy-set activate payments --wait 30s --reason 'refunds need step-up'", 1),
		a.setActivate("rollback SET VERSION-ID", "Make an older version govern the zone again", "caracal policy-set rollback payments 01a20be3-07c1-747a-9734-350fef73d44a --reason 'denied too much'", 2),
		a.setStatus(), a.setActive(), a.setHistory(),
		&cobra.Command{
			Use: "delete SET", Short: "Archive a set; a zone that it governs denies everything from then on", Args: args(1, 1),
			RunE: a.inZone(func(ctx context.Context, c *client.Client, zone string, list []string) error {
				s, err := findSet(ctx, c, zone, list[0])
				if err != nil {
					return err
				}
				return c.DeletePolicySet(ctx, zone, s.ID)
			}),
		})
}

// findSet finds a policy set by id or name.
func findSet(ctx context.Context, c *client.Client, zone, want string) (api.PolicySet, error) {
	for s, err := range client.All(ctx, func(ctx context.Context, at client.Page) (api.Page[api.PolicySet], error) {
		return c.PolicySets(ctx, zone, at)
	}) {
		if err != nil {
			return api.PolicySet{}, err
		}
		if s.ID == want || s.Name == want {
			return s, nil
		}
	}
	return api.PolicySet{}, fmt.Errorf("the zone has no policy set of the name or id %q", want)
}

// versionOf is the version that was named, or the set's newest.
func versionOf(ctx context.Context, c *client.Client, zone, set string, list []string) (string, error) {
	if len(list) > 0 {
		return list[0], nil
	}
	page, err := c.SetVersions(ctx, zone, set, client.Page{Limit: 1})
	if err != nil {
		return "", err
	}
	if len(page.Items) == 0 {
		return "", errors.New("the set has no version yet: caracal policy-set add-version")
	}
	return page.Items[0].ID, nil
}

func (a *app) setList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List policy sets", Args: noArgs,
		RunE: a.inZone(func(ctx context.Context, c *client.Client, zone string, _ []string) error {
			list, err := collect(client.All(ctx, func(ctx context.Context, at client.Page) (api.Page[api.PolicySet], error) {
				return c.PolicySets(ctx, zone, at)
			}))
			if err != nil {
				return err
			}
			return a.show(list, func() error {
				var rows [][]string
				for _, s := range list {
					rows = append(rows, []string{s.Name, s.ID, orDash(s.ActiveVersionID), when(s.CreatedAt)})
				}
				return a.table([]string{"NAME", "ID", "ACTIVE VERSION", "CREATED"}, rows)
			})
		}),
	}
}

func (a *app) setCreate() *cobra.Command {
	cmd := &cobra.Command{Use: "create NAME", Short: "Create a policy set", Args: args(1, 1)}
	description := cmd.Flags().String("description", "", "what the set is for")
	cmd.RunE = a.inZone(func(ctx context.Context, c *client.Client, zone string, list []string) error {
		s, err := c.CreatePolicySet(ctx, zone, api.PolicySetCreate{Name: list[0], Description: *description})
		if err != nil {
			return err
		}
		return a.show(s, func() error { return a.fields("policy set", s.Name, "id", s.ID) })
	})
	return cmd
}

func (a *app) setGet() *cobra.Command {
	return &cobra.Command{
		Use: "get SET", Short: "Show a policy set, given by name or id", Args: args(1, 1),
		RunE: a.inZone(func(ctx context.Context, c *client.Client, zone string, list []string) error {
			s, err := findSet(ctx, c, zone, list[0])
			if err != nil {
				return err
			}
			return a.show(s, func() error {
				return a.fields("policy set", s.Name, "id", s.ID, "description", s.Description, "active version", orDash(s.ActiveVersionID), "created", when(s.CreatedAt))
			})
		}),
	}
}

func (a *app) setAddVersion() *cobra.Command {
	return &cobra.Command{
		Use: "add-version SET POLICY...", Short: "Make a version of a set from policies", Args: args(2, -1),
		Long: `Makes a version of a set from policies, in order. A policy is given by its name,
which means its newest version, or as the id of one of its versions.`,
		Example: "  caracal policy-set add-version payments payments step-up",
		RunE: a.inZone(func(ctx context.Context, c *client.Client, zone string, list []string) error {
			s, err := findSet(ctx, c, zone, list[0])
			if err != nil {
				return err
			}
			policies, err := collect(client.All(ctx, func(ctx context.Context, at client.Page) (api.Page[api.Policy], error) {
				return c.Policies(ctx, zone, at)
			}))
			if err != nil {
				return err
			}
			ids := list[1:]
			for i, want := range ids {
				for _, p := range policies {
					if p.Name == want || p.ID == want {
						ids[i] = p.VersionID
					}
				}
			}
			v, err := c.AddSetVersion(ctx, zone, s.ID, ids...)
			if err != nil {
				return err
			}
			return a.show(v, func() error {
				if err := a.printWarnings(v.Warnings); err != nil {
					return err
				}
				return a.fields("policy set", s.Name, "version", strconv.Itoa(v.Version), "version id", v.ID, "manifest", v.ManifestSHA256, "bundle", v.BundleSHA256)
			})
		}),
	}
}

func (a *app) setVersions() *cobra.Command {
	return &cobra.Command{
		Use: "versions SET", Short: "List a set's versions", Args: args(1, 1),
		RunE: a.inZone(func(ctx context.Context, c *client.Client, zone string, list []string) error {
			s, err := findSet(ctx, c, zone, list[0])
			if err != nil {
				return err
			}
			all, err := collect(client.All(ctx, func(ctx context.Context, at client.Page) (api.Page[api.PolicySetVersion], error) {
				return c.SetVersions(ctx, zone, s.ID, at)
			}))
			if err != nil {
				return err
			}
			return a.show(all, func() error {
				var rows [][]string
				for _, v := range all {
					active := ""
					if s.ActiveVersionID != nil && *s.ActiveVersionID == v.ID {
						active = "active"
					}
					rows = append(rows, []string{strconv.Itoa(v.Version), v.ID, short(v.ManifestSHA256), short(v.BundleSHA256), v.CreatedBy, when(v.CreatedAt), active})
				}
				return a.table([]string{"VERSION", "ID", "MANIFEST", "BUNDLE", "BY", "CREATED", ""}, rows)
			})
		}),
	}
}

func (a *app) setVersion() *cobra.Command {
	return &cobra.Command{
		Use: "version SET [VERSION-ID]", Short: "Show a version of a set with its policies; the newest by default", Args: args(1, 2),
		RunE: a.inZone(func(ctx context.Context, c *client.Client, zone string, list []string) error {
			s, err := findSet(ctx, c, zone, list[0])
			if err != nil {
				return err
			}
			id, err := versionOf(ctx, c, zone, s.ID, list[1:])
			if err != nil {
				return err
			}
			v, err := c.SetVersion(ctx, zone, s.ID, id)
			if err != nil {
				return err
			}
			return a.show(v, func() error {
				if err := a.fields("policy set", s.Name, "version", strconv.Itoa(v.Version), "version id", v.ID, "manifest", v.ManifestSHA256, "bundle", v.BundleSHA256); err != nil {
					return err
				}
				var rows [][]string
				for _, p := range v.Policies {
					rows = append(rows, []string{p.Name, strconv.Itoa(p.Version), p.PolicyVersionID, p.ContentSHA256})
				}
				return a.table([]string{"POLICY", "VERSION", "VERSION ID", "SHA-256"}, rows)
			})
		}),
	}
}

func (a *app) setSimulate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "simulate SET [VERSION-ID]", Short: "Evaluate inputs by a version; nothing changes", Args: args(1, 2),
		Long: `Evaluates inputs by a version of a set, the newest by default, with the engine that
serves traffic. The exit code is 1 where something speaks against activation.
With --trace it shows, for one input, which rules held, and of each other one the
condition that kept it from holding; of several attempts, the one that came furthest.`,
		Example: `  caracal policy-set simulate payments --input examples/payments/inputs/refund.json --expect deny
  caracal audit explain REQUEST-ID --input | caracal policy-set simulate payments --input - --trace`,
	}
	inputs := cmd.Flags().StringArray("input", nil, "file with an input, - for standard input; may be repeated")
	expect := cmd.Flags().String("expect", "", "the decision that is expected: allow or deny")
	trace := cmd.Flags().Bool("trace", false, "show which rules held and why others did not; takes one --input")
	cmd.RunE = a.inZone(func(ctx context.Context, c *client.Client, zone string, list []string) error {
		if *trace && len(*inputs) != 1 {
			return fmt.Errorf("%w: --trace takes exactly one --input", errUsage)
		}
		s, err := findSet(ctx, c, zone, list[0])
		if err != nil {
			return err
		}
		id, err := versionOf(ctx, c, zone, s.ID, list[1:])
		if err != nil {
			return err
		}
		req := api.SimulateRequest{VersionID: id, ExpectedDecision: *expect, Trace: *trace}
		for _, name := range *inputs {
			data, err := a.input(name, a.zone)
			if err != nil {
				return err
			}
			req.Inputs = append(req.Inputs, data)
		}
		if len(req.Inputs) == 1 {
			req.Input, req.Inputs = req.Inputs[0], nil
		}
		sim, err := c.Simulate(ctx, zone, s.ID, req)
		if err != nil {
			return err
		}
		if err := a.show(sim, func() error { return a.printSimulation(sim, *inputs) }); err != nil {
			return err
		}
		if !sim.WouldActivate {
			return fmt.Errorf("the version would not be activated: %s", sim.Explanation.Reason)
		}
		return nil
	})
	return cmd
}

// input reads an input document. The word ZONE_ID in it stands for the zone in
// use, so that examples work in any.
func (a *app) input(name string, zone func() (string, error)) (json.RawMessage, error) {
	data, err := a.text(name)
	if err != nil {
		return nil, err
	}
	if stands := []byte(`"ZONE_ID"`); bytes.Contains(data, stands) {
		id, err := zone()
		if err != nil {
			return nil, err
		}
		data = bytes.ReplaceAll(data, stands, []byte(strconv.Quote(id)))
	}
	var syntax *json.SyntaxError
	var whole json.RawMessage
	if err := json.Unmarshal(data, &whole); errors.As(err, &syntax) {
		return nil, fmt.Errorf("%s is not JSON at byte %d: %w", name, syntax.Offset, err)
	} else if err != nil {
		return nil, fmt.Errorf("%s is not JSON: %w", name, err)
	}
	return data, nil
}

func (a *app) printSimulation(sim api.Simulation, names []string) error {
	if err := a.printWarnings(sim.Warnings); err != nil {
		return err
	}
	verdict := "nothing speaks against activation"
	if !sim.WouldActivate {
		verdict = "would not be activated"
	}
	if err := a.fields("version", sim.VersionID, "outcome", verdict, "reason", sim.Explanation.Reason); err != nil {
		return err
	}
	if sim.Result != nil {
		if err := a.printResult(*sim.Result); err != nil {
			return err
		}
		return a.printTrace(sim.Trace)
	}
	for i, r := range sim.Results {
		if err := a.print(names[i] + ": " + r.Explanation.Reason); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) printResult(r policy.Result) error {
	var by, why []string
	for _, p := range r.DeterminingPolicies {
		by = append(by, fmt.Sprint(p["policy"]))
	}
	for _, d := range r.Diagnostics {
		data, err := json.Marshal(d)
		if err != nil {
			return err
		}
		why = append(why, string(data))
	}
	return a.fields("decision", r.Decision, "status", r.EvaluationStatus, "determined by", strings.Join(by, ", "), "diagnostics", strings.Join(why, " "))
}

func (a *app) setActivate(use, about, example string, least int) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: about, Args: args(least, 2), Example: "  " + example}
	reason := cmd.Flags().String("reason", "", "why, for the history and the audit")
	expected := cmd.Flags().String("expect-active", "", "activate only if this version is active now; none for nothing")
	wait := cmd.Flags().Duration("wait", 0, "wait so long at most until the daemons have loaded it")
	cmd.RunE = a.inZone(func(ctx context.Context, c *client.Client, zone string, list []string) error {
		s, err := findSet(ctx, c, zone, list[0])
		if err != nil {
			return err
		}
		id, err := versionOf(ctx, c, zone, s.ID, list[1:])
		if err != nil {
			return err
		}
		req := api.ActivateRequest{VersionID: id, Reason: *reason}
		switch *expected {
		case "":
		case "none":
			req.ExpectedActiveVersionID = json.RawMessage("null")
		default:
			if req.ExpectedActiveVersionID, err = json.Marshal(*expected); err != nil {
				return err
			}
		}
		done, err := c.Activate(ctx, zone, s.ID, req)
		if err != nil {
			return err
		}
		if *wait > 0 {
			if err := a.waitLoaded(ctx, c, zone, s.ID, done, *wait); err != nil {
				return fmt.Errorf("activated as sequence %d: %w", done.Sequence, err)
			}
		}
		return a.show(done, func() error {
			state := "activated"
			if *wait > 0 {
				state = "activated and loaded"
			}
			return a.fields("version id", done.VersionID, "state", state, "sequence", strconv.FormatInt(done.Sequence, 10))
		})
	})
	return cmd
}

// waitLoaded shows how many daemons have loaded a version until as many have as
// the zone wants, and which have not where that does not come.
func (a *app) waitLoaded(ctx context.Context, c *client.Client, zone, set string, done api.Activated, most time.Duration) error {
	waiting, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	bar := a.progress(-1, "waiting for the daemons")
	var last api.ActivationStatus
	_, err := c.WaitLoaded(waiting, zone, set, done.VersionID, done.OutboxID, func(st api.ActivationStatus) {
		last = st
		bar.ChangeMax(max(1, st.Rollout.Wanted))
		_ = bar.Set(min(st.Rollout.Loaded, max(1, st.Rollout.Wanted))) // only a picture
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil { // that it was interrupted, or failed, is told as that
		r := last.Rollout
		err = fmt.Errorf("after %v it is loaded by %d of %d reachable daemons, and wanted on %d", most, r.Loaded, r.Reachable, r.Wanted)
	}
	err = errors.Join(err, bar.Finish())
	if err != nil && !a.json {
		err = errors.Join(err, a.printRollout(last.Rollout))
	}
	return err
}

func (a *app) setStatus() *cobra.Command {
	cmd := &cobra.Command{Use: "activation-status SET [VERSION-ID]", Short: "Tell how far an activation has come; of the newest version by default", Args: args(1, 2)}
	outbox := cmd.Flags().String("outbox", "", "outbox id of one activation")
	cmd.RunE = a.inZone(func(ctx context.Context, c *client.Client, zone string, list []string) error {
		s, err := findSet(ctx, c, zone, list[0])
		if err != nil {
			return err
		}
		id, err := versionOf(ctx, c, zone, s.ID, list[1:])
		if err != nil {
			return err
		}
		st, err := c.ActivationStatus(ctx, zone, s.ID, id, *outbox)
		if err != nil {
			return err
		}
		return a.show(st, func() error {
			err := a.fields("version id", st.VersionID, "active", strconv.FormatBool(st.Active), "state", st.PropagationStatus, "detail", st.STS.Detail,
				"daemons", fmt.Sprintf("%d, of them %d loaded, %d failed, %d lagging", st.Daemons.Total, st.Daemons.Loaded, st.Daemons.Failed, st.Daemons.Lagging),
				"wanted", fmt.Sprintf("%d of %d reachable", st.Rollout.Wanted, st.Rollout.Reachable))
			return errors.Join(err, a.printRollout(st.Rollout))
		})
	})
	return cmd
}

func (a *app) setActive() *cobra.Command {
	return &cobra.Command{
		Use: "active", Short: "Show what governs the zone", Args: noArgs,
		RunE: a.inZone(func(ctx context.Context, c *client.Client, zone string, _ []string) error {
			act, err := c.Active(ctx, zone)
			if err != nil {
				return err
			}
			return a.show(act, func() error {
				return a.fields("policy set", orDash(act.PolicySetID), "version id", orDash(act.PolicySetVersionID), "sequence", strconv.FormatInt(act.Sequence, 10),
					"manifest", orDash(act.ManifestSHA256), "bundle", orDash(act.BundleSHA256), "since", when(act.Since), "by", act.ActivatedBy, "reason", act.Reason)
			})
		}),
	}
}

func (a *app) setHistory() *cobra.Command {
	return &cobra.Command{
		Use: "history", Short: "List the zone's activations", Args: noArgs,
		RunE: a.inZone(func(ctx context.Context, c *client.Client, zone string, _ []string) error {
			list, err := collect(client.All(ctx, func(ctx context.Context, at client.Page) (api.Page[api.Activation], error) {
				return c.Activations(ctx, zone, at)
			}))
			if err != nil {
				return err
			}
			return a.show(list, func() error {
				var rows [][]string
				for _, e := range list {
					rows = append(rows, []string{strconv.FormatInt(e.Sequence, 10), orDash(e.VersionID), e.ActorName, when(e.CreatedAt), e.Reason})
				}
				return a.table([]string{"SEQUENCE", "VERSION ID", "BY", "AT", "REASON"}, rows)
			})
		}),
	}
}
