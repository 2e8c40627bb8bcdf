package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/caracalai/caracald/bench/loader"
	"github.com/caracalai/caracald/bench/measure"
	"github.com/caracalai/caracald/bench/report"
	"github.com/caracalai/caracald/bench/server"
)

const (
	saturated = "http, saturated"
	crowded   = "http, saturated, 64 connections"
	fixedRate = "http, fixed rate"
	decide    = "decide"

	serverTime = "server's processor time"

	// connections are those of every run at saturation.
	connections = 16
	// openConnections carry a fixed rate, so many that a rate is not bound by them,
	// and the second measurement at saturation.
	openConnections = 64
	// load is the share of the slowest one's saturation that a fixed rate is.
	load = 0.3
)

// http measures decisions over loopback, each server a process of its own, on the
// same processors as the loader where these are too few to be split.
func (b *bench) http(ctx context.Context, until time.Time) (err error) {
	var f fleet
	defer func() { err = errors.Join(err, f.stop()) }()
	if err := b.aboutCerbos(); err != nil {
		return err
	}
	servers, err := b.servers(ctx, &f)
	if err != nil {
		return err
	}
	if err := b.agree(ctx, servers); err != nil {
		return err
	}
	sharing := "loader and servers share all processors"
	if len(b.split.Servers) > 0 {
		sharing = "servers have half of the processors, loader and control plane the others"
	}
	b.report.Note(fmt.Sprintf("Over HTTP, %s, over %d connections that are kept (%d at a fixed rate, and in the rows that say so); a server is a process of its own with its defaults where nothing else is said.", sharing, connections, openConnections))
	b.report.Note("Where nothing else is said, caracald has its cache off and its audit on, inputs kept, each record handed to the operating system before its decision is answered (spool-durability none). Its default, an fsync before each answer, has rows of its own. Records are shipped to a control plane that accepts them unread, as one on another machine costs nothing here; those that are not shipped when a load ends are waited for, outside of its time and before anything else is measured, and have rows of their own.")
	b.report.Note("No setting of caracald turns its audit off. For audit_cost the benchmark puts together a daemon that makes, keeps, counts and ships no record, and is the same otherwise: the same event loops, ids and metrics. The bare server over our engine, which has neither records nor ids nor metrics, is the other bound.")
	b.report.Note("Each answer's decision is compared with what the input was made for; the ceiling decides nothing and answers 250 bytes.")
	// Each part has its time.
	if err := b.saturation(ctx, servers, until.Add(-b.pick(4*time.Second, 5*time.Minute))); err != nil {
		return err
	}
	if !b.quick {
		if err := b.crowd(ctx, servers, until.Add(-3*time.Minute)); err != nil {
			return err
		}
	}
	return b.fixedRates(ctx, servers, until)
}

// aboutCerbos tells which Cerbos is measured and how, or that none is.
func (b *bench) aboutCerbos() error {
	const engine = "Of Cerbos only the server can be measured, as its engine is internal to its module"
	if b.cerbos == "" {
		b.report.Note(engine + "; this run has not measured it: --cerbos names its program.")
		return nil
	}
	version, err := server.CerbosVersion(b.cerbos)
	if err != nil {
		return err
	}
	b.report.Versions[server.CerbosModule] = version
	b.report.Note(engine + ": cerbos server, with a policy equivalent to workload A on disk, its audit and its telemetry off. It is asked for one action on one resource, with all that the input documents have in the form that its API takes; it answers HTTP by way of its own gRPC server.")
	return nil
}

func atSaturation(peer, metric string) report.Key {
	return report.Key{Group: saturated, Workload: "A", What: decide, Peer: peer, Metric: metric}
}

