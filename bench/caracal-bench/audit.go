package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caracalai/caracald/bench/loader"
	"github.com/caracalai/caracald/bench/report"
	"github.com/caracalai/caracald/bench/server"
	"github.com/caracalai/caracald/bench/workload"
)

// audit measures what the records of decisions take on a daemon's disk while
// nobody takes them off it.
func (b *bench) audit(ctx context.Context, until time.Time) (err error) {
	var f fleet
	defer func() { err = errors.Join(err, f.stop()) }()
	control, err := b.admin(ctx, &f, "audit-admin", server.BatchesRefused, b.split.Others)
	if err != nil {
		return err
	}
	zone, err := control.NewActiveZone(ctx, "audit", workload.Find("A"))
	if err != nil {
		return err
	}
	peers := []string{peerCaracald, peerFsync}
	if b.quick {
		peers = peers[:1]
	}
	for _, peer := range peers {
		p, dir, err := b.daemon(ctx, &f, control, "audit-"+fmt.Sprint(peer == peerFsync), server.Daemon{Fsync: peer == peerFsync}, zone)
		if err != nil {
			return err
		}
		s := asked{name: peer, process: p, target: loader.Target{Addr: p.Ready.Addr, Path: batchPath, Batch: batchInputs, Workload: workload.Find("A"), Zones: []string{zone.ID}}}
		held, err := b.fill(ctx, s, dir, until)
		if err != nil {
			return err
		}
		for _, v := range held.values() {
			b.report.Add(report.Key{Group: "audit", Workload: "A", What: "spool on disk, inputs kept", Peer: peer, Metric: v.Metric}, v)
		}
		if peer == peerCaracald {
			b.report.Ratio("audit_bytes_per_decision", held.record(), fmt.Sprintf("%d decisions", held.records))
		}
	}
	return nil
}

// fill asks a daemon until it has begun further segments of its spool, at least
// two and as many as the records of a full run need, and gives what it keeps
// then. Where there is no time for that, it gives what there is.
func (b *bench) fill(ctx context.Context, s asked, dir string, until time.Time) (spooled, error) {
	closed, records := b.count(2, 10), int64(0)
	if b.tiny {
		closed = 0
	}
	for step := uint64(0); ; step++ {
		r, err := b.load(ctx, s, loader.Load{Seed: b.seed*1000 + 800 + step, Connections: connections, Duration: b.pick(300*time.Millisecond, time.Second)})
		if err != nil {
			return spooled{}, err
		}
		records += r.Decisions
		held, err := spool(dir, records)
		if err != nil {
			return held, err
		}
		if held.segments > closed || time.Now().After(until) {
			break
		}
	}
	return settled(ctx, dir, records)
}

const (
	// settledAfter is how long a spool has to stay as it is to count as settled,
	// longer than the daemon waits before it compresses a segment.
	settledAfter = 2 * time.Second
	// settleDeadline bounds the wait for it.
	settleDeadline = 20 * time.Second
)

// settled waits until a spool to which nothing is added changes no more.
func settled(ctx context.Context, dir string, records int64) (held spooled, err error) {
	since := time.Now()
	for start := since; time.Since(start) < settleDeadline; time.Sleep(20 * time.Millisecond) {
		now, err := spool(dir, records)
		if err != nil || ctx.Err() != nil {
			return now, errors.Join(err, ctx.Err())
		}
		if now != held {
			held, since = now, time.Now()
		}
		if held.segments < 2 || time.Since(since) > settledAfter {
			break
		}
	}
	return held, nil
}
