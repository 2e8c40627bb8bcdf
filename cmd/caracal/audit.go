package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/client"
)

func newAuditCommand(a *app) *cobra.Command {
	return group("audit", "Audit: what was decided, why, and who changed what",
		a.auditList(), a.auditSummary(), a.auditGet(), a.auditExplain(), a.auditTail(), a.auditExport(), a.auditAdmin())
}

// auditFlags are the filters of audit events.
type auditFlags struct {
	since, until                 string
	request, decision, eventType string
}

func (f *auditFlags) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.since, "since", "", "only events at or after this RFC 3339 time, or so long ago (1h)")
	cmd.Flags().StringVar(&f.until, "until", "", "only events before this RFC 3339 time, or so long ago")
	cmd.Flags().StringVar(&f.request, "request-id", "", "only this request")
	cmd.Flags().StringVar(&f.decision, "decision", "", "only allow or deny")
	cmd.Flags().StringVar(&f.eventType, "type", "", "only this type: decision or audit_gap")
}

func (f *auditFlags) query() (client.AuditQuery, error) {
	q := client.AuditQuery{RequestID: f.request, Decision: f.decision, EventType: f.eventType}
	var err error
	if q.Since, err = moment("since", f.since); err != nil {
		return q, err
	}
	q.Until, err = moment("until", f.until)
	return q, err
}

// moment reads a time, or how long ago it was.
func moment(name, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil {
		return time.Now().Add(-ago), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("%w: --%s: %q is neither an RFC 3339 time nor a duration", errUsage, name, text)
	}
	return t, nil
}

// checkLimit refuses a --limit that the control plane would not take; it takes 0 for
// its own.
func checkLimit(n, most int) error {
	if n < 1 || n > most {
		return fmt.Errorf("%w: --limit is 1 to %d", errUsage, most)
	}
	return nil
}

func (a *app) auditList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the newest audit events", Args: noArgs}
	var f auditFlags
	f.bind(cmd)
	limit := cmd.Flags().Int("limit", 50, "the most events, 1 to 500")
	cmd.RunE = a.inZone(func(ctx context.Context, c *client.Client, zone string, _ []string) error {
		if err := checkLimit(*limit, 500); err != nil {
			return err
		}
		q, err := f.query()
		if err != nil {
			return err
		}
		page, err := c.Audit(ctx, zone, q, client.Page{Limit: *limit})
		if err != nil {
			return err
		}
		return a.show(page, func() error { return a.printEvents(page.Items) })
	})
	return cmd
}

func (a *app) printEvents(list []api.Event) error {
	var rows [][]string
	for _, e := range list {
		rows = append(rows, eventRow(e))
	}
	return a.table([]string{"AT", "DECISION", "STATUS", "REQUEST ID", "VERSION ID", "DIAGNOSTICS"}, rows)
}

func eventRow(e api.Event) []string {
	decision := e.Decision
	if decision == "" {
		decision = e.EventType
	}
	return []string{when(e.OccurredAt), decision, e.EvaluationStatus, e.RequestID, e.PolicySetVersionID, string(e.DiagnosticsJSON)}
}

func (a *app) auditGet() *cobra.Command {
	return &cobra.Command{
		Use: "get REQUEST-ID", Short: "List the events of a request", Args: args(1, 1),
		RunE: a.inZone(func(ctx context.Context, c *client.Client, zone string, list []string) error {
			events, err := c.AuditByRequest(ctx, zone, list[0])
			if err != nil {
				return err
			}
			return a.show(events, func() error { return a.printEvents(events) })
		}),
	}
}

func (a *app) auditExplain() *cobra.Command {
	cmd := &cobra.Command{
		Use: "explain REQUEST-ID", Short: "Tell how a request was decided, and with which input", Args: args(1, 1),
		Example: "  caracal audit explain REQUEST-ID --input | caracal policy-set simulate payments --input -",
	}
	inputOnly := cmd.Flags().Bool("input", false, "print the evaluated input of the first denial, or of the first decision where none denied, and nothing else")
	cmd.RunE = a.inZone(func(ctx context.Context, c *client.Client, zone string, list []string) error {
		e, err := c.Explain(ctx, zone, list[0])
		if err != nil {
			return err
		}
		if *inputOnly {
			decided := append(e.Denied, e.Allowed...)
			if len(decided) == 0 {
				return errors.New("the request was not decided")
			}
			return a.print(string(decided[0].PolicyInput))
		}
		return a.show(e, func() error {
			if err := a.fields("request", e.RequestID, "final decision", e.FinalDecision); err != nil {
				return err
			}
			for _, d := range e.Denied {
				if err := a.printDecided("denied by", d); err != nil {
					return err
				}
			}
			for _, d := range e.Allowed {
				if err := a.printDecided("allowed by", d); err != nil {
					return err
				}
			}
			return nil
		})
	})
	return cmd
}

func (a *app) printDecided(by string, d api.DecidedEvent) error {
	input, err := json.MarshalIndent(d.PolicyInput, "", "  ")
	if err != nil {
		return err
	}
	if err := a.fields(by, string(d.DeterminingPolicies), "diagnostics", string(d.Diagnostics), "metadata", string(d.Metadata)); err != nil {
		return err
	}
	return a.print("input\n" + indent(string(input)))
}

