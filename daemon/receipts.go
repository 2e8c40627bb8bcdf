package daemon

import (
	"context"
	"time"

	"github.com/caracalai/caracald/bundle"
)

// reportSoon asks for a receipt to be sent.
func (d *Daemon) reportSoon() {
	select {
	case d.reportNow <- struct{}{}:
	default:
	}
}

// report sends receipts: when something changed, and every heartbeat.
func (d *Daemon) report(ctx context.Context) {
	pause := d.pause()
	for {
		wait := d.cfg.Heartbeat
		if err := d.sendReceipts(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			wait = min(wait, pause.NextBackOff())
			d.log.Warn("receipts could not be sent", "error", err, "again_in", wait)
		} else {
			pause.Reset()
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-d.reportNow:
			t.Stop()
		case <-t.C:
		}
	}
}

func (d *Daemon) sendReceipts(ctx context.Context) error {
	r := bundle.ReceiptReport{DaemonID: d.id, Name: d.cfg.Name, Version: d.cfg.Version, Labels: d.cfg.Labels, Zones: []bundle.Receipt{}}
	for _, z := range *d.zones.Load() {
		if one, ok := z.receipt(); ok {
			r.Zones = append(r.Zones, one)
		}
	}
	_, err := d.up.post(ctx, "/v1/receipts", 30*time.Second, r, nil)
	return err
}
