package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/caracalai/caracald/bench/pinning"
	"github.com/caracalai/caracald/bench/report"
)

type options struct {
	quick, json          bool
	only                 []string
	markdown, table, svg string
	samples, dir         string
	seed                 uint64
	// fleet measures a fleet of fleetSize watchers, and nothing else; so does fleetTLS, over TLS.
	fleet, fleetTLS bool
	fleetSize       int
	// cerbos is the path of the program cerbos, "" where Cerbos is not measured.
	cerbos string
	// tiny makes a quick run shorter still, for tests: its figures say nothing.
	tiny bool
}

// bench is one run.
type bench struct {
	options
	report *report.Report
	log    io.Writer
	dir    string // for what servers keep; removed at the end
	split  pinning.Split
	// pace is by how much the samples of a quick run are shortened, where what
	// came before took longer than it was given.
	pace float64
}

// part is one of the things a run measures. It takes no further samples, though
// some of each, when its time is over.
type part struct {
	name        string
	quick, full time.Duration
	// spare is left out of a quick run that is late.
	spare bool
	run   func(b *bench, ctx context.Context, until time.Time) error
}

var parts = []part{
	{"in-process", 10 * time.Second, 150 * time.Second, false, (*bench).inProcess},
	{"http", 15 * time.Second, 10 * time.Minute, false, (*bench).http},
	{"cache", 5 * time.Second, 90 * time.Second, false, (*bench).cache},
	{"swap", 6 * time.Second, 2 * time.Minute, false, (*bench).swap},
	{"activation", 3 * time.Second, time.Minute, false, (*bench).activation},
	{"audit", 4 * time.Second, time.Minute, false, (*bench).audit},
	{"watchers", 2 * time.Second, time.Minute, true, (*bench).watchers},
	{"zones", 6 * time.Second, 4 * time.Minute, true, (*bench).zones},
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
	b := &bench{options: o, report: report.New("caracal-bench "+strings.Join(os.Args[1:], " "), o.quick), log: log, pace: 1}
	split, release, err := pinned()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	b.split, b.report.Machine.Pinned = split, split.String()
	if b.dir, err = os.MkdirTemp(o.dir, "caracal-bench-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(b.dir) }()
	b.report.Place(b.dir)
	var failures []error
	todo := slices.DeleteFunc(slices.Clone(parts), func(p part) bool { return len(o.only) > 0 && !slices.Contains(o.only, p.name) })
	for i, p := range todo {
		if ctx.Err() != nil {
			break
		}
		b.hurry(todo[i:])
		if err := b.part(ctx, p); err != nil {
			err = fmt.Errorf("%s: %w", p.name, err)
			first, _, _ := strings.Cut(err.Error(), "\n")
			b.report.Note(fmt.Sprintf("A part failed, and what it was to measure is missing: %.300s.", first))
			failures = append(failures, err)
		}
	}
	b.report.Seconds = time.Since(b.report.Started).Seconds()
	failures = append(failures, ctx.Err())
	if ctx.Err() == nil { // one that was interrupted must not replace the files of a whole one
		failures = append(failures, b.files())
	}
	return errors.Join(append(failures, b.write(out))...)
}

// pinned splits the processors, where there are enough, and keeps this process on
// its part of them until release is called.
func pinned() (split pinning.Split, release func() error, err error) {
	if split, err = pinning.Processors(); err != nil {
		return split, nil, err
	}
	release, err = pinning.Stay(split.Others)
	return split, release, err
}

// quickLimit is what the parts of a quick run may take together, which leaves
// some time for what cannot be shortened.
const quickLimit = 56 * time.Second

// hurry sets the pace of a quick run to what is left to do, and to the time left.
func (b *bench) hurry(todo []part) {
	if !b.quick {
		return
	}
	var planned time.Duration
	for _, p := range todo {
		if !p.spare {
			planned += p.quick
		}
	}
	left := time.Until(b.report.Started.Add(quickLimit))
	if b.pace = 1; left < planned {
		b.pace = max(0.3, left.Seconds()/planned.Seconds())
	}
}

// part measures one part.
func (b *bench) part(ctx context.Context, p part) error {
	start := time.Now()
	if b.quick && p.spare && start.Sub(b.report.Started) > quickLimit-p.quick {
		b.report.Note(fmt.Sprintf("The part %q is left out, as this quick run is late.", p.name))
		return nil
	}
	until := start.Add(b.pick(p.quick, p.full))
	fmt.Fprintf(b.log, "%s ...", p.name)
	err := p.run(b, ctx, until)
	fmt.Fprintf(b.log, " %.1f s\n", time.Since(start).Seconds())
	command := "caracal-bench --only " + p.name
	if b.quick {
		command += " --quick"
	}
	if b.cerbos != "" {
		command += " --cerbos " + b.cerbos
	}
	b.report.MadeBy(command)
	return err
}

// files writes the report into the files that were asked for.
func (b *bench) files() error {
	r, o := b.report, b.options
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
	if o.samples != "" {
		if err := r.WriteSamples(o.samples); err != nil {
			return err
		}
	}
	if o.table != "" {
		if err := r.WriteTable(o.table); err != nil {
			return err
		}
	}
	return nil
}

// write writes the report to out.
func (b *bench) write(out io.Writer) error {
	if b.json {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(b.report)
	}
	return b.report.WriteText(out)
}

// pick is quick in a quick run and full otherwise.
func (b *bench) pick(quick, full time.Duration) time.Duration {
	switch {
	case b.tiny:
		return quick / 5
	case b.quick:
		return time.Duration(float64(quick) * b.pace)
	}
	return full
}

// count is the same for numbers.
func (b *bench) count(quick, full int) int {
	switch {
	case b.tiny:
		return max(1, quick/5)
	case b.quick:
		return quick
	}
	return full
}

// ratio sets a ratio to the quotient of two rows, where both were measured.
// Details are what this run adds to what the ratio says.
func (b *bench) ratio(key string, a, z report.Key, details ...string) {
	if q, ok := b.report.Quotient(a, z); ok {
		b.report.Ratio(key, q, details...)
	}
}
