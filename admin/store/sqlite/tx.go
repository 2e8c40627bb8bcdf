package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/caracalai/caracald/admin/store"
)

// tx reads and writes in one transaction.
type tx struct {
	reader
	tx *sql.Tx
	// moved is set when a pointer was written.
	moved *bool
}

func (t *tx) exec(ctx context.Context, query string, args ...any) error {
	_, err := t.tx.ExecContext(ctx, query, args...)
	return translate(err)
}

// change is exec for a statement that must change one row; none is orElse.
func (t *tx) change(ctx context.Context, orElse error, query string, args ...any) error {
	result, err := t.tx.ExecContext(ctx, query, args...)
	if err != nil {
		return translate(err)
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		return orElse
	}
	return err
}

// document is JSON as the files keep it: "null" where there is none.
func document(raw json.RawMessage) string { return cmp.Or(string(raw), "null") }

func (t *tx) InsertZone(ctx context.Context, z store.Zone) error {
	return t.exec(ctx, `INSERT INTO zones (id, name, slug, settings, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)`,
		z.ID, z.Name, z.Slug, document(z.Settings), micros(z.CreatedAt), micros(z.UpdatedAt))
}

func (t *tx) UpdateZone(ctx context.Context, z store.Zone) error {
	return t.change(ctx, store.ErrNotFound, `UPDATE zones SET name = ?, slug = ?, settings = ?, updated_at = ? WHERE id = ? AND archived_at IS NULL`,
		z.Name, z.Slug, document(z.Settings), micros(z.UpdatedAt), z.ID)
}

func (t *tx) ArchiveZone(ctx context.Context, id string, at time.Time) error {
	return t.change(ctx, store.ErrNotFound, `UPDATE zones SET archived_at = ?, updated_at = ? WHERE id = ? AND archived_at IS NULL`, micros(at), micros(at), id)
}

func (t *tx) InsertPolicy(ctx context.Context, p store.Policy, v store.PolicyVersion) error {
	err := t.exec(ctx, `INSERT INTO policies (id, zone_id, name, description, created_at, created_by) VALUES (?, ?, ?, ?, ?, ?)`,
		p.ID, p.ZoneID, p.Name, p.Description, micros(p.CreatedAt), p.CreatedBy)
	if err != nil {
		return err
	}
	v.PolicyID, v.ZoneID = p.ID, p.ZoneID
	_, err = t.InsertPolicyVersion(ctx, v)
	return err
}

