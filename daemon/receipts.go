package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
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

// reportRest is how long no receipt follows another. Each looks through all zones, so
// zones that are loaded one after another share some.
const reportRest = 100 * time.Millisecond

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
			if !sleep(ctx, reportRest) {
				return
			}
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

// acknowledged is what the admin side has of this daemon's zones, by the answer to the
// report before; revision is "" where nothing can be built on it.
type acknowledged struct {
	revision string
	zones    map[string]bundle.Receipt
}

// since gives what differs from what is acknowledged. It is not ok where that cannot
// be told by naming zones: there is none to build on, or a zone has gone.
func (a *acknowledged) since(zones []bundle.Receipt) (changed []bundle.Receipt, ok bool) {
	if a.revision == "" {
		return nil, false
	}
	there := 0
	for _, z := range zones {
		before, known := a.zones[z.ZoneID]
		if known {
			there++
		}
		if !known || !reflect.DeepEqual(before, z) {
			changed = append(changed, z)
		}
	}
	return changed, there == len(a.zones)
}

// sendReceipts reports the zones: what changed since the report before, where its
// answer said that this can be built on, and otherwise all of them.
func (d *Daemon) sendReceipts(ctx context.Context) error {
	var zones []bundle.Receipt
	for _, z := range *d.zones.Load() {
		if r, ok := z.receipt(); ok {
			zones = append(zones, r)
		}
	}
	slices.SortFunc(zones, func(a, b bundle.Receipt) int { return strings.Compare(a.ZoneID, b.ZoneID) })
	changed, ok := d.acked.since(zones)
	base := d.acked.revision
	d.acked = acknowledged{} // whatever goes wrong, the next report is whole
	if ok {
		revision, err := d.postReceipts(ctx, bundle.ReceiptReport{Zones: changed, Base: base})
		if err == nil {
			d.acknowledge(revision, zones)
			return nil
		}
		// A base that is not known any more, by this control plane or by one of another
		// age, and a zone that is not: the whole report says it, or finds out which.
		if status, code := refusedWith(err); code == codeTaken || status != http.StatusConflict && status != http.StatusBadRequest && status != http.StatusNotFound && status != http.StatusForbidden {
			return err
		}
	}
	return d.sendWhole(ctx, zones)
}

func (d *Daemon) acknowledge(revision string, zones []bundle.Receipt) {
	if revision == "" {
		return
	}
	d.acked = acknowledged{revision: revision, zones: make(map[string]bundle.Receipt, len(zones))}
	for _, z := range zones {
		d.acked.zones[z.ZoneID] = z
	}
}

// sendWhole reports all zones in one call. Where the admin side refuses that because
// of one of them, which it does not know or which the token does not reach, the zones
// are halved until it stands alone, so that it does not silence the others.
func (d *Daemon) sendWhole(ctx context.Context, zones []bundle.Receipt) error {
	revision, err := d.postReceipts(ctx, bundle.ReceiptReport{Zones: zones, Complete: true})
	if err == nil {
		d.acknowledge(revision, zones)
		return nil
	}
	if !zoneRefused(err) || len(zones) < 2 {
		return err
	}
	return d.sendHalves(ctx, zones)
}

func (d *Daemon) sendHalves(ctx context.Context, zones []bundle.Receipt) error {
	var refused []error
	for _, half := range [][]bundle.Receipt{zones[:len(zones)/2], zones[len(zones)/2:]} {
		_, err := d.postReceipts(ctx, bundle.ReceiptReport{Zones: half})
		switch {
		case err == nil:
		case len(half) == 1:
			refused = append(refused, fmt.Errorf("zone %s: %w", half[0].ZoneID, err))
		case zoneRefused(err):
			refused = append(refused, d.sendHalves(ctx, half))
		default:
			refused = append(refused, err)
		}
	}
	return errors.Join(refused...)
}

// refusedWith is what the admin side refused a call with; 0 where it did not.
func refusedWith(err error) (status int, code string) {
	var r *refusal
	if errors.As(err, &r) {
		return r.status, r.Code
	}
	return 0, ""
}

// zoneRefused tells whether a report was refused because of one of its zones.
func zoneRefused(err error) bool {
	status, code := refusedWith(err)
	return code != codeTaken && (status == http.StatusNotFound || status == http.StatusForbidden)
}

// postReceipts makes one report, and gives the revision that the next one can build
// on. An admin side that is older than what daemons say of themselves refuses a field
// that it does not know, and is told without.
func (d *Daemon) postReceipts(ctx context.Context, r bundle.ReceiptReport) (revision string, err error) {
	r.DaemonID, r.Name, r.Version, r.Labels, r.Status = d.id, d.cfg.Name, d.cfg.Version, d.cfg.Labels, d.status()
	if r.Zones == nil {
		r.Zones = []bundle.Receipt{}
	}
	revision, err = d.postReport(ctx, r)
	if status, _ := refusedWith(err); status == http.StatusBadRequest && r.Base == "" {
		r.Complete, r.Status = false, nil
		return d.postReport(ctx, r)
	}
	return revision, err
}

func (d *Daemon) postReport(ctx context.Context, r bundle.ReceiptReport) (revision string, err error) {
	body, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("encoding the receipts: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_, header, _, err := d.up.exchange(ctx, http.MethodPost, "/v1/receipts", "application/json", body, 1<<20)
	if err != nil {
		return "", err
	}
	return header.Get(bundle.RevisionHeader), nil
}