// saturation asks all as fast as they answer. A quick run has one round, without
// those that no ratio is made of and whose records are waited for, and further ones of
// those whose ratios have targets.
func (b *bench) saturation(ctx context.Context, servers []asked, until time.Time) error {
	var cells, again []measure.Cell
	for _, s := range servers {
		if b.quick && (s.name == peerUnix || s.name == peerBatch) {
			continue
		}
		c := b.saturating(s, saturated, connections)
		cells = append(cells, c)
		switch s.name {
		case peerCeiling, peerCaracald, peerOPA, peerCerbos, peerUnaudited:
			again = append(again, measure.Cell{Group: c.Group, Workload: c.Workload, What: c.What, Peer: c.Peer,
				Sample: func(ctx context.Context, round int, d time.Duration) ([]report.Value, error) {
					return c.Sample(ctx, round+1, d)
				}})
		}
	}
	d := b.pick(250*time.Millisecond, 2500*time.Millisecond)
	if err := measure.Rounds(ctx, b.report, cells, b.count(1, 7), d, until); err != nil {
		return err
	}
	if b.quick {
		if err := measure.Rounds(ctx, b.report, again, b.count(2, 0), d, until); err != nil {
			return err
		}
	}
	at := atSaturation
	b.ratio("http_vs_ceiling", at(peerCaracald, "rate"), at(peerCeiling, "rate"))
	b.ratio("http_fsync_vs_ceiling", at(peerFsync, "rate"), at(peerCeiling, "rate"))
	b.ratio("http_vs_opa_server", at(peerCaracald, "rate"), at(peerOPA, "rate"))
	b.ratio("http_vs_cerbos_server", at(peerCaracald, "rate"), at(peerCerbos, "rate"))
	if q, ok := b.report.Quotient(at(peerCaracald, "rate"), at(peerUnaudited, "rate")); ok {
		most, _ := b.report.Quotient(at(peerCaracald, "rate"), at(peerEngine, "rate"))
		b.report.Ratio("audit_cost", 1-q, fmt.Sprintf("against a bare server over our engine, without ids and metrics either, %.2f", 1-most))
	}
	if hits := b.report.Row(at(peerCached, "hit rate")); hits != nil {
		b.ratio("http_cached_vs_ceiling", at(peerCached, "rate"), at(peerCeiling, "rate"),
			fmt.Sprintf("%.1f%% of the decisions came from the cache, which a daemon does not ask where policies decide as soon", 100*hits.Median))
	}
	return nil
}

// saturating is a server that is asked as fast as it answers.
func (b *bench) saturating(s asked, group string, connections int) measure.Cell {
	return measure.Cell{Group: group, Workload: s.target.Workload.Name, What: decide, Peer: s.name,
		Sample: func(ctx context.Context, round int, d time.Duration) ([]report.Value, error) {
			return b.saturate(ctx, s, loader.Load{Seed: b.seed*1000 + uint64(round) + 10, Connections: connections, Duration: d})
		}}
}

// crowd asks as fast over many more connections, with which no processor waits for
// another. A quick run leaves it out.
func (b *bench) crowd(ctx context.Context, servers []asked, until time.Time) error {
	var cells []measure.Cell
	for _, s := range servers {
		switch s.name {
		case peerCeiling, peerCaracald, peerCached, peerFsync, peerUnaudited, peerOPA:
			cells = append(cells, b.saturating(s, crowded, openConnections))
		}
	}
	if err := measure.Rounds(ctx, b.report, cells, 5, 2*time.Second, until); err != nil {
		return err
	}
	rate := func(peer string) report.Key {
		return report.Key{Group: crowded, Workload: "A", What: decide, Peer: peer, Metric: "rate"}
	}
	b.ratio("http_64_vs_ceiling", rate(peerCaracald), rate(peerCeiling))
	b.ratio("http_64_fsync_vs_ceiling", rate(peerFsync), rate(peerCeiling))
	b.ratio("http_64_cached_vs_ceiling", rate(peerCached), rate(peerCeiling))
	b.ratio("http_64_vs_opa_server", rate(peerCaracald), rate(peerOPA))
	if q, ok := b.report.Quotient(rate(peerCaracald), rate(peerUnaudited)); ok {
		b.report.Ratio("audit_cost_64", 1-q)
	}
	return nil
}

// saturate asks a server as fast as it answers, and tells what that cost.
func (b *bench) saturate(ctx context.Context, s asked, l loader.Load) ([]report.Value, error) {
	before, err := s.process.Stats()
	if err != nil {
		return nil, err
	}
	hitsBefore, err := s.hits(ctx)
	if err != nil {
		return nil, err
	}
	own := processor()
	r, err := b.load(ctx, s, l)
	if err != nil {
		return nil, err
	}
	own = processor() - own
	loaded, err := s.process.Stats()
	if err != nil {
		return nil, err
	}
	waiting, shipping, err := b.shipped(ctx, s)
	if err != nil {
		return nil, err
	}
	after, err := s.process.Stats() // what it shipped after the load is its work too
	if err != nil {
		return nil, err
	}
	hits, err := s.hits(ctx)
	if err != nil {
		return nil, err
	}
	n := float64(r.Decisions)
	values := append([]report.Value{{Metric: "rate", Unit: "/s", Value: r.Rate()}}, latency(r)...)
	values = append(values,
		report.Value{Metric: serverTime, Unit: "ns", Value: float64(after.Processor-before.Processor) / n},
		report.Value{Metric: "loader's processor time", Unit: "ns", Value: float64(own) / n})
	if loaded.Mallocs > 0 { // to ask again and again what is not shipped yet allocates far more
		values = append(values, report.Value{Metric: "server's allocations", Value: float64(loaded.Mallocs-before.Mallocs) / n})
	}
	if s.ships() {
		values = append(values, report.Value{Metric: "records not yet shipped", Value: waiting}, report.Value{Metric: "time to ship them", Unit: "ns", Value: float64(shipping)})
	}
	if s.daemon.Cache > 0 {
		values = append(values, report.Value{Metric: "hit rate", Value: (hits - hitsBefore) / n})
	}
	return values, nil
}

