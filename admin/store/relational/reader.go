package relational

import (
	"context"
	"encoding/json"
	"time"

	"github.com/caracalai/caracald/admin/store"
)

// Reader reads in one transaction.
type Reader struct{ S Session }

var _ store.Reader = (*Reader)(nil)

const zoneColumns = `id, name, slug, settings, created_at, updated_at, archived_at`

func scanZone(r Row, z *store.Zone) error {
	return r.Scan(&z.ID, &z.Name, &z.Slug, raw{&z.Settings}, Moment{&z.CreatedAt}, Moment{&z.UpdatedAt}, OptionalMoment{&z.ArchivedAt})
}

func (r *Reader) Zone(ctx context.Context, id string) (store.Zone, error) {
	return One(ctx, r.S, scanZone, `SELECT `+zoneColumns+` FROM zones WHERE id = ? AND archived_at IS NULL`, id)
}

func (r *Reader) Zones(ctx context.Context, limit int, after store.Cursor) ([]store.Zone, error) {
	at, id := Position(after)
	return Many(ctx, r.S, scanZone, `SELECT `+zoneColumns+` FROM zones
		WHERE archived_at IS NULL AND (created_at, id) < (?, ?) ORDER BY created_at DESC, id DESC LIMIT ?`, at, id, Bound(limit))
}

// A policy comes with its newest version, without content.
const policyQuery = `SELECT p.id, p.zone_id, p.name, p.description, p.created_at, p.created_by,
		v.id, v.version, v.content_sha256, v.schema_version, v.warnings, v.created_at, v.created_by
	FROM policies p JOIN policy_versions v ON v.policy_id = p.id
	AND v.version = (SELECT max(version) FROM policy_versions WHERE policy_id = p.id)
	WHERE p.zone_id = ? AND p.archived_at IS NULL`

func scanPolicy(r Row, p *store.Policy) error {
	v := &p.Latest
	err := r.Scan(&p.ID, &p.ZoneID, &p.Name, &p.Description, Moment{&p.CreatedAt}, &p.CreatedBy,
		&v.ID, Num(&v.Version), &v.ContentSHA256, &v.SchemaVersion, raw{&v.Warnings}, Moment{&v.CreatedAt}, &v.CreatedBy)
	v.PolicyID, v.ZoneID = p.ID, p.ZoneID
	return err
}

func (r *Reader) Policy(ctx context.Context, zoneID, id string) (store.Policy, error) {
	return One(ctx, r.S, scanPolicy, policyQuery+` AND p.id = ?`, zoneID, id)
}

func (r *Reader) Policies(ctx context.Context, zoneID string, limit int, after store.Cursor) ([]store.Policy, error) {
	at, id := Position(after)
	return Many(ctx, r.S, scanPolicy, policyQuery+` AND (p.created_at, p.id) < (?, ?) ORDER BY p.created_at DESC, p.id DESC LIMIT ?`, zoneID, at, id, Bound(limit))
}

const versionColumns = `v.id, v.policy_id, v.zone_id, v.version, v.content, v.tests, v.content_sha256, v.schema_version, v.warnings, v.created_at, v.created_by`

func scanPolicyVersion(r Row, v *store.PolicyVersion) error {
	return r.Scan(&v.ID, &v.PolicyID, &v.ZoneID, Num(&v.Version), &v.Content, &v.Tests, &v.ContentSHA256, &v.SchemaVersion, raw{&v.Warnings}, Moment{&v.CreatedAt}, &v.CreatedBy)
}

func (r *Reader) PolicyVersion(ctx context.Context, zoneID, versionID string) (store.PolicyVersion, error) {
	return One(ctx, r.S, scanPolicyVersion, `SELECT `+versionColumns+` FROM policy_versions v
		JOIN policies p ON p.id = v.policy_id WHERE v.zone_id = ? AND v.id = ? AND p.archived_at IS NULL`, zoneID, versionID)
}

