package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/sync/errgroup"

	"github.com/caracalai/caracald/bench/report"
	"github.com/caracalai/caracald/bench/server"
	"github.com/caracalai/caracald/bench/workload"
	"github.com/caracalai/caracald/bundle"
)

const (
	// watchWait is how long each long poll may stay open, in seconds.
	watchWait = 60
	// watchDeadline is when a watcher that was not told counts as missed.
	watchDeadline = 10 * time.Second
	// watchDials bounds connections that are being made at once.
	watchDials = 64
)

// watchers measures how long it takes until the last of many long polls on one
// control plane is told of an activation.
func (b *bench) watchers(ctx context.Context, until time.Time) (err error) {
	var f fleet
	defer func() { err = errors.Join(err, f.stop()) }()
	count := b.count(500, 2000)
	control, err := b.admin(ctx, &f, "watchers-admin", server.BatchesStored, b.split.Servers)
	if err != nil {
		return err
	}
	zone, err := control.NewZone(ctx, "watched")
	if err != nil {
		return err
	}
	rounds := b.count(2, 10)
	versions := make([]server.Version, rounds)
	for i := range versions {
		if versions[i], err = zone.Publish(ctx, workload.Variant(fmt.Sprintf("watched-%d", i))); err != nil {
			return err
		}
	}
	watchers := make([]*watcher, count)
	defer func() {
		for _, w := range watchers {
			if w != nil {
				_ = w.conn.Close()
			}
		}
	}()
	var dials errgroup.Group
	dials.SetLimit(watchDials)
	for i := range watchers {
		dials.Go(func() (err error) {
			watchers[i], err = watch(ctx, control, zone)
			return err
		})
	}
	if err := dials.Wait(); err != nil {
		return err
	}
	what := fmt.Sprintf("%d watchers", count)
	key := report.Key{Group: "watchers", What: what, Peer: "caracal admin", Metric: "last one notified"}
	missed := 0
	for i, v := range versions {
		if i > 0 && time.Now().After(until) {
			break
		}
		last, lost, err := notified(ctx, control, zone, v, watchers)
		if err != nil {
			return err
		}
		missed += lost
		b.report.Add(key, report.Value{Unit: "ns", Value: float64(last)})
	}
	b.report.Ratio("watchers_last_notified_ms", b.report.Row(key).Max/1e6, what)
	b.report.Ratio("watchers_missed", float64(missed))
	key.Metric = "missed changes"
	b.report.Add(key, report.Value{Value: float64(missed)})
	return nil
}

// notified lets all watchers wait, activates a version, and tells how long it
// took, from before the call, until the last one had the answer, and how many
// were not told.
func notified(ctx context.Context, control *server.Control, zone *server.Zone, v server.Version, watchers []*watcher) (last time.Duration, missed int, err error) {
	if err := waiting(ctx, control, len(watchers)); err != nil {
		return 0, 0, err
	}
	type told struct {
		at  time.Time
		err error
	}
	all := make(chan told, len(watchers))
	for _, w := range watchers {
		go func() {
			at, err := w.told()
			all <- told{at, err}
		}()
	}
	start := time.Now()
	sequence, err := zone.Activate(ctx, v)
	if err != nil {
		return 0, 0, err
	}
	for range watchers {
		t := <-all
		if t.err != nil {
			missed++
			continue
		}
		last = max(last, t.at.Sub(start))
	}
	for _, w := range watchers {
		if w.sequence != sequence {
			missed++
		}
		if err := w.ask(); err != nil {
			return last, missed, err
		}
	}
	return last, missed, nil
}

// waiting waits until the control plane holds as many long polls as there are watchers.
func waiting(ctx context.Context, control *server.Control, count int) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(watchDeadline)
	for {
		m, err := server.Metrics(ctx, control.Ready.Addr)
		if err != nil {
			return err
		}
		open := m["caracal_admin_watchers"]
		if int(open) >= count {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline:
			return fmt.Errorf("%.0f of %d watchers wait", open, count)
		case <-tick.C:
		}
	}
}

// watcher is one long poll after another on one connection.
type watcher struct {
	conn     net.Conn
	in       *bufio.Reader
	head     string
	zone     string
	sequence int64 // of the last pointer it was told
	resp     fasthttp.Response
}

// watch connects, takes the pointer that there is, and waits for the next.
func watch(ctx context.Context, control *server.Control, zone *server.Zone) (*watcher, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", control.Ready.Addr)
	if err != nil {
		return nil, fmt.Errorf("connecting a watcher: %w", err)
	}
	w := &watcher{conn: conn, in: bufio.NewReader(conn), zone: zone.ID, sequence: -1,
		head: fmt.Sprintf("POST /v1/pointers/watch HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n", control.Daemon)}
	if err = w.ask(); err == nil {
		if _, err = w.told(); err == nil {
			err = w.ask()
		}
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return w, nil
}

func (w *watcher) ask() error {
	zones, err := bundle.SomeZones(map[string]int64{w.zone: w.sequence})
	if err != nil {
		return err
	}
	body, err := json.Marshal(bundle.WatchRequest{Zones: zones, WaitSeconds: watchWait})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w.conn, "%sContent-Length: %d\r\n\r\n%s", w.head, len(body), body); err != nil {
		return fmt.Errorf("asking as a watcher: %w", err)
	}
	return nil
}

// told reads the answer and tells when it was there.
func (w *watcher) told() (time.Time, error) {
	if err := w.conn.SetReadDeadline(time.Now().Add(watchDeadline)); err != nil {
		return time.Time{}, err
	}
	if err := w.resp.Read(w.in); err != nil {
		return time.Time{}, fmt.Errorf("waiting as a watcher: %w", err)
	}
	at := time.Now()
	var answer bundle.WatchResponse
	if err := json.Unmarshal(w.resp.Body(), &answer); err != nil || w.resp.StatusCode() != fasthttp.StatusOK {
		return at, fmt.Errorf("a watcher had status %d: %.200s (%v)", w.resp.StatusCode(), w.resp.Body(), err)
	}
	for _, p := range answer.Pointers {
		if p.ZoneID == w.zone {
			w.sequence = max(w.sequence, p.Sequence)
		}
	}
	return at, nil
}
