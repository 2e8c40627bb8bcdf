package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/caracalai/caracald/admin/store/relational"
)

// ReadRows runs f on a snapshot of all tables.
func (s *Store) ReadRows(ctx context.Context, _ bool, f func(relational.Session) error) error {
	return read(ctx, s.readers, func(t *session) error { return f(t) })
}

// WriteRows runs f in a transaction on all tables.
func (s *Store) WriteRows(ctx context.Context, _ bool, f func(relational.Session) error) error {
	return write(ctx, s.updates, func(t *session) error { return f(t) })
}

// ExpectEvents makes the partitions of events that are going to be written.
func (s *Store) ExpectEvents(ctx context.Context, at []time.Time) error {
	for _, t := range at {
		if err := s.events.makePartition(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// RowsWritten lets new streams and events be numbered after those that were
// written. Numbers are taken rather than set, which needs no right to set them.
func (s *Store) RowsWritten(ctx context.Context) error {
	return write(ctx, s.updates, func(t *session) error {
		if _, err := t.Exec(ctx, `UPDATE zone_sizes SET last_seq = (SELECT coalesce(max(seq), 0) FROM events WHERE zone_id = zone_sizes.zone_id)`); err != nil {
			return err
		}
		for _, of := range []struct{ sequence, last string }{
			{"events_seq", `SELECT coalesce(max(last_seq), 0) FROM zone_sizes`}, {"streams_id_seq", `SELECT coalesce(max(id), 0) FROM streams`},
		} {
			last, err := relational.One(ctx, t, relational.ScanNumber[int64], of.last)
			if err != nil {
				return err
			}
			at, err := relational.One(ctx, t, relational.ScanNumber[int64], fmt.Sprintf(`SELECT nextval('%s')`, of.sequence))
			if err != nil {
				return err
			}
			if _, err := t.Exec(ctx, fmt.Sprintf(`SELECT count(nextval('%s')) FROM generate_series(?::BIGINT, ?::BIGINT)`, of.sequence), at, last-1); err != nil {
				return err
			}
		}
		return nil
	})
}
