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
	caching = "http, saturated, a policy that takes longer"
	// slowWorkload evaluates in some fifteen microseconds, where a daemon asks its cache
	// for policies that take over four, and its inputs come again. The other shapes of
	// policies take less, and hardly any of their inputs comes twice.
	slowWorkload = "statements"
)

// cache compares a daemon that has a cache with one that has none, where the cache
// is of use.
func (b *bench) cache(ctx context.Context, until time.Time) (err error) {
	var f fleet
	defer func() { err = errors.Join(err, f.stop()) }()
	control, err := b.admin(ctx, &f, "cache-admin", server.BatchesDiscarded, b.split.Others)
	if err != nil {
		return err
	}
	w := workload.Find(slowWorkload)
	zone, err := control.NewActiveZone(ctx, "cache", w)
	if err != nil {
		return err
	}
	var both []asked
	for _, s := range []asked{{name: peerCaracald}, {name: peerCached, daemon: server.Daemon{Cache: cacheBytes}}} {
		if s.process, _, err = b.daemon(ctx, &f, control, fmt.Sprintf("cache-%d", s.daemon.Cache), s.daemon, zone); err != nil {
			return err
		}
		s.target = loader.Target{Addr: s.process.Ready.Addr, Path: decidePath, Workload: w, Zones: []string{zone.ID}}
		both = append(both, s)
	}
	// A cache that has just begun knows nothing yet; batches fill it soonest.
	fill := both[1]
	fill.target.Path, fill.target.Batch = batchPath, batchInputs
	if _, err := b.load(ctx, fill, loader.Load{Seed: b.seed*1000 + 900, Connections: connections, Duration: b.pick(300*time.Millisecond, 10*time.Second)}); err != nil {
		return err
	}
	if err := b.agree(ctx, both); err != nil {
		return err
	}
	var cells []measure.Cell
	for _, s := range both {
		cells = append(cells, b.saturating(s, caching, connections))
	}
	if err := measure.Rounds(ctx, b.report, cells, b.count(1, 7), b.pick(350*time.Millisecond, 2500*time.Millisecond), until); err != nil {
		return err
	}
	at := func(peer, metric string) report.Key {
		return report.Key{Group: caching, Workload: slowWorkload, What: decide, Peer: peer, Metric: metric}
	}
	if hits := b.report.Row(at(peerCached, "hit rate")); hits != nil {
		b.ratio("http_cached_vs_uncached_statements", at(peerCached, "rate"), at(peerCaracald, "rate"),
			fmt.Sprintf("%.1f%% of the decisions came from the cache, more the longer it runs", 100*hits.Median))
	}
	return nil
}
