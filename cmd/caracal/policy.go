package main

import (
	"context"
	"fmt"
	"iter"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/client"
	"github.com/caracalai/caracald/policy"
)

// collect goes through a list to its end.
func collect[T any](list iter.Seq2[T, error]) ([]T, error) {
	all := []T{}
	for item, err := range list {
		if err != nil {
			return nil, err
		}
		all = append(all, item)
	}
	return all, nil
}

func newPolicyCommand(a *app) *cobra.Command {
	return group("policy", "Policies: named Rego documents and their versions",
		a.policyList(), a.policyGet(), a.policyCreate(), a.policyAddVersion(), a.policyVersion(), a.policyValidate(), a.policyTest(), a.policyExplainPlan(), a.policyTemplates(),
		&cobra.Command{
			Use: "delete POLICY", Short: "Archive a policy; set versions that have it keep working", Args: args(1, 1),
			RunE: a.inZone(func(ctx context.Context, c *client.Client, zone string, list []string) error {
				p, err := findPolicy(ctx, c, zone, list[0])
				if err != nil {
					return err
				}
				return c.DeletePolicy(ctx, zone, p.ID)
			}),
		})
}

// findPolicy finds a policy by id or name.
func findPolicy(ctx context.Context, c *client.Client, zone, want string) (api.Policy, error) {
	for p, err := range client.All(ctx, func(ctx context.Context, at client.Page) (api.Page[api.Policy], error) {
		return c.Policies(ctx, zone, at)
	}) {
		if err != nil {
			return api.Policy{}, err
		}
		if p.ID == want || p.Name == want {
			return p, nil
		}
	}
	return api.Policy{}, fmt.Errorf("the zone has no policy of the name or id %q", want)
}

func (a *app) policyList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List policies with their newest versions", Args: noArgs,
		RunE: a.inZone(func(ctx context.Context, c *client.Client, zone string, _ []string) error {
			list, err := collect(client.All(ctx, func(ctx context.Context, at client.Page) (api.Page[api.Policy], error) {
				return c.Policies(ctx, zone, at)
			}))
			if err != nil {
				return err
			}
			return a.show(list, func() error {
				var rows [][]string
				for _, p := range list {
					rows = append(rows, []string{p.Name, strconv.Itoa(p.Version.Version), p.VersionID, p.ID, when(p.Version.CreatedAt)})
				}
				return a.table([]string{"NAME", "VERSION", "VERSION ID", "ID", "VERSION CREATED"}, rows)
			})
		}),
	}
}

func (a *app) policyGet() *cobra.Command {
	return &cobra.Command{
		Use: "get POLICY", Short: "Show a policy, given by name or id, with its versions", Args: args(1, 1),
		RunE: a.inZone(func(ctx context.Context, c *client.Client, zone string, list []string) error {
			found, err := findPolicy(ctx, c, zone, list[0])
			if err != nil {
				return err
			}
			p, err := c.Policy(ctx, zone, found.ID)
			if err != nil {
				return err
			}
			return a.show(p, func() error {
				if err := a.fields("policy", p.Name, "id", p.ID, "description", p.Description); err != nil {
					return err
				}
				var rows [][]string
				for _, v := range p.Versions {
					rows = append(rows, []string{strconv.Itoa(v.Version), v.ID, short(v.ContentSHA256), v.CreatedBy, when(v.CreatedAt)})
				}
				return a.table([]string{"VERSION", "ID", "SHA-256", "BY", "CREATED"}, rows)
			})
		}),
	}
}

