package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/caracalai/caracald/admin/store"
)

// reader reads in one transaction.
type reader struct{ t *sql.Tx }

// micros is a time as the files keep it.
func micros(t time.Time) int64 { return t.UnixMicro() }

func optional(t *time.Time) *int64 {
	if t == nil {
		return nil
	}
	m := t.UnixMicro()
	return &m
}

// moment scans a time; moments that are null stay nil.
type moment struct{ into *time.Time }

func (m moment) Scan(v any) error {
	i, ok := v.(int64)
	if !ok {
		return fmt.Errorf("a time is kept as %T", v)
	}
	*m.into = time.UnixMicro(i).UTC()
	return nil
}

type optionalMoment struct{ into **time.Time }

func (m optionalMoment) Scan(v any) error {
	if v == nil {
		*m.into = nil
		return nil
	}
	t := new(time.Time)
	*m.into = t
	return moment{t}.Scan(v)
}

// row is what one row is scanned from.
type row interface{ Scan(into ...any) error }

// one reads the row of a query; ErrNotFound where there is none.
func one[T any](ctx context.Context, t *sql.Tx, scan func(row, *T) error, query string, args ...any) (T, error) {
	var v T
	err := scan(t.QueryRowContext(ctx, query, args...), &v)
	return v, translate(err)
}

// many reads all rows of a query.
func many[T any](ctx context.Context, t *sql.Tx, scan func(row, *T) error, query string, args ...any) (list []T, err error) {
	rows, err := t.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, translate(err)
	}
	defer func() {
		if cerr := rows.Close(); err == nil && cerr != nil {
			err = translate(cerr)
		}
	}()
	for rows.Next() {
		var v T
		if err := scan(rows, &v); err != nil {
			return nil, translate(err)
		}
		list = append(list, v)
	}
	return list, translate(rows.Err())
}

// position gives a cursor's two arguments; the zero cursor is before everything.
func position(c store.Cursor) (at int64, id string) {
	if c == (store.Cursor{}) {
		return math.MaxInt64, ""
	}
	return micros(c.At), c.ID
}

const zoneColumns = `id, name, slug, settings, created_at, updated_at, archived_at`

func scanZone(r row, z *store.Zone) error {
	var settings string
	err := r.Scan(&z.ID, &z.Name, &z.Slug, &settings, moment{&z.CreatedAt}, moment{&z.UpdatedAt}, optionalMoment{&z.ArchivedAt})
	z.Settings = json.RawMessage(settings)
	return err
}

func (r *reader) Zone(ctx context.Context, id string) (store.Zone, error) {
	return one(ctx, r.t, scanZone, `SELECT `+zoneColumns+` FROM zones WHERE id = ? AND archived_at IS NULL`, id)
}

func (r *reader) Zones(ctx context.Context, limit int, after store.Cursor) ([]store.Zone, error) {
	at, id := position(after)
	return many(ctx, r.t, scanZone, `SELECT `+zoneColumns+` FROM zones
		WHERE archived_at IS NULL AND (created_at, id) < (?, ?) ORDER BY created_at DESC, id DESC LIMIT ?`, at, id, limit)
}

// A policy comes with its newest version, without content.
const policyQuery = `SELECT p.id, p.zone_id, p.name, p.description, p.created_at, p.created_by,
		v.id, v.version, v.content_sha256, v.schema_version, v.warnings, v.created_at, v.created_by
	FROM policies p JOIN policy_versions v ON v.policy_id = p.id
	AND v.version = (SELECT max(version) FROM policy_versions WHERE policy_id = p.id)
	WHERE p.zone_id = ? AND p.archived_at IS NULL`

func scanPolicy(r row, p *store.Policy) error {
	v := &p.Latest
	var warnings string
	err := r.Scan(&p.ID, &p.ZoneID, &p.Name, &p.Description, moment{&p.CreatedAt}, &p.CreatedBy,
		&v.ID, &v.Version, &v.ContentSHA256, &v.SchemaVersion, &warnings, moment{&v.CreatedAt}, &v.CreatedBy)
	v.PolicyID, v.ZoneID, v.Warnings = p.ID, p.ZoneID, json.RawMessage(warnings)
	return err
}

func (r *reader) Policy(ctx context.Context, zoneID, id string) (store.Policy, error) {
	return one(ctx, r.t, scanPolicy, policyQuery+` AND p.id = ?`, zoneID, id)
}

func (r *reader) Policies(ctx context.Context, zoneID string, limit int, after store.Cursor) ([]store.Policy, error) {
	at, id := position(after)
	return many(ctx, r.t, scanPolicy, policyQuery+` AND (p.created_at, p.id) < (?, ?) ORDER BY p.created_at DESC, p.id DESC LIMIT ?`, zoneID, at, id, limit)
}

const versionColumns = `v.id, v.policy_id, v.zone_id, v.version, v.content, v.content_sha256, v.schema_version, v.warnings, v.created_at, v.created_by`

