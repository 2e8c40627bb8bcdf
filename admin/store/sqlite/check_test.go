package sqlite_test

import (
	"os"
	"strings"
	"testing"
)

// TestCheckFinds removes the triggers, as an intruder could who has the file,
// and changes one thing at a time.
func TestCheckFinds(t *testing.T) {
	filled := t.TempDir()
	s := open(t, filled)
	fill(t, s)
	if wrong, err := s.Check(t.Context()); err != nil || wrong != nil {
		t.Fatalf("before, %q is wrong: %v", wrong, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		file, trigger, statement, want string
	}{
		"policy content":        {"control.db", "policy_versions_fixed", "UPDATE policy_versions SET content = content || ' ' WHERE id = 'pv1'", "policy version pv1 does not have its hash"},
		"content and its hash":  {"control.db", "policy_versions_fixed", "UPDATE policy_versions SET content = '', content_sha256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' WHERE id = 'pv1'", "set version sv1 lists other policy versions"},
		"manifest":              {"control.db", "set_versions_fixed", "UPDATE set_versions SET manifest = x'7b7d' WHERE id = 'sv2'", "set version sv2 does not have its hash"},
		"manifest is not JSON":  {"control.db", "set_versions_fixed", "UPDATE set_versions SET manifest = x'7b' WHERE id = 'sv2'", "set version sv2 cannot be read"},
		"bundle":                {"control.db", "bundles_fixed", "UPDATE bundles SET data = x'00'", "does not have its hash"},
		"bundle size":           {"control.db", "set_versions_fixed", "UPDATE set_versions SET bundle_size = 1 WHERE id = 'sv1'", "set version sv1 does not have its bundle's size"},
		"member removed":        {"control.db", "set_version_policies_kept", "DELETE FROM set_version_policies WHERE set_version_id = 'sv1'", "set version sv1 lists other policy versions"},
		"member of a zone":      {"control.db", "set_version_policies_fixed", "UPDATE set_version_policies SET policy_version_id = 'pv2' WHERE set_version_id = 'sv1'", "policy version pv2 of another zone"},
		"bundle removed":        {"control.db", "bundles_kept", "DELETE FROM bundles", "foreign_key_check: set_versions"},
		"audit entry changed":   {"control.db", "admin_events_fixed", "UPDATE admin_events SET actor_id = 'other' WHERE chain_seq = 1", "entry 1 does not have its hash"},
		"audit entry removed":   {"control.db", "admin_events_kept", "DELETE FROM admin_events WHERE chain_seq = 1", "entries 1 to 1 are missing"},
		"activation removed":    {"control.db", "activations_kept", "DELETE FROM activations WHERE id = 'a1'", "zone z1 has no activations from sequence 0 to 0"},
		"newest one removed":    {"control.db", "activations_kept", "DELETE FROM activations WHERE id = 'b1'", "its newest activation is another"},
		"pointer back":          {"control.db", "pointers_forward", "UPDATE pointers SET sequence = 0, version_id = NULL WHERE zone_id = 'z1'", "its newest activation is another"},
		"pointer removed":       {"control.db", "pointers_kept", "DELETE FROM pointers WHERE zone_id = 'z1'", "zone z1 has activations and no pointer"},
		"pointer's hash":        {"control.db", "pointers_forward", "UPDATE pointers SET bundle_sha256 = 'x' WHERE zone_id = 'z1'", "pointer of zone z1 does not have its version's zone, set and hashes"},
		"policy to a zone":      {"control.db", "policies_fixed", "UPDATE policies SET zone_id = 'z2', name = 'x' WHERE id = 'p1'", "policy version pv1 is not in its policy's zone"},
		"event removed":         {"events.db", "", "DELETE FROM events WHERE id = 'ev1'", "zone z1 is counted as 1 events"},
		"events not counted":    {"events.db", "", "DELETE FROM zone_sizes", "zone z1 is not counted"},
		"offsets given back":    {"events.db", "", "UPDATE streams SET next_offset = 0", "has an event at offset 0"},
		"event of no stream":    {"events.db", "", "DELETE FROM streams", "foreign_key_check: events"},
		"index and table apart": {"events.db", "", "PRAGMA writable_schema = 1; UPDATE sqlite_schema SET sql = replace(sql, 'occurred_at, id)', 'ingested_at, id)') WHERE name = 'events_newest'", "integrity_check"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(filled)); err != nil {
				t.Fatal(err)
			}
			db := raw(t, dir, c.file)
			if c.trigger != "" {
				if _, err := db.ExecContext(t.Context(), "DROP TRIGGER "+c.trigger); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := db.ExecContext(t.Context(), c.statement); err != nil {
				t.Fatal(err)
			}
			wrong, err := open(t, dir).Check(t.Context())
			if err != nil || !strings.Contains(strings.Join(wrong, "\n"), c.want) {
				t.Errorf("found %q, %v; want %q", wrong, err, c.want)
			}
		})
	}
}