func (a *app) policyCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "create FILE", Short: "Create a policy from a file, or from standard input for -", Args: args(1, 1),
		Example: "  caracal policy create policies/payments.rego --name payments",
	}
	name := cmd.Flags().String("name", "", "the policy's name; the file's by default")
	description := cmd.Flags().String("description", "", "what the policy is for")
	tests := testsFlag(cmd)
	cmd.RunE = a.inZone(func(ctx context.Context, c *client.Client, zone string, list []string) error {
		content, err := a.text(list[0])
		if err != nil {
			return err
		}
		kept, err := a.tests(*tests)
		if err != nil {
			return err
		}
		if *name == "" {
			if list[0] == "-" {
				return fmt.Errorf("%w: content from standard input needs --name", errUsage)
			}
			*name = strings.TrimSuffix(filepath.Base(list[0]), ".rego")
		}
		p, err := c.CreatePolicy(ctx, zone, api.PolicyCreate{Name: *name, Description: *description, Content: string(content), Tests: kept})
		if err != nil {
			return err
		}
		return a.show(p, func() error { return a.fields("policy", p.Name, "id", p.ID, "version", "1", "version id", p.VersionID) })
	})
	return cmd
}

func (a *app) policyAddVersion() *cobra.Command {
	cmd := &cobra.Command{
		Use: "add-version POLICY FILE", Short: "Add a version to a policy, given by name or id", Args: args(2, 2),
		Example: "  caracal policy add-version payments policies/payments.rego --tests policies/payments_test.rego",
	}
	tests := testsFlag(cmd)
	cmd.RunE = a.inZone(func(ctx context.Context, c *client.Client, zone string, list []string) error {
		content, err := a.text(list[1])
		if err != nil {
			return err
		}
		kept, err := a.tests(*tests)
		if err != nil {
			return err
		}
		p, err := findPolicy(ctx, c, zone, list[0])
		if err != nil {
			return err
		}
		v, err := c.AddPolicyVersion(ctx, zone, p.ID, api.PolicyVersionCreate{Content: string(content), Tests: kept})
		if err != nil {
			return err
		}
		return a.show(v, func() error {
			return a.fields("policy", p.Name, "version", strconv.Itoa(v.Version), "version id", v.ID, "sha-256", v.ContentSHA256)
		})
	})
	return cmd
}

func testsFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("tests", "", "a `FILE` of tests that is kept beside the version; no bundle has it")
}

// tests reads the file of tests, if one was named.
func (a *app) tests(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	data, err := a.text(file)
	return string(data), err
}

func (a *app) policyVersion() *cobra.Command {
	cmd := &cobra.Command{Use: "version POLICY VERSION-ID", Short: "Print the content of a version, or its tests", Args: args(2, 2)}
	tests := cmd.Flags().Bool("tests", false, "print the tests that are kept beside the version")
	cmd.RunE = a.inZone(func(ctx context.Context, c *client.Client, zone string, list []string) error {
		p, err := findPolicy(ctx, c, zone, list[0])
		if err != nil {
			return err
		}
		v, err := c.PolicyVersion(ctx, zone, p.ID, list[1])
		if err != nil {
			return err
		}
		return a.show(v, func() error {
			text := v.Content
			if *tests {
				text = v.Tests
			}
			_, err := fmt.Fprint(a.out, text)
			return err
		})
	})
	return cmd
}

func (a *app) policyTemplates() *cobra.Command {
	return &cobra.Command{
		Use: "templates [ID]", Short: "List policies to begin with, or print one", Args: args(0, 1),
		Example: "  caracal policy templates resource-grants > grants.rego",
		RunE: func(_ *cobra.Command, list []string) error {
			templates := policy.Templates() // the control plane has the same
			if len(list) == 0 {
				return a.show(templates, func() error {
					var rows [][]string
					for _, t := range templates {
						rows = append(rows, []string{t.ID, t.Description})
					}
					return a.table([]string{"ID", "DESCRIPTION"}, rows)
				})
			}
			for _, t := range templates {
				if t.ID == list[0] {
					return a.show(t, func() error {
						_, err := fmt.Fprint(a.out, t.Content)
						return err
					})
				}
			}
			return fmt.Errorf("there is no template %q", list[0])
		},
	}
}

