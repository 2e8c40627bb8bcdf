package admin

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/audit"
)

var _ audit.Receiver = (*Server)(nil)

// Reasons for which a delivery is refused for good.
const (
	poisonMalformed = "malformed"
	poisonDaemon    = "wrong_daemon"
	poisonLimit     = "too_large"
	poisonChain     = "chain_mismatch"
)

// Receive stores a batch that came through a queue, by the code that stores those
// of POST /v1/audit/batches. What the queue may do and that call may not is to
// hand over a batch before the one it follows: storing that would make a hole,
// and then skip what came late.
//
// Whoever may put a daemon's batches into the queue is trusted with every zone:
// there is no token that says less.
func (s *Server) Receive(ctx context.Context, d audit.Delivery) error {
	outcome := "refused"
	defer func() {
		if outcome != "early" { // it is asked about again and again
			s.metrics.batch(ctx, outcome)
		}
	}()
	now := s.now()
	header, err := audit.DecodeBatchHeader(d.Batch)
	if err == nil && header.DaemonID != d.DaemonID {
		return s.poison(ctx, d, &audit.Poison{Reason: poisonDaemon, Records: header.Count,
			Err: fmt.Errorf("the batch is of daemon %q and came as one of %q", header.DaemonID, d.DaemonID)}, nil, now)
	}
	if err == nil && !d.Settled {
		next, err := s.store.Events().NextOffset(ctx, header.DaemonID, header.Epoch)
		if err != nil {
			return fmt.Errorf("reading the next offset of daemon %s: %w", header.DaemonID, err)
		}
		if next < d.After {
			outcome = "early"
			return fmt.Errorf("daemon %s, epoch %s: offset %d follows %d, and %d is the next to be stored: %w", header.DaemonID, header.Epoch, header.First, d.After, next, audit.ErrEarly)
		}
	}
	b, err := audit.DecodeBatch(d.Batch, audit.DefaultBatchLimits())
	if errors.Is(err, audit.ErrVersion) {
		return err
	}
	if err != nil {
		p := &audit.Poison{Reason: poisonMalformed, Records: header.Count, Err: err}
		switch {
		case errors.Is(err, audit.ErrLimit):
			p.Reason = poisonLimit
		case errors.Is(err, audit.ErrChain):
			p.Reason = poisonChain
		}
		return s.poison(ctx, d, p, nil, now)
	}
	counts := map[string]int{}
	for i := range b.Records {
		counts[b.Records[i].ZoneID]++
	}
	result, err := s.storeBatch(ctx, &b, now)
	if errors.Is(err, store.ErrChanged) {
		outcome = "chain_mismatch"
		return s.poison(ctx, d, &audit.Poison{Reason: poisonChain, Records: header.Count, Err: err}, counts, now)
	}
	if err != nil {
		return err
	}
	outcome = storedOutcome(result)
	return nil
}

// poison records a delivery that can never be stored as a gap: in the zones of
// its records where they can be read, otherwise in those that the daemon
// reported to serve. The error is the poison itself once that is stored.
func (s *Server) poison(ctx context.Context, d audit.Delivery, p *audit.Poison, counts map[string]int, now time.Time) error {
	if counts == nil {
		var err error
		if counts, err = s.servedZones(ctx, d.DaemonID, max(p.Records, 1)); err != nil {
			return err
		}
	}
	if len(counts) == 0 {
		return p
	}
	// A numbering of its own, made of the content, so that a delivery that comes
	// again is recorded once.
	hash := sha256.Sum256(d.Batch)
	gaps := store.EventBatch{DaemonID: d.DaemonID, Epoch: uuid.NewSHA1(uuid.NameSpaceOID, hash[:]).String(), Hash: hash, At: now}
	for _, zone := range slices.Sorted(maps.Keys(counts)) {
		metadata, err := json.Marshal(map[string]any{"count": counts[zone], "reason": p.Reason, "daemon_id": d.DaemonID, "detail": p.Err.Error()})
		if err != nil {
			return fmt.Errorf("describing a gap: %w", err)
		}
		gaps.Events = append(gaps.Events, store.Event{ID: newID(), ZoneID: zone, EventType: audit.EventGap, Metadata: metadata, OccurredAt: now})
	}
	if _, err := s.store.Events().Append(ctx, gaps); err != nil {
		return fmt.Errorf("recording a gap of daemon %s: %w", d.DaemonID, err)
	}
	return p
}

// servedZones are the zones of which a daemon reported receipts, each with a count.
func (s *Server) servedZones(ctx context.Context, daemonID string, count int) (map[string]int, error) {
	zones := map[string]int{}
	err := s.store.View(ctx, func(tx store.Reader) error {
		receipts, err := tx.Receipts(ctx, []string{daemonID}, "", 0)
		for _, r := range receipts {
			zones[r.ZoneID] = count
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the zones of daemon %s: %w", daemonID, err)
	}
	return zones, nil
}
