package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/caracalai/caracald/audit"
)

// Bounds of one batch. The bytes are of encoded records; compressed they are a
// fraction of it.
const (
	shipRecords = 2000
	shipBytes   = 4 << 20
	// shipRest spreads the work on a batch, as long as no more than shipBehind records wait.
	shipRest   = time.Millisecond
	shipBehind = 4 * shipRecords
	// shipLook is how often it is looked whether a batch has gathered.
	shipLook = 20 * time.Millisecond
)

// ship hands the spool's records to the sink, in order, each at least once, until ctx ends; then it goes on for the drain timeout at most.
func (d *Daemon) ship(ctx context.Context) {
	drain, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(d.cfg.DrainTimeout, cancel) })
	defer stop()
	pause := d.pause()
	most := shipRecords
	var last time.Time // when a batch was shipped
	var b audit.EncodedBatch
	for {
		next := ctx
		if ctx.Err() != nil { // draining: only what is there already
			if d.spool.Stats().Depth == 0 {
				return
			}
			next = drain
		}
		if most == shipRecords {
			d.gather(ctx, last)
		}
		b.Pause = shipRest
		if ctx.Err() != nil || d.spool.Stats().Depth > shipBehind {
			b.Pause = 0
		}
		err := d.spool.NextEncoded(next, &b, most, shipBytes)
		if err == nil {
			if most, err = d.shipBatch(drain, &b); err == nil {
				pause.Reset()
				last = time.Now()
				continue
			}
		}
		switch {
		case drain.Err() != nil, errors.Is(err, audit.ErrClosed):
			return
		case errors.Is(err, context.Canceled): // Next was interrupted
			continue
		}
		wait := pause.NextBackOff()
		d.metrics.shipFailed(ctx, d.sink.Name())
		d.log.Warn("audit could not be shipped", "sink", d.sink.Name(), "records", b.Count, "error", err, "again_in", wait)
		if !sleep(drain, wait) {
			return
		}
	}
}

// gather waits until there is half a batch, or it is time for a smaller one: each
// costs an fsync on both sides, and a call, of which a fleet makes very many.
func (d *Daemon) gather(ctx context.Context, last time.Time) {
	for ctx.Err() == nil && d.spool.Stats().Depth < shipRecords/2 {
		left := d.cfg.ShipInterval - time.Since(last)
		if left <= 0 {
			return
		}
		sleep(ctx, min(left, shipLook))
	}
}

// shipBatch hands a batch to the sink and acknowledges what was taken. It tells
// how many records the next one is to have at most.
func (d *Daemon) shipBatch(ctx context.Context, b *audit.EncodedBatch) (most int, err error) {
	most = shipRecords
	d.oldest.Store(b.Oldest().UnixNano())
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	next, size, err := d.sink.Take(ctx, d.id, b)
	switch {
	case errors.Is(err, audit.ErrChain):
		// The sink has other records at these offsets, or before them; sending
		// these again changes nothing.
		return most, d.decodeAndGiveUp(b, gapMismatch, err)
	case errors.Is(err, audit.ErrReach):
		return d.sortOut(b, err)
	case errors.Is(err, audit.ErrLimit):
		return most, d.giveUpFirst(b, gapLimit, err)
	case errors.Is(err, audit.ErrRejected):
		return most, d.giveUpFirst(b, gapRejected, err)
	case err != nil:
		return most, err
	}
	// Only what was handed over is acknowledged, whatever the sink says it has.
	next = min(next, b.Next())
	if next <= b.First {
		return most, fmt.Errorf("the sink wants offset %d after a batch from %d to %d", next, b.First, b.Next())
	}
	if err := d.spool.Ack(next); err != nil {
		return most, fmt.Errorf("acknowledging shipped audit: %w", err)
	}
	d.oldest.Store(0)
	d.metrics.shipped(ctx, d.sink.Name(), int(next-b.First), size)
	return most, nil
}

// giveUpFirst counts the first record of a batch as a gap: the sink does not take
// it by itself either.
func (d *Daemon) giveUpFirst(b *audit.EncodedBatch, reason string, cause error) error {
	if err := b.Cut(1); err != nil {
		return errors.Join(cause, err)
	}
	return d.decodeAndGiveUp(b, reason, cause)
}

// sortOut deals with a batch that the token may not send. Anybody may ask for a
// decision about a zone that this daemon does not serve; such a record, which
// the token perhaps does not reach, must not hold up all behind it. So the batch
// is cut where records of served zones and others meet, and what is of others
// and refused by itself is counted as a gap. Records of served zones stay.
func (d *Daemon) sortOut(encoded *audit.EncodedBatch, cause error) (most int, err error) {
	b, err := encoded.Decode()
	if err != nil {
		return shipRecords, err
	}
	foreign := func(r audit.Record) bool { return !d.known(r.ZoneID) }
	run := slices.IndexFunc(b.Records, func(r audit.Record) bool { return foreign(r) != foreign(b.Records[0]) })
	switch {
	case run > 0:
		return run, nil
	case !foreign(b.Records[0]):
		return len(b.Records), cause
	}
	return shipRecords, d.giveUp(b, gapReach, cause)
}

// known tells whether the daemon serves a zone, by its configuration or because
// the admin side told of it.
func (d *Daemon) known(zone string) bool {
	_, ok := (*d.zones.Load())[zone]
	return ok
}

func (d *Daemon) decodeAndGiveUp(encoded *audit.EncodedBatch, reason string, cause error) error {
	b, err := encoded.Decode()
	if err != nil {
		return errors.Join(cause, err)
	}
	return d.giveUp(b, reason, cause)
}

// giveUp counts the records of a batch as gaps and passes them. A gap of a zone
// that is not served is noted under one that is, for the same reason that its
// records could not be sent.
func (d *Daemon) giveUp(b audit.Batch, reason string, cause error) error {
	zones := slices.Sorted(maps.Keys(*d.zones.Load()))
	if len(zones) == 0 {
		return cause
	}
	lost := map[string]uint64{}
	for _, r := range b.Records {
		zone, n := r.ZoneID, uint64(1)
		if !d.known(zone) {
			zone = zones[0]
		}
		if r.EventType == audit.EventGap { // it stands for as many
			var m struct {
				Count uint64 `json:"count"`
			}
			if json.Unmarshal(r.Metadata, &m) == nil && m.Count > 0 {
				n = m.Count
			}
		}
		lost[zone] += n
	}
	for zone, n := range lost {
		d.spool.NoteGap(zone, n, reason)
	}
	d.log.Error("the sink does not take some audit records; they are counted as a gap", "sink", d.sink.Name(), "records", len(b.Records), "first_offset", b.First, "reason", reason, "error", cause)
	if err := d.spool.Ack(b.Next()); err != nil {
		return fmt.Errorf("passing audit that was not taken: %w", err)
	}
	return nil
}
