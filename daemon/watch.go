package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caracalai/caracald/bundle"
)

// watch follows the admin side's pointers until ctx ends.
func (d *Daemon) watch(ctx context.Context) {
	pause := d.pause()
	first := true
	for ctx.Err() == nil {
		err := d.poll(ctx, first)
		if err == nil {
			pause.Reset()
			if first {
				first = false
				d.synced.Store(true)
				d.checkReady()
				d.sweepBundles()
			}
			continue
		}
		if ctx.Err() != nil {
			return
		}
		d.metrics.watchFailed(ctx)
		wait := pause.NextBackOff()
		d.log.Warn("watching the pointers failed", "error", err, "again_in", wait)
		if !sleep(ctx, wait) {
			return
		}
	}
}

// poll makes one long poll and takes in what it answers. The first one does not
// wait, so that the daemon soon knows that it has everything.
func (d *Daemon) poll(ctx context.Context, first bool) error {
	if d.trust.Load() == nil {
		if _, err := d.refreshTrust(ctx); err != nil {
			return err
		}
		// Now what is kept can be verified.
		if err := d.bootAll(ctx); err != nil {
			return err
		}
	}
	req := bundle.WatchRequest{Zones: bundle.AllZones(), Have: map[string]bundle.Held{}, WaitSeconds: int(d.cfg.WatchWait / time.Second)}
	if first {
		req.WaitSeconds = 0
	}
	last := map[string]int64{}
	for _, id := range d.cfg.Zones {
		last[id] = -1
	}
	for id, z := range *d.zones.Load() {
		if held, ok := z.held(); ok {
			req.Have[id], last[id] = held, held.Sequence
		}
	}
	if len(d.cfg.Zones) > 0 {
		var err error
		if req.Zones, err = bundle.SomeZones(last); err != nil {
			return err
		}
	}
	var answer bundle.WatchResponse
	status, err := d.up.post(ctx, "/v1/pointers/watch", d.cfg.WatchWait+20*time.Second, req, &answer)
	if err != nil {
		return err
	}
	d.reached.Store(d.cfg.Now().UnixNano())
	if status == http.StatusNoContent {
		return nil
	}
	var refused []error
	for _, raw := range answer.Pointers {
		if err := d.offer(ctx, raw); err != nil {
			refused = append(refused, fmt.Errorf("the pointer of zone %.128q was refused: %w", raw.ZoneID, err))
		}
	}
	return errors.Join(refused...)
}

// offer takes a signed pointer in where it is good and news.
func (d *Daemon) offer(ctx context.Context, raw bundle.SignedPointer) error {
	if !idPattern.MatchString(raw.ZoneID) || !d.serves(raw.ZoneID) {
		return fmt.Errorf("%w: this daemon does not serve the zone", bundle.ErrFormat)
	}
	p, err := d.verify(ctx, raw)
	if err != nil {
		return err
	}
	z := d.zone(raw.ZoneID)
	news, stale := z.want(p)
	if stale {
		_, seen := z.goal()
		return fmt.Errorf("%w: sequence %d was offered after %d", bundle.ErrSignature, p.pointer.Sequence, seen)
	}
	if news {
		d.metrics.pointerSeen(ctx, z.id)
		d.loads.Go(func() {
			d.reach(d.background, z)
			d.checkReady()
		})
	}
	return nil
}
