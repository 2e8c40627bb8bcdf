package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/caracalai/caracald/admin/store"
)

// events is the audit half: events.db.
type events struct {
	db    database
	added *signal
}

// eventTypeGap is the type of the event that records a hole.
const eventTypeGap = "audit_gap"

// trimChunk is how many events one transaction of Trim removes, so that those
// who append need not wait for long.
const trimChunk = 2000

func (e *events) Added() <-chan struct{} { return e.added.c }

// stream is where a daemon's epoch stands.
type stream struct {
	id, next int64
	hash     []byte
}

func scanStream(r row, s *stream) error { return r.Scan(&s.id, &s.next, &s.hash) }

const streamQuery = `SELECT id, next_offset, hash FROM streams WHERE daemon_id = ? AND epoch = ?`

func (e *events) NextOffset(ctx context.Context, daemonID, epoch string) (uint64, error) {
	var next uint64
	err := inTx(ctx, e.db.reader, "reading", func(t *sql.Tx) error {
		s, err := one(ctx, t, scanStream, streamQuery, daemonID, epoch)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		next = uint64(s.next)
		return err
	})
	return next, err
}

func (e *events) Append(ctx context.Context, b store.EventBatch) (store.AppendResult, error) {
	var result store.AppendResult
	err := inTx(ctx, e.db.writer, "writing", func(t *sql.Tx) error {
		result = store.AppendResult{}
		s, err := one(ctx, t, scanStream, streamQuery, b.DaemonID, b.Epoch)
		if errors.Is(err, store.ErrNotFound) {
			s = stream{hash: make([]byte, 32)}
			err = t.QueryRowContext(ctx, `INSERT INTO streams (daemon_id, epoch, next_offset, hash) VALUES (?, ?, 0, ?) RETURNING id`, b.DaemonID, b.Epoch, s.hash).Scan(&s.id)
		}
		if err != nil {
			return translate(err)
		}
		next := uint64(s.next)
		if b.First == next && !bytes.Equal(b.PrevHash[:], s.hash) {
			return fmt.Errorf("a batch of %s at %d does not continue the hash chain: %w", b.DaemonID, b.First, store.ErrChanged)
		}
		w, err := newEventWriter(ctx, t, s.id)
		if err != nil {
			return err
		}
		defer w.close()
		if b.First > next {
			result.Hole = b.First - next
			if err := w.hole(ctx, b, next); err != nil {
				return err
			}
		}
		for i, ev := range b.Events {
			offset := b.First + uint64(i)
			if offset < next {
				result.Duplicate++
				continue
			}
			ev.IngestedAt, ev.Offset = b.At, offset
			if err := w.insert(ctx, ev); err != nil {
				return err
			}
			result.Accepted++
		}
		result.NextOffset = max(next, b.First+uint64(len(b.Events)))
		if result.NextOffset == next {
			return nil
		}
		if _, err := t.ExecContext(ctx, `UPDATE streams SET next_offset = ?, hash = ? WHERE id = ?`, int64(result.NextOffset), b.Hash[:], s.id); err != nil {
			return translate(err)
		}
		return w.sizes(ctx)
	})
	if err != nil {
		return store.AppendResult{}, err
	}
	if result.Accepted > 0 || result.Hole > 0 {
		e.added.raise()
	}
	return result, nil
}

// eventWriter inserts events of one stream and sums up their sizes.
type eventWriter struct {
	t      *sql.Tx
	stmt   *sql.Stmt
	stream int64
	bytes  map[string]int64
	count  map[string]int64
}

func newEventWriter(ctx context.Context, t *sql.Tx, stream int64) (*eventWriter, error) {
	stmt, err := t.PrepareContext(ctx, `INSERT INTO events (id, zone_id, event_type, request_id, decision, evaluation_status, policy_set_id,
		policy_set_version_id, manifest_sha256, bundle_sha256, pointer_sequence, determining_policies, diagnostics, metadata, input,
		occurred_at, ingested_at, stream, stream_offset, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`)
	if err != nil {
		return nil, translate(err)
	}
	return &eventWriter{t: t, stmt: stmt, stream: stream, bytes: map[string]int64{}, count: map[string]int64{}}, nil
}

func (w *eventWriter) close() { _ = w.stmt.Close() } // the transaction ends it in any case

