package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/caracalai/caracald/admin/store"
)

// chainHash is SHA-256 over the hash before and everything an entry says, as a
// JSON array in the order below.
func chainHash(before string, e store.AdminEvent) (string, error) {
	said, err := json.Marshal([]any{before, e.ChainSeq, e.ID, e.RequestID, e.ZoneID, e.ActorID, e.ActorName, e.Action,
		e.EntityType, e.EntityID, e.StatusCode, string(e.Payload), micros(e.OccurredAt)})
	if err != nil {
		return "", fmt.Errorf("hashing an admin event: %w", err)
	}
	sum := sha256.Sum256(said)
	return hex.EncodeToString(sum[:]), nil
}

// Check verifies both files: SQLite's own structures, references, the hashes of
// everything that has one, the admin audit's chain, and that no zone's
// activations have a gap. It reads everything.
func (s *Store) Check(ctx context.Context) ([]string, error) {
	var wrong []string
	for _, db := range []database{s.control, s.events.db} {
		err := inTx(ctx, db.reader, "checking", func(t *sql.Tx) error {
			for _, pragma := range []string{"integrity_check", "foreign_key_check"} {
				found, err := pragmaRows(ctx, t, pragma)
				if err != nil {
					return err
				}
				for _, f := range found {
					wrong = append(wrong, fmt.Sprintf("%s: %s: %s", db.path, pragma, f))
				}
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("checking %s: %w", db.path, err)
		}
	}
	err := inTx(ctx, s.control.reader, "checking", func(t *sql.Tx) error {
		for _, check := range []func(context.Context, *sql.Tx) ([]string, error){checkChain, checkHashes, checkActivations} {
			found, err := check(ctx, t)
			if err != nil {
				return err
			}
			wrong = append(wrong, found...)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("checking %s: %w", s.control.path, err)
	}
	return wrong, nil
}

// pragmaRows gives what a checking pragma found; "ok" is nothing.
func pragmaRows(ctx context.Context, t *sql.Tx, pragma string) ([]string, error) {
	rows, err := t.QueryContext(ctx, "PRAGMA "+pragma)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err tells
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	var found []string
	for rows.Next() {
		values := make([]sql.NullString, len(columns))
		into := make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		text := ""
		for _, v := range values {
			text += v.String + " "
		}
		if text != "ok " {
			found = append(found, text)
		}
	}
	return found, rows.Err()
}

func checkChain(ctx context.Context, t *sql.Tx) ([]string, error) {
	entries, err := many(ctx, t, scanAdminEvent, `SELECT `+adminEventColumns+` FROM admin_events ORDER BY chain_seq`)
	if err != nil {
		return nil, err
	}
	var wrong []string
	before := ""
	for i, e := range entries {
		if e.ChainSeq != int64(i)+1 {
			return append(wrong, fmt.Sprintf("admin audit: entry %d is missing", i+1)), nil
		}
		hash, err := chainHash(before, e)
		if err != nil {
			return nil, err
		}
		if hash != e.ChainHash {
			wrong = append(wrong, fmt.Sprintf("admin audit: entry %d does not have its hash", e.ChainSeq))
		}
		before = e.ChainHash
	}
	return wrong, nil
}

func checkHashes(ctx context.Context, t *sql.Tx) ([]string, error) {
	type hashed struct {
		what, id, want string
		data           []byte
	}
	var wrong []string
	for _, query := range []string{
		`SELECT 'policy version', id, content_sha256, CAST(content AS BLOB) FROM policy_versions`,
		`SELECT 'manifest of set version', id, manifest_sha256, manifest FROM set_versions`,
		`SELECT 'bundle', sha256, sha256, data FROM bundles`,
	} {
		rows, err := many(ctx, t, func(r row, h *hashed) error {
			if err := r.Scan(&h.what, &h.id, &h.want, &h.data); err != nil {
				return err
			}
			if sum := sha256.Sum256(h.data); hex.EncodeToString(sum[:]) == h.want {
				h.what = ""
			}
			h.data = nil // one at a time is enough to hold
			return nil
		}, query)
		if err != nil {
			return nil, err
		}
		for _, h := range rows {
			if h.what != "" {
				wrong = append(wrong, fmt.Sprintf("%s %s does not have its hash", h.what, h.id))
			}
		}
	}
	return wrong, nil
}

func checkActivations(ctx context.Context, t *sql.Tx) ([]string, error) {
	return many(ctx, t, func(r row, text *string) error { return r.Scan(text) }, `
		SELECT 'zone ' || zone_id || ' has ' || count(*) || ' activations up to sequence ' || max(sequence) FROM activations
			GROUP BY zone_id HAVING count(*) <> max(sequence) + 1 OR min(sequence) <> 0
		UNION ALL
		SELECT 'the pointer of zone ' || p.zone_id || ' is at ' || p.sequence || ', its newest activation is another'
			FROM pointers p LEFT JOIN activations a ON a.zone_id = p.zone_id AND a.sequence = p.sequence
			WHERE a.id IS NULL OR a.version_id IS NOT p.version_id OR p.sequence < (SELECT max(sequence) FROM activations WHERE zone_id = p.zone_id)`)
}
