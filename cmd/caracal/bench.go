package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/caracalai/caracald/policy"
)

// measured is what a measurement came to. Times are in nanoseconds.
type measured struct {
	What       string  `json:"what"`
	Count      int     `json:"count"`
	Errors     int     `json:"errors"`
	PerSecond  float64 `json:"per_second"`
	P50        int64   `json:"p50_ns"`
	P90        int64   `json:"p90_ns"`
	P99        int64   `json:"p99_ns"`
	P999       int64   `json:"p999_ns"`
	Max        int64   `json:"max_ns"`
	Concurrent int     `json:"concurrent"`
}

func newBenchCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "bench", Short: "Measure evaluation of your policies, and the latency of a daemon", Args: noArgs,
		Long: `Measures how long your policies take to evaluate your inputs in this process
(--policy), and how long a running daemon takes to answer them (--decide-url).
Each measurement ends after --duration or --count, whichever is first.`,
		Example: "  caracal bench --policy examples/payments/policies --input examples/payments/inputs/read.json\n  caracal bench --decide-url $CARACAL_DECIDE_URL --input examples/payments/inputs/read.json --concurrency 8",
	}
	f := cmd.Flags()
	policies := f.StringArray("policy", nil, "file or directory of policies, evaluated together; may be repeated")
	inputs := f.StringArray("input", nil, "file with an input; may be repeated")
	url := f.String("decide-url", "", "daemon to measure: http://HOST:PORT or unix:PATH")
	duration := f.Duration("duration", 5*time.Second, "the most time for each measurement, at most 5m")
	count := f.Int("count", 1000000, "the most decisions of each measurement")
	concurrency := f.Int("concurrency", 1, "callers at once, 1 to 256")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		switch {
		case len(*inputs) == 0:
			return fmt.Errorf("%w: --input is required", errUsage)
		case len(*policies) == 0 && *url == "":
			return fmt.Errorf("%w: --policy or --decide-url is required", errUsage)
		case *duration <= 0 || *duration > 5*time.Minute:
			return fmt.Errorf("%w: --duration must be more than 0 and at most 5m", errUsage)
		case *concurrency < 1 || *concurrency > 256 || *count < 1:
			return fmt.Errorf("%w: --concurrency must be 1 to 256 and --count positive", errUsage)
		}
		var raws [][]byte
		zone := a.zone
		if *url == "" { // policies alone know no zones
			zone = func() (string, error) { return setting(a.zoneID, "CARACAL_ZONE_ID", "ZONE_ID"), nil }
		}
		for _, name := range *inputs {
			raw, err := a.input(name, zone)
			if err != nil {
				return err
			}
			raws = append(raws, raw)
		}
		var results []measured
		run := func(what string, do func(ctx context.Context, i int) error) {
			m := measure(cmd.Context(), *duration, *count, *concurrency, do)
			m.What = what
			results = append(results, m)
		}
		if len(*policies) > 0 {
			set, err := compileFiles(cmd.Context(), *policies)
			if err != nil {
				return err
			}
			parsed := make([]*policy.Input, len(raws))
			for i, raw := range raws {
				if parsed[i], err = policy.ParseInput(raw); err != nil {
					return fmt.Errorf("%s: %w", (*inputs)[i], err)
				}
			}
			run("evaluate", func(ctx context.Context, i int) error {
				return failedResult(set.Evaluate(ctx, parsed[i%len(parsed)], policy.DefaultLimits))
			})
			readers := sync.Pool{New: func() any { return new(policy.Input) }}
			run("parse and evaluate", func(ctx context.Context, i int) error {
				in := readers.Get().(*policy.Input)
				defer readers.Put(in)
				if err := set.ReadInput(raws[i%len(raws)], in); err != nil {
					return err
				}
				return failedResult(set.Evaluate(ctx, in, policy.DefaultLimits))
			})
		}
		if *url != "" {
			k := newAsker(*url, os.Getenv("CARACAL_DECIDE_TOKEN"))
			run("daemon "+*url, func(ctx context.Context, i int) error {
				_, err := k.ask(ctx, raws[i%len(raws)], "")
				return err
			})
		}
		return a.show(results, func() error {
			var rows [][]string
			for _, m := range results {
				row := []string{m.What, fmt.Sprint(m.Count), fmt.Sprint(m.Errors), fmt.Sprintf("%.0f", m.PerSecond)}
				for _, ns := range []int64{m.P50, m.P90, m.P99, m.P999, m.Max} {
					row = append(row, time.Duration(ns).String())
				}
				rows = append(rows, row)
			}
			return a.table([]string{"WHAT", "COUNT", "ERRORS", "PER SECOND", "P50", "P90", "P99", "P99.9", "MAX"}, rows)
		})
	}
	return cmd
}

func failedResult(r policy.Result) error {
	if r.EvaluationStatus == policy.StatusError {
		return errors.New("the evaluation failed")
	}
	return nil
}

// compileFiles compiles the policies of files and directories together.
func compileFiles(ctx context.Context, names []string) (*policy.Set, error) {
	var mods []policy.Module
	for _, name := range names {
		files := []string{name}
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			if files, err = filepath.Glob(filepath.Join(name, "*.rego")); err != nil {
				return nil, err
			}
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.rego") {
				continue
			}
			content, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			id := strings.TrimSuffix(filepath.Base(file), ".rego")
			mods = append(mods, policy.Module{PolicyID: id, VersionID: id, Name: id, Content: string(content)})
		}
	}
	if len(mods) == 0 {
		return nil, errors.New("there are no policies")
	}
	return policy.Compile(ctx, mods)
}

// measure runs do from several callers until the time or the count is over.
func measure(ctx context.Context, most time.Duration, count, concurrency int, do func(context.Context, int) error) measured {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	var next, failures atomic.Int64
	times := make([][]int64, concurrency)
	var work sync.WaitGroup
	runtime.GC()
	start := time.Now()
	for w := range concurrency {
		work.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= count {
					return
				}
				before := time.Now()
				if err := do(ctx, i); err != nil {
					if ctx.Err() != nil {
						return // cut off by the end, not a failure
					}
					failures.Add(1)
				}
				times[w] = append(times[w], time.Since(before).Nanoseconds())
			}
		})
	}
	work.Wait()
	took := time.Since(start)
	all := slices.Concat(times...)
	m := measured{Count: len(all), Errors: int(failures.Load()), Concurrent: concurrency}
	if len(all) == 0 {
		return m
	}
	slices.Sort(all)
	at := func(q float64) int64 { return all[min(len(all)-1, int(q*float64(len(all))))] }
	m.PerSecond = float64(len(all)) / took.Seconds()
	m.P50, m.P90, m.P99, m.P999, m.Max = at(0.5), at(0.9), at(0.99), at(0.999), all[len(all)-1]
	return m
}
