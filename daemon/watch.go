package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caracalai/caracald/bundle"
)

// errRepeats is that the admin side sends what it was told is held.
var errRepeats = errors.New("the admin side repeats itself")

// watch follows the admin side's pointers until ctx ends.
func (d *Daemon) watch(ctx context.Context) {
	pause := d.pause()
	for ctx.Err() == nil {
		err := d.poll(ctx)
		if ctx.Err() != nil {
			return
		}
		d.asked.Store(true)
		if err == nil {
			pause.Reset()
			d.synced.Store(true)
			d.checkReady()
			continue
		}
		d.checkReady() // what was kept has to do
		d.metrics.watchFailed(ctx)
		wait := pause.NextBackOff()
		d.logWatch(err, wait)
		if !sleep(ctx, wait) {
			return
		}
	}
}

// logWatch says what is wrong with a watch, and what to do about it.
func (d *Daemon) logWatch(err error, again time.Duration) {
	var r *refusal
	if errors.As(err, &r) {
		switch r.status {
		case http.StatusUnauthorized:
			d.log.Error("the admin side does not know this daemon's token or certificate; pointers cannot be followed", "error", err, "again_in", again)
			return
		case http.StatusForbidden:
			d.log.Error("this daemon's token or certificate may not follow these zones; it needs the role daemon for them", "error", err, "again_in", again)
			return
		}
	}
	d.log.Warn("watching the pointers failed", "error", err, "again_in", again)
}

// poll makes one long poll and takes in what it answers. The first one does not
// wait, so that the daemon soon knows that it has everything.
func (d *Daemon) poll(ctx context.Context) error {
	if err := d.keepTrust(ctx); err != nil {
		return err
	}
	asked := time.Now()
	req, err := d.watchRequest(asked)
	if err != nil {
		return err
	}
	var answer bundle.WatchResponse
	status, err := d.up.post(ctx, "/v1/pointers/watch", d.cfg.WatchWait+20*time.Second, req, &answer)
	if err != nil {
		return err
	}
	offered := map[string]bool{}
	progress := status == http.StatusNoContent
	for _, raw := range answer.Pointers {
		offered[raw.ZoneID] = true
		progress = d.take(ctx, raw, answer.Spread()) || progress
	}
	for id, z := range *d.zones.Load() {
		if !offered[id] && z.settle(asked) { // what is held is what there is
			d.reportSoon()
		}
	}
	if !progress { // or the next poll would be answered the same at once
		return errRepeats
	}
	return nil
}

// watchRequest says what is watched and what is held already. A pointer that
// was refused counts as held for a while, so that it does not end every poll at
// once and with that holds up the other zones.
func (d *Daemon) watchRequest(now time.Time) (bundle.WatchRequest, error) {
	wait := d.cfg.WatchWait
	if !d.synced.Load() {
		wait = 0
	}
	req := bundle.WatchRequest{Zones: bundle.AllZones(), Have: map[string]bundle.Held{}}
	last := map[string]int64{}
	for _, id := range d.cfg.Zones {
		last[id] = noSequence
	}
	for id, z := range *d.zones.Load() {
		held, until, ok := z.held(now)
		if !ok {
			continue
		}
		req.Have[id] = held
		if len(d.cfg.Zones) > 0 {
			last[id] = held.Sequence
		}
		if !until.IsZero() {
			wait = min(wait, until.Sub(now)+time.Second) // the wire has whole seconds
		}
	}
	req.WaitSeconds = int(wait / time.Second)
	if len(d.cfg.Zones) > 0 {
		var err error
		if req.Zones, err = bundle.SomeZones(last); err != nil {
			return req, err
		}
	}
	return req, nil
}

// take takes a signed pointer in where it is good and news. It tells whether
// the next poll will be another one for it.
func (d *Daemon) take(ctx context.Context, raw bundle.SignedPointer, spread time.Duration) (progress bool) {
	if !bundle.ValidID(raw.ZoneID) || !d.serves(raw.ZoneID) {
		d.log.Warn("the admin side sent a pointer of a zone that was not asked for", "zone", fmt.Sprintf("%.128q", raw.ZoneID))
		return false
	}
	p, err := d.verify(ctx, raw)
	if ctx.Err() != nil {
		return false
	}
	z := d.zone(raw.ZoneID)
	news := false
	if err == nil {
		p.loading.spread = min(spread, d.cfg.MaxSpread)
		var stale bool
		if news, stale = z.want(p); stale {
			_, seen := z.goal()
			err = fmt.Errorf("%w: sequence %d (version %s) was offered after sequence %d", bundle.ErrSignature, p.pointer.Sequence, named(p.pointer.PolicySetVersionID), seen)
		}
	}
	if err != nil {
		d.metrics.pointerRefused(ctx, z.id)
		d.up.rotate() // another address may be better
		now := time.Now()
		news, unasked := z.refuse(raw, fmt.Errorf("the pointer was refused: %w", err), now, now.Add(d.cfg.RetryMax))
		if news {
			d.log.Error("a pointer was refused; what was loaded before goes on serving", "zone", z.id, "sequence", raw.Sequence, "error", err)
			d.reportSoon()
		}
		return !unasked
	}
	if news {
		z.pointers.Add(1)
		d.loads.Go(func() { d.reach(d.background, z) })
	}
	return news
}
