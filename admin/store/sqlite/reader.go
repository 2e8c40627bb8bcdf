package sqlite

import (
	"context"
	"encoding/json"
	"time"

	"github.com/caracalai/caracald/admin/store"
)

// reader reads in one transaction.
type reader struct{ t *session }

const zoneColumns = `id, name, slug, settings, created_at, updated_at, archived_at`

func scanZone(r row, z *store.Zone) error {
	return r.Scan(&z.ID, &z.Name, &z.Slug, raw{&z.Settings}, moment{&z.CreatedAt}, moment{&z.UpdatedAt}, optionalMoment{&z.ArchivedAt})
}

func (r *reader) Zone(ctx context.Context, id string) (store.Zone, error) {
	return one(ctx, r.t, scanZone, `SELECT `+zoneColumns+` FROM zones WHERE id = ? AND archived_at IS NULL`, id)
}

func (r *reader) Zones(ctx context.Context, limit int, after store.Cursor) ([]store.Zone, error) {
	at, id := position(after)
	return many(ctx, r.t, scanZone, `SELECT `+zoneColumns+` FROM zones
		WHERE archived_at IS NULL AND (created_at, id) < (?, ?) ORDER BY created_at DESC, id DESC LIMIT ?`, at, id, bound(limit))
}

// A policy comes with its newest version, without content.
const policyQuery = `SELECT p.id, p.zone_id, p.name, p.description, p.created_at, p.created_by,
		v.id, v.version, v.content_sha256, v.schema_version, v.warnings, v.created_at, v.created_by
	FROM policies p JOIN policy_versions v ON v.policy_id = p.id
	AND v.version = (SELECT max(version) FROM policy_versions WHERE policy_id = p.id)
	WHERE p.zone_id = ? AND p.archived_at IS NULL`

func scanPolicy(r row, p *store.Policy) error {
	v := &p.Latest
	err := r.Scan(&p.ID, &p.ZoneID, &p.Name, &p.Description, moment{&p.CreatedAt}, &p.CreatedBy,
		&v.ID, num(&v.Version), &v.ContentSHA256, &v.SchemaVersion, raw{&v.Warnings}, moment{&v.CreatedAt}, &v.CreatedBy)
	v.PolicyID, v.ZoneID = p.ID, p.ZoneID
	return err
}

func (r *reader) Policy(ctx context.Context, zoneID, id string) (store.Policy, error) {
	return one(ctx, r.t, scanPolicy, policyQuery+` AND p.id = ?`, zoneID, id)
}

func (r *reader) Policies(ctx context.Context, zoneID string, limit int, after store.Cursor) ([]store.Policy, error) {
	at, id := position(after)
	return many(ctx, r.t, scanPolicy, policyQuery+` AND (p.created_at, p.id) < (?, ?) ORDER BY p.created_at DESC, p.id DESC LIMIT ?`, zoneID, at, id, bound(limit))
}

const versionColumns = `v.id, v.policy_id, v.zone_id, v.version, v.content, v.tests, v.content_sha256, v.schema_version, v.warnings, v.created_at, v.created_by`

func scanPolicyVersion(r row, v *store.PolicyVersion) error {
	return r.Scan(&v.ID, &v.PolicyID, &v.ZoneID, num(&v.Version), &v.Content, &v.Tests, &v.ContentSHA256, &v.SchemaVersion, raw{&v.Warnings}, moment{&v.CreatedAt}, &v.CreatedBy)
}

func (r *reader) PolicyVersion(ctx context.Context, zoneID, versionID string) (store.PolicyVersion, error) {
	return one(ctx, r.t, scanPolicyVersion, `SELECT `+versionColumns+` FROM policy_versions v
		JOIN policies p ON p.id = v.policy_id WHERE v.zone_id = ? AND v.id = ? AND p.archived_at IS NULL`, zoneID, versionID)
}

