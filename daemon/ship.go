package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caracalai/caracald/audit"
)

// Bounds of one batch. The bytes are of encoded records; compressed they are a
// fraction of it.
const (
	shipRecords = 2000
	shipBytes   = 4 << 20
)

// ship sends the spool's records to the admin side, in order, each at least
// once, until ctx ends; then it goes on for the drain timeout at most.
func (d *Daemon) ship(ctx context.Context) {
	drain, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(d.cfg.DrainTimeout, cancel) })
	defer stop()
	pause := d.pause()
	for {
		next := ctx
		if ctx.Err() != nil { // draining: only what is there already
			if d.spool.Stats().Depth == 0 {
				return
			}
			next = drain
		}
		b, err := d.spool.Next(next, shipRecords, shipBytes)
		if err != nil {
			switch {
			case drain.Err() != nil, errors.Is(err, audit.ErrClosed):
				return
			case ctx.Err() != nil:
				continue
			}
			d.log.Error("the audit spool cannot be read", "error", err)
			if !sleep(drain, pause.NextBackOff()) {
				return
			}
			continue
		}
		if err := d.shipBatch(drain, b); err != nil {
			if drain.Err() != nil {
				return
			}
			wait := pause.NextBackOff()
			d.log.Warn("audit could not be shipped", "records", len(b.Records), "error", err, "again_in", wait)
			if !sleep(drain, wait) {
				return
			}
			continue
		}
		pause.Reset()
	}
}

func (d *Daemon) shipBatch(ctx context.Context, b audit.Batch) error {
	data, err := audit.EncodeBatch(nil, d.id, b)
	if err != nil {
		return fmt.Errorf("encoding a batch: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var accepted struct {
		NextOffset uint64 `json:"next_offset"`
	}
	_, answer, err := d.up.call(ctx, http.MethodPost, "/v1/audit/batches", "application/vnd.caracal.audit-batch", data, 1<<20)
	var r *refusal
	switch {
	case errors.As(err, &r) && r.status == http.StatusConflict && r.NextOffset >= b.Next():
		// All of it is stored already; what it was is the admin side's to say.
		accepted.NextOffset = r.NextOffset
	case err != nil:
		return err
	default:
		if err := json.Unmarshal(answer, &accepted); err != nil {
			return fmt.Errorf("reading the answer to a batch: %w", err)
		}
	}
	if accepted.NextOffset < b.Next() {
		return fmt.Errorf("the admin side wants offset %d after a batch up to %d", accepted.NextOffset, b.Next())
	}
	// Only what was sent is acknowledged, whatever the admin side says it has.
	if err := d.spool.Ack(b.Next()); err != nil {
		return fmt.Errorf("acknowledging shipped audit: %w", err)
	}
	d.metrics.shipped(ctx, len(b.Records), len(data))
	return nil
}
