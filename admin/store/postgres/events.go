package postgres

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/relational"
)

// events is the audit half.
type events struct {
	readers, appends *pgxpool.Pool
	appender         *relational.Appender
	added            *relational.Signal
	log              *slog.Logger
	// stored holds a value when other replicas are to be told of events.
	stored chan struct{}
	// months are those whose partition was made or cannot be, by year*12+month.
	months sync.Map
}

// Added tells that events were stored.
func (e *events) Added() <-chan struct{} { return e.added.C }

// tellEvery is how often other replicas are told of events at most: each NOTIFY
// makes its transaction wait for all others that notify, so batches do not.
const tellEvery = 20 * time.Millisecond

// tell tells other replicas of stored events, until ctx ends.
func (e *events) tell(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.stored:
		}
		if _, err := e.appends.Exec(ctx, `SELECT pg_notify($1, '')`, eventsChannel); err != nil && ctx.Err() == nil {
			e.log.Warn("other replicas are not told of events, they will poll", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(tellEvery):
		}
	}
}

const eventsQuery = `SELECT ` + relational.EventColumns + ` FROM events e JOIN streams s ON s.id = e.stream`

func (e *events) list(ctx context.Context, query string, args ...any) (list []store.Event, err error) {
	err = read(ctx, e.readers, func(t *session) error {
		list, err = relational.Many(ctx, t, relational.ScanEvent, query, args...)
		return err
	})
	return list, err
}

// Query lists a zone's events, newest first.
func (e *events) Query(ctx context.Context, q store.EventQuery) ([]store.Event, error) {
	f := relational.Filter{}
	f.Add("e.zone_id = ?", q.ZoneID)
	f.Between("e.occurred_at", q.Since, q.Until)
	if q.After != (store.Cursor{}) {
		at, id := relational.Position(q.After)
		// The bound on the time alone spares the partitions after it.
		f.Add("e.occurred_at <= ? AND (e.occurred_at, e.id) < (?, ?)", at, at, id)
	}
	f.Equal("e.decision", q.Decision)
	f.Equal("e.event_type", q.EventType)
	if q.RequestID != "" {
		f.Add("left(e.request_id, 200) = left(?, 200) AND e.request_id = ?", q.RequestID, q.RequestID)
	}
	// The conditions of the small indexes.
	if q.EventType != "" && q.EventType != relational.TypeDecision {
		f.Add("e.event_type <> '" + relational.TypeDecision + "'")
	} else if q.Decision != "" && q.Decision != relational.DecisionAllow {
		f.Add("e.decision <> '" + relational.DecisionAllow + "'")
	}
	return e.list(ctx, eventsQuery+f.Where()+` ORDER BY e.occurred_at DESC, e.id DESC LIMIT ?`, append(f.Args, relational.Bound(q.Limit))...)
}

// Count counts a zone's decisions by step of time, daemon and outcome.
func (e *events) Count(ctx context.Context, q store.EventCountQuery) (list []store.EventCount, err error) {
	query, args := relational.CountQuery(q, "events e")
	err = read(ctx, e.readers, func(t *session) error {
		list, err = relational.Many(ctx, t, relational.ScanCount(q), query, args...)
		return err
	})
	return list, err
}

// ByRequest returns a request's events, oldest first.
func (e *events) ByRequest(ctx context.Context, zoneID, requestID string) ([]store.Event, error) {
	return e.list(ctx, eventsQuery+` WHERE e.zone_id = ? AND left(e.request_id, 200) = left(?, 200) AND e.request_id = ?
		ORDER BY e.occurred_at, e.id`, zoneID, requestID, requestID)
}

// Since returns the events of a zone that were stored after seq.
func (e *events) Since(ctx context.Context, zoneID string, seq int64, limit int) ([]store.Event, error) {
	return e.list(ctx, eventsQuery+` WHERE e.zone_id = ? AND e.seq > ? ORDER BY e.seq LIMIT ?`, zoneID, seq, relational.Bound(limit))
}

// LastSeq is the newest Seq of a zone.
func (e *events) LastSeq(ctx context.Context, zoneID string) (last int64, err error) {
	err = read(ctx, e.readers, func(t *session) error {
		last, err = relational.One(ctx, t, relational.ScanNumber[int64], `SELECT coalesce(max(seq), 0) FROM events WHERE zone_id = ?`, zoneID)
		return err
	})
	return last, err
}

// NextOffset is the first offset not yet stored from a daemon's epoch.
func (e *events) NextOffset(ctx context.Context, daemonID, epoch string) (next uint64, err error) {
	err = read(ctx, e.readers, func(t *session) error {
		next, err = relational.One(ctx, t, relational.ScanNumber[uint64],
			`SELECT next_offset FROM streams WHERE daemon_id = ? AND epoch = ?`, daemonID, epoch)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	})
	return next, err
}