func (r *Reader) PolicyVersions(ctx context.Context, zoneID, policyID string) ([]store.PolicyVersion, error) {
	list, err := Many(ctx, r.S, scanPolicyVersion, `SELECT v.id, v.policy_id, v.zone_id, v.version, '', '', v.content_sha256, v.schema_version, v.warnings, v.created_at, v.created_by
		FROM policy_versions v JOIN policies p ON p.id = v.policy_id
		WHERE v.zone_id = ? AND v.policy_id = ? AND p.archived_at IS NULL ORDER BY v.version DESC`, zoneID, policyID)
	if err == nil && len(list) == 0 { // a policy has at least one version
		return nil, store.ErrNotFound
	}
	return list, err
}

// A set comes with the active version, where one of its versions governs the zone.
const setQuery = `SELECT s.id, s.zone_id, s.name, s.description, s.created_at, s.created_by, p.version_id
	FROM policy_sets s LEFT JOIN pointers p ON p.zone_id = s.zone_id AND p.policy_set_id = s.id
	WHERE s.zone_id = ? AND s.archived_at IS NULL`

func scanSet(r Row, s *store.PolicySet) error {
	return r.Scan(&s.ID, &s.ZoneID, &s.Name, &s.Description, Moment{&s.CreatedAt}, &s.CreatedBy, optionalText{&s.ActiveVersionID})
}

func (r *Reader) PolicySet(ctx context.Context, zoneID, id string) (store.PolicySet, error) {
	return One(ctx, r.S, scanSet, setQuery+` AND s.id = ?`, zoneID, id)
}

func (r *Reader) PolicySets(ctx context.Context, zoneID string, limit int, after store.Cursor) ([]store.PolicySet, error) {
	at, id := Position(after)
	return Many(ctx, r.S, scanSet, setQuery+` AND (s.created_at, s.id) < (?, ?) ORDER BY s.created_at DESC, s.id DESC LIMIT ?`, zoneID, at, id, Bound(limit))
}

const setVersionQuery = `SELECT v.id, v.policy_set_id, v.zone_id, v.version, v.manifest, v.manifest_sha256, v.bundle_sha256,
		v.bundle_size, v.schema_version, v.warnings, v.created_at, v.created_by
	FROM set_versions v JOIN policy_sets s ON s.id = v.policy_set_id
	WHERE v.zone_id = ? AND v.policy_set_id = ? AND s.archived_at IS NULL`

func scanSetVersion(r Row, v *store.SetVersion) error {
	return r.Scan(&v.ID, &v.PolicySetID, &v.ZoneID, Num(&v.Version), &v.Manifest, &v.ManifestSHA256, &v.BundleSHA256,
		Num(&v.BundleSize), &v.SchemaVersion, raw{&v.Warnings}, Moment{&v.CreatedAt}, &v.CreatedBy)
}

func (r *Reader) SetVersion(ctx context.Context, zoneID, setID, versionID string) (store.SetVersion, error) {
	return One(ctx, r.S, scanSetVersion, setVersionQuery+` AND v.id = ?`, zoneID, setID, versionID)
}

func (r *Reader) SetVersions(ctx context.Context, zoneID, setID string, limit int, after store.Cursor) ([]store.SetVersion, error) {
	at, id := Position(after)
	return Many(ctx, r.S, scanSetVersion, setVersionQuery+` AND (v.created_at, v.id) < (?, ?) ORDER BY v.created_at DESC, v.id DESC LIMIT ?`, zoneID, setID, at, id, Bound(limit))
}

func (r *Reader) SetVersionPolicies(ctx context.Context, versionID string) ([]store.SetPolicy, error) {
	return Many(ctx, r.S, func(r Row, p *store.SetPolicy) error {
		v := &p.PolicyVersion
		return r.Scan(&v.ID, &v.PolicyID, &v.ZoneID, Num(&v.Version), &v.Content, &v.Tests, &v.ContentSHA256, &v.SchemaVersion, raw{&v.Warnings}, Moment{&v.CreatedAt}, &v.CreatedBy, &p.PolicyName)
	}, `SELECT `+versionColumns+`, p.name FROM set_version_policies m
		JOIN policy_versions v ON v.id = m.policy_version_id JOIN policies p ON p.id = v.policy_id
		WHERE m.set_version_id = ? ORDER BY m.position`, versionID)
}

