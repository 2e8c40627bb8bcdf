package sqlite_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/sqlite"
)

// TestNewerSchema opens files that a newer program's migrations added to; then
// one of them took away what this program needs.
func TestNewerSchema(t *testing.T) {
	for _, file := range []string{"control.db", "events.db"} {
		t.Run(file, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, open(t, dir))
			db := raw(t, dir, file)
			exec := func(statement string) {
				t.Helper()
				if _, err := db.ExecContext(t.Context(), statement); err != nil {
					t.Fatal(err)
				}
			}
			exec(`CREATE TABLE further (id TEXT PRIMARY KEY) STRICT`)
			exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (900, 1)`)
			s := open(t, dir)
			err := s.Update(t.Context(), func(tx store.Tx) error {
				return tx.InsertZone(t.Context(), store.Zone{ID: "z", Name: "z", Slug: "z"})
			})
			if err != nil {
				t.Error(err)
			}
			if wrong, err := s.Check(t.Context()); err != nil || len(wrong) > 0 {
				t.Errorf("%q is wrong: %v", wrong, err)
			}
			exec(`UPDATE schema_floor SET floor = 900`)
			refused, err := sqlite.Open(t.Context(), dir, options)
			if err == nil {
				t.Fatal("a store of an unknown schema opens:", refused.Close())
			}
			if !errors.Is(err, store.ErrSchema) || !strings.Contains(err.Error(), "900") || !strings.Contains(err.Error(), file) {
				t.Errorf("the refusal is %v", err)
			}
		})
	}
}
