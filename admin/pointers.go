package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/bundle"
)

// move is where a zone's pointer goes: a set version, or nothing.
type move struct {
	zone    store.Zone
	version *store.SetVersion
	reason  string
}

// movePointer signs the zone's next pointer and writes it with its activation,
// whose id is the outbox id. before is the pointer that was read in this
// transaction, nil for a new zone.
func (s *Server) movePointer(ctx context.Context, tx store.Tx, c *call, before *store.Pointer, m move) (store.Activation, error) {
	now := c.now
	if before != nil && !now.After(before.Since) { // the history is ordered by time, whatever the clock does
		now = before.Since.Add(time.Microsecond)
	}
	p := store.Pointer{ZoneID: m.zone.ID, Since: now, ActivatedBy: c.actor.name, Reason: m.reason}
	a := store.Activation{ID: newID(), ZoneID: m.zone.ID, Reason: m.reason, ActorID: c.actor.id, ActorName: c.actor.name, CreatedAt: now}
	if before != nil {
		p.Sequence = before.Sequence + 1
		a.PreviousVersionID = before.VersionID
	}
	if v := m.version; v != nil {
		p.PolicySetID, p.VersionID = &v.PolicySetID, &v.ID
		p.ManifestSHA256, p.BundleSHA256, p.BundleSize = v.ManifestSHA256, v.BundleSHA256, v.BundleSize
	}
	if err := s.sign(ctx, tx, &p, m.zone, now); err != nil {
		return store.Activation{}, err
	}
	a.Sequence = p.Sequence
	a.PolicySetID, a.VersionID = p.PolicySetID, p.VersionID
	a.ManifestSHA256, a.BundleSHA256 = p.ManifestSHA256, p.BundleSHA256
	if err := tx.MovePointer(ctx, p, a); err != nil {
		return store.Activation{}, fmt.Errorf("moving the pointer: %w", err)
	}
	return a, nil
}

// resignPointer renews a pointer without moving it: the same sequence, a later
// time of issue, the zone's settings as they are now.
func (s *Server) resignPointer(ctx context.Context, tx store.Tx, zone store.Zone, p store.Pointer, now time.Time) error {
	if !now.After(p.IssuedAt) { // daemons tell renewals apart by their time
		now = p.IssuedAt.Add(time.Microsecond)
	}
	if err := s.sign(ctx, tx, &p, zone, now); err != nil {
		return err
	}
	if err := tx.ResignPointer(ctx, p); err != nil {
		return fmt.Errorf("renewing the pointer: %w", err)
	}
	return nil
}

// sign fills in the times and the envelope.
func (s *Server) sign(ctx context.Context, tx store.Reader, p *store.Pointer, zone store.Zone, now time.Time) error {
	keys, err := s.keys.in(ctx, tx)
	if err != nil {
		return err
	}
	return signPointer(p, zone, now, s.cfg.PointerTTL, keys.Pointers)
}

func signPointer(p *store.Pointer, zone store.Zone, now time.Time, ttl time.Duration, key *bundle.PrivateKey) error {
	settings, err := zoneSettings(zone)
	if err != nil {
		return err
	}
	p.IssuedAt, p.ExpiresAt = now, now.Add(ttl)
	p.Envelope, err = bundle.SignPointer(bundle.Pointer{
		ZoneID:             p.ZoneID,
		Sequence:           p.Sequence,
		PolicySetID:        p.PolicySetID,
		PolicySetVersionID: p.VersionID,
		ManifestSHA256:     p.ManifestSHA256,
		BundleSHA256:       p.BundleSHA256,
		BundleSize:         p.BundleSize,
		IssuedAt:           p.IssuedAt,
		ExpiresAt:          p.ExpiresAt,
		Settings:           bundle.ZoneSettings{AuditMask: settings.AuditMask, AuditInputs: settings.AuditInputs},
	}, key)
	if err != nil {
		return fmt.Errorf("signing the pointer: %w", err)
	}
	return nil
}

// renewPointers re-signs the pointers of which half the lifetime is over.
func (s *Server) renewPointers(ctx context.Context) error {
	var pointers []store.Pointer
	err := s.store.View(ctx, func(tx store.Reader) (err error) {
		pointers, err = tx.Pointers(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("renewing pointers: %w", err)
	}
	now := s.now()
	var failures []error
	for _, old := range pointers {
		if old.ExpiresAt.Sub(now) > s.cfg.PointerTTL/2 {
			continue
		}
		err := s.store.Update(ctx, func(tx store.Tx) error {
			p, err := tx.Pointer(ctx, old.ZoneID)
			if err != nil {
				return err
			}
			if p.ExpiresAt.Sub(now) > s.cfg.PointerTTL/2 {
				return nil // somebody else was here first
			}
			zone, err := pointed(ctx, tx, old.ZoneID)
			if err != nil {
				return err
			}
			return s.resignPointer(ctx, tx, zone, p, now)
		})
		if err != nil {
			failures = append(failures, fmt.Errorf("renewing the pointer of zone %s: %w", old.ZoneID, err))
		}
	}
	return errors.Join(failures...)
}

// pointed is the zone of a pointer. One that is archived denies everything, and
// goes on saying so.
func pointed(ctx context.Context, tx store.Reader, id string) (store.Zone, error) {
	zone, err := tx.Zone(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return store.Zone{ID: id}, nil
	}
	return zone, err
}

// zoneSettings reads a zone's settings, with the defaults where it has none.
func zoneSettings(z store.Zone) (api.ZoneSettings, error) {
	var settings api.ZoneSettings
	if len(z.Settings) > 0 {
		if err := json.Unmarshal(z.Settings, &settings); err != nil {
			return settings, fmt.Errorf("reading the settings of zone %s: %w", z.ID, err)
		}
	}
	if settings.AuditMask == nil {
		settings.AuditMask = []string{}
	}
	if settings.AuditInputs == "" {
		settings.AuditInputs = inputsKept
	}
	return settings, nil
}

// Values of api.ZoneSettings.AuditInputs.
const (
	inputsKept   = "kept"
	inputsHashed = "hashed"
)
