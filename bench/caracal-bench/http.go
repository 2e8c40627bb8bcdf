package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/caracalai/caracald/bench/loader"
	"github.com/caracalai/caracald/bench/measure"
	"github.com/caracalai/caracald/bench/report"
	"github.com/caracalai/caracald/bench/server"
	"github.com/caracalai/caracald/bench/workload"
)

const (
	saturated = "http, saturated"
	fixedRate = "http, fixed rate"
	decide    = "decide"

	// connections are those of every run.
	connections = 16
	// openConnections carry a fixed rate, so many that a rate is not bound by them.
	openConnections = 64

	decidePath = "/v1/decide"
	opaPath    = "/v1/data/caracal/authz/result"

	cacheBytes = 256 << 20
)

// Peers over HTTP.
const (
	peerCeiling  = "ceiling (bare fasthttp)"
	peerCaracald = "caracald"
	peerCached   = "caracald, cache on"
	peerFsync    = "caracald, fsync before each answer"
	peerNoRecord = "caracald, no record kept"
	peerEngine   = "fasthttp over our engine, no record"
	peerNetHTTP  = "net/http over OPA"
	peerOPA      = "opa run --server"
)

// asked is a server that is measured.
type asked struct {
	name    string
	process *server.Process
	target  loader.Target
}

// http measures decisions over loopback, each server a process of its own on
// the same processors as the loader.
func (b *bench) http(ctx context.Context) (err error) {
	servers, stop, err := b.servers(ctx)
	defer func() { err = errors.Join(err, stop()) }()
	if err != nil {
		return err
	}
	if err := b.warm(ctx, servers); err != nil {
		return err
	}
	b.report.Note("Over HTTP, loader and servers share all processors; servers are processes of their own, and keep their defaults where nothing else is said.")
	b.report.Note("Where nothing else is said, caracald has its cache off and hands each record to the operating system before it answers; its other choice, which is its default, is a row of its own. It ships its records to a control plane that discards them.")
	b.report.Note("Of caracald, \"no record kept\" means that its spool is full and it answers nevertheless: it still makes each record.")
	b.report.Note("Each answer's decision is compared with what the input was made for; the ceiling decides nothing and answers 250 bytes.")
	var cells []measure.Cell
	for _, s := range servers {
		cells = append(cells, measure.Cell{Group: saturated, Workload: "A", What: decide, Peer: s.name,
			Sample: func(ctx context.Context, round int, d time.Duration) ([]report.Value, error) {
				return s.sample(ctx, loader.Load{Seed: b.seed*1000 + uint64(round) + 10, Connections: connections, Duration: d}, nil)
			}})
	}
	if err := measure.Rounds(ctx, b.report, cells, b.count(3, 10), b.pick(500*time.Millisecond, 3*time.Second), time.Now().Add(b.pick(14*time.Second, 10*time.Minute))); err != nil {
		return err
	}
	at := func(peer, metric string) report.Key {
		return report.Key{Group: saturated, Workload: "A", What: decide, Peer: peer, Metric: metric}
	}
	b.ratio("http_vs_ceiling", at(peerCaracald, "rate"), at(peerCeiling, "rate"))
	b.ratio("http_cached_vs_ceiling", at(peerCached, "rate"), at(peerCeiling, "rate"))
	b.ratio("http_vs_opa_server", at(peerCaracald, "rate"), at(peerOPA, "rate"))
	b.ratio("http_p99_vs_ceiling", at(peerCaracald, "p99"), at(peerCeiling, "p99"))
	if q, ok := b.report.Quotient(at(peerCaracald, "rate"), at(peerNoRecord, "rate")); ok {
		b.report.Ratio("audit_cost", 1-q)
	}
	return b.fixedRates(ctx, servers)
}

// fixedRates asks all for the same number of requests a second, which all can answer.
func (b *bench) fixedRates(ctx context.Context, servers []asked) error {
	slowest := 0.0
	for _, row := range b.report.Of(saturated) {
		if row.Metric == "rate" && (slowest == 0 || row.Min < slowest) {
			slowest = row.Min
		}
	}
	rate := float64(int(slowest*0.4/100)) * 100
	if rate == 0 {
		return fmt.Errorf("no rate that all can answer: the slowest had %.0f/s", slowest)
	}
	latencies := map[string]*hdrhistogram.Histogram{}
	var cells []measure.Cell
	for _, s := range servers {
		all := hdrhistogram.New(1000, int64(time.Minute), 3)
		latencies[s.name] = all
		cells = append(cells, measure.Cell{Group: fixedRate, Workload: "A", What: fmt.Sprintf("%.0f/s", rate), Peer: s.name,
			Sample: func(ctx context.Context, round int, d time.Duration) ([]report.Value, error) {
				return s.sample(ctx, loader.Load{Seed: b.seed*1000 + uint64(round) + 500, Connections: openConnections, Duration: d, Rate: rate}, all)
			}})
	}
	if err := measure.Rounds(ctx, b.report, cells, b.count(2, 5), b.pick(300*time.Millisecond, 3*time.Second), time.Now().Add(b.pick(6*time.Second, 5*time.Minute))); err != nil {
		return err
	}
	for _, s := range servers {
		c := report.Curve{Name: s.name}
		for _, q := range report.Quantiles {
			c.Values = append(c.Values, float64(latencies[s.name].ValueAtQuantile(q))/1e6)
		}
		b.report.Curves = append(b.report.Curves, c)
	}
	return nil
}

