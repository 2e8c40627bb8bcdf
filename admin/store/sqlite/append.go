package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/google/uuid"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/relational"
)

// stream is where a daemon's epoch stands.
type stream struct {
	id   int64
	next uint64
	hash []byte
}

func scanStream(r relational.Row, s *stream) error {
	return r.Scan(relational.Num(&s.id), relational.Num(&s.next), &s.hash)
}

const streamQuery = `SELECT id, next_offset, hash FROM streams WHERE daemon_id = ? AND epoch = ?`

// Append stores a batch's records from the first that is not stored yet.
func (e *events) Append(ctx context.Context, b store.EventBatch) (store.AppendResult, error) {
	if len(b.Events) == 0 {
		next, err := e.NextOffset(ctx, b.DaemonID, b.Epoch)
		return store.AppendResult{NextOffset: next}, err
	}
	if b.First > math.MaxInt64-uint64(len(b.Events)) {
		return store.AppendResult{}, fmt.Errorf("storing a batch of daemon %s: there is no offset %d", b.DaemonID, b.First)
	}
	result, err := e.appender.Append(ctx, b)
	if err != nil {
		return store.AppendResult{}, fmt.Errorf("storing a batch of daemon %s: %w", b.DaemonID, err)
	}
	if result.Accepted > 0 {
		e.added.Raise()
	}
	return result, nil
}

