package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/caracalai/caracald/admin/store/relational"
)

// Check verifies both files: SQLite's own structures, references, the hashes of
// everything that has one, manifests against the policies stored for them, the
// admin audit's chain, that no zone's activations have a gap, and the sums that
// retention goes by. It reads everything, a snapshot of each file.
func (s *Store) Check(ctx context.Context) ([]string, error) {
	var found []string
	for _, file := range []struct {
		db     *database
		checks []relational.Check
	}{{s.control, relational.ControlChecks}, {s.events.db, relational.EventChecks}} {
		err := file.db.read(ctx, func(t *session) error {
			for _, pragma := range []string{"integrity_check", "foreign_key_check"} {
				err := checkPragma(ctx, t, pragma, func(said string) {
					found = append(found, fmt.Sprintf("%s: %s: %s", file.db.path, pragma, said))
				})
				if err != nil {
					return err
				}
			}
			wrong, err := relational.RunChecks(ctx, t, file.checks)
			found = append(found, wrong...)
			return err
		})
		if err != nil {
			return found, fmt.Errorf("checking %s: %w", file.db.path, err)
		}
	}
	return found, nil
}

// checkPragma gives what a checking pragma found; "ok" is nothing.
func checkPragma(ctx context.Context, t *session, pragma string, wrong func(string)) (err error) {
	rows, err := t.query(ctx, "PRAGMA "+pragma)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := rows.Close(); err == nil {
			err = cerr
		}
	}()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	for rows.Next() {
		values := make([]sql.NullString, len(columns))
		into := make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		said := make([]string, len(values))
		for i, v := range values {
			said[i] = v.String
		}
		if text := strings.Join(said, " "); text != "ok" {
			wrong(text)
		}
	}
	return rows.Err()
}