// rowOverhead is about what a row and its index entries take beside its texts.
const rowOverhead = 250

func (w *eventWriter) insert(ctx context.Context, ev store.Event) error {
	size := rowOverhead + int64(len(ev.ID)+2*len(ev.ZoneID)+2*len(ev.RequestID)+len(ev.PolicySetID)+len(ev.PolicySetVersionID)+
		len(ev.ManifestSHA256)+len(ev.BundleSHA256)+len(ev.DeterminingPolicies)+len(ev.Diagnostics)+len(ev.Metadata)+len(ev.Input))
	_, err := w.stmt.ExecContext(ctx, ev.ID, ev.ZoneID, ev.EventType, ev.RequestID, ev.Decision, ev.EvaluationStatus, ev.PolicySetID,
		ev.PolicySetVersionID, ev.ManifestSHA256, ev.BundleSHA256, ev.PointerSequence, blob(ev.DeterminingPolicies), blob(ev.Diagnostics),
		blob(ev.Metadata), blob(ev.Input), micros(ev.OccurredAt), micros(ev.IngestedAt), w.stream, int64(ev.Offset), size)
	if err != nil {
		return translate(err)
	}
	w.bytes[ev.ZoneID] += size
	w.count[ev.ZoneID]++
	return nil
}

// blob keeps the bytes as they are; nil is null.
func blob(raw json.RawMessage) any {
	if raw == nil {
		return nil
	}
	return []byte(raw)
}

// hole records offsets that were never received, in each zone of the batch that
// shows them: nobody can say any more which zones they were of.
func (w *eventWriter) hole(ctx context.Context, b store.EventBatch, next uint64) error {
	metadata, err := json.Marshal(map[string]any{
		"count": b.First - next, "reason": "records_never_received", "daemon_id": b.DaemonID, "epoch": b.Epoch, "first_offset": next,
	})
	if err != nil {
		return err
	}
	zones := map[string]bool{}
	for _, ev := range b.Events {
		if zones[ev.ZoneID] {
			continue
		}
		zones[ev.ZoneID] = true
		id, err := uuid.NewV7()
		if err != nil {
			return err
		}
		err = w.insert(ctx, store.Event{ID: id.String(), ZoneID: ev.ZoneID, EventType: eventTypeGap, Metadata: metadata,
			OccurredAt: b.At, IngestedAt: b.At, Offset: next})
		if err != nil {
			return err
		}
	}
	return nil
}

// sizes adds what was inserted to the sums.
func (w *eventWriter) sizes(ctx context.Context) error {
	for zone, n := range w.bytes {
		_, err := w.t.ExecContext(ctx, `INSERT INTO zone_sizes (zone_id, events, bytes) VALUES (?, ?, ?)
			ON CONFLICT (zone_id) DO UPDATE SET events = events + excluded.events, bytes = bytes + excluded.bytes`, zone, w.count[zone], n)
		if err != nil {
			return translate(err)
		}
	}
	return nil
}

const eventQuery = `SELECT e.seq, e.id, e.zone_id, e.event_type, e.request_id, e.decision, e.evaluation_status, e.policy_set_id,
		e.policy_set_version_id, e.manifest_sha256, e.bundle_sha256, e.pointer_sequence, e.determining_policies, e.diagnostics,
		e.metadata, e.input, e.occurred_at, e.ingested_at, s.daemon_id, s.epoch, e.stream_offset
	FROM events e JOIN streams s ON s.id = e.stream`

func scanEvent(r row, e *store.Event) error {
	var determining, diagnostics, metadata, input []byte
	var offset int64
	err := r.Scan(&e.Seq, &e.ID, &e.ZoneID, &e.EventType, &e.RequestID, &e.Decision, &e.EvaluationStatus, &e.PolicySetID,
		&e.PolicySetVersionID, &e.ManifestSHA256, &e.BundleSHA256, &e.PointerSequence, &determining, &diagnostics,
		&metadata, &input, moment{&e.OccurredAt}, moment{&e.IngestedAt}, &e.DaemonID, &e.Epoch, &offset)
	e.DeterminingPolicies, e.Diagnostics, e.Metadata, e.Input, e.Offset = determining, diagnostics, metadata, input, uint64(offset)
	return err
}

