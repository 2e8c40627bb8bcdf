package relational

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/caracalai/caracald/admin/store"
)

// Tx reads and writes in one transaction.
type Tx struct {
	Reader
	// Moved is set when a pointer was written.
	Moved bool
}

var _ store.Tx = (*Tx)(nil)

func (t *Tx) exec(ctx context.Context, query string, args ...any) error {
	_, err := t.S.Exec(ctx, query, args...)
	return err
}

// change is exec for a statement that must change one row; none is orElse.
func (t *Tx) change(ctx context.Context, orElse error, query string, args ...any) error {
	n, err := t.S.Exec(ctx, query, args...)
	if err == nil && n == 0 {
		return orElse
	}
	return err
}

func (t *Tx) InsertZone(ctx context.Context, z store.Zone) error {
	return t.exec(ctx, `INSERT INTO zones (id, name, slug, settings, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?)`,
		z.ID, z.Name, z.Slug, document(z.Settings), Micros(z.CreatedAt), Micros(z.UpdatedAt))
}

func (t *Tx) UpdateZone(ctx context.Context, z store.Zone) error {
	return t.change(ctx, store.ErrNotFound, `UPDATE zones SET name = ?, slug = ?, settings = ?, updated_at = ? WHERE id = ? AND archived_at IS NULL`,
		z.Name, z.Slug, document(z.Settings), Micros(z.UpdatedAt), z.ID)
}

func (t *Tx) ArchiveZone(ctx context.Context, id string, at time.Time) error {
	return t.change(ctx, store.ErrNotFound, `UPDATE zones SET archived_at = ?, updated_at = ? WHERE id = ? AND archived_at IS NULL`, Micros(at), Micros(at), id)
}

func (t *Tx) InsertPolicy(ctx context.Context, p store.Policy, v store.PolicyVersion) error {
	if _, err := t.Zone(ctx, p.ZoneID); err != nil {
		return err
	}
	err := t.exec(ctx, `INSERT INTO policies (id, zone_id, name, description, created_at, created_by) VALUES (?, ?, ?, ?, ?, ?)`,
		p.ID, p.ZoneID, p.Name, p.Description, Micros(p.CreatedAt), p.CreatedBy)
	if err != nil {
		return err
	}
	v.PolicyID, v.ZoneID = p.ID, p.ZoneID
	_, err = t.InsertPolicyVersion(ctx, v)
	return err
}

