package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/bundle"
)

const (
	// raiseMargin is how far beyond what daemons report a sequence is raised:
	// some may have seen more than they serve, or are not heard of just now.
	raiseMargin = 1000
	// maxRaise is the most that a sequence is raised by without being told to go
	// far: more is likely a slip, or a daemon that makes its numbers up.
	maxRaise = 100_000
)

var (
	// ErrFar is matched when a sequence would be raised by more than anybody
	// likely wants.
	ErrFar = errors.New("that is far")
	// ErrForeignKeys is matched when a pointer was signed by other keys than
	// those given: whoever goes on would sign what no daemon accepts.
	ErrForeignKeys = errors.New("other keys signed the pointer")
)

// Raise says how RaiseSequences raises the sequences of zones.
type Raise struct {
	// Keys are those of the control plane. Required.
	Keys Keys
	// PointerTTL is that of the control plane. Required.
	PointerTTL time.Duration
	// Zone is the only zone that is meant; "" means all of them, archived ones too.
	Zone string
	// Above is the sequence to go beyond. Where it is nil, a zone goes beyond what
	// daemons report that they serve or were to load, if that contradicts the store.
	Above *int64
	// Far lets sequences be raised by any amount, up to store.MaxSequence.
	Far bool
	// DryRun changes nothing.
	DryRun bool
	// Reason and Operator, the name of who does it, are for the history and the audit.
	Reason, Operator string
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Raised is what became of a zone.
type Raised struct {
	ZoneID string `json:"zone_id"`
	// Before and After are its sequences. They are the same where nothing had to be done.
	Before int64 `json:"before"`
	After  int64 `json:"after"`
	// Reported is the highest sequence that a daemon reports, and DaemonID that
	// daemon; -1 and "" where no daemon does.
	Reported int64  `json:"reported"`
	DaemonID string `json:"daemon_id"`
}

// RaiseSequences issues pointers anew under higher sequences, all or none, for
// daemons that have seen more than a store that was restored. Each zone is
// governed by what governed it before; the raise is an activation in its
// history, and in the admin audit. It may run beside the control planes of the
// store, which tell the daemons.
func RaiseSequences(ctx context.Context, st store.Store, r Raise) (list []Raised, err error) {
	if r.Now == nil {
		r.Now = time.Now
	}
	if _, err := r.Keys.check(); err != nil {
		return nil, fmt.Errorf("raising sequences: the signing keys: %w", err)
	}
	if r.DryRun {
		err = st.View(ctx, func(tx store.Reader) error {
			list, _, err = r.plan(ctx, tx)
			return err
		})
	} else {
		err = st.Update(ctx, func(tx store.Tx) error {
			var pointers []store.Pointer
			if list, pointers, err = r.plan(ctx, tx); err != nil {
				return err
			}
			call := newID()
			for i, raised := range list {
				if raised.After == raised.Before {
					continue
				}
				if err := r.raise(ctx, tx, pointers[i], raised, call); err != nil {
					return fmt.Errorf("zone %s: %w", raised.ZoneID, err)
				}
			}
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("raising sequences: %w", err)
	}
	return list, nil
}

// plan works out what becomes of each zone, beside the pointers as they are.
func (r *Raise) plan(ctx context.Context, tx store.Reader) ([]Raised, []store.Pointer, error) {
	pointers, err := tx.Pointers(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the pointers: %w", err)
	}
	if r.Zone != "" {
		pointers = slices.DeleteFunc(pointers, func(p store.Pointer) bool { return p.ZoneID != r.Zone })
		if len(pointers) == 0 {
			return nil, nil, fmt.Errorf("zone %s: %w", r.Zone, store.ErrNotFound)
		}
	}
	reported, err := r.reported(ctx, tx, pointers)
	if err != nil {
		return nil, nil, err
	}
	list := make([]Raised, len(pointers))
	for i, p := range pointers {
		seen, ok := reported[p.ZoneID]
		if !ok {
			seen.sequence = -1
		}
		raised := Raised{ZoneID: p.ZoneID, Before: p.Sequence, After: p.Sequence, Reported: seen.sequence, DaemonID: seen.daemon}
		by := ""
		switch {
		case r.Above != nil && *r.Above >= p.Sequence:
			raised.After = min(*r.Above, store.MaxSequence) + 1 // one beyond is refused below
		case r.Above == nil && seen.contradicts(p):
			raised.After = min(seen.sequence, store.MaxSequence) + 1 + raiseMargin
			by = fmt.Sprintf("; daemon %s reports %d", seen.daemon, seen.sequence)
		}
		switch step := raised.After - p.Sequence; {
		case raised.After > store.MaxSequence:
			return nil, nil, fmt.Errorf("zone %s: from %d to beyond %d, which no sequence can be raised to%s", p.ZoneID, p.Sequence, int64(store.MaxSequence), by)
		case step > maxRaise && !r.Far:
			return nil, nil, fmt.Errorf("zone %s: from %d to %d%s: %w", p.ZoneID, p.Sequence, raised.After, by, ErrFar)
		case step > 0:
			if err := r.Keys.signed(p); err != nil {
				return nil, nil, fmt.Errorf("zone %s: %w: %w", p.ZoneID, ErrForeignKeys, err)
			}
		}
		list[i] = raised
	}
	return list, pointers, nil
}

// seen is the highest sequence that a daemon verified and reported, and the
// version it came with.
type seen struct {
	daemon   string
	sequence int64
	version  *string
}

// contradicts tells whether a daemon that has seen this refuses the pointer.
func (s seen) contradicts(p store.Pointer) bool {
	same := (s.version == nil) == (p.VersionID == nil) && (s.version == nil || *s.version == *p.VersionID)
	return s.sequence > p.Sequence || s.sequence == p.Sequence && !same
}

// reported finds what has been seen of each zone: the highest sequence, and of
// several with that one which contradicts the pointer.
func (r *Raise) reported(ctx context.Context, tx store.Reader, pointers []store.Pointer) (map[string]seen, error) {
	const page = 500
	stored := make(map[string]store.Pointer, len(pointers))
	for _, p := range pointers {
		stored[p.ZoneID] = p
	}
	highest := map[string]seen{}
	note := func(zone string, s seen) {
		before, ok := highest[zone]
		if !ok || s.sequence > before.sequence || s.sequence == before.sequence && s.contradicts(stored[zone]) {
			highest[zone] = s
		}
	}
	q := store.DaemonQuery{ZoneID: r.Zone, Limit: page}
	for {
		daemons, err := tx.Daemons(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("reading the daemons: %w", err)
		}
		ids := make([]string, len(daemons))
		for i, d := range daemons {
			ids[i] = d.ID
		}
		receipts, err := tx.Receipts(ctx, ids, r.Zone, 0)
		if err != nil {
			return nil, fmt.Errorf("reading what daemons report: %w", err)
		}
		for _, rc := range receipts {
			note(rc.ZoneID, seen{rc.DaemonID, rc.ServingSequence, rc.ServingVersionID})
			// Of a pointer that was refused only its own claim is reported, and no version: it says nothing.
			if rc.State == bundle.ReceiptLoaded || rc.VersionID != nil {
				note(rc.ZoneID, seen{rc.DaemonID, rc.Sequence, rc.VersionID})
			}
		}
		if len(daemons) < page {
			return highest, nil
		}
		q.After = ids[len(ids)-1]
	}
}

// raise writes one pointer anew.
func (r *Raise) raise(ctx context.Context, tx store.Tx, p store.Pointer, to Raised, call string) error {
	zone, err := pointed(ctx, tx, p.ZoneID)
	if err != nil {
		return err
	}
	now := r.Now().UTC().Truncate(time.Microsecond)
	for _, before := range []time.Time{p.Since, p.IssuedAt} { // the history is ordered by time, and daemons tell renewals apart by theirs
		if !now.After(before) {
			now = before.Add(time.Microsecond)
		}
	}
	name := cmp.Or(r.Operator, operatorID)
	p.Sequence, p.Since, p.ActivatedBy, p.Reason = to.After, now, name, r.Reason
	if err := signPointer(&p, zone, now, r.PointerTTL, r.Keys.Pointers); err != nil {
		return err
	}
	a := store.Activation{
		ID: newID(), ZoneID: p.ZoneID, Sequence: p.Sequence, PolicySetID: p.PolicySetID, VersionID: p.VersionID, PreviousVersionID: p.VersionID,
		ManifestSHA256: p.ManifestSHA256, BundleSHA256: p.BundleSHA256, Reason: r.Reason, ActorID: operatorID, ActorName: name, CreatedAt: now,
	}
	if err := tx.RaisePointer(ctx, p, a); err != nil {
		return err
	}
	return auditOperator(ctx, tx, store.AdminEvent{
		RequestID: call, ZoneID: p.ZoneID, ActorName: name, Action: "zone.raise_sequence", EntityType: "zone", EntityID: p.ZoneID, OccurredAt: now,
	}, map[string]any{
		"sequence": to.After, "previous_sequence": to.Before, "reported_sequence": to.Reported, "reported_by": to.DaemonID,
		"policy_set_version_id": p.VersionID, "reason": r.Reason,
	})
}

// operatorID is the id of who works on the store itself, and needs no token.
const operatorID = "operator"

// auditOperator keeps what an operator did in the admin audit.
func auditOperator(ctx context.Context, tx store.Tx, e store.AdminEvent, payload any) (err error) {
	e.ID, e.ActorID, e.StatusCode = newID(), operatorID, http.StatusOK
	if e.Payload, err = json.Marshal(payload); err != nil {
		return fmt.Errorf("encoding the audited payload: %w", err)
	}
	if _, err := tx.AppendAdminEvent(ctx, e); err != nil {
		return fmt.Errorf("auditing: %w", err)
	}
	return nil
}
