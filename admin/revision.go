package admin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/bundle"
)

// A daemon of hundreds of zones that named them all with every heartbeat would send
// hundreds of kilobytes to say that nothing changed. So the answer to a report names
// the revision of the zones that is stored then, and the next report may build on it
// and have only what changed.
//
// The revision of a whole report is a hash of its zones; that of one that builds on
// another is a hash of its base and what changed, or the base where nothing did. So
// equal revisions mean equal zones, though not the other way around. It is stored in
// the daemon's digest, and compared in the transaction that stores what builds on it.

// digest stands for all of what is stored of a daemon but what changes with every heartbeat.
type digest struct {
	// self is of what the daemon says of itself, zones the revision.
	self, zones string
}

func (d digest) String() string { return d.self + "." + d.zones }

// readDigest reads a stored digest. One of a control plane that knew no revisions has none.
func readDigest(text string) digest {
	self, zones, _ := strings.Cut(text, ".")
	return digest{self, zones}
}

// errUnknownBase asks a daemon for a whole report.
var errUnknownBase = refuse(http.StatusConflict, "report_base_unknown", "what is stored of this daemon is not what the report builds on; report all zones")

func digestOf(r *bundle.ReceiptReport) (d digest, err error) {
	d.self, err = shortHash(struct {
		Name, Version string
		Labels        map[string]string
		Serves, Says  bool
	}{r.Name, r.Version, r.Labels, serves(r.Status), r.Status != nil})
	switch {
	case err != nil:
	case r.Base != "" && len(r.Zones) == 0:
		d.zones = r.Base
	default:
		d.zones, err = shortHash(struct {
			Base     string
			Zones    []bundle.Receipt
			Complete bool
		}{r.Base, r.Zones, r.Complete})
	}
	if err != nil {
		return digest{}, fmt.Errorf("hashing the report of daemon %s: %w", r.DaemonID, err)
	}
	return d, nil
}

func shortHash(v any) (string, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16]), nil
}

// after is what is known of a daemon once a report is stored, where k was before.
func (in *incoming) after(k knownDaemon) knownDaemon {
	now := knownDaemon{owner: in.actor.id, digest: in.digest, seen: in.at, stored: in.at, checked: in.at}
	if in.report.Base == "" {
		now.zones = len(in.report.Zones)
	} else {
		now.stored, now.zones, now.failed = k.stored, k.zones+in.added, k.failed
	}
	for _, z := range in.report.Zones {
		switch {
		case z.State != bundle.ReceiptFailed:
			delete(now.failed, z.ZoneID)
		case now.failed == nil:
			now.failed = map[string]bool{z.ZoneID: true}
		default:
			now.failed[z.ZoneID] = true
		}
	}
	return now
}

// taken says what came of a report.
type taken struct {
	// revision is what the next report can build on, "" for none.
	revision string
	// loaded and failed count the zones of the daemon, whether the report names them or not:
	// alerts look at what daemons say all the time.
	loaded, failed int
}

// taken works out what came of a report, where k is known now. The revision is ""
// where only some zones were reported, and where all have to be reported again soon,
// since what is stored of them gets old.
func (f *fleet) taken(in *incoming, k knownDaemon) taken {
	t := taken{revision: in.digest.zones, failed: len(k.failed), loaded: max(0, k.zones-len(k.failed))}
	if in.report.Base == "" && !in.report.Complete || in.at.Add(f.timeout).Sub(k.stored) >= restoreAfter*f.timeout {
		t.revision = ""
	}
	return t
}

// fewZones is up to how many receipts are read one by one rather than all of a daemon's.
const fewZones = 8

// storedReceipts are what is stored for the zones of a report, or, for a whole one,
// for all zones of its daemon.
func storedReceipts(ctx context.Context, tx store.Tx, in *incoming) (map[string]store.Receipt, error) {
	zones := []string{""} // all
	if in.report.Base != "" && len(in.report.Zones) <= fewZones {
		zones = nil
		for _, z := range in.report.Zones {
			zones = append(zones, z.ZoneID)
		}
	}
	stored := map[string]store.Receipt{}
	for _, zone := range zones {
		list, err := tx.Receipts(ctx, []string{in.daemon}, zone, 0)
		if err != nil {
			return nil, fmt.Errorf("reading the receipts of daemon %s: %w", in.daemon, err)
		}
		for _, r := range list {
			stored[r.ZoneID] = r.Receipt
		}
	}
	return stored, nil
}