// sample loads a server; every request has to be answered rightly.
func (s asked) sample(ctx context.Context, l loader.Load, all *hdrhistogram.Histogram) ([]report.Value, error) {
	before, err := s.process.Stats()
	if err != nil {
		return nil, err
	}
	r, err := loader.Run(ctx, s.target, l)
	if err != nil {
		return nil, err
	}
	if r.Failed > 0 {
		return nil, fmt.Errorf("%d of %d requests failed: %w", r.Failed, r.Failed+r.Answered, r.Failure)
	}
	after, err := s.process.Stats()
	if err != nil {
		return nil, err
	}
	if all != nil {
		all.Merge(r.Latency)
	}
	values := latency(r)
	if l.Rate == 0 {
		values = append(values, report.Value{Metric: "rate", Unit: "/s", Value: r.Rate()},
			report.Value{Metric: "allocs of the process", Value: float64(after.Mallocs-before.Mallocs) / float64(r.Answered)})
	}
	return values, nil
}

func latency(r *loader.Result) []report.Value {
	var values []report.Value
	for _, q := range []float64{50, 99, 99.9} {
		values = append(values, report.Value{Metric: fmt.Sprintf("p%g", q), Unit: "ns", Value: float64(r.Latency.ValueAtQuantile(q))})
	}
	return values
}

// servers starts all that are asked. stop ends those that were started.
func (b *bench) servers(ctx context.Context) (all []asked, stop func() error, err error) {
	var running []*server.Process
	stop = func() error {
		var errs []error
		for i := len(running) - 1; i >= 0; i-- { // daemons before their control plane
			errs = append(errs, running[i].Stop())
		}
		return errors.Join(errs...)
	}
	start := func(role string, config any) (*server.Process, error) {
		p, err := server.Start(ctx, role, config)
		if err == nil {
			running = append(running, p)
		}
		return p, err
	}
	plane, err := start(server.RolePlane, server.Plane{Policy: server.Policy{Workload: "A"}})
	if err != nil {
		return nil, stop, err
	}
	full, err := start(server.RolePlane, server.Plane{Policy: server.Policy{Workload: "A"}, KeepSpool: true})
	if err != nil {
		return nil, stop, err
	}
	w := workload.Find("A")
	for i, s := range []struct {
		name, role string
		daemon     server.Daemon
		target     loader.Target
	}{
		{peerCeiling, server.RoleCeiling, server.Daemon{}, loader.Target{Path: decidePath, Blind: true}},
		{peerCaracald, server.RoleCaracald, server.Daemon{}, loader.Target{Path: decidePath}},
		{peerCached, server.RoleCaracald, server.Daemon{Cache: cacheBytes}, loader.Target{Path: decidePath}},
		{peerNoRecord, server.RoleCaracald, server.Daemon{NoRecord: true}, loader.Target{Path: decidePath}},
		{peerFsync, server.RoleCaracald, server.Daemon{Fsync: true}, loader.Target{Path: decidePath}},
		{peerEngine, server.RoleEngine, server.Daemon{}, loader.Target{Path: decidePath}},
		{peerOPA, server.RoleOPA, server.Daemon{}, loader.Target{Path: opaPath, Wrapped: true}},
		{peerNetHTTP, server.RoleNetHTTP, server.Daemon{}, loader.Target{Path: decidePath}},
	} {
		dir, err := b.directory(fmt.Sprintf("http-%d", i))
		if err != nil {
			return nil, stop, err
		}
		var config any = server.Policy{Workload: "A", Dir: dir}
		if s.role == server.RoleCaracald {
			at := plane
			if s.daemon.NoRecord {
				at = full
			}
			s.daemon.Dir, s.daemon.Zones = dir, []string{workload.DefaultZone}
			s.daemon.Admin, s.daemon.Token, s.daemon.Trust = at.Ready.Addr, at.Ready.Daemon, at.Ready.Trust
			config = s.daemon
		}
		p, err := start(s.role, config)
		if err != nil {
			return nil, stop, err
		}
		s.target.Addr, s.target.Workload = p.Ready.Addr, w
		all = append(all, asked{s.name, p, s.target})
	}
	return all, stop, nil
}

// warm lets every server answer for a while before it is measured.
func (b *bench) warm(ctx context.Context, servers []asked) error {
	for _, s := range servers {
		r, err := loader.Run(ctx, s.target, loader.Load{Seed: b.seed, Connections: connections, Duration: b.pick(200*time.Millisecond, time.Second)})
		if err != nil {
			return err
		}
		if r.Failed > 0 {
			return fmt.Errorf("%s: %d of %d requests failed: %w", s.name, r.Failed, r.Failed+r.Answered, r.Failure)
		}
	}
	return nil
}

// directory makes a directory that is removed with the run.
func (b *bench) directory(name string) (string, error) {
	dir := filepath.Join(b.dir, name)
	return dir, os.MkdirAll(dir, 0o700)
}
