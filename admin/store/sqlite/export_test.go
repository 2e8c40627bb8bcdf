package sqlite

import (
	"context"

	"github.com/caracalai/caracald/admin/store"
)

// Statements of the events, so that tests can ask how SQLite would run them.
const (
	ByRequestQuery = byRequestQuery
	SinceQuery     = sinceQuery
	LastSeqQuery   = lastSeqQuery
)

// EventQuery is the statement of a query for events.
func EventQuery(q store.EventQuery) (string, []any) { return eventQuery(q) }

// Exec runs a statement on control.db as the store runs its own.
func (s *Store) Exec(ctx context.Context, query string, args ...any) error {
	return s.control.write(ctx, func(t *session) error {
		_, err := t.exec(ctx, query, args...)
		return err
	})
}
