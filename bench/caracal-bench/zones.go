package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/caracalai/caracald/bench/loader"
	"github.com/caracalai/caracald/bench/measure"
	"github.com/caracalai/caracald/bench/peer"
	"github.com/caracalai/caracald/bench/report"
	"github.com/caracalai/caracald/bench/server"
	"github.com/caracalai/caracald/bench/workload"
)

const (
	manyZones = "http, saturated, many zones"
	// ownPolicies are zones of which no two have the same policy.
	ownPolicies = "own"
	// zoneWriters bounds the zones that are made at once.
	zoneWriters = 8
)

// zones compares the memory of one daemon that serves many zones with that of
// one OPA that holds the same policies: each zone with a policy of its own, and
// in a full run also with one that all have, which a daemon may hold once. And it
// compares what the daemon decides where all of its zones are asked for with what it
// decides where one is.
func (b *bench) zones(ctx context.Context, _ time.Time) error {
	count := b.count(50, 1000)
	if b.quick {
		b.report.Note(fmt.Sprintf("This quick run has %d zones in the place of 1,000; what a process takes with one zone is a larger part of its memory.", count))
	}
	own := func(i int) string { return fmt.Sprintf("zone-%d", i) }
	if err := b.zonesOf(ctx, ownPolicies, "memory_1000_zones_vs_opa", count, own); err != nil || b.quick {
		return err
	}
	return b.zonesOf(ctx, "equal", "memory_1000_equal_zones_vs_opa", count, func(int) string { return "zone" })
}

// zonesOf makes zones with the variants of the reference workload that label
// names, and sets a ratio to what they take in all.
func (b *bench) zonesOf(ctx context.Context, kind, ratio string, count int, label func(i int) string) (err error) {
	var f fleet
	defer func() { err = errors.Join(err, f.stop()) }()
	control, err := b.admin(ctx, &f, "zones-admin-"+kind, server.BatchesDiscarded, b.split.Others)
	if err != nil {
		return err
	}
	zones := make([]*server.Zone, count)
	policies := make([]server.PolicyZone, count)
	writers, writing := errgroup.WithContext(ctx)
	writers.SetLimit(zoneWriters)
	for i := range zones {
		writers.Go(func() (err error) {
			zones[i], err = control.NewActiveZone(writing, fmt.Sprintf("zone %d", i), workload.Variant(label(i)))
			if err == nil {
				policies[i] = server.PolicyZone{ID: zones[i].ID, Label: label(i)}
			}
			return err
		})
	}
	if err := writers.Wait(); err != nil {
		return err
	}
	for _, n := range []int{1, count} {
		ours, theirs, err := b.memory(ctx, kind, control, zones[:n], policies[:n])
		if err != nil {
			return err
		}
		if n == count {
			b.ratio(ratio, ours, theirs, fmt.Sprintf("%d zones", n))
		}
	}
	return nil
}

// memory measures a daemon and an OPA with zones, and names the rows. A daemon with
// many zones of their own policies is also loaded, when its memory is known.
func (b *bench) memory(ctx context.Context, kind string, control *server.Control, zones []*server.Zone, policies []server.PolicyZone) (ours, theirs report.Key, err error) {
	var f fleet
	defer func() { err = errors.Join(err, f.stop()) }()
	ours = report.Key{Group: "memory", Workload: "A", What: fmt.Sprintf("zones with %s policies: %d", kind, len(zones)), Peer: peerCaracald, Metric: "resident"}
	theirs = ours
	theirs.Peer = peerOPA
	start := time.Now()
	daemon, _, err := b.daemon(ctx, &f, control, fmt.Sprintf("zones-%s-%d", kind, len(zones)), server.Daemon{}, zones...)
	if err != nil {
		return ours, theirs, err
	}
	if err := b.held(ctx, ours, daemon, time.Since(start), policies, func(_ string, input []byte) (string, []byte) { return decidePath, input }); err != nil {
		return ours, theirs, err
	}
	if kind == ownPolicies && len(zones) > 1 {
		if err := b.spread(ctx, daemon, zones); err != nil {
			return ours, theirs, err
		}
	}
	dir, err := b.directory(fmt.Sprintf("zones-%s-%d-opa", kind, len(zones)))
	if err != nil {
		return ours, theirs, err
	}
	start = time.Now()
	opa, err := server.Start(ctx, server.RoleOPA, server.Policy{Zones: policies, Dir: dir}, b.split.Servers)
	if err != nil {
		return ours, theirs, err
	}
	f.add(opa)
	return ours, theirs, b.held(ctx, theirs, opa, time.Since(start), policies, func(id string, input []byte) (string, []byte) {
		return server.OPAPath(id), fmt.Appendf(nil, `{"input":%s}`, input)
	})
}

// spread loads a daemon that has many zones in two ways, which take turns: with
// inputs spread evenly over all of its zones, and with inputs of one.
func (b *bench) spread(ctx context.Context, daemon *server.Process, zones []*server.Zone) error {
	ids := make([]string, len(zones))
	for i, z := range zones {
		ids[i] = z.ID
	}
	load := func(name string, ids []string) asked {
		return asked{name: name, process: daemon, target: loader.Target{Addr: daemon.Ready.Addr, Path: decidePath, Workload: workload.Find("A"), Zones: ids}}
	}
	all, one := load("caracald, all of its zones", ids), load("caracald, one of its zones", ids[:1])
	if err := b.agree(ctx, []asked{all, one}); err != nil {
		return err
	}
	b.report.Note(fmt.Sprintf("With many zones, the same daemon of %d zones, each with a policy of its own, is asked in turn for all of them, evenly, and for one; its cache is off.", len(zones)))
	var cells []measure.Cell
	for _, s := range []asked{all, one} {
		c := b.saturating(s, manyZones, connections)
		sample := c.Sample
		c.Sample = func(ctx context.Context, round int, d time.Duration) ([]report.Value, error) {
			values, err := sample(ctx, round, d)
			// Metrics are read while records are waited for, and those of many zones take as
			// long as thousands of decisions.
			return slices.DeleteFunc(values, func(v report.Value) bool { return v.Metric == serverTime }), err
		}
		cells = append(cells, c)
	}
	until := time.Now().Add(b.pick(2*time.Second, 90*time.Second))
	if err := measure.Rounds(ctx, b.report, cells, b.count(1, 7), b.pick(300*time.Millisecond, 2500*time.Millisecond), until); err != nil {
		return err
	}
	rate := func(s asked) report.Key {
		return report.Key{Group: manyZones, Workload: "A", What: decide, Peer: s.name, Metric: "rate"}
	}
	b.ratio("http_1000_zones_vs_1", rate(all), rate(one), fmt.Sprintf("%d zones", len(zones)))
	return nil
}

// held asks a server twice in each zone and reports the memory that it has then.
func (b *bench) held(ctx context.Context, key report.Key, p *server.Process, start time.Duration, zones []server.PolicyZone, ask func(zone string, input []byte) (path string, body []byte)) error {
	w := workload.Find("A")
	for _, zone := range zones {
		inputs := w.Inputs(b.seed, zone.ID)
		for range 2 {
			input, allow := inputs.Next(nil)
			path, body := ask(zone.ID, input)
			got, err := post(ctx, "http://"+p.Ready.Addr+path, body)
			if err != nil {
				return fmt.Errorf("%s, zone %s: %w", key.Peer, zone.ID, err)
			}
			if got != allow {
				return fmt.Errorf("%s, zone %s: allow is %t where it is to be %t: %s", key.Peer, zone.ID, got, allow, input)
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