func (a *app) auditSummary() *cobra.Command {
	cmd := &cobra.Command{Use: "summary", Short: "Count decisions by step of time and by daemon", Args: noArgs}
	since := cmd.Flags().String("since", "1h", "count from this RFC 3339 time on, or from so long ago")
	until := cmd.Flags().String("until", "", "count up to this RFC 3339 time, or so long ago; now by default")
	step := cmd.Flags().Duration("step", 0, "how long a step is, in whole seconds; a minute by default")
	cmd.RunE = a.inZone(func(ctx context.Context, c *client.Client, zone string, _ []string) error {
		if *step < 0 || *step%time.Second != 0 {
			return fmt.Errorf("%w: --step takes whole seconds", errUsage)
		}
		q := client.SummaryQuery{Step: *step}
		var err error
		if q.Since, err = moment("since", *since); err != nil {
			return err
		}
		if q.Until, err = moment("until", *until); err != nil {
			return err
		}
		sum, err := c.AuditSummary(ctx, zone, q)
		if err != nil {
			return err
		}
		return a.show(sum, func() error {
			number := func(n int64) string { return strconv.FormatInt(n, 10) }
			var rows [][]string
			for _, p := range sum.Points {
				rows = append(rows, []string{when(p.At), number(p.Allowed), number(p.Denied), number(p.Failed)})
			}
			if err := a.table([]string{"AT", "ALLOWED", "DENIED", "FAILED"}, rows); err != nil {
				return err
			}
			rows = nil
			for _, d := range sum.Daemons {
				rows = append(rows, []string{d.DaemonID, number(d.Allowed), number(d.Denied), number(d.Failed), when(d.LastAt), fmt.Sprintf("%.0f ms", d.ShippedAfterMS)})
			}
			return a.table([]string{"DAEMON ID", "ALLOWED", "DENIED", "FAILED", "NEWEST", "IN THE AUDIT AFTER"}, rows)
		})
	})
	return cmd
}

func (a *app) auditTail() *cobra.Command {
	cmd := &cobra.Command{Use: "tail", Short: "Follow the audit until interrupted", Args: noArgs}
	var q client.TailQuery
	cmd.Flags().StringVar(&q.Last, "after", "", "begin after the event of this id instead of now")
	cmd.Flags().StringVar(&q.Decision, "decision", "", "only allow or deny")
	cmd.Flags().StringVar(&q.EventType, "type", "", "only this type: decision or audit_gap")
	cmd.RunE = a.inZone(func(ctx context.Context, c *client.Client, zone string, _ []string) error {
		for e, err := range c.Tail(ctx, zone, q) {
			if err != nil {
				return err
			}
			if a.json {
				data, err := json.Marshal(e.Event)
				if err != nil {
					return err
				}
				if err := a.print(string(data)); err != nil {
					return err
				}
				continue
			}
			r := eventRow(e.Event)
			if err := a.print(fmt.Sprintf("%s  %-5s  %-8s  %s  %s", r[0], r[1], r[2], r[3], r[5])); err != nil {
				return err
			}
		}
		return nil
	})
	return cmd
}

func (a *app) auditExport() *cobra.Command {
	cmd := &cobra.Command{
		Use: "export", Short: "Write all events that match as CSV or NDJSON", Args: noArgs,
		Example: "  caracal audit export --format csv --since 24h -o audit.csv",
	}
	var f auditFlags
	f.bind(cmd)
	format := cmd.Flags().String("format", "ndjson", "csv or ndjson")
	output := cmd.Flags().StringP("output", "o", "-", "file to write; - for standard output")
	cmd.RunE = a.inZone(func(ctx context.Context, c *client.Client, zone string, _ []string) error {
		if *format != "csv" && *format != "ndjson" {
			return fmt.Errorf("%w: --format: %q is not csv or ndjson", errUsage, *format)
		}
		q, err := f.query()
		if err != nil {
			return err
		}
		body, err := c.Export(ctx, zone, q, *format)
		if err != nil {
			return err
		}
		defer func() { _ = body.Close() }()
		if *output == "-" {
			_, err := io.Copy(a.out, body)
			return err
		}
		return a.save(*output, body, "exporting")
	})
	return cmd
}

// save writes a stream to a file, which is there whole or not at all.
func (a *app) save(name string, from io.Reader, what string) (err error) {
	part := name + ".part"
	f, err := os.Create(part)
	if err != nil {
		return err
	}
	bar := a.progress(-1, what)
	_, err = io.Copy(io.MultiWriter(f, bar), from)
	err = errors.Join(err, f.Sync(), f.Close(), bar.Finish())
	if err == nil {
		err = os.Rename(part, name)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, errors.Join(err, os.Remove(part)))
	}
	return nil
}

func (a *app) auditAdmin() *cobra.Command {
	cmd := &cobra.Command{Use: "admin", Short: "List who changed what", Args: noArgs}
	everywhere := cmd.Flags().Bool("all-zones", false, "in every zone")
	action := cmd.Flags().String("action", "", "only this operation, such as policy_set.activate")
	limit := cmd.Flags().Int("limit", 50, "the most entries, 1 to 500")
	cmd.RunE = a.withClient(func(ctx context.Context, c *client.Client, _ []string) error {
		if err := checkLimit(*limit, 500); err != nil {
			return err
		}
		zone := ""
		if !*everywhere {
			var err error
			if zone, err = a.zone(); err != nil {
				return err
			}
		}
		page, err := c.AdminAudit(ctx, zone, client.AdminAuditQuery{Action: *action}, client.Page{Limit: *limit})
		if err != nil {
			return err
		}
		return a.show(page, func() error {
			var rows [][]string
			for _, e := range page.Items {
				rows = append(rows, []string{strconv.FormatInt(e.ChainSeq, 10), when(e.OccurredAt), e.ActorName, e.Action, e.EntityID, strconv.Itoa(e.StatusCode)})
			}
			return a.table([]string{"SEQ", "AT", "BY", "ACTION", "ENTITY", "STATUS"}, rows)
		})
	})
	return cmd
}