func (a *app) policyValidate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "validate FILE", Short: "Check a policy and preview what it does", Args: args(1, 1),
		Long: "Checks a policy and previews what it does. With --local no control plane is asked;\nboth do exactly the same.",
	}
	local := cmd.Flags().Bool("local", false, "check on this machine")
	cmd.RunE = func(cmd *cobra.Command, list []string) error {
		content, err := a.text(list[0])
		if err != nil {
			return err
		}
		var v policy.Validation
		if *local {
			checked, err := policy.Validate(cmd.Context(), string(content))
			if err != nil {
				return fmt.Errorf("%s: %w", list[0], err)
			}
			v = *checked
		} else {
			c, err := a.client()
			if err != nil {
				return err
			}
			if v, err = c.Validate(cmd.Context(), string(content)); err != nil {
				return fmt.Errorf("%s: %w", list[0], err)
			}
		}
		return a.show(v, func() error {
			if err := a.print(list[0] + " is valid"); err != nil {
				return err
			}
			if err := a.printWarnings(v.Warnings); err != nil {
				return err
			}
			return a.fields("rules", strings.Join(v.Preview.Rules, ", "), "decisions", strings.Join(v.Preview.Decisions, ", "), "reads", strings.Join(v.Preview.InputsReferenced, ", "))
		})
	}
	return cmd
}

func (a *app) policyExplainPlan() *cobra.Command {
	return &cobra.Command{
		Use: "explain-plan FILE...", Short: "Show what the engine made of policies that are compiled together", Args: args(1, -1),
		Long: "Compiles policies together, on this machine, and shows how a decision is made: what is read\nof an input, which rules were evaluated beforehand, which are looked up, and what\nis left to OPA's own code.",
		RunE: func(cmd *cobra.Command, list []string) error {
			set, err := compileFiles(cmd.Context(), list)
			if err != nil {
				return err
			}
			p := set.Plan()
			return a.show(p, func() error { return a.printPlan(p) })
		},
	}
}

func (a *app) printPlan(p policy.Plan) error {
	evaluator := p.Evaluator
	if p.Reason != "" {
		evaluator += ": " + p.Reason
	}
	lines := []string{"evaluator: " + evaluator, "reads of an input:"}
	add := func(none string, items []string) {
		if len(items) == 0 {
			items = []string{none}
		}
		for _, item := range items {
			lines = append(lines, "  "+item)
		}
	}
	var reads, tables []string
	for _, in := range p.Inputs {
		read := in.Pointer
		if read == "" {
			read = "all of it"
		}
		if in.ScalarOnly {
			read += " (nothing below it)"
		}
		reads = append(reads, read)
	}
	for _, t := range p.Tables {
		tables = append(tables, fmt.Sprintf("%s by %s: %d values, and %d rules for any", t.Rule, t.Pointer, t.Values, t.Others))
	}
	add("nothing", reads)
	lines = append(lines, "evaluated beforehand:")
	add("nothing", p.Folded)
	lines = append(lines, "looked up in a table:")
	add("nothing", tables)
	left := "left to OPA's own built-ins:"
	if p.Worker {
		left = "left to OPA's own built-ins; an evaluation that comes to one which may take long has a goroutine of its own:"
	}
	lines = append(lines, left)
	add("nothing", p.Foreign)
	if p.MayContradict {
		lines = append(lines, "rules may contradict each other: where they do for an input, OPA's evaluator decides")
	}
	return a.print(strings.Join(lines, "\n"))
}

func (a *app) printWarnings(warnings []policy.Warning) error {
	for _, w := range warnings {
		where, kind := "", "warning"
		if w.Location != nil {
			where = fmt.Sprintf("%d:%d: ", w.Location.Row, w.Location.Col)
		}
		if w.Policy != "" {
			where = w.Policy + ":" + where
		}
		if w.Blocking {
			kind = "warning, blocks activation"
		}
		if err := a.print(fmt.Sprintf("%s%s (%s): %s", where, w.Code, kind, w.Message)); err != nil {
			return err
		}
	}
	return nil
}
