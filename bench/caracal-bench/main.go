// Command caracal-bench compares what a decision costs here with its peers, in
// one run: the same policies and the same inputs, in one process.
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
		Example:       "  caracal-bench --quick\n  caracal-bench --quick --json\n  caracal-bench --only in-process\n  caracal-bench --markdown RESULTS.md --svg plots",
		SilenceErrors: true, SilenceUsage: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("%w: unexpected argument %q", errUsage, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	f := cmd.Flags()
	f.BoolVar(&o.quick, "quick", false, "everything in less than 60 s, with fewer and shorter samples")
	f.BoolVar(&o.json, "json", false, "print one JSON object")
	f.StringSliceVar(&o.only, "only", nil, "measure only these parts: "+strings.Join(partNames(), ", "))
	f.StringVar(&o.markdown, "markdown", "", "write the results as a page of Markdown to this `file`")
	f.StringVar(&o.table, "table", "", "write the table of targets into this `file`, between <!-- measured --> and <!-- /measured -->")
	f.StringVar(&o.svg, "svg", "", "write plots to this `directory`")
	f.Uint64Var(&o.seed, "seed", 1, "of the inputs")
	cmd.AddCommand(server.Command())
	cmd.CompletionOptions.DisableDefaultCmd = true
	return cmd
}

func long() string {
	var b strings.Builder
	b.WriteString(`Measures decisions of this project beside peers that have an equivalent policy: OPA as
a library, cedar-go, and a function written by hand. Peers take turns in rounds; each
figure is the median of the rounds, with the least and the most. A run fails when peers
disagree about a decision.

The ratios of --json, each the median over the rounds:

`)
	for _, t := range report.Targets {
		fmt.Fprintf(&b, "  %s (%s is better; target %.3g)\n      %s\n", t.Key, t.Better, t.Goal, t.What)
	}
	return strings.TrimRight(b.String(), "\n")
}
