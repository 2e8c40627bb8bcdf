package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caracalai/caracald/bench/loader"
	"github.com/caracalai/caracald/bench/report"
	"github.com/caracalai/caracald/bench/server"
)

const (
	// probePause is the time between two questions for a bundle: short beside
	// what is measured, and long enough to leave the processors to it.
	probePause = 200 * time.Microsecond
	// swapDeadline is when a version that is not served is a failure.
	swapDeadline = 10 * time.Second
)

// activation measures from moving the pointer through the API to the first
// decision of the new bundle.
func (b *bench) activation(ctx context.Context, until time.Time) (err error) {
	var f fleet
	defer func() { err = errors.Join(err, f.stop()) }()
	m, err := b.moving(ctx, &f, "activation")
	if err != nil {
		return err
	}
	if err := b.agree(ctx, []asked{m.asked}); err != nil {
		return err
	}
	count := b.count(100, 1000)
	key := report.Key{Group: "activation", Workload: "A", What: "API call to first decision of the new bundle", Peer: peerCaracald, Metric: "time"}
	answered := key
	answered.What = "API call to its answer"
	for i := range count {
		if i >= count/5 && time.Now().After(until) {
			break
		}
		versions, err := m.publish(ctx, 1)
		if err != nil {
			return err
		}
		took, call, err := m.firstDecision(ctx, versions[0])
		if err != nil {
			return err
		}
		b.report.Add(key, report.Value{Unit: "ns", Value: float64(took)})
		b.report.Add(answered, report.Value{Unit: "ns", Value: float64(call)})
	}
	row := b.report.Row(key)
	p99 := row.Quantile(0.99)
	key.Metric = "p99"
	b.report.Add(key, report.Value{Unit: "ns", Value: p99})
	b.report.Ratio("activation_p99_ms", p99/1e6, fmt.Sprintf("%d activations", len(row.Samples)))
	return nil
}

// firstDecision activates a version and tells how long it took, from before the
// call, until a decision came from its bundle, and until the call was answered.
func (m *moving) firstDecision(ctx context.Context, v server.Version) (took, call time.Duration, err error) {
	type seen struct {
		at  time.Time
		err error
	}
	probe, err := loader.NewProbe(ctx, m.target, uint64(m.published))
	if err != nil {
		return 0, 0, err
	}
	defer probe.Close()
	if _, err := probe.Answer(); err != nil { // the connection is there
		return 0, 0, err
	}
	first := make(chan seen, 1)
	start := time.Now()
	go func() {
		at, err := awaitBundle(probe, v.Bundle)
		first <- seen{at, err}
	}()
	_, err = m.zone.Activate(ctx, v)
	call = time.Since(start)
	s := <-first
	return s.at.Sub(start), call, errors.Join(err, s.err)
}

// serves waits until the daemon answers from a version.
func (m *moving) serves(ctx context.Context, v server.Version) error {
	probe, err := loader.NewProbe(ctx, m.target, uint64(m.published)+1<<20)
	if err != nil {
		return err
	}
	defer probe.Close()
	_, err = awaitBundle(probe, v.Bundle)
	return err
}

// awaitBundle asks until a decision names a bundle, and tells when it came.
func awaitBundle(p *loader.Probe, bundle string) (time.Time, error) {
	deadline := time.Now().Add(swapDeadline)
	for {
		answer, err := p.Answer()
		now := time.Now()
		switch {
		case err != nil:
			return now, err
		case answer.BundleSHA256 == bundle:
			return now, nil
		case now.After(deadline):
			return now, fmt.Errorf("bundle %s is not served after %v", bundle, swapDeadline)
		}
		time.Sleep(probePause)
	}
}