func (t *Tx) InsertPolicyVersion(ctx context.Context, v store.PolicyVersion) (store.PolicyVersion, error) {
	number, err := One(ctx, t.S, ScanNumber[int], `SELECT coalesce((SELECT max(version) FROM policy_versions WHERE policy_id = p.id), 0) + 1
		FROM policies p WHERE p.id = ? AND p.zone_id = ? AND p.archived_at IS NULL`, v.PolicyID, v.ZoneID)
	if err != nil {
		return v, err
	}
	v.Version = number
	return v, t.exec(ctx, `INSERT INTO policy_versions (id, policy_id, zone_id, version, content, tests, content_sha256, schema_version, warnings, created_at, created_by)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		v.ID, v.PolicyID, v.ZoneID, v.Version, v.Content, v.Tests, v.ContentSHA256, v.SchemaVersion, document(v.Warnings), Micros(v.CreatedAt), v.CreatedBy)
}

func (t *Tx) ArchivePolicy(ctx context.Context, zoneID, id string, at time.Time) error {
	return t.change(ctx, store.ErrNotFound, `UPDATE policies SET archived_at = ? WHERE zone_id = ? AND id = ? AND archived_at IS NULL`, Micros(at), zoneID, id)
}

func (t *Tx) InsertPolicySet(ctx context.Context, s store.PolicySet) error {
	if _, err := t.Zone(ctx, s.ZoneID); err != nil {
		return err
	}
	return t.exec(ctx, `INSERT INTO policy_sets (id, zone_id, name, description, created_at, created_by) VALUES (?, ?, ?, ?, ?, ?)`,
		s.ID, s.ZoneID, s.Name, s.Description, Micros(s.CreatedAt), s.CreatedBy)
}

func (t *Tx) ArchivePolicySet(ctx context.Context, zoneID, id string, at time.Time) error {
	return t.change(ctx, store.ErrNotFound, `UPDATE policy_sets SET archived_at = ? WHERE zone_id = ? AND id = ? AND archived_at IS NULL`, Micros(at), zoneID, id)
}

func (t *Tx) NextSetVersion(ctx context.Context, zoneID, setID string) (int, error) {
	return One(ctx, t.S, ScanNumber[int], `SELECT coalesce((SELECT max(version) FROM set_versions WHERE policy_set_id = s.id), 0) + 1
		FROM policy_sets s WHERE s.zone_id = ? AND s.id = ? AND s.archived_at IS NULL`, zoneID, setID)
}

func (t *Tx) InsertSetVersion(ctx context.Context, v store.SetVersion, policyVersionIDs []string, b store.Bundle) error {
	next, err := t.NextSetVersion(ctx, v.ZoneID, v.PolicySetID)
	if err != nil {
		return err
	}
	if v.Version != next {
		return fmt.Errorf("inserting version %d of a set whose next is %d: %w", v.Version, next, store.ErrChanged)
	}
	if v.BundleSHA256 != b.SHA256 {
		return fmt.Errorf("inserting a version of bundle %s with bundle %s", v.BundleSHA256, b.SHA256)
	}
	for _, id := range policyVersionIDs {
		if err := t.exists(ctx, `SELECT count(*) FROM policy_versions WHERE id = ? AND zone_id = ?`, id, v.ZoneID); err != nil {
			return fmt.Errorf("policy version %s: %w", id, err)
		}
	}
	err = t.exists(ctx, `SELECT count(*) FROM bundles WHERE sha256 = ?`, b.SHA256)
	if errors.Is(err, store.ErrNotFound) {
		err = t.exec(ctx, `INSERT INTO bundles (sha256, data, envelope) VALUES (?, ?, ?)`, b.SHA256, bytesOf(b.Data), document(b.Envelope))
	}
	if err != nil {
		return err
	}
	err = t.exec(ctx, `INSERT INTO set_versions (id, policy_set_id, zone_id, version, manifest, manifest_sha256, bundle_sha256, bundle_size, schema_version, warnings, created_at, created_by)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		v.ID, v.PolicySetID, v.ZoneID, v.Version, bytesOf(v.Manifest), v.ManifestSHA256, v.BundleSHA256, v.BundleSize, v.SchemaVersion, document(v.Warnings), Micros(v.CreatedAt), v.CreatedBy)
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

// exists is ErrNotFound where a query counts nothing.
func (t *Tx) exists(ctx context.Context, query string, args ...any) error {
	n, err := One(ctx, t.S, ScanNumber[int], query, args...)
	if err == nil && n == 0 {
		return store.ErrNotFound
	}
	return err
}

func (t *Tx) MovePointer(ctx context.Context, p store.Pointer, a store.Activation) error {
	current, err := t.beforeMove(ctx, p, a)
	first := errors.Is(err, store.ErrNotFound)
	if first {
		current.Sequence = -1
	} else if err != nil {
		return err
	}
	if p.Sequence != current.Sequence+1 {
		return fmt.Errorf("moving the pointer at %d to %d: %w", current.Sequence, p.Sequence, store.ErrChanged)
	}
	if p.VersionID != nil {
		err := t.exists(ctx, `SELECT count(*) FROM set_versions WHERE id = ? AND zone_id = ? AND policy_set_id = ?
			AND manifest_sha256 = ? AND bundle_sha256 = ?`, *p.VersionID, p.ZoneID, p.PolicySetID, p.ManifestSHA256, p.BundleSHA256)
		if err != nil {
			return fmt.Errorf("moving the pointer to version %s: %w", *p.VersionID, err)
		}
	}
	return t.writePointer(ctx, p, a, first)
}

func (t *Tx) RaisePointer(ctx context.Context, p store.Pointer, a store.Activation) error {
	current, err := t.beforeMove(ctx, p, a)
	if err != nil {
		return err
	}
	switch {
	case p.Sequence > store.MaxSequence:
		return fmt.Errorf("raising the pointer at %d to %d, which is more than %d", current.Sequence, p.Sequence, int64(store.MaxSequence))
	case p.Sequence <= current.Sequence:
		return fmt.Errorf("raising the pointer at %d to %d: %w", current.Sequence, p.Sequence, store.ErrChanged)
	case !p.IssuedAt.After(current.IssuedAt):
		return fmt.Errorf("raising the pointer that was issued at %v with one of %v: %w", current.IssuedAt, p.IssuedAt, store.ErrChanged)
	case !sameText(p.PolicySetID, current.PolicySetID), !sameText(p.VersionID, current.VersionID),
		p.ManifestSHA256 != current.ManifestSHA256, p.BundleSHA256 != current.BundleSHA256, !sameText(a.PreviousVersionID, p.VersionID):
		return fmt.Errorf("raising the pointer at %d with another version: %w", current.Sequence, store.ErrChanged)
	}
	return t.writePointer(ctx, p, a, false)
}

func sameText(a, b *string) bool { return (a == nil) == (b == nil) && (a == nil || *a == *b) }

// beforeMove reads the pointer that is to move, and makes whoever else moves it
// wait. A zone without one, or that is not there, is ErrNotFound.
func (t *Tx) beforeMove(ctx context.Context, p store.Pointer, a store.Activation) (store.Pointer, error) {
	if a.ZoneID != p.ZoneID || a.Sequence != p.Sequence {
		return p, fmt.Errorf("moving the pointer of zone %s to %d with the activation of zone %s at %d", p.ZoneID, p.Sequence, a.ZoneID, a.Sequence)
	}
	if _, err := One(ctx, t.S, ScanText, `SELECT id FROM zones WHERE id = ?`+t.S.ForUpdate(), p.ZoneID); err != nil {
		return p, err
	}
	return t.Pointer(ctx, p.ZoneID)
}

// writePointer writes a pointer that may stand, and its activation.
func (t *Tx) writePointer(ctx context.Context, p store.Pointer, a store.Activation, first bool) (err error) {
	state := []any{p.Sequence, p.PolicySetID, p.VersionID, p.ManifestSHA256, p.BundleSHA256, p.BundleSize, document(p.Envelope),
		Micros(p.IssuedAt), Micros(p.ExpiresAt), Micros(p.Since), p.ActivatedBy, p.Reason, p.ZoneID}
	if first {
		err = t.exec(ctx, `INSERT INTO pointers (sequence, policy_set_id, version_id, manifest_sha256, bundle_sha256, bundle_size, envelope,
			issued_at, expires_at, since, activated_by, reason, zone_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, state...)
	} else {
		err = t.exec(ctx, `UPDATE pointers SET sequence = ?, policy_set_id = ?, version_id = ?, manifest_sha256 = ?, bundle_sha256 = ?, bundle_size = ?,
			envelope = ?, issued_at = ?, expires_at = ?, since = ?, activated_by = ?, reason = ? WHERE zone_id = ?`, state...)
	}
	if err != nil {
		return err
	}
	t.Moved = true
	return t.exec(ctx, `INSERT INTO activations (id, zone_id, sequence, policy_set_id, version_id, previous_version_id, manifest_sha256, bundle_sha256, reason, actor_id, actor_name, created_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		a.ID, a.ZoneID, a.Sequence, a.PolicySetID, a.VersionID, a.PreviousVersionID, a.ManifestSHA256, a.BundleSHA256, a.Reason, a.ActorID, a.ActorName, Micros(a.CreatedAt))
}

func (t *Tx) ResignPointer(ctx context.Context, p store.Pointer) error {
	err := t.change(ctx, store.ErrChanged, `UPDATE pointers SET envelope = ?, issued_at = ?, expires_at = ? WHERE zone_id = ? AND sequence = ? AND issued_at < ?`,
		document(p.Envelope), Micros(p.IssuedAt), Micros(p.ExpiresAt), p.ZoneID, p.Sequence, Micros(p.IssuedAt))
	if err == nil {
		t.Moved = true
	}
	return err
}

func (t *Tx) MarkOutbox(ctx context.Context, activationID string, at time.Time, lastErr string) error {
	var dispatched *time.Time
	if lastErr == "" {
		dispatched = &at
	}
	return t.change(ctx, store.ErrNotFound, `UPDATE activations SET attempts = attempts + 1, last_error = ?, dispatched_at = coalesce(dispatched_at, ?) WHERE id = ?`,
		lastErr, optional(dispatched), activationID)
}

func (t *Tx) InsertToken(ctx context.Context, k store.Token) error {
	roles, err := json.Marshal(k.Roles)
	if err != nil {
		return err
	}
	return t.exec(ctx, `INSERT INTO tokens (`+tokenColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		k.ID, k.Name, bytesOf(k.Hash), string(roles), k.ZoneID, Micros(k.CreatedAt), k.CreatedBy, optional(k.ExpiresAt), optional(k.RevokedAt), optional(k.LastUsedAt))
}

func (t *Tx) RevokeToken(ctx context.Context, id string, at time.Time) error {
	return t.change(ctx, store.ErrNotFound, `UPDATE tokens SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?`, Micros(at), id)
}

func (t *Tx) TouchToken(ctx context.Context, id string, at time.Time) error {
	return t.change(ctx, store.ErrNotFound, `UPDATE tokens SET last_used_at = CASE WHEN last_used_at >= ? THEN last_used_at ELSE ? END WHERE id = ?`, Micros(at), Micros(at), id)
}

func (t *Tx) AppendAdminEvent(ctx context.Context, e store.AdminEvent) (store.AdminEvent, error) {
	for _, text := range []*string{&e.ID, &e.RequestID, &e.ZoneID, &e.ActorID, &e.ActorName, &e.Action, &e.EntityType, &e.EntityID} {
		*text = t.S.Text(*text) // so that the hash is of what is stored
	}
	last, err := One(ctx, t.S, ScanAdminEvent, `SELECT `+AdminEventColumns+` FROM admin_events ORDER BY chain_seq DESC LIMIT 1`)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return e, err
	}
	e.ChainSeq = last.ChainSeq + 1
	e.Payload = json.RawMessage(document(e.Payload))
	e.OccurredAt = time.UnixMicro(Micros(e.OccurredAt)).UTC()
	e.ChainHash = ChainHash(last.ChainHash, e)
	return e, t.exec(ctx, `INSERT INTO admin_events (`+AdminEventColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		e.ID, e.RequestID, e.ZoneID, e.ActorID, e.ActorName, e.Action, e.EntityType, e.EntityID, e.StatusCode, string(e.Payload), Micros(e.OccurredAt), e.ChainSeq, e.ChainHash)
}

func (t *Tx) PutIdempotent(ctx context.Context, a store.IdempotentAnswer) error {
	return t.exec(ctx, `INSERT INTO idempotent_answers (actor_id, key, request_hash, status_code, body, created_at) VALUES (?, ?, ?, ?, ?, ?)`,
		a.ActorID, a.Key, bytesOf(a.RequestHash), a.StatusCode, bytesOf(a.Body), Micros(a.CreatedAt))
}

func (t *Tx) DeleteIdempotentBefore(ctx context.Context, at time.Time) error {
	return t.exec(ctx, `DELETE FROM idempotent_answers WHERE created_at < ?`, Micros(at))
}

func (t *Tx) Spend(ctx context.Context, id string, until time.Time) error {
	return t.exec(ctx, `INSERT INTO spent (id, until) VALUES (?, ?)`, id, Micros(until))
}

func (t *Tx) DeleteSpentBefore(ctx context.Context, at time.Time) error {
	return t.exec(ctx, `DELETE FROM spent WHERE until < ?`, Micros(at))
}

func (t *Tx) PutSecret(ctx context.Context, name string, value []byte) error {
	return t.exec(ctx, `INSERT INTO secrets (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, bytesOf(value))
}
