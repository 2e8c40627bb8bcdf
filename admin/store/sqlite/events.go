package sqlite

import (
	"context"
	"errors"
	"time"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/relational"
)

// events is the audit half: events.db.
type events struct {
	db       *database
	added    *relational.Signal
	appender *relational.Appender
}

// Added tells that events were stored.
func (e *events) Added() <-chan struct{} { return e.added.C }

// eventColumns and eventStreams are the two halves of every query for events;
// between them and the conditions an index may be named.
const (
	eventColumns = `SELECT ` + relational.EventColumns + ` FROM events e`
	eventStreams = ` JOIN streams s ON s.id = e.stream`
)

// Without statistics SQLite may prefer an index that spares it the sorting, and
// walk a zone's millions: these two name theirs.
const (
	byRequestQuery = eventColumns + ` INDEXED BY events_request` + eventStreams + `
		WHERE e.zone_id = ? AND e.request_id = ? ORDER BY e.occurred_at, e.id`
	sinceQuery = eventColumns + ` INDEXED BY events_tail` + eventStreams + `
		WHERE e.zone_id = ? AND e.seq > ? ORDER BY e.seq LIMIT ?`
	lastSeqQuery = `SELECT coalesce(max(seq), 0) FROM events INDEXED BY events_tail WHERE zone_id = ?`
)

func (e *events) read(ctx context.Context, query string, args ...any) (list []store.Event, err error) {
	err = e.db.read(ctx, func(t *session) error {
		list, err = relational.Many(ctx, t, relational.ScanEvent, query, args...)
		return err
	})
	return list, err
}

// Query lists a zone's events, newest first.
func (e *events) Query(ctx context.Context, q store.EventQuery) ([]store.Event, error) {
	query, args := eventQuery(q)
	return e.read(ctx, query, args...)
}

func eventQuery(q store.EventQuery) (string, []any) {
	f := relational.Filter{}
	f.Add("e.zone_id = ?", q.ZoneID)
	// Of two upper bounds SQLite seeks by one and tries every row for the other,
	// which would make each page of a long list slower than the one before.
	if q.After != (store.Cursor{}) && (q.Until.IsZero() || relational.Micros(q.After.At) < relational.Micros(q.Until)) {
		at, id := relational.Position(q.After)
		f.Between("e.occurred_at", q.Since, time.Time{})
		f.Add("(e.occurred_at, e.id) < (?, ?)", at, id)
	} else {
		f.Between("e.occurred_at", q.Since, q.Until)
	}
	f.Equal("e.decision", q.Decision)
	f.Equal("e.event_type", q.EventType)
	index := "events_newest"
	switch {
	case q.RequestID != "":
		f.Equal("e.request_id", q.RequestID)
		index = "events_request"
	case q.EventType != "" && q.EventType != relational.TypeDecision:
		f.Add("e.event_type <> '" + relational.TypeDecision + "'") // the index's own condition
		index = "events_special"
	case q.Decision != "" && q.Decision != relational.DecisionAllow:
		f.Add("e.decision <> '" + relational.DecisionAllow + "'")
		index = "events_refused"
	}
	return eventColumns + ` INDEXED BY ` + index + eventStreams + f.Where() + ` ORDER BY e.occurred_at DESC, e.id DESC LIMIT ?`,
		append(f.Args, relational.Bound(q.Limit))
}

// Count counts a zone's decisions by step of time, daemon and outcome.
func (e *events) Count(ctx context.Context, q store.EventCountQuery) (list []store.EventCount, err error) {
	query, args := relational.CountQuery(q, "events e INDEXED BY events_newest")
	err = e.db.read(ctx, func(t *session) error {
		list, err = relational.Many(ctx, t, relational.ScanCount(q), query, args...)
		return err
	})
	return list, err
}

// ByRequest returns a request's events, oldest first.
func (e *events) ByRequest(ctx context.Context, zoneID, requestID string) ([]store.Event, error) {
	return e.read(ctx, byRequestQuery, zoneID, requestID)
}

// Since returns the events of a zone that were stored after seq.
func (e *events) Since(ctx context.Context, zoneID string, seq int64, limit int) ([]store.Event, error) {
	return e.read(ctx, sinceQuery, zoneID, seq, relational.Bound(limit))
}

// LastSeq is the newest Seq of a zone.
func (e *events) LastSeq(ctx context.Context, zoneID string) (last int64, err error) {
	err = e.db.read(ctx, func(t *session) error {
		last, err = relational.One(ctx, t, relational.ScanNumber[int64], lastSeqQuery, zoneID)
		return err
	})
	return last, err
}

// NextOffset is the first offset not yet stored from a daemon's epoch.
func (e *events) NextOffset(ctx context.Context, daemonID, epoch string) (next uint64, err error) {
	err = e.db.read(ctx, func(t *session) error {
		s, err := relational.One(ctx, t, scanStream, streamQuery, daemonID, epoch)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		next = s.next
		return err
	})
	return next, err
}

// Trim removes what is too old and what is too much, a chunk at a time.
func (e *events) Trim(ctx context.Context, zoneID string, before time.Time, maxBytes int64) (int64, error) {
	return trim(ctx, e.db, zoneID, before, maxBytes)
}
