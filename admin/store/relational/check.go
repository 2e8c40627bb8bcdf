package relational

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/caracalai/caracald/admin/store"
)

// What Check does in the tables of the control plane, and of the events.
var (
	ControlChecks = []Check{checkChain, checkContents, checkHashes, checkManifests, checkActivations, checkPlaces}
	EventChecks   = []Check{checkSizes, checkStreams}
)

// Check tells what is wrong.
type Check func(ctx context.Context, s Session, wrong func(format string, args ...any)) error

// RunChecks gives what the checks find wrong.
func RunChecks(ctx context.Context, s Session, checks []Check) ([]string, error) {
	var found []string
	for _, check := range checks {
		if err := check(ctx, s, func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }); err != nil {
			return found, err
		}
	}
	return found, nil
}

func checkChain(ctx context.Context, s Session, wrong func(string, ...any)) error {
	before, next := "", int64(1)
	return Each(ctx, s, ScanAdminEvent, func(e store.AdminEvent) error {
		if e.ChainSeq != next {
			wrong("admin audit: entries %d to %d are missing", next, e.ChainSeq-1)
		}
		if ChainHash(before, e) != e.ChainHash {
			wrong("admin audit: entry %d does not have its hash", e.ChainSeq)
		}
		before, next = e.ChainHash, e.ChainSeq+1
		return nil
	}, `SELECT `+AdminEventColumns+` FROM admin_events ORDER BY chain_seq`)
}

// hashed is something stored with its hash.
type hashed struct {
	what, id, sha256 string
	data             []byte
}

func scanHashed(r Row, h *hashed) error { return r.Scan(&h.what, &h.id, &h.sha256, &h.data) }

func checkContents(ctx context.Context, s Session, wrong func(string, ...any)) error {
	type content struct{ id, sha256, text string }
	return Each(ctx, s, func(r Row, c *content) error { return r.Scan(&c.id, &c.sha256, &c.text) }, func(c content) error {
		if sum := sha256.Sum256([]byte(c.text)); hex.EncodeToString(sum[:]) != c.sha256 {
			wrong("policy version %s does not have its hash", c.id)
		}
		return nil
	}, `SELECT id, content_sha256, content FROM policy_versions`)
}

func checkHashes(ctx context.Context, s Session, wrong func(string, ...any)) error {
	return Each(ctx, s, scanHashed, func(h hashed) error {
		if sum := sha256.Sum256(h.data); hex.EncodeToString(sum[:]) != h.sha256 {
			wrong("%s %s does not have its hash", h.what, h.id)
		}
		return nil
	}, `SELECT 'the manifest of set version', id, manifest_sha256, manifest FROM set_versions
		UNION ALL SELECT 'bundle', sha256, sha256, data FROM bundles`)
}

// member is a set version with one of the policy versions that are stored for it.
type member struct {
	set      string
	manifest []byte
	id, hash *string // nil where there are none
}

func scanMember(r Row, m *member) error {
	return r.Scan(&m.set, &m.manifest, optionalText{&m.id}, optionalText{&m.hash})
}

// checkManifests compares what each manifest lists with what is stored for it.
func checkManifests(ctx context.Context, s Session, wrong func(string, ...any)) error {
	var at member
	var members [][2]string
	compare := func() {
		if at.set == "" {
			return
		}
		var manifest struct {
			Policies []struct {
				PolicyVersionID string `json:"policy_version_id"`
				ContentSHA256   string `json:"content_sha256"`
			} `json:"policies"`
		}
		if err := json.Unmarshal(at.manifest, &manifest); err != nil {
			wrong("the manifest of set version %s cannot be read: %v", at.set, err)
			return
		}
		var listed [][2]string
		for _, p := range manifest.Policies {
			listed = append(listed, [2]string{p.PolicyVersionID, p.ContentSHA256})
		}
		if !slices.Equal(listed, members) {
			wrong("the manifest of set version %s lists other policy versions than are stored for it", at.set)
		}
	}
	err := Each(ctx, s, scanMember, func(m member) error {
		if m.set != at.set {
			compare()
			at, members = m, nil
		}
		if m.id != nil && m.hash != nil {
			members = append(members, [2]string{*m.id, *m.hash})
		}
		return nil
	}, `SELECT s.id, s.manifest, m.policy_version_id, v.content_sha256 FROM set_versions s
		LEFT JOIN set_version_policies m ON m.set_version_id = s.id LEFT JOIN policy_versions v ON v.id = m.policy_version_id
		ORDER BY s.id, m.position`)
	if err != nil {
		return err
	}
	compare()
	return nil
}

