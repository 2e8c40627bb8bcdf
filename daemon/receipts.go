package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
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

// codeTaken is the admin side's code where this daemon's id belongs to another
// token or certificate.
const codeTaken = "daemon_taken"

// sendReceipts reports all zones in one call. An admin side that refuses that
// because of one of them is told of each by itself, so that one zone which it
// does not know, or which the token does not reach, does not silence the others.
func (d *Daemon) sendReceipts(ctx context.Context) error {
	var zones []bundle.Receipt
	for _, z := range *d.zones.Load() {
		if r, ok := z.receipt(); ok {
			zones = append(zones, r)
		}
	}
	slices.SortFunc(zones, func(a, b bundle.Receipt) int { return strings.Compare(a.ZoneID, b.ZoneID) })
	err := d.postReceipts(ctx, zones, true)
	var r *refusal
	if !errors.As(err, &r) || r.Code == codeTaken || r.status != http.StatusNotFound && r.status != http.StatusForbidden || len(zones) < 2 {
		return err
	}
	var refused []error
	for i := range zones {
		if err := d.postReceipts(ctx, zones[i:i+1], false); err != nil {
			refused = append(refused, fmt.Errorf("zone %s: %w", zones[i].ZoneID, err))
		}
	}
	return errors.Join(refused...)
}

// postReceipts makes one report; complete tells that it has all zones. An admin
// side that is older than what daemons say of themselves refuses a field that it
// does not know, and is told without.
func (d *Daemon) postReceipts(ctx context.Context, zones []bundle.Receipt, complete bool) error {
	r := bundle.ReceiptReport{
		DaemonID: d.id, Name: d.cfg.Name, Version: d.cfg.Version, Labels: d.cfg.Labels, Zones: zones, Complete: complete, Status: d.status(),
	}
	if r.Zones == nil {
		r.Zones = []bundle.Receipt{}
	}
	_, err := d.up.post(ctx, "/v1/receipts", 30*time.Second, r, nil)
	var refused *refusal
	if errors.As(err, &refused) && refused.status == http.StatusBadRequest {
		r.Complete, r.Status = false, nil
		_, err = d.up.post(ctx, "/v1/receipts", 30*time.Second, r, nil)
	}
	return err
}
