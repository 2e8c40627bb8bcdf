package postgres_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/postgres/pgtest"
	"github.com/caracalai/caracald/bundle"
)

var start = time.Date(2026, 5, 20, 12, 0, 0, 0, time.UTC)

// fill puts two rows into every table of a store, the second zone's with a "2" at the end of each id.
func fill(t *testing.T, s store.Store) {
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

// connect logs in as a role, as somebody would who knows nothing of the store.
func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(t.Context()) })
	if _, err := c.Exec(t.Context(), `SET search_path = caracal`); err != nil {
		t.Fatal(err)
	}
	return c
}

func dump(t *testing.T, c *pgx.Conn, table string) string {
	t.Helper()
	rows, err := c.Query(t.Context(), `SELECT x::TEXT FROM `+table+` x ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(list, "\n")
}

// kept are the tables that keep what was published, with the columns that may change nonetheless.
var kept = map[string]string{
	"policy_versions": "", "set_versions": "", "set_version_policies": "", "bundles": "", "admin_events": "", "events": "",
	"activations": "attempts last_error dispatched_at",
	"policies":    "archived_at",
	"policy_sets": "archived_at",
	"zones":       "name slug settings updated_at archived_at",
	"pointers":    "sequence policy_set_id version_id manifest_sha256 bundle_sha256 bundle_size envelope issued_at expires_at since activated_by reason",
}

// TestPublishedIsImmutable tries to rewrite every column and to remove every row:
// the owner and the superuser meet the triggers, the store's role has no right.
func TestPublishedIsImmutable(t *testing.T) {
	d := pgtest.Shared(t)
	s := open(t, d, never)
	fill(t, s)
	for name, c := range map[string]struct {
		url   string
		codes []string
	}{
		"store":     {d.URL, []string{"42501"}},
		"owner":     {d.OwnerURL, []string{"CI001"}},
		"superuser": {d.SuperURL, []string{"CI001"}},
	} {
		db := connect(t, c.url)
		for table, mutable := range kept {
			t.Run(name+"/"+table, func(t *testing.T) {
				before := dump(t, db, table)
				if strings.Count(before, "\n") < 1 {
					t.Fatalf("there are no rows to try:\n%s", before)
				}
				attempts := []string{"DELETE FROM " + table, "TRUNCATE " + table + " CASCADE"}
				rows, err := db.Query(t.Context(), `SELECT column_name || ' ' || data_type FROM information_schema.columns WHERE table_schema = 'caracal' AND table_name = $1`, table)
				if err != nil {
					t.Fatal(err)
				}
				columns, err := pgx.CollectRows(rows, pgx.RowTo[string])
				if err != nil || len(columns) == 0 {
					t.Fatal(columns, err)
				}
				for _, column := range columns {
					column, kind, _ := strings.Cut(column, " ")
					if strings.Contains(" "+mutable+" ", " "+column+" ") {
						continue
					}
					value := map[string]string{"bigint": "coalesce(" + column + ", 0) + 1", "bytea": "'x'::bytea"}[kind]
					if value == "" {
						value = "coalesce(" + column + ", '') || 'x'"
					}
					attempts = append(attempts, "UPDATE "+table+" SET "+column+" = "+value)
				}
				for _, attempt := range attempts {
					_, err := db.Exec(t.Context(), attempt)
					var refused *pgconn.PgError
					if !errors.As(err, &refused) || !strings.Contains(strings.Join(c.codes, " "), refused.Code) {
						t.Errorf("%s\n\tgives %v", attempt, err)
					}
				}
				if now := dump(t, db, table); now != before {
					t.Fatalf("\n%s\n\tbecame\n%s", before, now)
				}
			})
		}
	}
	if wrong, err := s.Check(t.Context()); err != nil || len(wrong) > 0 {
		t.Errorf("after all attempts the store is wrong: %q, %v", wrong, err)
	}
}

// TestStoreRole tries what else the role of a running store must not do.
func TestStoreRole(t *testing.T) {
	d := pgtest.Shared(t)
	s := open(t, d, never)
	fill(t, s)
	db := connect(t, d.URL)
	for _, statement := range []string{
		"DELETE FROM tokens", "DELETE FROM secrets", "DELETE FROM streams", "DELETE FROM zone_sizes", "UPDATE tokens SET hash = 'x'", "UPDATE tokens SET roles = '[]'",
		"ALTER TABLE bundles DISABLE TRIGGER ALL", "DROP TABLE events_other", "CREATE TABLE caracal.mine (x int)", "DROP TRIGGER bundles_fixed ON bundles",
		"SET session_replication_role = replica", "SELECT setval('events_seq', 1)", "UPDATE goose_db_version SET version_id = 0",
		"UPDATE schema_floor SET floor = 0", "DELETE FROM leases",
		"SET caracal.retention = 'on'; DELETE FROM events",
	} {
		_, err := db.Exec(t.Context(), statement)
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || refused.Code != "42501" {
			t.Errorf("%s\n\tgives %v", statement, err)
		}
	}
	owner := connect(t, d.OwnerURL)
	for _, statement := range []string{
		"UPDATE pointers SET sequence = sequence + 2, version_id = NULL, policy_set_id = NULL, issued_at = issued_at + 1",
		"UPDATE pointers SET sequence = 4503599627370497, issued_at = issued_at + 1", "UPDATE pointers SET sequence = sequence + 2", "UPDATE pointers SET sequence = 0", "UPDATE pointers SET version_id = NULL", "UPDATE pointers SET envelope = 'forged'",
		"INSERT INTO pointers SELECT 'z9', 5, NULL, NULL, '', '', 0, '', 0, 0, 0, '', ''", "UPDATE streams SET next_offset = 0", "DELETE FROM streams",
	} {
		_, err := owner.Exec(t.Context(), statement)
		var refused *pgconn.PgError
		if !errors.As(err, &refused) || refused.Code != "CI001" {
			t.Errorf("%s\n\tgives %v", statement, err)
		}
	}
	// The sequence is unique whatever the pointer says.
	_, err := owner.Exec(t.Context(), `INSERT INTO activations SELECT 'twin', zone_id, sequence, policy_set_id, version_id, previous_version_id, manifest_sha256,
		bundle_sha256, reason, actor_id, actor_name, created_at FROM activations WHERE id = 'b1'`)
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != "23505" {
		t.Errorf("a second activation of a sequence gives %v", err)
	}
}

// TestCheckFinds disables the triggers, as an intruder could who is the
// superuser, and changes one thing at a time.
func TestCheckFinds(t *testing.T) {
	for name, c := range map[string]struct{ statement, want string }{
		"policy content":      {"UPDATE policy_versions SET content = content || ' ' WHERE id = 'pv1'", "policy version pv1 does not have its hash"},
		"manifest":            {"UPDATE set_versions SET manifest = '{}' WHERE id = 'sv2'", "set version sv2 does not have its hash"},
		"bundle":              {"UPDATE bundles SET data = 'x'", "does not have its hash"},
		"member removed":      {"DELETE FROM set_version_policies WHERE set_version_id = 'sv1'", "set version sv1 lists other policy versions"},
		"audit entry changed": {"UPDATE admin_events SET actor_id = 'other' WHERE chain_seq = 1", "entry 1 does not have its hash"},
		"audit entry removed": {"DELETE FROM admin_events WHERE chain_seq = 1", "entries 1 to 1 are missing"},
		"activation removed":  {"DELETE FROM activations WHERE id = 'a1'", "zone z1 has no activations from sequence 0 to 0"},
		"pointer back":        {"UPDATE pointers SET sequence = 0, version_id = NULL WHERE zone_id = 'z1'", "its newest activation is another"},
		"pointer removed":     {"DELETE FROM pointers WHERE zone_id = 'z1'", "zone z1 has activations and no pointer"},
		"event removed":       {"DELETE FROM events WHERE id = 'ev1'", "zone z1 is counted as 1 events"},
		"offsets given back":  {"UPDATE streams SET next_offset = 0", "has an event at offset 0"},
		"event of no stream":  {"DELETE FROM streams", "zone z1 has events of no daemon"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := pgtest.Shared(t)
			s := open(t, d, never)
			fill(t, s)
			if wrong, err := s.Check(t.Context()); err != nil || wrong != nil {
				t.Fatalf("before, %q is wrong: %v", wrong, err)
			}
			db := connect(t, d.SuperURL)
			for _, statement := range []string{`SET session_replication_role = replica`, c.statement} {
				if _, err := db.Exec(t.Context(), statement); err != nil {
					t.Fatal(err)
				}
			}
			wrong, err := s.Check(t.Context())
			if err != nil || !strings.Contains(strings.Join(wrong, "\n"), c.want) {
				t.Errorf("found %q, %v; want %q", wrong, err, c.want)
			}
		})
	}
}