func (e *events) read(ctx context.Context, query string, args ...any) (list []store.Event, err error) {
	err = inTx(ctx, e.db.reader, "reading", func(t *sql.Tx) error {
		list, err = many(ctx, t, scanEvent, query, args...)
		return err
	})
	return list, err
}

func (e *events) Query(ctx context.Context, q store.EventQuery) ([]store.Event, error) {
	f := filter{}
	f.add("e.zone_id = ?", q.ZoneID)
	f.between("e.occurred_at", q.Since, q.Until)
	f.equal("e.request_id", q.RequestID)
	f.equal("e.decision", q.Decision)
	f.equal("e.event_type", q.EventType)
	if q.After != (store.Cursor{}) {
		at, id := position(q.After)
		f.add("(e.occurred_at, e.id) < (?, ?)", at, id)
	}
	return e.read(ctx, eventQuery+f.where()+` ORDER BY e.occurred_at DESC, e.id DESC LIMIT ?`, append(f.args, q.Limit)...)
}

func (e *events) ByRequest(ctx context.Context, zoneID, requestID string) ([]store.Event, error) {
	return e.read(ctx, eventQuery+` WHERE e.zone_id = ? AND e.request_id = ? ORDER BY e.occurred_at, e.id`, zoneID, requestID)
}

func (e *events) Since(ctx context.Context, zoneID string, seq int64, limit int) ([]store.Event, error) {
	return e.read(ctx, eventQuery+` WHERE e.zone_id = ? AND e.seq > ? ORDER BY e.seq LIMIT ?`, zoneID, seq, limit)
}

func (e *events) LastSeq(ctx context.Context, zoneID string) (int64, error) {
	var last int64
	err := inTx(ctx, e.db.reader, "reading", func(t *sql.Tx) error {
		return translate(t.QueryRowContext(ctx, `SELECT coalesce(max(seq), 0) FROM events WHERE zone_id = ?`, zoneID).Scan(&last))
	})
	return last, err
}

func (e *events) Trim(ctx context.Context, zoneID string, before time.Time, maxBytes int64) (int64, error) {
	var total int64
	for {
		var n int64
		err := inTx(ctx, e.db.writer, "writing", func(t *sql.Tx) (err error) {
			n, err = trimSome(ctx, t, zoneID, before, maxBytes)
			return err
		})
		if err != nil {
			return total, fmt.Errorf("trimming the audit of zone %s: %w", zoneID, err)
		}
		total += n
		if n < trimChunk {
			return total, nil
		}
	}
}

// trimSome removes up to trimChunk of the events that must go, oldest first.
func trimSome(ctx context.Context, t *sql.Tx, zoneID string, before time.Time, maxBytes int64) (int64, error) {
	var held int64
	if err := t.QueryRowContext(ctx, `SELECT coalesce((SELECT bytes FROM zone_sizes WHERE zone_id = ?), 0)`, zoneID).Scan(&held); err != nil {
		return 0, translate(err)
	}
	type candidate struct{ seq, at, bytes int64 }
	oldest, err := many(ctx, t, func(r row, c *candidate) error { return r.Scan(&c.seq, &c.at, &c.bytes) },
		`SELECT seq, occurred_at, bytes FROM events WHERE zone_id = ? ORDER BY occurred_at, id LIMIT ?`, zoneID, trimChunk)
	if err != nil {
		return 0, err
	}
	remove, err := t.PrepareContext(ctx, `DELETE FROM events WHERE seq = ?`)
	if err != nil {
		return 0, translate(err)
	}
	defer func() { _ = remove.Close() }() // the transaction ends it in any case
	var gone, freed int64
	for _, c := range oldest {
		tooOld := !before.IsZero() && c.at < micros(before)
		tooMuch := maxBytes > 0 && held-freed > maxBytes
		if !tooOld && !tooMuch {
			break
		}
		if _, err := remove.ExecContext(ctx, c.seq); err != nil {
			return 0, translate(err)
		}
		gone++
		freed += c.bytes
	}
	if gone == 0 {
		return 0, nil
	}
	_, err = t.ExecContext(ctx, `UPDATE zone_sizes SET events = events - ?, bytes = bytes - ? WHERE zone_id = ?`, gone, freed, zoneID)
	return gone, translate(err)
}