func (t *tx) InsertPolicyVersion(ctx context.Context, v store.PolicyVersion) (store.PolicyVersion, error) {
	number, err := one(ctx, t.tx, func(r row, n *int) error { return r.Scan(n) }, `SELECT coalesce((SELECT max(version) FROM policy_versions WHERE policy_id = p.id), 0) + 1
		FROM policies p WHERE p.id = ? AND p.zone_id = ? AND p.archived_at IS NULL`, v.PolicyID, v.ZoneID)
	if err != nil {
		return v, err
	}
	v.Version = number
	return v, t.exec(ctx, `INSERT INTO policy_versions (id, policy_id, zone_id, version, content, content_sha256, schema_version, warnings, created_at, created_by)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		v.ID, v.PolicyID, v.ZoneID, v.Version, v.Content, v.ContentSHA256, v.SchemaVersion, document(v.Warnings), micros(v.CreatedAt), v.CreatedBy)
}

func (t *tx) ArchivePolicy(ctx context.Context, zoneID, id string, at time.Time) error {
	return t.change(ctx, store.ErrNotFound, `UPDATE policies SET archived_at = ? WHERE zone_id = ? AND id = ? AND archived_at IS NULL`, micros(at), zoneID, id)
}

func (t *tx) InsertPolicySet(ctx context.Context, s store.PolicySet) error {
	return t.exec(ctx, `INSERT INTO policy_sets (id, zone_id, name, description, created_at, created_by) VALUES (?, ?, ?, ?, ?, ?)`,
		s.ID, s.ZoneID, s.Name, s.Description, micros(s.CreatedAt), s.CreatedBy)
}

func (t *tx) ArchivePolicySet(ctx context.Context, zoneID, id string, at time.Time) error {
	return t.change(ctx, store.ErrNotFound, `UPDATE policy_sets SET archived_at = ? WHERE zone_id = ? AND id = ? AND archived_at IS NULL`, micros(at), zoneID, id)
}

func (t *tx) NextSetVersion(ctx context.Context, zoneID, setID string) (int, error) {
	return one(ctx, t.tx, func(r row, n *int) error { return r.Scan(n) }, `SELECT coalesce((SELECT max(version) FROM set_versions WHERE policy_set_id = s.id), 0) + 1
		FROM policy_sets s WHERE s.zone_id = ? AND s.id = ? AND s.archived_at IS NULL`, zoneID, setID)
}

func (t *tx) InsertSetVersion(ctx context.Context, v store.SetVersion, policyVersionIDs []string, b store.Bundle) error {
	next, err := t.NextSetVersion(ctx, v.ZoneID, v.PolicySetID)
	if err != nil {
		return err
	}
	if v.Version != next {
		return fmt.Errorf("inserting version %d of a set whose next is %d: %w", v.Version, next, store.ErrChanged)
	}
	if err := t.exec(ctx, `INSERT INTO bundles (sha256, data, envelope) VALUES (?, ?, ?) ON CONFLICT (sha256) DO NOTHING`, b.SHA256, b.Data, document(b.Envelope)); err != nil {
		return err
	}
	err = t.exec(ctx, `INSERT INTO set_versions (id, policy_set_id, zone_id, version, manifest, manifest_sha256, bundle_sha256, bundle_size, schema_version, warnings, created_at, created_by)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		v.ID, v.PolicySetID, v.ZoneID, v.Version, v.Manifest, v.ManifestSHA256, v.BundleSHA256, v.BundleSize, v.SchemaVersion, document(v.Warnings), micros(v.CreatedAt), v.CreatedBy)
	if err != nil {
		return err
	}
	for i, id := range policyVersionIDs {
		if err := t.exec(ctx, `INSERT INTO set_version_policies (set_version_id, position, policy_version_id) VALUES (?, ?, ?)`, v.ID, i, id); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) MovePointer(ctx context.Context, p store.Pointer, a store.Activation) error {
	current, err := t.Pointer(ctx, p.ZoneID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		current.Sequence = -1
	case err != nil:
		return err
	}
	if p.Sequence != current.Sequence+1 || a.Sequence != p.Sequence {
		return fmt.Errorf("moving the pointer at %d to %d: %w", current.Sequence, p.Sequence, store.ErrChanged)
	}
	err = t.exec(ctx, `INSERT INTO pointers (`+pointerColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (zone_id) DO UPDATE SET sequence = excluded.sequence, policy_set_id = excluded.policy_set_id, version_id = excluded.version_id,
			manifest_sha256 = excluded.manifest_sha256, bundle_sha256 = excluded.bundle_sha256, bundle_size = excluded.bundle_size,
			envelope = excluded.envelope, issued_at = excluded.issued_at, expires_at = excluded.expires_at,
			since = excluded.since, activated_by = excluded.activated_by, reason = excluded.reason`,
		p.ZoneID, p.Sequence, p.PolicySetID, p.VersionID, p.ManifestSHA256, p.BundleSHA256, p.BundleSize, document(p.Envelope),
		micros(p.IssuedAt), micros(p.ExpiresAt), micros(p.Since), p.ActivatedBy, p.Reason)
	if err != nil {
		return err
	}
	*t.moved = true
	return t.exec(ctx, `INSERT INTO activations (id, zone_id, sequence, policy_set_id, version_id, previous_version_id, manifest_sha256, bundle_sha256, reason, actor_id, actor_name, created_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		a.ID, a.ZoneID, a.Sequence, a.PolicySetID, a.VersionID, a.PreviousVersionID, a.ManifestSHA256, a.BundleSHA256, a.Reason, a.ActorID, a.ActorName, micros(a.CreatedAt))
}

func (t *tx) ResignPointer(ctx context.Context, p store.Pointer) error {
	*t.moved = true
	return t.change(ctx, store.ErrChanged, `UPDATE pointers SET envelope = ?, issued_at = ?, expires_at = ? WHERE zone_id = ? AND sequence = ? AND issued_at < ?`,
		document(p.Envelope), micros(p.IssuedAt), micros(p.ExpiresAt), p.ZoneID, p.Sequence, micros(p.IssuedAt))
}

func (t *tx) MarkOutbox(ctx context.Context, activationID string, at time.Time, lastErr string) error {
	var dispatched *time.Time
	if lastErr == "" {
		dispatched = &at
	}
	return t.change(ctx, store.ErrNotFound, `UPDATE activations SET attempts = attempts + 1, last_error = ?, dispatched_at = ? WHERE id = ?`,
		lastErr, optional(dispatched), activationID)
}

func (t *tx) InsertToken(ctx context.Context, k store.Token) error {
	roles, err := json.Marshal(k.Roles)
	if err != nil {
		return err
	}
	return t.exec(ctx, `INSERT INTO tokens (`+tokenColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		k.ID, k.Name, k.Hash, string(roles), k.ZoneID, micros(k.CreatedAt), k.CreatedBy, optional(k.ExpiresAt), optional(k.RevokedAt), optional(k.LastUsedAt))
}

func (t *tx) RevokeToken(ctx context.Context, id string, at time.Time) error {
	return t.change(ctx, store.ErrNotFound, `UPDATE tokens SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?`, micros(at), id)
}

func (t *tx) TouchToken(ctx context.Context, id string, at time.Time) error {
	return t.change(ctx, store.ErrNotFound, `UPDATE tokens SET last_used_at = max(coalesce(last_used_at, 0), ?) WHERE id = ?`, micros(at), id)
}

func (t *tx) PutDaemon(ctx context.Context, d store.Daemon) error {
	labels, err := json.Marshal(d.Labels)
	if err != nil {
		return err
	}
	return t.exec(ctx, `INSERT INTO daemons (id, name, version, labels, last_seen_at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET name = excluded.name, version = excluded.version, labels = excluded.labels,
			last_seen_at = max(last_seen_at, excluded.last_seen_at)`,
		d.ID, d.Name, d.Version, string(labels), micros(d.LastSeenAt))
}

func (t *tx) PutReceipt(ctx context.Context, p store.Receipt) error {
	var loaded *time.Time
	if !p.LoadedAt.IsZero() {
		loaded = &p.LoadedAt
	}
	return t.exec(ctx, `INSERT INTO receipts (zone_id, daemon_id, state, sequence, version_id, manifest_sha256, bundle_sha256, loaded_at, detail, serving_sequence, serving_version_id, reported_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (zone_id, daemon_id) DO UPDATE SET state = excluded.state, sequence = excluded.sequence, version_id = excluded.version_id,
			manifest_sha256 = excluded.manifest_sha256, bundle_sha256 = excluded.bundle_sha256, loaded_at = excluded.loaded_at, detail = excluded.detail,
			serving_sequence = excluded.serving_sequence, serving_version_id = excluded.serving_version_id, reported_at = excluded.reported_at`,
		p.ZoneID, p.DaemonID, p.State, p.Sequence, p.VersionID, p.ManifestSHA256, p.BundleSHA256, optional(loaded), p.Detail, p.ServingSequence, p.ServingVersionID, micros(p.ReportedAt))
}

func (t *tx) AppendAdminEvent(ctx context.Context, e store.AdminEvent) (store.AdminEvent, error) {
	last, err := one(ctx, t.tx, scanAdminEvent, `SELECT `+adminEventColumns+` FROM admin_events ORDER BY chain_seq DESC LIMIT 1`)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return e, err
	}
	e.ChainSeq = last.ChainSeq + 1
	e.Payload = json.RawMessage(document(e.Payload))
	if e.ChainHash, err = chainHash(last.ChainHash, e); err != nil {
		return e, err
	}
	return e, t.exec(ctx, `INSERT INTO admin_events (`+adminEventColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		e.ID, e.RequestID, e.ZoneID, e.ActorID, e.ActorName, e.Action, e.EntityType, e.EntityID, e.StatusCode, string(e.Payload), micros(e.OccurredAt), e.ChainSeq, e.ChainHash)
}

func (t *tx) PutIdempotent(ctx context.Context, a store.IdempotentAnswer) error {
	if a.Body == nil {
		a.Body = []byte{}
	}
	return t.exec(ctx, `INSERT INTO idempotent_answers (actor_id, key, request_hash, status_code, body, created_at) VALUES (?, ?, ?, ?, ?, ?)`,
		a.ActorID, a.Key, a.RequestHash, a.StatusCode, a.Body, micros(a.CreatedAt))
}

func (t *tx) DeleteIdempotentBefore(ctx context.Context, at time.Time) error {
	return t.exec(ctx, `DELETE FROM idempotent_answers WHERE created_at < ?`, micros(at))
}

func (t *tx) PutSecret(ctx context.Context, name string, value []byte) error {
	return t.exec(ctx, `INSERT INTO secrets (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, value)
}
