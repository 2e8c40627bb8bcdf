package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/client"
	"github.com/caracalai/caracald/bundle"
)

func newDaemonCommand(a *app) *cobra.Command {
	g := group("daemon", "Daemons: how they are and what they have loaded", a.daemonList(), a.daemonGet(), a.daemonStatus(),
		&cobra.Command{
			Use: "retire ID", Short: "Retire a daemon that is gone; one that reports again is back", Args: args(1, 1),
			Long: "Retires a daemon that is gone: activations wait for it no more, and lists leave it out.\n" +
				"It belongs to no token any more: the next token or certificate to report for it has it,\nso this is also how a daemon gets another token while the old one is good.",
			RunE: a.withClient(func(ctx context.Context, c *client.Client, list []string) error { return c.RetireDaemon(ctx, list[0]) }),
		})
	g.Aliases = []string{"fleet"}
	return g
}

// daemonFlags say which daemons are meant.
type daemonFlags struct {
	everywhere  bool
	state, text string
	labels      map[string]string
}

func (f *daemonFlags) bind(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.everywhere, "all-zones", false, "of every zone")
	cmd.Flags().StringVar(&f.state, "state", "", "only healthy, lagging, failing, unreachable or retired ones")
	cmd.Flags().StringToStringVar(&f.labels, "label", nil, "only those with this label, name=value; may be repeated")
	cmd.Flags().StringVar(&f.text, "search", "", "only those with this in their name, id or version")
}

func (f *daemonFlags) filter(a *app) (client.DaemonFilter, error) {
	filter := client.DaemonFilter{State: f.state, Labels: f.labels, Text: f.text}
	// A retired daemon reports for no zone.
	if f.everywhere || f.state == api.DaemonRetired {
		return filter, nil
	}
	var err error
	filter.Zone, err = a.zone()
	return filter, err
}

func (a *app) daemonList() *cobra.Command {
	var flags daemonFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List daemons with their state and what they have loaded", Args: noArgs,
		Example: "  caracal daemon list --state lagging --label region=eu",
	}
	flags.bind(cmd)
	cmd.RunE = a.withClient(func(ctx context.Context, c *client.Client, _ []string) error {
		filter, err := flags.filter(a)
		if err != nil {
			return err
		}
		daemons, err := collect(client.All(ctx, func(ctx context.Context, at client.Page) (api.Page[api.Daemon], error) {
			return c.FindDaemons(ctx, filter, at)
		}))
		if err != nil {
			return err
		}
		return a.show(daemons, func() error {
			var rows [][]string
			for _, d := range daemons {
				rows = append(rows, []string{d.Name, d.ID, d.State, whenOrDash(d.Since), zonesOf(d), d.Version, when(d.LastSeenAt), labelsOf(d.Labels), d.Reason})
			}
			return a.table([]string{"NAME", "ID", "STATE", "SINCE", "ZONES", "VERSION", "LAST SEEN", "LABELS", "REASON"}, rows)
		})
	})
	return cmd
}

// zonesOf counts what a daemon has loaded.
func zonesOf(d api.Daemon) string {
	failed, behind := 0, 0
	for _, z := range d.Zones { // these come first
		switch {
		case z.State == bundle.ReceiptFailed:
			failed++
		case z.Behind > 0:
			behind++
		}
	}
	more := ""
	if d.ZonesTotal > len(d.Zones) && failed+behind == len(d.Zones) {
		more = " or more"
	}
	var parts []string
	if n := d.ZonesTotal - failed - behind; n > 0 && more == "" {
		parts = append(parts, fmt.Sprintf("%d loaded", n))
	}
	if behind > 0 {
		parts = append(parts, fmt.Sprintf("%d behind%s", behind, more))
	}
	if failed > 0 {
		parts = append(parts, fmt.Sprintf("%d failed%s", failed, more))
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, ", ")
}

func labelsOf(labels map[string]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, name+"="+labels[name])
	}
	return strings.Join(parts, " ")
}

