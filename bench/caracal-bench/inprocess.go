package main

import (
	"context"
	"fmt"
	"time"

	"github.com/caracalai/caracald/bench/measure"
	"github.com/caracalai/caracald/bench/peer"
	"github.com/caracalai/caracald/bench/report"
	"github.com/caracalai/caracald/bench/workload"
)

const (
	inProcess    = "in process"
	evaluate     = "evaluate"
	bytesToBytes = "bytes to bytes"
)

// inputsKept bounds what lies on the heap while others allocate.
const inputsKept = 256

// inProcess measures every peer in this process on one processor: from an
// input that was parsed before, and from bytes to bytes. Workloads that are not
// compared with each other come one after another, so that the garbage
// collector of one does not walk through the policies of another.
func (b *bench) inProcess(ctx context.Context, until time.Time) error {
	b.report.Note("In process, every peer runs on one processor, collection of its garbage included, over inputs that differ; each sample is one benchmark of Go's package testing.")
	total, kept := 0, b.bodies(workload.Find("A"), 1000)
	for _, raw := range kept {
		total += len(raw)
	}
	b.report.Note(fmt.Sprintf("An input of workload A has %d bytes on average.", total/len(kept)))
	for _, names := range [][]string{{"A"}, {"B10", "B1000", "B10000"}, {"rbac"}, {"claims"}, {"network"}, {"admission"}, {"statements"}} {
		cells, err := b.inProcessCells(ctx, names)
		if err != nil {
			return err
		}
		// In a quick run what no ratio is made of has one round.
		rounds, end := b.count(2, 10), time.Now().Add(b.pick(4*time.Second, time.Minute))
		d := b.pick(30*time.Millisecond, 300*time.Millisecond)
		if b.quick && names[0] != "A" && names[0] != "B10" {
			rounds, end = 1, until
		}
		if names[0] == "A" {
			d = b.pick(60*time.Millisecond, 500*time.Millisecond)
		}
		if err := measure.Rounds(ctx, b.report, cells, rounds, d, end); err != nil {
			return err
		}
	}
	at := func(workload, what, peer, metric string) report.Key {
		return report.Key{Group: inProcess, Workload: workload, What: what, Peer: peer, Metric: metric}
	}
	b.ratio("eval_a_vs_opa", at("A", evaluate, "opa", "time"), at("A", evaluate, "caracal", "time"))
	b.ratio("bytes_to_bytes_vs_opa", at("A", bytesToBytes, "opa", "time"), at("A", bytesToBytes, "caracal", "time"))
	b.ratio("rules_10000_vs_10", at("B10000", evaluate, "caracal", "time"), at("B10", evaluate, "caracal", "time"))
	if row := b.report.Row(at("A", evaluate, "caracal", "allocs")); row != nil {
		b.report.Ratio("allocs_per_decision", row.Median)
	}
	return nil
}

// bodies are n inputs of a workload.
func (b *bench) bodies(w *workload.Workload, n int, zones ...string) [][]byte {
	inputs := w.Inputs(b.seed, zones...)
	raws := make([][]byte, n)
	for i := range raws {
		raws[i], _ = inputs.Next(nil)
	}
	return raws
}

func parse(w *workload.Workload, p *peer.Peer, seed uint64) (raws [][]byte, parsed []any, err error) {
	inputs := w.Inputs(seed)
	for range inputsKept {
		raw, _ := inputs.Next(nil)
		in, err := p.Parse(raw)
		if err != nil {
			return nil, nil, err
		}
		raws, parsed = append(raws, raw), append(parsed, in)
	}
	return raws, parsed, nil
}

func (b *bench) inProcessCells(ctx context.Context, names []string) ([]measure.Cell, error) {
	var cells []measure.Cell
	for _, name := range names {
		w := workload.Find(name)
		prepare := peer.New
		if b.quick && w.Rules > 1000 {
			prepare = peer.NewPair // the others take seconds before their first decision
		}
		peers, err := prepare(ctx, w)
		if err != nil {
			return nil, err
		}
		sample := b.count(100, 500)
		if w.Rules > 1000 {
			sample /= 5 // some of the peers look at one rule after another
		}
		if err := peer.Agree(w, peers, b.seed, sample); err != nil {
			return nil, err
		}
		for _, p := range peers {
			raws, parsed, err := parse(w, p, b.seed)
			if err != nil {
				return nil, err
			}
			cells = append(cells, b.inProcessCell(w, evaluate, p, func(i int) error { _, err := p.Decide(parsed[i%inputsKept]); return err }))
			if w.Rules != 0 {
				continue
			}
			answer := make([]byte, 0, 4096)
			cells = append(cells, b.inProcessCell(w, bytesToBytes, p, func(i int) (err error) { answer, err = p.Answer(answer[:0], raws[i%inputsKept]); return err }))
		}
	}
	return cells, nil
}

// inProcessCell makes each sample a benchmark of package testing.
func (b *bench) inProcessCell(w *workload.Workload, what string, p *peer.Peer, call func(i int) error) measure.Cell {
	key := report.Key{Group: inProcess, Workload: w.Name, What: what, Peer: p.Name}
	return measure.Cell{Group: key.Group, Workload: key.Workload, What: key.What, Peer: key.Peer,
		Sample: func(_ context.Context, _ int, d time.Duration) ([]report.Value, error) {
			r, err := measure.Benchmark(d, call)
			if err != nil {
				return nil, err
			}
			b.report.Benchmark(key, r)
			return measure.Values(r), nil
		}}
}
