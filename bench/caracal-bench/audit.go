package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
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
	control, err := b.admin(ctx, &f, "audit-admin", server.BatchesRefused)
	if err != nil {
		return err
	}
	zone, err := control.NewActiveZone(ctx, "audit", workload.Find("A"))
	if err != nil {
		return err
	}
	for i, kind := range []struct {
		peer  string
		fsync bool
	}{{peerCaracald, false}, {peerFsync, true}} {
		key := report.Key{Group: "audit", Workload: "A", What: "spool on disk, inputs kept", Peer: kind.peer, Metric: "size of a record"}
		for round := range b.count(1, 3) {
			if round > 0 && time.Now().After(until) {
				break
			}
			p, dir, err := b.daemon(ctx, &f, control, fmt.Sprintf("audit-%d-%d", i, round), server.Daemon{Fsync: kind.fsync}, zone)
			if err != nil {
				return err
			}
			s := asked{kind.peer, p, loader.Target{Addr: p.Ready.Addr, Path: decidePath, Workload: workload.Find("A"), Zones: []string{zone.ID}}}
			bytes, n, err := b.recordBytes(ctx, s, dir, uint64(round))
			if err != nil {
				return err
			}
			b.report.Add(key, report.Value{Unit: "B", Value: bytes})
			key := key
			key.Metric = "records"
			b.report.Add(key, report.Value{Value: float64(n)})
		}
		if !kind.fsync {
			b.report.Ratio("audit_bytes_per_decision", b.report.Row(key).Median)
		}
	}
	return nil
}

// recordBytes is by how much a daemon's directory grows with each of thousands
// of decisions, and how many they were.
func (b *bench) recordBytes(ctx context.Context, s asked, dir string, round uint64) (bytes float64, n int64, err error) {
	before, err := size(dir)
	if err != nil {
		return 0, 0, err
	}
	least := int64(b.count(5_000, 50_000))
	for step := uint64(0); n < least && step < 20; step++ {
		r, err := b.load(ctx, s, loader.Load{Seed: b.seed*1000 + 800 + 20*round + step, Connections: connections, Duration: b.pick(400*time.Millisecond, 2*time.Second)})
		if err != nil {
			return 0, 0, err
		}
		n += r.Decisions
	}
	after, err := size(dir)
	return float64(after-before) / float64(n), n, err
}

// size is that of all files below a directory.
func size(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone since it was listed
		}
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}