func scanPolicyVersion(r row, v *store.PolicyVersion) error {
	var warnings string
	err := r.Scan(&v.ID, &v.PolicyID, &v.ZoneID, &v.Version, &v.Content, &v.ContentSHA256, &v.SchemaVersion, &warnings, moment{&v.CreatedAt}, &v.CreatedBy)
	v.Warnings = json.RawMessage(warnings)
	return err
}

func (r *reader) PolicyVersion(ctx context.Context, zoneID, versionID string) (store.PolicyVersion, error) {
	return one(ctx, r.t, scanPolicyVersion, `SELECT `+versionColumns+` FROM policy_versions v
		JOIN policies p ON p.id = v.policy_id WHERE v.zone_id = ? AND v.id = ? AND p.archived_at IS NULL`, zoneID, versionID)
}

func (r *reader) PolicyVersions(ctx context.Context, zoneID, policyID string) ([]store.PolicyVersion, error) {
	list, err := many(ctx, r.t, scanPolicyVersion, `SELECT v.id, v.policy_id, v.zone_id, v.version, '', v.content_sha256, v.schema_version, v.warnings, v.created_at, v.created_by
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
	return r.Scan(&s.ID, &s.ZoneID, &s.Name, &s.Description, moment{&s.CreatedAt}, &s.CreatedBy, &s.ActiveVersionID)
}

func (r *reader) PolicySet(ctx context.Context, zoneID, id string) (store.PolicySet, error) {
	return one(ctx, r.t, scanSet, setQuery+` AND s.id = ?`, zoneID, id)
}

func (r *reader) PolicySets(ctx context.Context, zoneID string, limit int, after store.Cursor) ([]store.PolicySet, error) {
	at, id := position(after)
	return many(ctx, r.t, scanSet, setQuery+` AND (s.created_at, s.id) < (?, ?) ORDER BY s.created_at DESC, s.id DESC LIMIT ?`, zoneID, at, id, limit)
}

const setVersionQuery = `SELECT v.id, v.policy_set_id, v.zone_id, v.version, v.manifest, v.manifest_sha256, v.bundle_sha256,
		v.bundle_size, v.schema_version, v.warnings, v.created_at, v.created_by
	FROM set_versions v JOIN policy_sets s ON s.id = v.policy_set_id
	WHERE v.zone_id = ? AND v.policy_set_id = ? AND s.archived_at IS NULL`

func scanSetVersion(r row, v *store.SetVersion) error {
	var warnings string
	err := r.Scan(&v.ID, &v.PolicySetID, &v.ZoneID, &v.Version, &v.Manifest, &v.ManifestSHA256, &v.BundleSHA256,
		&v.BundleSize, &v.SchemaVersion, &warnings, moment{&v.CreatedAt}, &v.CreatedBy)
	v.Warnings = json.RawMessage(warnings)
	return err
}

func (r *reader) SetVersion(ctx context.Context, zoneID, setID, versionID string) (store.SetVersion, error) {
	return one(ctx, r.t, scanSetVersion, setVersionQuery+` AND v.id = ?`, zoneID, setID, versionID)
}

func (r *reader) SetVersions(ctx context.Context, zoneID, setID string, limit int, after store.Cursor) ([]store.SetVersion, error) {
	at, id := position(after)
	return many(ctx, r.t, scanSetVersion, setVersionQuery+` AND (v.created_at, v.id) < (?, ?) ORDER BY v.created_at DESC, v.id DESC LIMIT ?`, zoneID, setID, at, id, limit)
}

func (r *reader) SetVersionPolicies(ctx context.Context, versionID string) ([]store.SetPolicy, error) {
	return many(ctx, r.t, func(r row, p *store.SetPolicy) error {
		var warnings string
		v := &p.PolicyVersion
		err := r.Scan(&v.ID, &v.PolicyID, &v.ZoneID, &v.Version, &v.Content, &v.ContentSHA256, &v.SchemaVersion, &warnings, moment{&v.CreatedAt}, &v.CreatedBy, &p.PolicyName)
		v.Warnings = json.RawMessage(warnings)
		return err
	}, `SELECT `+versionColumns+`, p.name FROM set_version_policies m
		JOIN policy_versions v ON v.id = m.policy_version_id JOIN policies p ON p.id = v.policy_id
		WHERE m.set_version_id = ? ORDER BY m.position`, versionID)
}

func (r *reader) Bundle(ctx context.Context, sha256 string) (store.Bundle, error) {
	return one(ctx, r.t, func(r row, b *store.Bundle) error {
		var envelope string
		err := r.Scan(&b.SHA256, &b.Data, &envelope)
		b.Envelope = json.RawMessage(envelope)
		return err
	}, `SELECT sha256, data, envelope FROM bundles WHERE sha256 = ?`, sha256)
}

func (r *reader) BundleZones(ctx context.Context, sha256 string) ([]string, error) {
	return many(ctx, r.t, func(r row, id *string) error { return r.Scan(id) },
		`SELECT DISTINCT zone_id FROM set_versions WHERE bundle_sha256 = ? ORDER BY zone_id`, sha256)
}

const pointerColumns = `zone_id, sequence, policy_set_id, version_id, manifest_sha256, bundle_sha256, bundle_size, envelope, issued_at, expires_at, since, activated_by, reason`

func scanPointer(r row, p *store.Pointer) error {
	var envelope string
	err := r.Scan(&p.ZoneID, &p.Sequence, &p.PolicySetID, &p.VersionID, &p.ManifestSHA256, &p.BundleSHA256, &p.BundleSize, &envelope,
		moment{&p.IssuedAt}, moment{&p.ExpiresAt}, moment{&p.Since}, &p.ActivatedBy, &p.Reason)
	p.Envelope = json.RawMessage(envelope)
	return err
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
	return r.Scan(&a.ID, &a.ZoneID, &a.Sequence, &a.PolicySetID, &a.VersionID, &a.PreviousVersionID, &a.ManifestSHA256, &a.BundleSHA256,
		&a.Reason, &a.ActorID, &a.ActorName, moment{&a.CreatedAt}, &a.Attempts, &a.LastError, optionalMoment{&a.DispatchedAt})
}

func (r *reader) Activation(ctx context.Context, zoneID, id string) (store.Activation, error) {
	return one(ctx, r.t, scanActivation, `SELECT `+activationColumns+` FROM activations WHERE zone_id = ? AND id = ?`, zoneID, id)
}

func (r *reader) Activations(ctx context.Context, zoneID string, limit int, after store.Cursor) ([]store.Activation, error) {
	at, id := position(after)
	return many(ctx, r.t, scanActivation, `SELECT `+activationColumns+` FROM activations
		WHERE zone_id = ? AND (created_at, id) < (?, ?) ORDER BY created_at DESC, id DESC LIMIT ?`, zoneID, at, id, limit)
}

func (r *reader) PendingOutbox(ctx context.Context, limit int) ([]store.Activation, error) {
	return many(ctx, r.t, scanActivation, `SELECT `+activationColumns+` FROM activations
		WHERE dispatched_at IS NULL ORDER BY created_at, id LIMIT ?`, limit)
}

const tokenColumns = `id, name, hash, roles, zone_id, created_at, created_by, expires_at, revoked_at, last_used_at`

func scanToken(r row, t *store.Token) error {
	var roles string
	if err := r.Scan(&t.ID, &t.Name, &t.Hash, &roles, &t.ZoneID, moment{&t.CreatedAt}, &t.CreatedBy,
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
		WHERE (created_at, id) < (?, ?) ORDER BY created_at DESC, id DESC LIMIT ?`, at, id, limit)
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
		err := r.Scan(&p.DaemonID, &p.ZoneID, &p.State, &p.Sequence, &p.VersionID, &p.ManifestSHA256, &p.BundleSHA256,
			optionalMoment{&loaded}, &p.Detail, &p.ServingSequence, &p.ServingVersionID, moment{&p.ReportedAt})
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
	var payload string
	err := r.Scan(&e.ID, &e.RequestID, &e.ZoneID, &e.ActorID, &e.ActorName, &e.Action, &e.EntityType, &e.EntityID, &e.StatusCode,
		&payload, moment{&e.OccurredAt}, &e.ChainSeq, &e.ChainHash)
	e.Payload = json.RawMessage(payload)
	return err
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
	return many(ctx, r.t, scanAdminEvent, `SELECT `+adminEventColumns+` FROM admin_events`+f.where()+` ORDER BY chain_seq DESC LIMIT ?`, append(f.args, q.Limit)...)
}

