package postgres_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/postgres"
	"github.com/caracalai/caracald/admin/store/postgres/pgtest"
)

// TestNewerSchema opens a store that a newer program's migrations added to: it
// works, beside a replica that was open before. Once a migration took something
// away that this program needs, it is refused.
func TestNewerSchema(t *testing.T) {
	d := pgtest.Shared(t)
	before := open(t, d, never)
	fill(t, before)
	owner := connect(t, d.OwnerURL)
	for _, statement := range []string{
		`ALTER TABLE zones ADD COLUMN more TEXT NOT NULL DEFAULT 'x'`,
		`ALTER TABLE events ADD COLUMN more TEXT`,
		`CREATE TABLE further (id TEXT PRIMARY KEY)`,
		`INSERT INTO goose_db_version (version_id, is_applied) VALUES (900, true)`,
	} {
		if _, err := owner.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	after := open(t, d, never)
	for _, s := range []*postgres.Store{after, before} {
		if _, err := activate(t.Context(), s, "z1"); err != nil {
			t.Error(err)
		}
		err := s.Update(t.Context(), func(tx store.Tx) error {
			z, err := tx.Zone(t.Context(), "z1")
			if err != nil {
				return err
			}
			z.Name += "+"
			return tx.UpdateZone(t.Context(), z)
		})
		if err != nil {
			t.Error(err)
		}
		if wrong, err := s.Check(t.Context()); err != nil || len(wrong) > 0 {
			t.Errorf("%q is wrong: %v", wrong, err)
		}
	}
	if _, err := owner.Exec(t.Context(), `UPDATE schema_floor SET floor = 900`); err != nil {
		t.Fatal(err)
	}
	for _, ownerURL := range []string{d.OwnerURL, ""} {
		s, err := postgres.Open(t.Context(), d.URL, postgres.Options{OwnerURL: ownerURL})
		if err == nil {
			t.Fatal("a store of an unknown schema opens:", s.Close())
		}
		if !errors.Is(err, store.ErrSchema) || !strings.Contains(err.Error(), "900") {
			t.Errorf("the refusal is %v", err)
		}
	}
}
