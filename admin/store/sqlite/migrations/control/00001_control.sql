-- +goose Up
-- Times are microseconds since 1970 in UTC. Everything that was published is
-- kept from change and removal by triggers, whoever asks.

CREATE TABLE zones (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    slug        TEXT NOT NULL,
    settings    TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    archived_at INTEGER
) STRICT;
CREATE UNIQUE INDEX zones_name ON zones (name) WHERE archived_at IS NULL;
CREATE UNIQUE INDEX zones_slug ON zones (slug) WHERE archived_at IS NULL;
CREATE INDEX zones_newest ON zones (created_at, id);

CREATE TABLE policies (
    id          TEXT PRIMARY KEY,
    zone_id     TEXT NOT NULL REFERENCES zones (id),
    name        TEXT NOT NULL,
    description TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    created_by  TEXT NOT NULL,
    archived_at INTEGER
) STRICT;
CREATE UNIQUE INDEX policies_name ON policies (zone_id, name) WHERE archived_at IS NULL;
CREATE INDEX policies_newest ON policies (zone_id, created_at, id);

CREATE TABLE policy_versions (
    id             TEXT PRIMARY KEY,
    policy_id      TEXT NOT NULL REFERENCES policies (id),
    zone_id        TEXT NOT NULL REFERENCES zones (id),
    version        INTEGER NOT NULL,
    content        TEXT NOT NULL,
    content_sha256 TEXT NOT NULL,
    schema_version TEXT NOT NULL,
    warnings       TEXT NOT NULL,
    created_at     INTEGER NOT NULL,
    created_by     TEXT NOT NULL,
    UNIQUE (policy_id, version)
) STRICT;

CREATE TABLE policy_sets (
    id          TEXT PRIMARY KEY,
    zone_id     TEXT NOT NULL REFERENCES zones (id),
    name        TEXT NOT NULL,
    description TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    created_by  TEXT NOT NULL,
    archived_at INTEGER
) STRICT;
CREATE UNIQUE INDEX policy_sets_name ON policy_sets (zone_id, name) WHERE archived_at IS NULL;
CREATE INDEX policy_sets_newest ON policy_sets (zone_id, created_at, id);

CREATE TABLE bundles (
    sha256   TEXT PRIMARY KEY,
    data     BLOB NOT NULL,
    envelope TEXT NOT NULL
) STRICT;

CREATE TABLE set_versions (
    id              TEXT PRIMARY KEY,
    policy_set_id   TEXT NOT NULL REFERENCES policy_sets (id),
    zone_id         TEXT NOT NULL REFERENCES zones (id),
    version         INTEGER NOT NULL,
    manifest        BLOB NOT NULL,
    manifest_sha256 TEXT NOT NULL,
    bundle_sha256   TEXT NOT NULL REFERENCES bundles (sha256),
    bundle_size     INTEGER NOT NULL,
    schema_version  TEXT NOT NULL,
    warnings        TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    created_by      TEXT NOT NULL,
    UNIQUE (policy_set_id, version)
) STRICT;
CREATE INDEX set_versions_newest ON set_versions (policy_set_id, created_at, id);
CREATE INDEX set_versions_bundle ON set_versions (bundle_sha256, zone_id);

