package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"time"

	"github.com/caracalai/caracald/admin/store/relational"
)

// watch raises a signal when a count in a file changed, whichever process
// changed it: SQLite itself tells nobody.
type watch struct {
	db      *database
	log     *slog.Logger
	changed *relational.Signal
	// count is the query for a number that changes with what is watched.
	count string

	// conn is one connection, because data_version only means something on the same one.
	conn          *sql.Conn
	version, last int64
}

// begin takes a connection and the count from which on changes are told.
func (w *watch) begin(ctx context.Context) (err error) {
	if w.conn, err = w.db.reader.Conn(ctx); err != nil {
		return fmt.Errorf("watching %s: %w", w.db.path, err)
	}
	if _, err := w.look(ctx); err != nil {
		return fmt.Errorf("watching %s: %w", w.db.path, err)
	}
	return nil
}

// run looks until ctx ends.
func (w *watch) run(ctx context.Context, every time.Duration) {
	defer func() {
		if err := w.conn.Close(); err != nil {
			w.log.Warn("ending the watch of the store", "file", w.db.path, "error", err)
		}
	}()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		changed, err := w.look(ctx)
		if err != nil && ctx.Err() == nil {
			w.log.Error("watching the store for changes", "file", w.db.path, "error", err)
		}
		if changed {
			w.changed.Raise()
		}
	}
}

// look tells whether the count changed since the last look. Where nothing was
// committed to the file meanwhile it costs one read of shared memory.
func (w *watch) look(ctx context.Context) (bool, error) {
	var version, count int64
	if err := w.conn.QueryRowContext(ctx, "PRAGMA data_version").Scan(&version); err != nil {
		return false, err
	}
	if version == w.version {
		return false, nil
	}
	if err := w.conn.QueryRowContext(ctx, w.count).Scan(&count); err != nil {
		return false, err
	}
	changed := count != w.last
	w.version, w.last = version, count
	return changed, nil
}
