package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/bundle"
)

// batchType is the media type of a batch.
const batchType = "application/vnd.caracal.audit-batch"

func batchRoutes() []route {
	rt := raw(http.MethodPost, "/v1/audit/batches", "audit.ingest", "Take a compressed batch of a daemon's audit records, once for each offset",
		daemons, nil, "application/json", new(api.BatchAccepted), (*Server).takeBatch)
	rt.binary = batchType
	rt.others = []otherAnswer{{status: http.StatusConflict, body: new(chainMismatch)}}
	return []route{rt}
}

// chainMismatch answers a batch that does not continue what is stored.
type chainMismatch struct {
	api.Error
	// NextOffset is the first offset that is not stored.
	NextOffset uint64 `json:"next_offset"`
}

// takeBatch stores a batch of audit records. It is idempotent by daemon, epoch
// and offset, so it needs no Idempotency-Key.
//
// What a record says is the daemon's word and is stored as it came, also when
// its zone was never known here: a record that were refused would come again
// with every batch and hold up all behind it. Only a part that is no JSON is
// kept as a JSON string of its bytes.
func (s *Server) takeBatch(w http.ResponseWriter, c *call) error {
	ctx := c.r.Context()
	outcome := "refused"
	defer func() { s.metrics.batch(ctx, outcome) }()
	limits := audit.DefaultBatchLimits() // whatever a daemon makes is within them
	body, err := readBody(c.r, int64(limits.MaxCompressed))
	if err != nil {
		return err
	}
	b, err := audit.DecodeBatch(body, limits)
	switch {
	case errors.Is(err, audit.ErrLimit):
		return refuse(http.StatusRequestEntityTooLarge, "payload_too_large", "%v", err)
	case errors.Is(err, audit.ErrChain):
		header, herr := audit.DecodeBatchHeader(body)
		if herr != nil {
			return refuse(http.StatusBadRequest, "invalid_batch", "%v", herr)
		}
		outcome = "chain_mismatch"
		return s.mismatch(w, c, header.DaemonID, header.Epoch, err)
	case err != nil:
		return refuse(http.StatusBadRequest, "invalid_batch", "%v", err)
	}
	for i, r := range b.Records {
		// A damaged spool cannot say whose the records were that it lost.
		nobodys := r.EventType == audit.EventGap && r.ZoneID == ""
		if !nobodys && !c.actor.reaches(r.ZoneID) {
			return refuse(http.StatusForbidden, "forbidden", "this token does not reach zone %q of the record at offset %d", r.ZoneID, b.First+uint64(i))
		}
	}
	if !bundle.ValidID(b.DaemonID) {
		return refuse(http.StatusBadRequest, "invalid_batch", "%.128q is no daemon's id", b.DaemonID)
	}
	if err := s.fleet.bind(ctx, c.actor, b.DaemonID, c.now); err != nil {
		return err
	}
	result, err := s.storeBatch(ctx, &b, c.now)
	if errors.Is(err, store.ErrChanged) {
		outcome = "chain_mismatch"
		return s.mismatch(w, c, b.DaemonID, b.Epoch, err)
	}
	if err != nil {
		return err
	}
	outcome = storedOutcome(result)
	return respond(w, http.StatusOK, api.BatchAccepted{Accepted: result.Accepted, Duplicate: result.Duplicate, NextOffset: result.NextOffset})
}