// hits tells how often a daemon's cache had a decision.
func (s asked) hits(ctx context.Context) (float64, error) {
	if s.daemon.Cache == 0 {
		return 0, nil
	}
	m, err := server.Metrics(ctx, s.process.Ready.Addr)
	return m["caracal_daemon_cache_hits_total"], err
}

// processor is the processor time that this process used.
func processor() time.Duration {
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func latency(r *loader.Result) []report.Value {
	var values []report.Value
	for _, q := range []float64{50, 99, 99.9} {
		values = append(values, report.Value{Metric: fmt.Sprintf("p%g", q), Unit: "ns", Value: float64(r.Latency.ValueAtQuantile(q))})
	}
	return values
}

// fixedRates asks for the same number of requests a second: of the daemon and
// the ceiling, and in a full run also of all servers.
func (b *bench) fixedRates(ctx context.Context, servers []asked, until time.Time) error {
	var pair, all []asked
	for _, s := range servers {
		switch s.name {
		case peerCeiling, peerCaracald:
			pair = append(pair, s)
			all = append(all, s)
		case peerCached, peerOPA, peerCerbos, peerNetHTTP, peerFsync, peerUnix:
			all = append(all, s)
		}
	}
	what, err := b.fixed(ctx, pair, until)
	if err != nil {
		return err
	}
	at := func(peer string) report.Key {
		return report.Key{Group: fixedRate, Workload: "A", What: what, Peer: peer, Metric: "p99"}
	}
	b.ratio("http_p99_vs_ceiling", at(peerCaracald), at(peerCeiling))
	if b.quick {
		return nil
	}
	_, err = b.fixed(ctx, all, until)
	return err
}

// fixed asks servers at a rate that all of them can answer, and names it.
func (b *bench) fixed(ctx context.Context, servers []asked, until time.Time) (what string, err error) {
	slowest := 0.0
	for _, s := range servers {
		if row := b.report.Row(atSaturation(s.name, "rate")); row != nil && (slowest == 0 || row.Median < slowest) {
			slowest = row.Median
		}
	}
	rate := float64(int(slowest*load/100)) * 100
	if rate == 0 {
		return "", fmt.Errorf("no rate that all can answer: the slowest had %.0f/s", slowest)
	}
	what = fmt.Sprintf("%.0f/s", rate)
	latencies := map[string]*hdrhistogram.Histogram{}
	var cells []measure.Cell
	for _, s := range servers {
		seen := hdrhistogram.New(1000, int64(time.Minute), 3)
		latencies[s.name] = seen
		cells = append(cells, measure.Cell{Group: fixedRate, Workload: "A", What: what, Peer: s.name,
			Sample: func(ctx context.Context, round int, d time.Duration) ([]report.Value, error) {
				r, err := b.load(ctx, s, loader.Load{Seed: b.seed*1000 + uint64(round) + 500, Connections: openConnections, Duration: d, Rate: rate})
				if err != nil {
					return nil, err
				}
				seen.Merge(r.Latency)
				_, _, err = b.shipped(ctx, s)
				return latency(r), err
			}})
	}
	if err := measure.Rounds(ctx, b.report, cells, b.count(3, 7), b.pick(300*time.Millisecond, 2*time.Second), until); err != nil {
		return "", err
	}
	curves := report.Curves{Title: "Latency at " + what + ", workload A (ms, less is better)"}
	for _, s := range servers {
		c := report.Curve{Name: s.name}
		for _, q := range report.Quantiles {
			c.Values = append(c.Values, float64(latencies[s.name].ValueAtQuantile(q))/1e6)
		}
		curves.Curves = append(curves.Curves, c)
	}
	b.report.Latencies = append(b.report.Latencies, curves)
	return what, nil
}