// filter collects conditions.
type filter struct {
	conditions []string
	args       []any
}

func (f *filter) add(condition string, args ...any) {
	f.conditions = append(f.conditions, condition)
	f.args = append(f.args, args...)
}

func (f *filter) equal(column, value string) {
	if value != "" {
		f.add(column+" = ?", value)
	}
}

// between keeps since <= column < until, where they are set.
func (f *filter) between(column string, since, until time.Time) {
	if !since.IsZero() {
		f.add(column+" >= ?", micros(since))
	}
	if !until.IsZero() {
		f.add(column+" < ?", micros(until))
	}
}

func (f *filter) where() string {
	if len(f.conditions) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(f.conditions, " AND ")
}

func (r *reader) Idempotent(ctx context.Context, actorID, key string) (store.IdempotentAnswer, error) {
	return one(ctx, r.t, func(r row, a *store.IdempotentAnswer) error {
		return r.Scan(&a.ActorID, &a.Key, &a.RequestHash, &a.StatusCode, &a.Body, moment{&a.CreatedAt})
	}, `SELECT actor_id, key, request_hash, status_code, body, created_at FROM idempotent_answers WHERE actor_id = ? AND key = ?`, actorID, key)
}

func (r *reader) Secret(ctx context.Context, name string) ([]byte, error) {
	return one(ctx, r.t, func(r row, value *[]byte) error { return r.Scan(value) }, `SELECT value FROM secrets WHERE name = ?`, name)
}
