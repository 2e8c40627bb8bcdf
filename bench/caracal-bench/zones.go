package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/caracalai/caracald/bench/peer"
	"github.com/caracalai/caracald/bench/report"
	"github.com/caracalai/caracald/bench/server"
	"github.com/caracalai/caracald/bench/workload"
)

// zoneWriters bounds the zones that are made at once.
const zoneWriters = 8

// zones compares the memory of one daemon that serves many zones, each with a
// policy of its own, with that of one OPA that holds the same policies.
func (b *bench) zones(ctx context.Context, _ time.Time) (err error) {
	var f fleet
	defer func() { err = errors.Join(err, f.stop()) }()
	count := b.count(50, 1000)
	if b.quick {
		b.report.Note(fmt.Sprintf("This quick run compares memory with %d zones in the place of 1,000; what a process takes with one zone is a larger part of it.", count))
	}
	control, err := b.admin(ctx, &f, "zones-admin", server.BatchesDiscarded)
	if err != nil {
		return err
	}
	zones := make([]*server.Zone, count)
	writers, writing := errgroup.WithContext(ctx)
	writers.SetLimit(zoneWriters)
	for i := range zones {
		writers.Go(func() (err error) {
			zones[i], err = control.NewActiveZone(writing, fmt.Sprintf("zone %d", i), workload.Variant(fmt.Sprintf("zone-%d", i)))
			return err
		})
	}
	if err := writers.Wait(); err != nil {
		return err
	}
	for _, n := range []int{1, count} {
		ours, theirs, err := b.memory(ctx, control, zones[:n])
		if err != nil {
			return err
		}
		if n == count {
			b.ratio("memory_1000_zones_vs_opa", ours, theirs, fmt.Sprintf("%d zones", n))
		}
	}
	return nil
}

// memory measures a daemon and an OPA with zones, and names the rows.
func (b *bench) memory(ctx context.Context, control *server.Control, zones []*server.Zone) (ours, theirs report.Key, err error) {
	var f fleet
	defer func() { err = errors.Join(err, f.stop()) }()
	n := len(zones)
	ours = report.Key{Group: "memory", Workload: "A", What: fmt.Sprintf("zones: %d", n), Peer: peerCaracald, Metric: "resident"}
	theirs = ours
	theirs.Peer = peerOPA
	ids := make([]string, n)
	for i, z := range zones {
		ids[i] = z.ID
	}
	start := time.Now()
	daemon, _, err := b.daemon(ctx, &f, control, fmt.Sprintf("zones-%d", n), server.Daemon{}, zones...)
	if err != nil {
		return ours, theirs, err
	}
	if err := b.held(ctx, ours, daemon, time.Since(start), ids, func(_ string, input []byte) (string, []byte) { return decidePath, input }); err != nil {
		return ours, theirs, err
	}
	dir, err := b.directory(fmt.Sprintf("zones-opa-%d", n))
	if err != nil {
		return ours, theirs, err
	}
	start = time.Now()
	opa, err := server.Start(ctx, server.RoleOPA, server.Policy{Zones: ids, Dir: dir})
	if err != nil {
		return ours, theirs, err
	}
	f.add(opa)
	return ours, theirs, b.held(ctx, theirs, opa, time.Since(start), ids, func(id string, input []byte) (string, []byte) {
		return server.OPAPath(id), fmt.Appendf(nil, `{"input":%s}`, input)
	})
}

// held asks a server twice in each zone and reports the memory that it has then.
func (b *bench) held(ctx context.Context, key report.Key, p *server.Process, start time.Duration, zones []string, ask func(zone string, input []byte) (path string, body []byte)) error {
	w := workload.Find("A")
	for _, zone := range zones {
		inputs := w.Inputs(b.seed, zone)
		for range 2 {
			input, allow := inputs.Next(nil)
			path, body := ask(zone, input)
			got, err := post(ctx, "http://"+p.Ready.Addr+path, body)
			if err != nil {
				return fmt.Errorf("%s, zone %s: %w", key.Peer, zone, err)
			}
			if got != allow {
				return fmt.Errorf("%s, zone %s: allow is %t where it is to be %t: %s", key.Peer, zone, got, allow, input)
			}
		}
	}
	now, err := p.Stats()
	if err != nil {
		return err
	}
	collected, err := p.Collect()
	if err != nil {
		return err
	}
	for _, v := range []report.Value{
		{Metric: "resident", Unit: "B", Value: float64(collected.Resident)},
		{Metric: "resident before a collection", Unit: "B", Value: float64(now.Resident)},
		{Metric: "most resident", Unit: "B", Value: float64(now.Peak)},
		{Metric: "start", Unit: "ns", Value: float64(start)},
	} {
		key.Metric = v.Metric
		b.report.Add(key, v)
	}
	return nil
}

func post(ctx context.Context, url string, body []byte) (allow bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return false, err
	}
	if resp.StatusCode != http.StatusOK {
		return false, fmt.Errorf("status %d: %.200s", resp.StatusCode, data)
	}
	return peer.Decision(data)
}
