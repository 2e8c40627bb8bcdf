package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/caracalai/caracald/policy"
)

// printTrace prints the rules that were tried, each below the one that asked for it:
// which held, with what value, and where the others failed.
func (a *app) printTrace(t *policy.Trace) error {
	if t == nil {
		return nil
	}
	if err := a.print(""); err != nil {
		return err
	}
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	for _, r := range t.Rules {
		mark, what := "+", "= "+shortened(string(r.Value), 60)
		if r.Default {
			what += " (default)"
		}
		if !r.Held {
			mark, what = "-", fmt.Sprintf("failed at %d:%d: %s", r.Failed.Location.Row, r.Failed.Location.Col, shortened(r.Failed.Text, 100))
		}
		name := strings.TrimPrefix(r.Rule, "data."+policy.Package+".")
		if _, err := fmt.Fprintf(w, "%s%s %s\t%s:%d\t%s\n", strings.Repeat("  ", r.Depth), mark, name, r.Policy, r.Location.Row, what); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if t.Incomplete != "" {
		if err := a.print("the trace is not complete: " + t.Incomplete); err != nil {
			return err
		}
	}
	if t.Differs == nil {
		return nil
	}
	if err := a.print("OPA's evaluator, which the trace is from, came to something else, which is a defect:"); err != nil {
		return err
	}
	return a.printResult(*t.Differs)
}

// shortened is a text on one line, cut where it is long.
func shortened(text string, most int) string {
	line := []rune(strings.Join(strings.Fields(text), " "))
	if len(line) > most {
		return string(line[:most]) + "…"
	}
	return string(line)
}
