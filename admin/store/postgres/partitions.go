package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/relational"
)

// Partitions are looked after every hour, by one replica, and are there for this
// month and the next.
const (
	aheadEvery  = time.Hour
	aheadMonths = 1
	aheadLease  = "partitions"
)

func monthOf(t time.Time) int {
	t = t.UTC()
	return t.Year()*12 + int(t.Month())
}

// makePartitions makes those that a batch's events belong in.
func (e *events) makePartitions(ctx context.Context, b store.EventBatch) error {
	if err := e.makePartition(ctx, b.At); err != nil { // where a hole is recorded
		return err
	}
	for i := range b.Events {
		if err := e.makePartition(ctx, b.Events[i].OccurredAt); err != nil {
			return err
		}
	}
	return nil
}

func (e *events) makePartition(ctx context.Context, at time.Time) error {
	month := monthOf(at)
	if _, known := e.months.Load(month); known {
		return nil
	}
	if _, err := e.appends.Exec(ctx, `SELECT make_partition($1)`, relational.Micros(at)); err != nil {
		return fmt.Errorf("making the partition of %s: %w", at.Format("2006-01"), because(ctx, translate(err)))
	}
	e.months.Store(month, true)
	return nil
}

// makeAhead makes the partitions of this month and the next.
func (e *events) makeAhead(ctx context.Context, now time.Time) error {
	for n := range aheadMonths + 1 {
		first := time.Date(now.UTC().Year(), now.UTC().Month()+time.Month(n), 1, 0, 0, 0, 0, time.UTC)
		if err := e.makePartition(ctx, first); err != nil {
			return err
		}
	}
	return nil
}

// keepAhead makes partitions before they are needed, until ctx ends. What is
// known of months is forgotten: retention may have dropped them. Where the
// replica that has the lease ends, another makes them an hour later, and
// whoever appends before that.
func (s *Store) keepAhead(ctx context.Context) {
	e, holder := s.events, uuid.NewString()
	tick := time.NewTicker(aheadEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			e.months.Clear()
			_, err := s.Lease(ctx, aheadLease, holder, aheadEvery/2)
			if err == nil {
				err = e.makeAhead(ctx, now)
			}
			if err != nil && !errors.Is(err, store.ErrHeld) && ctx.Err() == nil {
				e.log.Warn("partitions of the audit are not made ahead", "error", err)
			}
		}
	}
}

// trimChunk is how many events one transaction removes, so that those who
// append need not wait for long.
const trimChunk = 1000

// Trim removes what is too old and what is too much: whole partitions where they
// hold nothing else, and the rest a chunk at a time.
func (e *events) Trim(ctx context.Context, zoneID string, before time.Time, maxBytes int64) (int64, error) {
	zoneID = keepable(zoneID)
	cutoff := int64(math.MinInt64)
	var total int64
	if !before.IsZero() {
		cutoff = relational.Micros(before)
		n, err := e.remove(ctx, `SELECT drop_partitions($1, $2)`, zoneID, cutoff)
		var held *pgconn.PgError
		// lock_not_available, deadlock_detected: somebody reads them for long, or drops them too.
		if err != nil && (!errors.As(err, &held) || held.Code != "55P03" && held.Code != "40P01") {
			return 0, fmt.Errorf("trimming the audit of zone %s: %w", zoneID, err)
		}
		total = n
		e.months.Clear()
	}
	for {
		n, err := e.remove(ctx, `SELECT trim_events($1, $2, $3, $4)`, zoneID, cutoff, maxBytes, trimChunk)
		if err != nil {
			return total, fmt.Errorf("trimming the audit of zone %s: %w", zoneID, err)
		}
		total += n
		if n < trimChunk {
			return total, nil
		}
	}
}

func (e *events) remove(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = write(ctx, e.appends, func(t *session) error {
		return translate(t.t.QueryRow(ctx, query, args...).Scan(&n))
	})
	return n, err
}