// storeBatch stores what is not stored yet of a batch, in one transaction.
// store.ErrChanged: it does not continue what is stored.
func (s *Server) storeBatch(ctx context.Context, b *audit.DecodedBatch, now time.Time) (store.AppendResult, error) {
	stored, next, err := s.cutStored(ctx, b)
	if err != nil {
		return store.AppendResult{}, err
	}
	batch := store.EventBatch{DaemonID: b.DaemonID, Epoch: b.Epoch, First: b.First, PrevHash: b.PrevHash, Hash: b.Hash, At: now,
		Events: make([]store.Event, len(b.Records))}
	for i := range b.Records {
		batch.Events[i] = recordEvent(&b.Records[i], now)
	}
	result := store.AppendResult{NextOffset: next}
	if len(batch.Events) > 0 {
		result, err = s.store.Events().Append(ctx, batch)
	}
	if err != nil {
		return result, fmt.Errorf("storing a batch of daemon %s: %w", b.DaemonID, err)
	}
	result.Duplicate += stored
	if result.Hole > 0 {
		s.log.Warn("audit records never came in", "daemon", b.DaemonID, "epoch", b.Epoch, "missing", result.Hole, "before", b.First)
	}
	s.metrics.records.Add(ctx, int64(result.Accepted))
	s.metrics.duplicate.Add(ctx, int64(result.Duplicate))
	s.metrics.holes.Add(ctx, int64(result.Hole))
	return result, nil
}

func storedOutcome(result store.AppendResult) string {
	if result.Hole > 0 {
		return "stored_after_hole"
	}
	return "stored"
}

// cutStored removes the records that are stored already from a batch, and
// tells how many they were and the first offset that is not stored. What is
// left begins where the stored chain ends, so that the store can compare the two.
func (s *Server) cutStored(ctx context.Context, b *audit.DecodedBatch) (stored int, next uint64, err error) {
	next, err = s.store.Events().NextOffset(ctx, b.DaemonID, b.Epoch)
	if err != nil {
		return 0, 0, fmt.Errorf("reading the next offset of daemon %s: %w", b.DaemonID, err)
	}
	var data []byte
	for ; stored < len(b.Records) && b.First < next; stored++ {
		if data, err = audit.AppendRecord(data[:0], &b.Records[stored]); err != nil {
			return 0, 0, fmt.Errorf("hashing offset %d of daemon %s: %w", b.First, b.DaemonID, err)
		}
		b.PrevHash = audit.ChainHash(b.PrevHash, b.First, data)
		b.First++
	}
	b.Records = b.Records[stored:]
	return stored, next, nil
}

// mismatch answers a batch whose hash chain is broken, in itself or where it
// should continue what is stored.
func (s *Server) mismatch(w http.ResponseWriter, c *call, daemon, epoch string, cause error) error {
	next, err := s.store.Events().NextOffset(c.r.Context(), daemon, epoch)
	if err != nil {
		return fmt.Errorf("reading the next offset of daemon %s: %w", daemon, err)
	}
	s.log.Warn("an audit batch breaks the hash chain", "daemon", daemon, "epoch", epoch, "next_offset", next, "error", cause)
	return respond(w, http.StatusConflict, chainMismatch{
		Error:      api.Error{Code: "chain_mismatch", Description: "the records do not continue the daemon's hash chain"},
		NextOffset: next,
	})
}

// recordEvent gives a record that came in at a time its stored form.
func recordEvent(r *audit.Record, at time.Time) store.Event {
	e := store.Event{
		ID: r.ID, ZoneID: r.ZoneID, EventType: r.EventType, RequestID: r.RequestID,
		Decision: r.Decision, EvaluationStatus: r.EvaluationStatus,
		PolicySetID: r.PolicySetID, PolicySetVersionID: r.PolicySetVersionID,
		ManifestSHA256: r.ManifestSHA256, BundleSHA256: r.BundleSHA256, PointerSequence: r.Sequence,
		DeterminingPolicies: audit.SoundJSON(r.DeterminingPolicies), Diagnostics: audit.SoundJSON(r.Diagnostics),
		Metadata: audit.SoundJSON(r.Metadata), Input: audit.SoundJSON(r.Input),
		OccurredAt: r.OccurredAt.UTC(),
	}
	if e.ID == "" {
		e.ID = newID()
	}
	if y := e.OccurredAt.Year(); y < 1 || y > 9999 { // RFC 3339 cannot say it
		e.OccurredAt = at
	}
	if !bundle.ValidID(e.EventType) { // it becomes a line of its own in a tail
		e.EventType = "unknown"
	}
	return e
}