func (a *app) daemonGet() *cobra.Command {
	return &cobra.Command{
		Use: "get ID", Aliases: []string{"show"}, Short: "Show a daemon with all of its zones", Args: args(1, 1),
		RunE: a.withClient(func(ctx context.Context, c *client.Client, list []string) error {
			d, err := c.Daemon(ctx, list[0])
			if err != nil {
				return err
			}
			return a.show(d, func() error {
				err := a.fields("daemon", d.Name, "id", d.ID, "state", d.State, "reason", d.Reason, "since", whenOrDash(d.Since), "version", d.Version, "labels", labelsOf(d.Labels),
					"reported by", orDash(d.ReportedBy), "first seen", whenOrDash(d.FirstSeenAt), "last seen", when(d.LastSeenAt))
				if d.Status != nil {
					err = errors.Join(err, a.printDaemonStatus(*d.Status))
				}
				var rows [][]string
				for _, z := range d.Zones {
					rows = append(rows, []string{z.ZoneID, z.State, strconv.FormatInt(z.Sequence, 10), strconv.FormatInt(z.WantedSequence, 10), orDash(z.PolicySetVersionID),
						whenOrDash(z.LoadedAt), z.Detail})
				}
				return errors.Join(err, a.table([]string{"ZONE", "STATE", "SEQUENCE", "WANTED", "VERSION ID", "LOADED", "DETAIL"}, rows))
			})
		}),
	}
}

func (a *app) printDaemonStatus(s api.DaemonHealth) error {
	seconds := func(v *float64) string {
		if v == nil {
			return "-"
		}
		return time.Duration(*v * float64(time.Second)).String()
	}
	share := "-"
	if s.CacheHitShare != nil {
		share = fmt.Sprintf("%.1f %%", 100**s.CacheHitShare)
	}
	return a.fields("ready", strconv.FormatBool(s.Ready), "audit kept", strconv.FormatBool(s.AuditKept), "started", when(s.StartedAt),
		"decisions a second", fmt.Sprintf("%.1f", s.DecisionsPerSecond), "latency p50, p99", seconds(s.LatencyP50Seconds)+", "+seconds(s.LatencyP99Seconds), "cache hits", share,
		"audit spool", fmt.Sprintf("%d records, %d of %d bytes", s.SpoolRecords, s.SpoolBytes, s.SpoolMaxBytes), "audit gaps", strconv.FormatInt(s.AuditGaps, 10))
}

func (a *app) daemonStatus() *cobra.Command {
	var flags daemonFlags
	cmd := &cobra.Command{Use: "status", Short: "Count daemons by state and version", Args: noArgs}
	flags.bind(cmd)
	cmd.RunE = a.withClient(func(ctx context.Context, c *client.Client, _ []string) error {
		filter, err := flags.filter(a)
		if err != nil {
			return err
		}
		f, err := c.Fleet(ctx, filter)
		if err != nil {
			return err
		}
		return a.show(f, func() error {
			err := a.fields("daemons", strconv.Itoa(f.Daemons), "healthy", strconv.Itoa(f.States.Healthy), "lagging", strconv.Itoa(f.States.Lagging),
				"failing", strconv.Itoa(f.States.Failing), "unreachable", strconv.Itoa(f.States.Unreachable))
			var rows [][]string
			for _, v := range f.Versions {
				rows = append(rows, []string{v.Version, strconv.Itoa(v.Daemons)})
			}
			return errors.Join(err, a.table([]string{"VERSION", "DAEMONS"}, rows))
		})
	})
	return cmd
}

// printRollout lists the daemons that have not loaded a version, and why.
func (a *app) printRollout(r api.Rollout) error {
	var rows [][]string
	for _, kind := range []struct {
		state string
		list  []api.RolloutDaemon
		total int
	}{{api.DaemonFailing, r.Failing, r.FailingTotal}, {api.DaemonLagging, r.Lagging, r.LaggingTotal}, {api.DaemonUnreachable, r.Unreachable, r.UnreachableTotal}} {
		for _, d := range kind.list {
			rows = append(rows, []string{kind.state, d.Name, d.ID, whenOrDash(d.Since), d.Reason})
		}
		if more := kind.total - len(kind.list); more > 0 {
			rows = append(rows, []string{kind.state, fmt.Sprintf("and %d more", more), "", "", ""})
		}
	}
	if len(rows) == 0 {
		return nil
	}
	return a.table([]string{"STATE", "NAME", "ID", "SINCE", "REASON"}, rows)
}
