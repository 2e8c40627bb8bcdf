// Command caracal-bench compares what a decision costs here with its peers, in
// one run: the same policies and the same inputs, in one process and over HTTP.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/caracalai/caracald/bench/report"
	"github.com/caracalai/caracald/bench/server"
)

var errUsage = errors.New("usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := newCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "caracal-bench:", err)
		if errors.Is(err, errUsage) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use: "caracal-bench", Short: "Measure decisions beside peers and the ceiling, in one run",
		Long:          long(),
		Example:       "  caracal-bench --quick\n  caracal-bench --quick --json\n  caracal-bench --only in-process\n  caracal-bench --markdown RESULTS.md --svg plots\n  caracal-bench --fleet --json",
		SilenceErrors: true, SilenceUsage: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("%w: unexpected argument %q", errUsage, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.fleet || o.fleetTLS {
				return runFleet(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
			}
			return run(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	f := cmd.Flags()
	f.BoolVar(&o.quick, "quick", false, "everything in less than 60 s, with fewer and shorter samples")
	f.BoolVar(&o.fleet, "fleet", false, "measure one control plane with many watchers instead: what each costs, how soon all are told, and how they come back after a kill")
	f.BoolVar(&o.fleetTLS, "fleet-tls", false, "measure that with watchers that speak HTTP/2 over TLS, as daemons do where the control plane has a certificate")
	f.IntVar(&o.fleetSize, "watchers", 10000, "how many watchers --fleet and --fleet-tls have")
	f.BoolVar(&o.json, "json", false, "print one JSON object")
	f.StringSliceVar(&o.only, "only", nil, "measure only these parts: "+strings.Join(partNames(), ", "))
	f.StringVar(&o.markdown, "markdown", "", "write the results as a page of Markdown to this `file`")
	f.StringVar(&o.table, "table", "", "write the table of targets into this `file`, between <!-- measured --> and <!-- /measured -->")
	f.StringVar(&o.svg, "svg", "", "write plots to this `directory`")
	f.StringVar(&o.samples, "samples", "", "write the samples taken in process to this `file`, in Go's benchmark format, for benchstat")
	f.StringVar(&o.dir, "dir", "", "keep stores and spools below this `directory`, on the disk that is to be measured (default that for temporary files)")
	f.StringVar(&o.cerbos, "cerbos", "", "measure Cerbos too, whose program is this `file`")
	f.Uint64Var(&o.seed, "seed", 1, "of the inputs")
	cmd.AddCommand(server.Command())
	cmd.CompletionOptions.DisableDefaultCmd = true
	return cmd
}

func long() string {
	var b strings.Builder
	b.WriteString(`Measures decisions of this project beside peers that have an equivalent policy: in one
process OPA as a library, cedar-go, and a function written by hand; over HTTP opa run
--server, net/http over OPA's library, and a server that decides nothing as the ceiling;
with --cerbos also cerbos server.
Servers are processes of their own: caracald as it is deployed, with a control plane, its
spool on disk. Peers take turns in rounds; each figure is the median of the rounds, with
the least and the most. A run fails when peers disagree about a decision.

The ratios of --json, each the median over the rounds:

`)
	for _, t := range report.Targets {
		fmt.Fprintf(&b, "  %s (target %s)\n      %s\n", t.Key, t.Wanted(), t.What)
	}
	return strings.TrimRight(b.String(), "\n")
}
