package sqlite_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/sqlite"
	"github.com/caracalai/caracald/bundle"
)

// raw opens a file as somebody would who knows nothing of the store.
func raw(t *testing.T, dir, file string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, file)+"?_pragma=busy_timeout(10000)&_pragma=foreign_keys(0)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

var start = time.Date(2026, 5, 20, 12, 0, 0, 0, time.UTC)

// fill puts two rows into every table of a store, the second zone's with a "2" at the end of each id.
func fill(t *testing.T, s *sqlite.Store) {
	t.Helper()
	ctx := t.Context()
	for _, n := range []string{"1", "2"} {
		content := "package caracal.authz # " + n
		hash := bundle.SHA256Hex([]byte(content))
		manifest := fmt.Appendf(nil, `{"policies":[{"policy_version_id":"pv%s","content_sha256":"%s"}]}`, n, hash)
		packed := []byte("bundle" + n)
		set, version := "s"+n, "sv"+n
		err := s.Update(ctx, func(tx store.Tx) error {
			p := store.Policy{ID: "p" + n, ZoneID: "z" + n, Name: "policy"}
			pointer := store.Pointer{ZoneID: "z" + n, IssuedAt: start, ExpiresAt: start}
			next := store.Pointer{
				ZoneID: "z" + n, Sequence: 1, PolicySetID: &set, VersionID: &version, IssuedAt: start, ExpiresAt: start,
				ManifestSHA256: bundle.SHA256Hex(manifest), BundleSHA256: bundle.SHA256Hex(packed), BundleSize: int64(len(packed)),
			}
			return errors.Join(
				tx.InsertZone(ctx, store.Zone{ID: "z" + n, Name: "zone" + n, Slug: "slug" + n, CreatedAt: start, UpdatedAt: start}),
				tx.InsertPolicy(ctx, p, store.PolicyVersion{ID: "pv" + n, Content: content, ContentSHA256: hash}),
				tx.InsertPolicySet(ctx, store.PolicySet{ID: set, ZoneID: "z" + n, Name: "set"}),
				tx.InsertSetVersion(ctx, store.SetVersion{
					ID: version, PolicySetID: set, ZoneID: "z" + n, Version: 1, Manifest: manifest, ManifestSHA256: bundle.SHA256Hex(manifest),
					BundleSHA256: bundle.SHA256Hex(packed), BundleSize: int64(len(packed)),
				}, []string{"pv" + n}, store.Bundle{SHA256: bundle.SHA256Hex(packed), Data: packed}),
				tx.MovePointer(ctx, pointer, store.Activation{ID: "a" + n, ZoneID: "z" + n}),
				tx.MovePointer(ctx, next, store.Activation{
					ID: "b" + n, ZoneID: "z" + n, Sequence: 1, PolicySetID: &set, VersionID: &version,
					ManifestSHA256: next.ManifestSHA256, BundleSHA256: next.BundleSHA256,
				}),
				func() error {
					_, err := tx.AppendAdminEvent(ctx, store.AdminEvent{ID: "e" + n, Payload: json.RawMessage(`{}`), OccurredAt: start})
					return err
				}(),
			)
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Events().Append(ctx, store.EventBatch{DaemonID: "d", Epoch: n, At: start.Add(time.Hour), Events: []store.Event{{ID: "ev" + n, ZoneID: "z" + n, OccurredAt: start}}})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// dump is everything a file holds, but for what counts.
func dump(t *testing.T, db *sql.DB, table string) string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SELECT * FROM "+table+" ORDER BY 1, 2")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for rows.Next() {
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&text, values...)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// columns lists a table's columns.
func columns(t *testing.T, db *sql.DB, table string) []string {
	t.Helper()
	var list string
	if err := db.QueryRowContext(t.Context(), "SELECT group_concat(name) FROM pragma_table_info(?)", table).Scan(&list); err != nil {
		t.Fatal(err)
	}
	return strings.Split(list, ",")
}

// published are the tables that keep what was published, with the columns that may change nonetheless.
var published = map[string][]string{
	"policy_versions":      nil,
	"set_versions":         nil,
	"set_version_policies": nil,
	"bundles":              nil,
	"admin_events":         nil,
	"activations":          {"attempts", "last_error", "dispatched_at"},
	"policies":             {"archived_at"},
	"policy_sets":          {"archived_at"},
	"zones":                {"name", "slug", "settings", "updated_at", "archived_at"},
	"pointers":             {"sequence", "policy_set_id", "version_id", "manifest_sha256", "bundle_sha256", "bundle_size", "envelope", "issued_at", "expires_at", "since", "activated_by", "reason"},
}

// TestPublishedIsImmutable tries to rewrite every column and to remove every row
// through a connection that knows no rules.
func TestPublishedIsImmutable(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	db := raw(t, dir, "control.db")
	for table, mutable := range published {
		t.Run(table, func(t *testing.T) {
			before := dump(t, db, table)
			if strings.Count(before, "\n") < 2 {
				t.Fatalf("there are no rows to try:\n%s", before)
			}
			all := columns(t, db, table)
			attempts := []string{
				"DELETE FROM " + table,
				// The values of one row under the keys of another: whatever is unique must not let the other go.
				"INSERT OR REPLACE INTO " + table + " SELECT * FROM " + table,
				"REPLACE INTO " + table + " SELECT * FROM " + table + " LIMIT 1",
			}
			for _, column := range all {
				if strings.Contains(","+strings.Join(mutable, ",")+",", ","+column+",") {
					continue
				}
				for _, verb := range []string{"UPDATE ", "UPDATE OR REPLACE ", "UPDATE OR IGNORE "} {
					attempts = append(attempts, verb+table+" SET "+column+" = CASE typeof("+column+") WHEN 'integer' THEN "+column+" + 1 WHEN 'blob' THEN x'00' WHEN 'null' THEN 's1' ELSE "+column+" || 'x' END")
				}
			}
			for _, attempt := range attempts {
				_, err := db.ExecContext(t.Context(), attempt)
				if err == nil || !strings.Contains(err.Error(), "immutable: "+table) && !strings.Contains(err.Error(), "exists: "+table) {
					t.Errorf("%s\n\tgives %v", attempt, err)
				}
				if now := dump(t, db, table); now != before {
					t.Fatalf("%s\n\tmade\n%s\n\tof\n%s", attempt, now, before)
				}
			}
		})
	}
	if wrong, err := s.Check(t.Context()); err != nil || len(wrong) > 0 {
		t.Errorf("after all attempts the store is wrong: %q, %v", wrong, err)
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	for _, c := range []struct {
		statement string
		want      error
	}{
		{"UPDATE pointers SET sequence = sequence - 1", store.ErrImmutable},
		{"UPDATE pointers SET sequence = sequence + 2", store.ErrImmutable},
		{"UPDATE pointers SET sequence = sequence + 2, version_id = NULL, policy_set_id = NULL, issued_at = issued_at + 1", store.ErrImmutable},
		{"UPDATE pointers SET sequence = 4503599627370497, issued_at = issued_at + 1", store.ErrImmutable},
		{"UPDATE pointers SET sequence = 0", store.ErrImmutable},
		{"UPDATE pointers SET version_id = NULL", store.ErrImmutable},
		{"UPDATE pointers SET envelope = 'forged'", store.ErrImmutable},
		{"UPDATE pointers SET bundle_sha256 = 'x', issued_at = issued_at + 1", store.ErrImmutable},
		{"DELETE FROM pointers", store.ErrImmutable},
		{"REPLACE INTO pointers SELECT * FROM pointers", store.ErrImmutable},
		{"INSERT INTO pointers SELECT 'z9', 5, NULL, NULL, '', '', 0, '', 0, 0, 0, '', ''", store.ErrImmutable},
		{"UPDATE policy_versions SET content = 'x'", store.ErrImmutable},
		{"UPDATE activations SET actor_id = 'x', attempts = 1", store.ErrImmutable},
		{"DELETE FROM admin_events WHERE chain_seq = 2", store.ErrImmutable},
		{"UPDATE OR REPLACE zones SET name = 'zone1' WHERE id = 'z2'", store.ErrConflict},
		{"UPDATE OR REPLACE zones SET slug = 'slug1' WHERE id = 'z2'", store.ErrConflict},
		{"INSERT OR REPLACE INTO zones SELECT 'z3', name, 'free', settings, 0, 0, NULL FROM zones WHERE id = 'z1'", store.ErrConflict},
		{"INSERT OR REPLACE INTO policies SELECT 'p3', zone_id, name, '', 0, '', NULL FROM policies WHERE id = 'p1'", store.ErrConflict},
		{"INSERT OR REPLACE INTO activations SELECT 'a3', zone_id, sequence, NULL, NULL, NULL, '', '', '', '', '', 0, 0, '', NULL FROM activations WHERE id = 'a1'", store.ErrConflict},
		{"INSERT INTO policy_sets SELECT 's3', 'nowhere', 'x', '', 0, '', NULL", store.ErrNotFound},
	} {
		if err := s.Exec(t.Context(), c.statement); !errors.Is(err, c.want) {
			t.Errorf("%s\n\tgives %v, want %v", c.statement, err, c.want)
		}
	}
	for _, statement := range []string{
		"UPDATE activations SET attempts = 3, last_error = 'x', dispatched_at = 1",
		"UPDATE policies SET archived_at = 1 WHERE id = 'p1'",
		"UPDATE policy_sets SET archived_at = 1 WHERE id = 's1'",
		"UPDATE zones SET name = 'n', slug = 's', settings = '{}', updated_at = 1 WHERE id = 'z1'",
		"UPDATE zones SET archived_at = 1 WHERE id = 'z1'",
	} {
		if err := s.Exec(t.Context(), statement); err != nil {
			t.Errorf("%s\n\tgives %v", statement, err)
		}
	}
	for _, statement := range []string{ // nothing comes back
		"UPDATE policies SET archived_at = NULL WHERE id = 'p1'",
		"UPDATE policy_sets SET archived_at = NULL WHERE id = 's1'",
		"UPDATE zones SET archived_at = NULL WHERE id = 'z1'",
	} {
		if err := s.Exec(t.Context(), statement); !errors.Is(err, store.ErrImmutable) {
			t.Errorf("%s\n\tgives %v", statement, err)
		}
	}
	if _, err := raw(t, dir, "events.db").ExecContext(context.WithoutCancel(t.Context()), "UPDATE events SET decision = 'allow'"); err == nil || !strings.Contains(err.Error(), "immutable: events") {
		t.Errorf("rewriting an event gives %v", err)
	}
}