func (r *Reader) Bundle(ctx context.Context, sha256 string) (store.Bundle, error) {
	return One(ctx, r.S, func(r Row, b *store.Bundle) error {
		return r.Scan(&b.SHA256, &b.Data, raw{&b.Envelope})
	}, `SELECT sha256, data, envelope FROM bundles WHERE sha256 = ?`, sha256)
}

func (r *Reader) Bundles(ctx context.Context, since time.Time) ([]string, error) {
	return Many(ctx, r.S, ScanText,
		`SELECT bundle_sha256 FROM set_versions WHERE created_at >= ? GROUP BY bundle_sha256 ORDER BY max(created_at) DESC, bundle_sha256`, Micros(since))
}

func (r *Reader) BundleZones(ctx context.Context, sha256 string) ([]string, error) {
	return Many(ctx, r.S, ScanText,
		`SELECT DISTINCT zone_id FROM set_versions WHERE bundle_sha256 = ? ORDER BY zone_id`, sha256)
}

const pointerColumns = `zone_id, sequence, policy_set_id, version_id, manifest_sha256, bundle_sha256, bundle_size, envelope, issued_at, expires_at, since, activated_by, reason`

func scanPointer(r Row, p *store.Pointer) error {
	return r.Scan(&p.ZoneID, Num(&p.Sequence), optionalText{&p.PolicySetID}, optionalText{&p.VersionID}, &p.ManifestSHA256, &p.BundleSHA256,
		Num(&p.BundleSize), raw{&p.Envelope}, Moment{&p.IssuedAt}, Moment{&p.ExpiresAt}, Moment{&p.Since}, &p.ActivatedBy, &p.Reason)
}

func (r *Reader) Pointer(ctx context.Context, zoneID string) (store.Pointer, error) {
	return One(ctx, r.S, scanPointer, `SELECT `+pointerColumns+` FROM pointers WHERE zone_id = ?`, zoneID)
}

func (r *Reader) Pointers(ctx context.Context) ([]store.Pointer, error) {
	return Many(ctx, r.S, scanPointer, `SELECT `+pointerColumns+` FROM pointers ORDER BY zone_id`)
}

const activationColumns = `id, zone_id, sequence, policy_set_id, version_id, previous_version_id, manifest_sha256, bundle_sha256,
	reason, actor_id, actor_name, created_at, attempts, last_error, dispatched_at`

func scanActivation(r Row, a *store.Activation) error {
	return r.Scan(&a.ID, &a.ZoneID, Num(&a.Sequence), optionalText{&a.PolicySetID}, optionalText{&a.VersionID}, optionalText{&a.PreviousVersionID}, &a.ManifestSHA256, &a.BundleSHA256,
		&a.Reason, &a.ActorID, &a.ActorName, Moment{&a.CreatedAt}, Num(&a.Attempts), &a.LastError, OptionalMoment{&a.DispatchedAt})
}

func (r *Reader) Activation(ctx context.Context, zoneID, id string) (store.Activation, error) {
	return One(ctx, r.S, scanActivation, `SELECT `+activationColumns+` FROM activations WHERE zone_id = ? AND id = ?`, zoneID, id)
}

func (r *Reader) Activations(ctx context.Context, zoneID string, limit int, after store.Cursor) ([]store.Activation, error) {
	at, id := Position(after)
	return Many(ctx, r.S, scanActivation, `SELECT `+activationColumns+` FROM activations
		WHERE zone_id = ? AND (created_at, id) < (?, ?) ORDER BY created_at DESC, id DESC LIMIT ?`, zoneID, at, id, Bound(limit))
}

func (r *Reader) PendingOutbox(ctx context.Context, limit int) ([]store.Activation, error) {
	return Many(ctx, r.S, scanActivation, `SELECT `+activationColumns+` FROM activations
		WHERE dispatched_at IS NULL ORDER BY created_at, id LIMIT ?`, Bound(limit))
}

