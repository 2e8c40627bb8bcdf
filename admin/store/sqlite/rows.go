package sqlite

import (
	"context"
	"time"

	"github.com/caracalai/caracald/admin/store/relational"
)

// half is the file of the control plane or that of the audit.
func (s *Store) half(audit bool) *database {
	if audit {
		return s.events.db
	}
	return s.control
}

// ReadRows runs f on a snapshot of one of the files.
func (s *Store) ReadRows(ctx context.Context, audit bool, f func(relational.Session) error) error {
	return s.half(audit).read(ctx, func(t *session) error { return f(t) })
}

// WriteRows runs f in a transaction of one of the files.
func (s *Store) WriteRows(ctx context.Context, audit bool, f func(relational.Session) error) error {
	return s.half(audit).write(ctx, func(t *session) error { return f(t) })
}

// ExpectEvents has nothing to prepare.
func (s *Store) ExpectEvents(context.Context, []time.Time) error { return nil }

// RowsWritten has nothing to do: SQLite numbers after the greatest by itself.
func (s *Store) RowsWritten(context.Context) error { return nil }