func (r *reader) PolicyVersions(ctx context.Context, zoneID, policyID string) ([]store.PolicyVersion, error) {
	list, err := many(ctx, r.t, scanPolicyVersion, `SELECT v.id, v.policy_id, v.zone_id, v.version, '', '', v.content_sha256, v.schema_version, v.warnings, v.created_at, v.created_by
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

func scanSet(r row, s *store.PolicySet) error {
	return r.Scan(&s.ID, &s.ZoneID, &s.Name, &s.Description, moment{&s.CreatedAt}, &s.CreatedBy, optionalText{&s.ActiveVersionID})
}

func (r *reader) PolicySet(ctx context.Context, zoneID, id string) (store.PolicySet, error) {
	return one(ctx, r.t, scanSet, setQuery+` AND s.id = ?`, zoneID, id)
}

func (r *reader) PolicySets(ctx context.Context, zoneID string, limit int, after store.Cursor) ([]store.PolicySet, error) {
	at, id := position(after)
	return many(ctx, r.t, scanSet, setQuery+` AND (s.created_at, s.id) < (?, ?) ORDER BY s.created_at DESC, s.id DESC LIMIT ?`, zoneID, at, id, bound(limit))
}

const setVersionQuery = `SELECT v.id, v.policy_set_id, v.zone_id, v.version, v.manifest, v.manifest_sha256, v.bundle_sha256,
		v.bundle_size, v.schema_version, v.warnings, v.created_at, v.created_by
	FROM set_versions v JOIN policy_sets s ON s.id = v.policy_set_id
	WHERE v.zone_id = ? AND v.policy_set_id = ? AND s.archived_at IS NULL`

func scanSetVersion(r row, v *store.SetVersion) error {
	return r.Scan(&v.ID, &v.PolicySetID, &v.ZoneID, num(&v.Version), &v.Manifest, &v.ManifestSHA256, &v.BundleSHA256,
		num(&v.BundleSize), &v.SchemaVersion, raw{&v.Warnings}, moment{&v.CreatedAt}, &v.CreatedBy)
}

func (r *reader) SetVersion(ctx context.Context, zoneID, setID, versionID string) (store.SetVersion, error) {
	return one(ctx, r.t, scanSetVersion, setVersionQuery+` AND v.id = ?`, zoneID, setID, versionID)
}

func (r *reader) SetVersions(ctx context.Context, zoneID, setID string, limit int, after store.Cursor) ([]store.SetVersion, error) {
	at, id := position(after)
	return many(ctx, r.t, scanSetVersion, setVersionQuery+` AND (v.created_at, v.id) < (?, ?) ORDER BY v.created_at DESC, v.id DESC LIMIT ?`, zoneID, setID, at, id, bound(limit))
}

func (r *reader) SetVersionPolicies(ctx context.Context, versionID string) ([]store.SetPolicy, error) {
	return many(ctx, r.t, func(r row, p *store.SetPolicy) error {
		v := &p.PolicyVersion
		return r.Scan(&v.ID, &v.PolicyID, &v.ZoneID, num(&v.Version), &v.Content, &v.Tests, &v.ContentSHA256, &v.SchemaVersion, raw{&v.Warnings}, moment{&v.CreatedAt}, &v.CreatedBy, &p.PolicyName)
	}, `SELECT `+versionColumns+`, p.name FROM set_version_policies m
		JOIN policy_versions v ON v.id = m.policy_version_id JOIN policies p ON p.id = v.policy_id
		WHERE m.set_version_id = ? ORDER BY m.position`, versionID)
}

func (r *reader) Bundle(ctx context.Context, sha256 string) (store.Bundle, error) {
	return one(ctx, r.t, func(r row, b *store.Bundle) error {
		return r.Scan(&b.SHA256, &b.Data, raw{&b.Envelope})
	}, `SELECT sha256, data, envelope FROM bundles WHERE sha256 = ?`, sha256)
}

func (r *reader) BundleZones(ctx context.Context, sha256 string) ([]string, error) {
	return many(ctx, r.t, scanText,
		`SELECT DISTINCT zone_id FROM set_versions WHERE bundle_sha256 = ? ORDER BY zone_id`, sha256)
}

const pointerColumns = `zone_id, sequence, policy_set_id, version_id, manifest_sha256, bundle_sha256, bundle_size, envelope, issued_at, expires_at, since, activated_by, reason`

func scanPointer(r row, p *store.Pointer) error {
	return r.Scan(&p.ZoneID, num(&p.Sequence), optionalText{&p.PolicySetID}, optionalText{&p.VersionID}, &p.ManifestSHA256, &p.BundleSHA256,
		num(&p.BundleSize), raw{&p.Envelope}, moment{&p.IssuedAt}, moment{&p.ExpiresAt}, moment{&p.Since}, &p.ActivatedBy, &p.Reason)
}

func (r *reader) Pointer(ctx context.Context, zoneID string) (store.Pointer, error) {
	return one(ctx, r.t, scanPointer, `SELECT `+pointerColumns+` FROM pointers WHERE zone_id = ?`, zoneID)
}

func (r *reader) Pointers(ctx context.Context) ([]store.Pointer, error) {
	return many(ctx, r.t, scanPointer, `SELECT `+pointerColumns+` FROM pointers ORDER BY zone_id`)
}

const activationColumns = `id, zone_id, sequence, policy_set_id, version_id, previous_version_id, manifest_sha256, bundle_sha256,
	reason, actor_id, actor_name, created_at, attempts, last_error, dispatched_at`

func scanActivation(r row, a *store.Activation) error {
	return r.Scan(&a.ID, &a.ZoneID, num(&a.Sequence), optionalText{&a.PolicySetID}, optionalText{&a.VersionID}, optionalText{&a.PreviousVersionID}, &a.ManifestSHA256, &a.BundleSHA256,
		&a.Reason, &a.ActorID, &a.ActorName, moment{&a.CreatedAt}, num(&a.Attempts), &a.LastError, optionalMoment{&a.DispatchedAt})
}

func (r *reader) Activation(ctx context.Context, zoneID, id string) (store.Activation, error) {
	return one(ctx, r.t, scanActivation, `SELECT `+activationColumns+` FROM activations WHERE zone_id = ? AND id = ?`, zoneID, id)
}

func (r *reader) Activations(ctx context.Context, zoneID string, limit int, after store.Cursor) ([]store.Activation, error) {
	at, id := position(after)
	return many(ctx, r.t, scanActivation, `SELECT `+activationColumns+` FROM activations
		WHERE zone_id = ? AND (created_at, id) < (?, ?) ORDER BY created_at DESC, id DESC LIMIT ?`, zoneID, at, id, bound(limit))
}

func (r *reader) PendingOutbox(ctx context.Context, limit int) ([]store.Activation, error) {
	return many(ctx, r.t, scanActivation, `SELECT `+activationColumns+` FROM activations
		WHERE dispatched_at IS NULL ORDER BY created_at, id LIMIT ?`, bound(limit))
}

const tokenColumns = `id, name, hash, roles, zone_id, created_at, created_by, expires_at, revoked_at, last_used_at`

func scanToken(r row, t *store.Token) error {
	var roles string
	if err := r.Scan(&t.ID, &t.Name, &t.Hash, &roles, optionalText{&t.ZoneID}, moment{&t.CreatedAt}, &t.CreatedBy,
		optionalMoment{&t.ExpiresAt}, optionalMoment{&t.RevokedAt}, optionalMoment{&t.LastUsedAt}); err != nil {
		return err
	}
	return json.Unmarshal([]byte(roles), &t.Roles)
}

func (r *reader) TokenByHash(ctx context.Context, hash []byte) (store.Token, error) {
	return one(ctx, r.t, scanToken, `SELECT `+tokenColumns+` FROM tokens WHERE hash = ?`, hash)
}

func (r *reader) Token(ctx context.Context, id string) (store.Token, error) {
	return one(ctx, r.t, scanToken, `SELECT `+tokenColumns+` FROM tokens WHERE id = ?`, id)
}

func (r *reader) Tokens(ctx context.Context, limit int, after store.Cursor) ([]store.Token, error) {
	at, id := position(after)
	return many(ctx, r.t, scanToken, `SELECT `+tokenColumns+` FROM tokens
		WHERE (created_at, id) < (?, ?) ORDER BY created_at DESC, id DESC LIMIT ?`, at, id, bound(limit))
}

func (r *reader) Daemons(ctx context.Context) ([]store.Daemon, error) {
	return many(ctx, r.t, func(r row, d *store.Daemon) error {
		var labels string
		if err := r.Scan(&d.ID, &d.Name, &d.Version, &labels, moment{&d.LastSeenAt}); err != nil {
			return err
		}
		return json.Unmarshal([]byte(labels), &d.Labels)
	}, `SELECT id, name, version, labels, last_seen_at FROM daemons ORDER BY name, id`)
}

func (r *reader) Receipts(ctx context.Context, zoneID string) ([]store.Receipt, error) {
	return many(ctx, r.t, func(r row, p *store.Receipt) error {
		var loaded *time.Time
		err := r.Scan(&p.DaemonID, &p.ZoneID, &p.State, num(&p.Sequence), optionalText{&p.VersionID}, &p.ManifestSHA256, &p.BundleSHA256,
			optionalMoment{&loaded}, &p.Detail, num(&p.ServingSequence), optionalText{&p.ServingVersionID}, moment{&p.ReportedAt})
		if loaded != nil {
			p.LoadedAt = *loaded
		}
		return err
	}, `SELECT daemon_id, zone_id, state, sequence, version_id, manifest_sha256, bundle_sha256, loaded_at, detail,
			serving_sequence, serving_version_id, reported_at
		FROM receipts WHERE zone_id = ? OR ? = '' ORDER BY zone_id, daemon_id`, zoneID, zoneID)
}

const adminEventColumns = `id, request_id, zone_id, actor_id, actor_name, action, entity_type, entity_id, status_code, payload, occurred_at, chain_seq, chain_hash`

func scanAdminEvent(r row, e *store.AdminEvent) error {
	return r.Scan(&e.ID, &e.RequestID, &e.ZoneID, &e.ActorID, &e.ActorName, &e.Action, &e.EntityType, &e.EntityID, num(&e.StatusCode),
		raw{&e.Payload}, moment{&e.OccurredAt}, num(&e.ChainSeq), &e.ChainHash)
}

func (r *reader) AdminEvents(ctx context.Context, q store.AdminEventQuery) ([]store.AdminEvent, error) {
	f := filter{}
	f.equal("zone_id", q.ZoneID)
	f.equal("actor_id", q.ActorID)
	f.equal("action", q.Action)
	f.equal("request_id", q.RequestID)
	f.between("occurred_at", q.Since, q.Until)
	if q.BeforeSeq != 0 {
		f.add("chain_seq < ?", q.BeforeSeq)
	}
	return many(ctx, r.t, scanAdminEvent, `SELECT `+adminEventColumns+` FROM admin_events`+f.where()+` ORDER BY chain_seq DESC LIMIT ?`, append(f.args, bound(q.Limit))...)
}

func (r *reader) Idempotent(ctx context.Context, actorID, key string) (store.IdempotentAnswer, error) {
	return one(ctx, r.t, func(r row, a *store.IdempotentAnswer) error {
		return r.Scan(&a.ActorID, &a.Key, &a.RequestHash, num(&a.StatusCode), &a.Body, moment{&a.CreatedAt})
	}, `SELECT actor_id, key, request_hash, status_code, body, created_at FROM idempotent_answers WHERE actor_id = ? AND key = ?`, actorID, key)
}

func (r *reader) Secret(ctx context.Context, name string) ([]byte, error) {
	return one(ctx, r.t, func(r row, value *[]byte) error { return r.Scan(value) }, `SELECT value FROM secrets WHERE name = ?`, name)
}