CREATE TABLE set_version_policies (
    set_version_id    TEXT NOT NULL REFERENCES set_versions (id),
    position          INTEGER NOT NULL,
    policy_version_id TEXT NOT NULL REFERENCES policy_versions (id),
    PRIMARY KEY (set_version_id, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE pointers (
    zone_id         TEXT PRIMARY KEY REFERENCES zones (id),
    sequence        INTEGER NOT NULL,
    policy_set_id   TEXT REFERENCES policy_sets (id),
    version_id      TEXT REFERENCES set_versions (id),
    manifest_sha256 TEXT NOT NULL,
    bundle_sha256   TEXT NOT NULL,
    bundle_size     INTEGER NOT NULL,
    envelope        TEXT NOT NULL,
    issued_at       INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    since           INTEGER NOT NULL,
    activated_by    TEXT NOT NULL,
    reason          TEXT NOT NULL
) STRICT;

CREATE TABLE activations (
    id                  TEXT PRIMARY KEY,
    zone_id             TEXT NOT NULL REFERENCES zones (id),
    sequence            INTEGER NOT NULL,
    policy_set_id       TEXT REFERENCES policy_sets (id),
    version_id          TEXT REFERENCES set_versions (id),
    previous_version_id TEXT REFERENCES set_versions (id),
    manifest_sha256     TEXT NOT NULL,
    bundle_sha256       TEXT NOT NULL,
    reason              TEXT NOT NULL,
    actor_id            TEXT NOT NULL,
    actor_name          TEXT NOT NULL,
    created_at          INTEGER NOT NULL,
    attempts            INTEGER NOT NULL DEFAULT 0,
    last_error          TEXT NOT NULL DEFAULT '',
    dispatched_at       INTEGER,
    UNIQUE (zone_id, sequence)
) STRICT;
CREATE INDEX activations_newest ON activations (zone_id, created_at, id);
CREATE INDEX activations_pending ON activations (created_at, id) WHERE dispatched_at IS NULL;

CREATE TABLE tokens (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL,
    hash         BLOB NOT NULL UNIQUE,
    roles        TEXT NOT NULL,
    zone_id      TEXT REFERENCES zones (id),
    created_at   INTEGER NOT NULL,
    created_by   TEXT NOT NULL,
    expires_at   INTEGER,
    revoked_at   INTEGER,
    last_used_at INTEGER
) STRICT;
CREATE INDEX tokens_newest ON tokens (created_at, id);

CREATE TABLE daemons (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL,
    version      TEXT NOT NULL,
    labels       TEXT NOT NULL,
    last_seen_at INTEGER NOT NULL
) STRICT;

CREATE TABLE receipts (
    zone_id            TEXT NOT NULL,
    daemon_id          TEXT NOT NULL REFERENCES daemons (id),
    state              TEXT NOT NULL,
    sequence           INTEGER NOT NULL,
    version_id         TEXT,
    manifest_sha256    TEXT NOT NULL,
    bundle_sha256      TEXT NOT NULL,
    loaded_at          INTEGER,
    detail             TEXT NOT NULL,
    serving_sequence   INTEGER NOT NULL,
    serving_version_id TEXT,
    reported_at        INTEGER NOT NULL,
    PRIMARY KEY (zone_id, daemon_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE admin_events (
    chain_seq   INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    request_id  TEXT NOT NULL,
    zone_id     TEXT NOT NULL,
    actor_id    TEXT NOT NULL,
    actor_name  TEXT NOT NULL,
    action      TEXT NOT NULL,
    entity_type TEXT NOT NULL,
    entity_id   TEXT NOT NULL,
    status_code INTEGER NOT NULL,
    payload     TEXT NOT NULL,
    occurred_at INTEGER NOT NULL,
    chain_hash  TEXT NOT NULL
) STRICT;
CREATE INDEX admin_events_zone ON admin_events (zone_id, chain_seq);

CREATE TABLE idempotent_answers (
    actor_id     TEXT NOT NULL,
    key          TEXT NOT NULL,
    request_hash BLOB NOT NULL,
    status_code  INTEGER NOT NULL,
    body         BLOB NOT NULL,
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (actor_id, key)
) STRICT;
CREATE INDEX idempotent_answers_age ON idempotent_answers (created_at);

CREATE TABLE secrets (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;

-- How often pointers were written, so that another process learns of it cheaply.
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;
INSERT INTO counters (name, value) VALUES ('pointer_writes', 0);
-- +goose StatementBegin
CREATE TRIGGER pointers_begun AFTER INSERT ON pointers
BEGIN UPDATE counters SET value = value + 1 WHERE name = 'pointer_writes'; END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER pointers_moved AFTER UPDATE ON pointers
BEGIN UPDATE counters SET value = value + 1 WHERE name = 'pointer_writes'; END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER zones_fixed BEFORE UPDATE ON zones
WHEN NEW.id IS NOT OLD.id OR NEW.created_at IS NOT OLD.created_at OR OLD.archived_at IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'immutable: zones'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER zones_kept BEFORE DELETE ON zones BEGIN SELECT RAISE(ABORT, 'immutable: zones'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER policies_fixed BEFORE UPDATE ON policies
WHEN NEW.id IS NOT OLD.id OR NEW.zone_id IS NOT OLD.zone_id OR NEW.name IS NOT OLD.name
  OR NEW.description IS NOT OLD.description OR NEW.created_at IS NOT OLD.created_at
  OR NEW.created_by IS NOT OLD.created_by OR OLD.archived_at IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'immutable: policies'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER policies_kept BEFORE DELETE ON policies BEGIN SELECT RAISE(ABORT, 'immutable: policies'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER policy_versions_fixed BEFORE UPDATE ON policy_versions BEGIN SELECT RAISE(ABORT, 'immutable: policy_versions'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER policy_versions_kept BEFORE DELETE ON policy_versions BEGIN SELECT RAISE(ABORT, 'immutable: policy_versions'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER policy_sets_fixed BEFORE UPDATE ON policy_sets
WHEN NEW.id IS NOT OLD.id OR NEW.zone_id IS NOT OLD.zone_id OR NEW.name IS NOT OLD.name
  OR NEW.description IS NOT OLD.description OR NEW.created_at IS NOT OLD.created_at
  OR NEW.created_by IS NOT OLD.created_by OR OLD.archived_at IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'immutable: policy_sets'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER policy_sets_kept BEFORE DELETE ON policy_sets BEGIN SELECT RAISE(ABORT, 'immutable: policy_sets'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER bundles_fixed BEFORE UPDATE ON bundles BEGIN SELECT RAISE(ABORT, 'immutable: bundles'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER bundles_kept BEFORE DELETE ON bundles BEGIN SELECT RAISE(ABORT, 'immutable: bundles'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER set_versions_fixed BEFORE UPDATE ON set_versions BEGIN SELECT RAISE(ABORT, 'immutable: set_versions'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER set_versions_kept BEFORE DELETE ON set_versions BEGIN SELECT RAISE(ABORT, 'immutable: set_versions'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER set_version_policies_fixed BEFORE UPDATE ON set_version_policies BEGIN SELECT RAISE(ABORT, 'immutable: set_version_policies'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER set_version_policies_kept BEFORE DELETE ON set_version_policies BEGIN SELECT RAISE(ABORT, 'immutable: set_version_policies'); END;
-- +goose StatementEnd
-- A pointer moves by one step, or is renewed at the same sequence without moving.
-- +goose StatementBegin
CREATE TRIGGER pointers_forward BEFORE UPDATE ON pointers
WHEN NEW.zone_id IS NOT OLD.zone_id
  OR NOT (NEW.sequence = OLD.sequence + 1
    OR (NEW.sequence = OLD.sequence AND NEW.issued_at > OLD.issued_at
      AND NEW.policy_set_id IS OLD.policy_set_id AND NEW.version_id IS OLD.version_id
      AND NEW.manifest_sha256 IS OLD.manifest_sha256 AND NEW.bundle_sha256 IS OLD.bundle_sha256))
BEGIN SELECT RAISE(ABORT, 'immutable: pointers'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER pointers_kept BEFORE DELETE ON pointers BEGIN SELECT RAISE(ABORT, 'immutable: pointers'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER activations_fixed BEFORE UPDATE ON activations
WHEN NEW.id IS NOT OLD.id OR NEW.zone_id IS NOT OLD.zone_id OR NEW.sequence IS NOT OLD.sequence
  OR NEW.policy_set_id IS NOT OLD.policy_set_id OR NEW.version_id IS NOT OLD.version_id
  OR NEW.previous_version_id IS NOT OLD.previous_version_id OR NEW.manifest_sha256 IS NOT OLD.manifest_sha256
  OR NEW.bundle_sha256 IS NOT OLD.bundle_sha256 OR NEW.reason IS NOT OLD.reason OR NEW.actor_id IS NOT OLD.actor_id
  OR NEW.actor_name IS NOT OLD.actor_name OR NEW.created_at IS NOT OLD.created_at
BEGIN SELECT RAISE(ABORT, 'immutable: activations'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER activations_kept BEFORE DELETE ON activations BEGIN SELECT RAISE(ABORT, 'immutable: activations'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER admin_events_fixed BEFORE UPDATE ON admin_events BEGIN SELECT RAISE(ABORT, 'immutable: admin_events'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER admin_events_kept BEFORE DELETE ON admin_events BEGIN SELECT RAISE(ABORT, 'immutable: admin_events'); END;
-- +goose StatementEnd

-- INSERT OR REPLACE removes rows without asking the triggers above, so inserting
-- over a row is refused before that.
-- +goose StatementBegin
CREATE TRIGGER zones_not_replaced BEFORE INSERT ON zones
WHEN EXISTS (SELECT 1 FROM zones WHERE id = NEW.id)
  OR EXISTS (SELECT 1 FROM zones WHERE name = NEW.name AND archived_at IS NULL)
  OR EXISTS (SELECT 1 FROM zones WHERE slug = NEW.slug AND archived_at IS NULL)
BEGIN SELECT RAISE(ABORT, 'exists: zones'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER policies_not_replaced BEFORE INSERT ON policies
WHEN EXISTS (SELECT 1 FROM policies WHERE id = NEW.id)
  OR EXISTS (SELECT 1 FROM policies WHERE zone_id = NEW.zone_id AND name = NEW.name AND archived_at IS NULL)
BEGIN SELECT RAISE(ABORT, 'exists: policies'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER policy_versions_not_replaced BEFORE INSERT ON policy_versions
WHEN EXISTS (SELECT 1 FROM policy_versions WHERE id = NEW.id)
  OR EXISTS (SELECT 1 FROM policy_versions WHERE policy_id = NEW.policy_id AND version = NEW.version)
BEGIN SELECT RAISE(ABORT, 'exists: policy_versions'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER policy_sets_not_replaced BEFORE INSERT ON policy_sets
WHEN EXISTS (SELECT 1 FROM policy_sets WHERE id = NEW.id)
  OR EXISTS (SELECT 1 FROM policy_sets WHERE zone_id = NEW.zone_id AND name = NEW.name AND archived_at IS NULL)
BEGIN SELECT RAISE(ABORT, 'exists: policy_sets'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER bundles_not_replaced BEFORE INSERT ON bundles
WHEN EXISTS (SELECT 1 FROM bundles WHERE sha256 = NEW.sha256)
BEGIN SELECT RAISE(ABORT, 'exists: bundles'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER set_versions_not_replaced BEFORE INSERT ON set_versions
WHEN EXISTS (SELECT 1 FROM set_versions WHERE id = NEW.id)
  OR EXISTS (SELECT 1 FROM set_versions WHERE policy_set_id = NEW.policy_set_id AND version = NEW.version)
BEGIN SELECT RAISE(ABORT, 'exists: set_versions'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER set_version_policies_not_replaced BEFORE INSERT ON set_version_policies
WHEN EXISTS (SELECT 1 FROM set_version_policies WHERE set_version_id = NEW.set_version_id AND position = NEW.position)
BEGIN SELECT RAISE(ABORT, 'exists: set_version_policies'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER activations_not_replaced BEFORE INSERT ON activations
WHEN EXISTS (SELECT 1 FROM activations WHERE id = NEW.id)
  OR EXISTS (SELECT 1 FROM activations WHERE zone_id = NEW.zone_id AND sequence = NEW.sequence)
BEGIN SELECT RAISE(ABORT, 'exists: activations'); END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER admin_events_not_replaced BEFORE INSERT ON admin_events
WHEN EXISTS (SELECT 1 FROM admin_events WHERE chain_seq = NEW.chain_seq)
  OR EXISTS (SELECT 1 FROM admin_events WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'exists: admin_events'); END;
-- +goose StatementEnd
-- A zone's first pointer has sequence 0, and is inserted once.
-- +goose StatementBegin
CREATE TRIGGER pointers_not_replaced BEFORE INSERT ON pointers
WHEN NEW.sequence <> 0 OR EXISTS (SELECT 1 FROM pointers WHERE zone_id = NEW.zone_id)
BEGIN SELECT RAISE(ABORT, 'immutable: pointers'); END;
-- +goose StatementEnd
-- UPDATE OR REPLACE removes rows just so; a zone's names are all that could meet another row's.
-- +goose StatementBegin
CREATE TRIGGER zones_not_replaced_by_update BEFORE UPDATE ON zones
WHEN NEW.archived_at IS NULL AND EXISTS (SELECT 1 FROM zones
  WHERE (name = NEW.name OR slug = NEW.slug) AND archived_at IS NULL AND id IS NOT OLD.id)
BEGIN SELECT RAISE(ABORT, 'exists: zones'); END;
-- +goose StatementEnd