// appendTogether stores batches in one transaction.
func (e *events) appendTogether(ctx context.Context, batches []store.EventBatch) ([]relational.Appended, error) {
	out := make([]relational.Appended, len(batches))
	err := e.db.write(ctx, func(t *session) error {
		for i, b := range batches {
			s, err := openStream(ctx, t, b)
			if errors.Is(err, store.ErrChain) {
				out[i].Err = err
				continue
			}
			if err != nil {
				return err
			}
			if out[i].Result, err = appendBatch(ctx, t, s, b); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// openStream finds the batch's stream, or begins it. ErrChain where the batch
// does not continue it: nothing was written then.
func openStream(ctx context.Context, t *session, b store.EventBatch) (stream, error) {
	s, err := relational.One(ctx, t, scanStream, streamQuery, b.DaemonID, b.Epoch)
	begun := err == nil
	if errors.Is(err, store.ErrNotFound) {
		s, err = stream{hash: make([]byte, len(b.PrevHash))}, nil
	}
	if err != nil {
		return s, err
	}
	if b.First == s.next && !bytes.Equal(b.PrevHash[:], s.hash) {
		return s, fmt.Errorf("at offset %d: %w", b.First, store.ErrChain)
	}
	if begun {
		return s, nil
	}
	result, err := t.exec(ctx, `INSERT INTO streams (daemon_id, epoch, next_offset, hash) VALUES (?, ?, 0, ?)`, b.DaemonID, b.Epoch, s.hash)
	if err != nil {
		return s, err
	}
	s.id, err = result.LastInsertId()
	return s, err
}

func appendBatch(ctx context.Context, t *session, s stream, b store.EventBatch) (store.AppendResult, error) {
	result := store.AppendResult{NextOffset: max(s.next, b.First+uint64(len(b.Events)))}
	if result.NextOffset == s.next {
		result.Duplicate = len(b.Events)
		return result, nil
	}
	w, err := newEventWriter(ctx, t, s.id)
	if err != nil {
		return result, err
	}
	// The driver watches a context that can end with a goroutine for each
	// statement. The transaction's own watch is enough: it cannot commit then.
	ctx = context.WithoutCancel(ctx)
	if b.First > s.next {
		result.Hole = b.First - s.next
		if err := w.hole(ctx, b, s.next); err != nil {
			return result, err
		}
	}
	for i, ev := range b.Events {
		ev.Offset = b.First + uint64(i)
		if ev.Offset < s.next {
			result.Duplicate++
			continue
		}
		ev.IngestedAt = b.At
		if err := w.insert(ctx, ev); err != nil {
			return result, err
		}
		result.Accepted++
	}
	if _, err := t.exec(ctx, `UPDATE streams SET next_offset = ?, hash = ? WHERE id = ?`, int64(result.NextOffset), b.Hash[:], s.id); err != nil {
		return result, err
	}
	return result, w.sizes(ctx)
}

// eventWriter inserts events of one stream and sums up their sizes.
type eventWriter struct {
	t      *session
	stmt   *sql.Stmt
	stream int64
	zones  map[string]*zoneSize
}

// zoneSize is what a zone's events come to.
type zoneSize struct{ events, bytes int64 }

const insertEventQuery = `INSERT INTO events (id, zone_id, event_type, request_id, decision, evaluation_status, policy_set_id,
		policy_set_version_id, manifest_sha256, bundle_sha256, pointer_sequence, determining_policies, diagnostics, metadata, input,
		occurred_at, ingested_at, stream, stream_offset, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
	ON CONFLICT (zone_id, occurred_at, id) DO NOTHING`

func newEventWriter(ctx context.Context, t *session, stream int64) (*eventWriter, error) {
	stmt, err := t.statement(ctx, insertEventQuery)
	if err != nil {
		return nil, err
	}
	return &eventWriter{t: t, stmt: stmt, stream: stream, zones: map[string]*zoneSize{}}, nil
}

// insert stores an event; one whose place in the list is taken gets another id.
func (w *eventWriter) insert(ctx context.Context, ev store.Event) error {
	size := relational.EventSize(&ev)
	stored, err := w.tryInsert(ctx, &ev, size)
	if err != nil {
		return err
	}
	if !stored {
		id, err := uuid.NewV7()
		if err != nil {
			return err
		}
		ev.ID = id.String()
		if _, err := w.tryInsert(ctx, &ev, size); err != nil {
			return err
		}
	}
	z := w.zones[ev.ZoneID]
	if z == nil {
		z = &zoneSize{}
		w.zones[ev.ZoneID] = z
	}
	z.events++
	z.bytes += size
	return nil
}

func (w *eventWriter) tryInsert(ctx context.Context, ev *store.Event, size int64) (bool, error) {
	result, err := w.stmt.ExecContext(ctx, ev.ID, ev.ZoneID, ev.EventType, ev.RequestID, ev.Decision, ev.EvaluationStatus, ev.PolicySetID,
		ev.PolicySetVersionID, ev.ManifestSHA256, ev.BundleSHA256, ev.PointerSequence, blob(ev.DeterminingPolicies), blob(ev.Diagnostics),
		blob(ev.Metadata), blob(ev.Input), relational.Micros(ev.OccurredAt), relational.Micros(ev.IngestedAt), w.stream, int64(ev.Offset), size)
	if err != nil {
		return false, translate(err)
	}
	n, err := result.RowsAffected()
	return n == 1, err
}

// blob keeps the bytes as they are; nil is null.
func blob(raw json.RawMessage) any {
	if raw == nil {
		return nil
	}
	return []byte(raw)
}

// hole records offsets that were never received.
func (w *eventWriter) hole(ctx context.Context, b store.EventBatch, next uint64) error {
	gaps, err := relational.Gaps(b, next)
	if err != nil {
		return err
	}
	for _, gap := range gaps {
		if err := w.insert(ctx, gap); err != nil {
			return err
		}
	}
	return nil
}

// sizes adds what was inserted to the sums.
func (w *eventWriter) sizes(ctx context.Context) error {
	for zone, z := range w.zones {
		_, err := w.t.exec(ctx, `INSERT INTO zone_sizes (zone_id, events, bytes) VALUES (?, ?, ?)
			ON CONFLICT (zone_id) DO UPDATE SET events = events + excluded.events, bytes = bytes + excluded.bytes`, zone, z.events, z.bytes)
		if err != nil {
			return err
		}
	}
	return nil
}
