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

// auditBytes measures what the records of decisions take on a daemon's disk
// while nobody takes them off it.
func (b *bench) auditBytes(ctx context.Context) (err error) {
	plane, err := server.Start(ctx, server.RolePlane, server.Plane{Policy: server.Policy{Workload: "A"}, KeepSpool: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plane.Stop()) }()
	for round := range b.count(1, 3) {
		dir, err := b.directory(fmt.Sprintf("audit-%d", round))
		if err != nil {
			return err
		}
		d, err := server.Start(ctx, server.RoleCaracald, server.Daemon{Admin: plane.Ready.Addr, Token: plane.Ready.Daemon, Trust: plane.Ready.Trust,
			Zones: []string{workload.DefaultZone}, Dir: dir})
		if err != nil {
			return err
		}
		bytes, err := b.recordBytes(ctx, d, dir, uint64(round))
		if err := errors.Join(err, d.Stop()); err != nil {
			return err
		}
		b.report.Add(report.Key{Group: "audit", Workload: "A", What: "record on disk", Peer: peerCaracald, Metric: "size"}, report.Value{Unit: "B", Value: bytes})
	}
	b.report.Ratio("audit_bytes_per_decision", b.report.Row(report.Key{Group: "audit", Workload: "A", What: "record on disk", Peer: peerCaracald, Metric: "size"}).Median)
	return nil
}

func (b *bench) recordBytes(ctx context.Context, d *server.Process, dir string, round uint64) (float64, error) {
	before, err := size(dir)
	if err != nil {
		return 0, err
	}
	r, err := loader.Run(ctx, loader.Target{Addr: d.Ready.Addr, Path: decidePath, Workload: workload.Find("A")},
		loader.Load{Seed: b.seed*1000 + 900 + round, Connections: connections, Duration: b.pick(500*time.Millisecond, 2*time.Second)})
	if err != nil {
		return 0, err
	}
	if r.Failed > 0 {
		return 0, fmt.Errorf("%d of %d requests failed: %w", r.Failed, r.Failed+r.Answered, r.Failure)
	}
	after, err := size(dir)
	return float64(after-before) / float64(r.Answered), err
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
