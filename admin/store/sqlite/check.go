package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/caracalai/caracald/admin/store"
)

// checks are what Check does in each file, beside SQLite's own.
var (
	controlChecks = []check{checkChain, checkHashes, checkManifests, checkActivations, checkPlaces}
	eventChecks   = []check{checkSizes, checkStreams}
)

// check adds what is wrong to a list.
type check func(ctx context.Context, t *session, wrong func(format string, args ...any)) error

// Check verifies both files: SQLite's own structures, references, the hashes of
// everything that has one, manifests against the policies stored for them, the
// admin audit's chain, that no zone's activations have a gap, and the sums that
// retention goes by. It reads everything, a snapshot of each file.
func (s *Store) Check(ctx context.Context) ([]string, error) {
	var found []string
	for _, file := range []struct {
		db     *database
		checks []check
	}{{s.control, controlChecks}, {s.events.db, eventChecks}} {
		wrong := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
		err := file.db.read(ctx, func(t *session) error {
			for _, pragma := range []string{"integrity_check", "foreign_key_check"} {
				if err := checkPragma(ctx, t, pragma, func(said string) { wrong("%s: %s: %s", file.db.path, pragma, said) }); err != nil {
					return err
				}
			}
			for _, check := range file.checks {
				if err := check(ctx, t, wrong); err != nil {
					return err
				}
			}
			return nil
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

func checkChain(ctx context.Context, t *session, wrong func(string, ...any)) error {
	before, next := "", int64(1)
	return each(ctx, t, scanAdminEvent, func(e store.AdminEvent) error {
		if e.ChainSeq != next {
			wrong("admin audit: entries %d to %d are missing", next, e.ChainSeq-1)
		}
		if chainHash(before, e) != e.ChainHash {
			wrong("admin audit: entry %d does not have its hash", e.ChainSeq)
		}
		before, next = e.ChainHash, e.ChainSeq+1
		return nil
	}, `SELECT `+adminEventColumns+` FROM admin_events ORDER BY chain_seq`)
}

// hashed is something stored with its hash.
type hashed struct {
	what, id, sha256 string
	data             []byte
}

func scanHashed(r row, h *hashed) error { return r.Scan(&h.what, &h.id, &h.sha256, &h.data) }

func checkHashes(ctx context.Context, t *session, wrong func(string, ...any)) error {
	return each(ctx, t, scanHashed, func(h hashed) error {
		if sum := sha256.Sum256(h.data); hex.EncodeToString(sum[:]) != h.sha256 {
			wrong("%s %s does not have its hash", h.what, h.id)
		}
		return nil
	}, `SELECT 'policy version', id, content_sha256, CAST(content AS BLOB) FROM policy_versions
		UNION ALL SELECT 'the manifest of set version', id, manifest_sha256, manifest FROM set_versions
		UNION ALL SELECT 'bundle', sha256, sha256, data FROM bundles`)
}

// stored is a set version with the policy versions that are stored for it, in order.
type stored struct {
	id       string
	manifest []byte
	// members is a JSON array of [id, content hash], null where there are none.
	members string
}

func scanStored(r row, s *stored) error { return r.Scan(&s.id, &s.manifest, &s.members) }

// checkManifests compares what each manifest lists with what is stored for it.
func checkManifests(ctx context.Context, t *session, wrong func(string, ...any)) error {
	return each(ctx, t, scanStored, func(s stored) error {
		var manifest struct {
			Policies []struct {
				PolicyVersionID string `json:"policy_version_id"`
				ContentSHA256   string `json:"content_sha256"`
			} `json:"policies"`
		}
		if err := json.Unmarshal(s.manifest, &manifest); err != nil {
			wrong("the manifest of set version %s cannot be read: %v", s.id, err)
			return nil
		}
		var listed, members [][2]string
		for _, p := range manifest.Policies {
			listed = append(listed, [2]string{p.PolicyVersionID, p.ContentSHA256})
		}
		if err := json.Unmarshal([]byte(s.members), &members); err != nil {
			return err
		}
		if !slices.Equal(listed, members) {
			wrong("the manifest of set version %s lists other policy versions than are stored for it", s.id)
		}
		return nil
	}, `SELECT s.id, s.manifest, (SELECT coalesce(json_group_array(json_array(m.policy_version_id, v.content_sha256) ORDER BY m.position), '[]')
			FROM set_version_policies m JOIN policy_versions v ON v.id = m.policy_version_id WHERE m.set_version_id = s.id)
		FROM set_versions s`)
}

// checkRows says each text that a query finds.
func checkRows(ctx context.Context, t *session, wrong func(string, ...any), query string) error {
	return each(ctx, t, scanText, func(text string) error {
		wrong("%s", text)
		return nil
	}, query)
}

func checkActivations(ctx context.Context, t *session, wrong func(string, ...any)) error {
	return checkRows(ctx, t, wrong, `
		SELECT 'zone ' || zone_id || ' has ' || count(*) || ' activations up to sequence ' || max(sequence) FROM activations
			GROUP BY zone_id HAVING count(*) <> max(sequence) + 1 OR min(sequence) <> 0
		UNION ALL
		SELECT 'the pointer of zone ' || p.zone_id || ' is at ' || p.sequence || ', its newest activation is another'
			FROM pointers p LEFT JOIN activations a ON a.zone_id = p.zone_id AND a.sequence = p.sequence
			WHERE a.id IS NULL OR a.version_id IS NOT p.version_id OR p.sequence < (SELECT max(sequence) FROM activations WHERE zone_id = p.zone_id)
		UNION ALL
		SELECT 'zone ' || zone_id || ' has activations and no pointer' FROM activations
			WHERE zone_id NOT IN (SELECT zone_id FROM pointers) GROUP BY zone_id`)
}

// checkPlaces finds what refers to another zone or set, or to other hashes or sizes.
func checkPlaces(ctx context.Context, t *session, wrong func(string, ...any)) error {
	return checkRows(ctx, t, wrong, `
		SELECT 'policy version ' || v.id || ' is not in its policy''s zone' FROM policy_versions v
			JOIN policies p ON p.id = v.policy_id WHERE p.zone_id <> v.zone_id
		UNION ALL
		SELECT 'set version ' || v.id || ' is not in its set''s zone' FROM set_versions v
			JOIN policy_sets s ON s.id = v.policy_set_id WHERE s.zone_id <> v.zone_id
		UNION ALL
		SELECT 'set version ' || s.id || ' has policy version ' || v.id || ' of another zone' FROM set_version_policies m
			JOIN set_versions s ON s.id = m.set_version_id JOIN policy_versions v ON v.id = m.policy_version_id WHERE s.zone_id <> v.zone_id
		UNION ALL
		SELECT 'set version ' || v.id || ' does not have its bundle''s size' FROM set_versions v
			JOIN bundles b ON b.sha256 = v.bundle_sha256 WHERE v.bundle_size <> length(b.data)
		UNION ALL
		SELECT 'the pointer of zone ' || p.zone_id || ' does not have its version''s zone, set and hashes' FROM pointers p
			JOIN set_versions v ON v.id = p.version_id WHERE p.zone_id <> v.zone_id OR p.policy_set_id IS NOT v.policy_set_id
			OR p.manifest_sha256 <> v.manifest_sha256 OR p.bundle_sha256 <> v.bundle_sha256`)
}

func checkSizes(ctx context.Context, t *session, wrong func(string, ...any)) error {
	return checkRows(ctx, t, wrong, `
		SELECT 'the audit of zone ' || z.zone_id || ' is counted as ' || z.events || ' events of ' || z.bytes || ' bytes, and is '
				|| coalesce(e.events, 0) || ' of ' || coalesce(e.bytes, 0)
			FROM zone_sizes z LEFT JOIN (SELECT zone_id, count(*) AS events, sum(bytes) AS bytes FROM events GROUP BY zone_id) e ON e.zone_id = z.zone_id
			WHERE z.events <> coalesce(e.events, 0) OR z.bytes <> coalesce(e.bytes, 0)
		UNION ALL
		SELECT 'the audit of zone ' || zone_id || ' is not counted' FROM events
			WHERE zone_id NOT IN (SELECT zone_id FROM zone_sizes) GROUP BY zone_id`)
}

func checkStreams(ctx context.Context, t *session, wrong func(string, ...any)) error {
	return checkRows(ctx, t, wrong, `
		SELECT 'daemon ' || s.daemon_id || ' has an event at offset ' || max(e.stream_offset) || ' of epoch ' || s.epoch
				|| ', which is stored up to ' || s.next_offset
			FROM events e JOIN streams s ON s.id = e.stream GROUP BY e.stream HAVING max(e.stream_offset) >= s.next_offset`)
}
