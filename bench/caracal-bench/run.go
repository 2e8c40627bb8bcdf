package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/caracalai/caracald/bench/report"
)

type options struct {
	quick, json          bool
	only                 []string
	markdown, table, svg string
	seed                 uint64
}

// bench is one run.
type bench struct {
	options
	report *report.Report
	log    io.Writer
	dir    string // for what servers keep; removed at the end
}

// part is one of the things a run measures. Its budget is for a quick run.
type part struct {
	name  string
	quick time.Duration
	full  time.Duration
	run   func(b *bench, ctx context.Context, until time.Time) error
}

var parts = []part{
	{"in-process", 13 * time.Second, 150 * time.Second, (*bench).inProcess},
	{"http", 19 * time.Second, 10 * time.Minute, (*bench).http},
	{"swap", 11 * time.Second, 2 * time.Minute, (*bench).swap},
	{"activation", 5 * time.Second, time.Minute, (*bench).activation},
	{"audit", 4 * time.Second, time.Minute, (*bench).audit},
	{"watchers", 4 * time.Second, time.Minute, (*bench).watchers},
	{"zones", 5 * time.Second, 3 * time.Minute, (*bench).zones},
}

func partNames() []string {
	names := make([]string, len(parts))
	for i, p := range parts {
		names[i] = p.name
	}
	return names
}

func run(ctx context.Context, o options, out, log io.Writer) (err error) {
	for _, name := range o.only {
		if !slices.Contains(partNames(), name) {
			return fmt.Errorf("%w: --only %s: parts are %s", errUsage, name, strings.Join(partNames(), ", "))
		}
	}
	b := &bench{options: o, report: report.New("caracal-bench "+strings.Join(os.Args[1:], " "), o.quick), log: log}
	if b.dir, err = os.MkdirTemp("", "caracal-bench-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(b.dir) }()
	for _, p := range parts {
		if len(o.only) > 0 && !slices.Contains(o.only, p.name) {
			continue
		}
		start := time.Now()
		fmt.Fprintf(log, "%s ...", p.name)
		err := p.run(b, ctx, start.Add(b.pick(p.quick, p.full)))
		fmt.Fprintf(log, " %.1f s\n", time.Since(start).Seconds())
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	r := b.report
	r.Seconds = time.Since(r.Started).Seconds()
	if o.svg != "" {
		if err := r.WritePlots(o.svg); err != nil {
			return err
		}
	}
	if o.markdown != "" {
		if err := r.WritePage(o.markdown, o.svg); err != nil {
			return err
		}
	}
	if o.table != "" {
		if err := r.WriteTable(o.table); err != nil {
			return err
		}
	}
	if o.json {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	return r.WriteText(out)
}

// pick is quick in a quick run and full otherwise.
func (b *bench) pick(quick, full time.Duration) time.Duration {
	if b.quick {
		return quick
	}
	return full
}

// count is the same for numbers.
func (b *bench) count(quick, full int) int {
	if b.quick {
		return quick
	}
	return full
}

// ratio sets a ratio to the quotient of two rows, where both were measured.
func (b *bench) ratio(key string, a, z report.Key) {
	if q, ok := b.report.Quotient(a, z); ok {
		b.report.Ratio(key, q)
	}
}