// checkRows says each text that a query finds.
func checkRows(ctx context.Context, s Session, wrong func(string, ...any), query string) error {
	return Each(ctx, s, ScanText, func(text string) error {
		wrong("%s", text)
		return nil
	}, query)
}

// checkActivations compares activations with each other and with the pointers.
// Each follows the one before by one step, but for those that raised the
// sequence: they leave the version as it was.
func checkActivations(ctx context.Context, s Session, wrong func(string, ...any)) error {
	return checkRows(ctx, s, wrong, `
		SELECT 'zone ' || zone_id || ' has no activations from sequence ' || (last + 1) || ' to ' || (sequence - 1) FROM (
			SELECT zone_id, sequence, version_id, previous_version_id,
				coalesce(lag(sequence) OVER (PARTITION BY zone_id ORDER BY sequence), -1) AS last,
				lag(version_id) OVER (PARTITION BY zone_id ORDER BY sequence) AS last_version_id
			FROM activations) a
			WHERE sequence <> last + 1 AND (last = -1 OR version_id IS DISTINCT FROM last_version_id OR previous_version_id IS DISTINCT FROM last_version_id)
		UNION ALL
		SELECT 'the pointer of zone ' || p.zone_id || ' is at ' || p.sequence || ', its newest activation is another'
			FROM pointers p LEFT JOIN activations a ON a.zone_id = p.zone_id AND a.sequence = p.sequence
			WHERE a.id IS NULL OR a.version_id IS DISTINCT FROM p.version_id OR p.sequence < (SELECT max(sequence) FROM activations WHERE zone_id = p.zone_id)
		UNION ALL
		SELECT 'zone ' || zone_id || ' has activations and no pointer' FROM activations
			WHERE zone_id NOT IN (SELECT zone_id FROM pointers) GROUP BY zone_id`)
}

// checkPlaces finds what refers to another zone or set, or to other hashes or sizes.
func checkPlaces(ctx context.Context, s Session, wrong func(string, ...any)) error {
	return checkRows(ctx, s, wrong, `
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
			JOIN set_versions v ON v.id = p.version_id WHERE p.zone_id <> v.zone_id OR p.policy_set_id IS DISTINCT FROM v.policy_set_id
			OR p.manifest_sha256 <> v.manifest_sha256 OR p.bundle_sha256 <> v.bundle_sha256`)
}

func checkSizes(ctx context.Context, s Session, wrong func(string, ...any)) error {
	return checkRows(ctx, s, wrong, `
		SELECT 'the audit of zone ' || z.zone_id || ' is counted as ' || z.events || ' events of ' || z.bytes || ' bytes, and is '
				|| coalesce(e.events, 0) || ' of ' || coalesce(e.bytes, 0)
			FROM zone_sizes z LEFT JOIN (SELECT zone_id, count(*) AS events, sum(bytes) AS bytes FROM events GROUP BY zone_id) e ON e.zone_id = z.zone_id
			WHERE z.events <> coalesce(e.events, 0) OR z.bytes <> coalesce(e.bytes, 0)
		UNION ALL
		SELECT 'the audit of zone ' || zone_id || ' is not counted' FROM events
			WHERE zone_id NOT IN (SELECT zone_id FROM zone_sizes) GROUP BY zone_id`)
}

func checkStreams(ctx context.Context, s Session, wrong func(string, ...any)) error {
	return checkRows(ctx, s, wrong, `
		SELECT 'daemon ' || s.daemon_id || ' has an event at offset ' || max(e.stream_offset) || ' of epoch ' || s.epoch
				|| ', which is stored up to ' || s.next_offset
			FROM events e JOIN streams s ON s.id = e.stream GROUP BY s.id, s.daemon_id, s.epoch, s.next_offset
			HAVING max(e.stream_offset) >= s.next_offset`)
}
