package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caracalai/caracald/bench/loader"
	"github.com/caracalai/caracald/bench/measure"
	"github.com/caracalai/caracald/bench/report"
	"github.com/caracalai/caracald/bench/server"
	"github.com/caracalai/caracald/bench/workload"
)

const (
	swapping   = "swap"
	steadyLoad = "steady"
	swapLoad   = "a new version each second"
	// swapEvery is the time between activations.
	swapEvery = time.Second
)

// moving is a daemon and the zone that is moved under it.
type moving struct {
	asked
	zone *server.Zone
	// published counts versions, so that each has a policy of its own.
	published int
}

// moving starts a control plane, a zone and a daemon.
func (b *bench) moving(ctx context.Context, f *fleet, name string) (*moving, error) {
	control, err := b.admin(ctx, f, name+"-admin", server.BatchesDiscarded, b.split.Others)
	if err != nil {
		return nil, err
	}
	zone, err := control.NewActiveZone(ctx, name, workload.Find("A"))
	if err != nil {
		return nil, err
	}
	p, _, err := b.daemon(ctx, f, control, name, server.Daemon{}, zone)
	if err != nil {
		return nil, err
	}
	return &moving{zone: zone, asked: asked{name: peerCaracald, process: p, target: loader.Target{Addr: p.Ready.Addr, Path: decidePath, Workload: workload.Find("A"), Zones: []string{zone.ID}}}}, nil
}

// publish makes n versions, each with a policy of its own that decides alike.
func (m *moving) publish(ctx context.Context, n int) ([]server.Version, error) {
	versions := make([]server.Version, n)
	for i := range versions {
		m.published++
		var err error
		if versions[i], err = m.zone.Publish(ctx, workload.Variant(fmt.Sprintf("version-%d", m.published))); err != nil {
			return nil, err
		}
	}
	return versions, nil
}

// swap compares latencies at a fixed rate while new versions become active with
// those while none does.
func (b *bench) swap(ctx context.Context, until time.Time) (err error) {
	var f fleet
	defer func() { err = errors.Join(err, f.stop()) }()
	m, err := b.moving(ctx, &f, "swap")
	if err != nil {
		return err
	}
	if err := b.agree(ctx, []asked{m.asked}); err != nil {
		return err
	}
	r, err := b.load(ctx, m.asked, loader.Load{Seed: b.seed*1000 + 700, Connections: connections, Duration: b.pick(500*time.Millisecond, 3*time.Second)})
	if err != nil {
		return err
	}
	rate := float64(int(r.Rate()*load/100)) * 100
	if rate == 0 {
		return fmt.Errorf("no rate: %.0f/s at saturation", r.Rate())
	}
	what := fmt.Sprintf("%.0f/s", rate)
	rounds, d := b.count(2, 6), max(b.pick(time.Second, 6*time.Second), swapEvery)
	sample := func(ctx context.Context, round int, d time.Duration) ([]report.Value, error) {
		r, err := b.load(ctx, m.asked, loader.Load{Seed: b.seed*1000 + uint64(round) + 710, Connections: openConnections, Duration: d, Rate: rate})
		if err != nil {
			return nil, err
		}
		return append(latency(r), report.Value{Metric: "failed requests", Value: float64(r.Failed)}), nil
	}
	cells := []measure.Cell{
		{Group: swapping, Workload: "A", What: what, Peer: steadyLoad, Sample: sample},
		{Group: swapping, Workload: "A", What: what, Peer: swapLoad, Sample: func(ctx context.Context, round int, d time.Duration) ([]report.Value, error) {
			// Made before, as people make versions before they activate them.
			versions, err := m.publish(ctx, max(1, int(d/swapEvery)))
			if err != nil {
				return nil, err
			}
			moved := make(chan error, 1)
			stop, cancel := context.WithCancel(ctx)
			go func() { moved <- m.activateEach(stop, versions) }()
			values, err := sample(ctx, round, d)
			cancel()
			return append(values, report.Value{Metric: "swaps", Value: float64(len(versions))}), errors.Join(err, <-moved, m.serves(ctx, versions[len(versions)-1]))
		}},
	}
	if err := measure.Rounds(ctx, b.report, cells, rounds, d, until); err != nil {
		return err
	}
	at := func(peer, metric string) report.Key {
		return report.Key{Group: swapping, Workload: "A", What: what, Peer: peer, Metric: metric}
	}
	b.ratio("swap_p99_vs_steady", at(swapLoad, "p99"), at(steadyLoad, "p99"))
	if failed := b.report.Row(at(swapLoad, "failed requests")); failed != nil {
		total := 0.0
		for _, n := range failed.Samples {
			total += n
		}
		b.report.Ratio("swap_failed_requests", total)
	}
	return nil
}

// activateEach activates versions, the first after a quarter of the time between them.
func (m *moving) activateEach(ctx context.Context, versions []server.Version) error {
	next := time.NewTimer(swapEvery / 4)
	defer next.Stop()
	for i, v := range versions {
		select {
		case <-next.C:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d versions were activated in time", i, len(versions))
		}
		next.Reset(swapEvery)
		if _, err := m.zone.Activate(context.WithoutCancel(ctx), v); err != nil {
			return err
		}
	}
	return nil
}