const tokenColumns = `id, name, hash, roles, zone_id, created_at, created_by, expires_at, revoked_at, last_used_at`

func scanToken(r Row, t *store.Token) error {
	var roles string
	if err := r.Scan(&t.ID, &t.Name, &t.Hash, &roles, optionalText{&t.ZoneID}, Moment{&t.CreatedAt}, &t.CreatedBy,
		OptionalMoment{&t.ExpiresAt}, OptionalMoment{&t.RevokedAt}, OptionalMoment{&t.LastUsedAt}); err != nil {
		return err
	}
	return json.Unmarshal([]byte(roles), &t.Roles)
}

func (r *Reader) TokenByHash(ctx context.Context, hash []byte) (store.Token, error) {
	return One(ctx, r.S, scanToken, `SELECT `+tokenColumns+` FROM tokens WHERE hash = ?`, hash)
}

func (r *Reader) Token(ctx context.Context, id string) (store.Token, error) {
	return One(ctx, r.S, scanToken, `SELECT `+tokenColumns+` FROM tokens WHERE id = ?`, id)
}

func (r *Reader) Tokens(ctx context.Context, limit int, after store.Cursor) ([]store.Token, error) {
	at, id := Position(after)
	return Many(ctx, r.S, scanToken, `SELECT `+tokenColumns+` FROM tokens
		WHERE (created_at, id) < (?, ?) ORDER BY created_at DESC, id DESC LIMIT ?`, at, id, Bound(limit))
}

// AdminEventColumns are what ScanAdminEvent scans.
const AdminEventColumns = `id, request_id, zone_id, actor_id, actor_name, action, entity_type, entity_id, status_code, payload, occurred_at, chain_seq, chain_hash`

// ScanAdminEvent scans an admin event.
func ScanAdminEvent(r Row, e *store.AdminEvent) error {
	return r.Scan(&e.ID, &e.RequestID, &e.ZoneID, &e.ActorID, &e.ActorName, &e.Action, &e.EntityType, &e.EntityID, Num(&e.StatusCode),
		raw{&e.Payload}, Moment{&e.OccurredAt}, Num(&e.ChainSeq), &e.ChainHash)
}

func (r *Reader) AdminEvents(ctx context.Context, q store.AdminEventQuery) ([]store.AdminEvent, error) {
	f := Filter{}
	f.Equal("zone_id", q.ZoneID)
	f.Equal("actor_id", q.ActorID)
	f.Equal("action", q.Action)
	f.Equal("request_id", q.RequestID)
	f.Between("occurred_at", q.Since, q.Until)
	if q.BeforeSeq != 0 {
		f.Add("chain_seq < ?", q.BeforeSeq)
	}
	return Many(ctx, r.S, ScanAdminEvent, `SELECT `+AdminEventColumns+` FROM admin_events`+f.Where()+` ORDER BY chain_seq DESC LIMIT ?`, append(f.Args, Bound(q.Limit))...)
}

func (r *Reader) Idempotent(ctx context.Context, actorID, key string) (store.IdempotentAnswer, error) {
	return One(ctx, r.S, func(r Row, a *store.IdempotentAnswer) error {
		return r.Scan(&a.ActorID, &a.Key, &a.RequestHash, Num(&a.StatusCode), &a.Body, Moment{&a.CreatedAt})
	}, `SELECT actor_id, key, request_hash, status_code, body, created_at FROM idempotent_answers WHERE actor_id = ? AND key = ?`, actorID, key)
}

func (r *Reader) Spent(ctx context.Context, id string) (bool, error) {
	n, err := One(ctx, r.S, ScanNumber[int64], `SELECT count(*) FROM spent WHERE id = ?`, id)
	return n > 0, err
}

func (r *Reader) Secret(ctx context.Context, name string) ([]byte, error) {
	return One(ctx, r.S, func(r Row, value *[]byte) error { return r.Scan(value) }, `SELECT value FROM secrets WHERE name = ?`, name)
}
