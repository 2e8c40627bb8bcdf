package report

import (
	"fmt"
	"io"
	"math"
	"text/tabwriter"
	"time"
)

// WriteText writes the report for a terminal.
func (r *Report) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, group := range r.Groups() {
		fmt.Fprintf(t, "%s\n  workload\twhat\tpeer\tmetric\tmedian\tleast\tmost\t95%% interval\n", group)
		for _, row := range r.Of(group) {
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", row.Workload, row.What, row.Peer, row.Metric,
				Show(row.Median, row.Unit), Show(row.Min, row.Unit), Show(row.Max, row.Unit), row.interval())
		}
		fmt.Fprintln(t)
	}
	fmt.Fprintln(t, "ratio\tmeasured\ttarget\tmet")
	for _, target := range Targets {
		if value, ok := r.Ratios[target.Key]; ok {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", target.Key, number(value), target.Wanted(), yes(r.Targets[target.Key].Met))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, note := range r.Notes {
		if _, err := fmt.Fprintf(w, "\n%s\n", note); err != nil {
			return err
		}
	}
	return nil
}

// Wanted is the goal for people: a bound and its direction.
func (t Target) Wanted() string {
	switch t.Better {
	case "":
		return "none"
	case "higher":
		return "≥ " + number(t.Goal)
	}
	return "≤ " + number(t.Goal)
}

func yes(met *bool) string {
	switch {
	case met == nil:
		return "–"
	case *met:
		return "yes"
	}
	return "no"
}

// Show writes a value in a unit that suits its size.
func Show(v float64, unit string) string {
	switch unit {
	case "ns":
		switch {
		case v < 1000:
			return number(v) + " ns"
		case v < 1e6:
			return number(v/1e3) + " µs"
		case v < 1e9:
			return number(v/1e6) + " ms"
		}
		return number(v/1e9) + " s"
	case "B":
		switch {
		case v < 10240:
			return number(v) + " B"
		case v < 10<<20:
			return number(v/1024) + " KiB"
		}
		return number(v/(1<<20)) + " MiB"
	case "":
		return number(v)
	}
	return number(v) + " " + unit
}

// number has three significant digits, and all of those before the point.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a == 0:
		return "0"
	case a >= 100:
		return group(int64(math.Round(v)))
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// group sets thousands apart.
func group(n int64) string {
	if n < 0 {
		return "-" + group(-n)
	}
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", group(n/1000), n%1000)
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02") }
