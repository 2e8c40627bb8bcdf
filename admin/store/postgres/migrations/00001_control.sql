-- +goose Up
-- Times are microseconds since 1970 in UTC. Everything that was published is
-- kept from change and removal by triggers, whoever asks. Texts are ordered by
-- their bytes, as Go orders them.

CREATE TABLE zones (
    id          TEXT COLLATE "C" PRIMARY KEY,
    name        TEXT COLLATE "C" NOT NULL,
    slug        TEXT COLLATE "C" NOT NULL,
    settings    TEXT COLLATE "C" NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    archived_at BIGINT
);
CREATE UNIQUE INDEX zones_name ON zones (name) WHERE archived_at IS NULL;
CREATE UNIQUE INDEX zones_slug ON zones (slug) WHERE archived_at IS NULL;
CREATE INDEX zones_newest ON zones (created_at, id);

CREATE TABLE policies (
    id          TEXT COLLATE "C" PRIMARY KEY,
    zone_id     TEXT COLLATE "C" NOT NULL REFERENCES zones (id),
    name        TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C" NOT NULL,
    created_at  BIGINT NOT NULL,
    created_by  TEXT COLLATE "C" NOT NULL,
    archived_at BIGINT
);
CREATE UNIQUE INDEX policies_name ON policies (zone_id, name) WHERE archived_at IS NULL;
CREATE INDEX policies_newest ON policies (zone_id, created_at, id);

CREATE TABLE policy_versions (
    id             TEXT COLLATE "C" PRIMARY KEY,
    policy_id      TEXT COLLATE "C" NOT NULL REFERENCES policies (id),
    zone_id        TEXT COLLATE "C" NOT NULL REFERENCES zones (id),
    version        BIGINT NOT NULL,
    content        TEXT COLLATE "C" NOT NULL,
    tests          TEXT COLLATE "C" NOT NULL DEFAULT '',
    content_sha256 TEXT COLLATE "C" NOT NULL,
    schema_version TEXT COLLATE "C" NOT NULL,
    warnings       TEXT COLLATE "C" NOT NULL,
    created_at     BIGINT NOT NULL,
    created_by     TEXT COLLATE "C" NOT NULL,
    UNIQUE (policy_id, version)
);

CREATE TABLE policy_sets (
    id          TEXT COLLATE "C" PRIMARY KEY,
    zone_id     TEXT COLLATE "C" NOT NULL REFERENCES zones (id),
    name        TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C" NOT NULL,
    created_at  BIGINT NOT NULL,
    created_by  TEXT COLLATE "C" NOT NULL,
    archived_at BIGINT
);
CREATE UNIQUE INDEX policy_sets_name ON policy_sets (zone_id, name) WHERE archived_at IS NULL;
CREATE INDEX policy_sets_newest ON policy_sets (zone_id, created_at, id);

CREATE TABLE bundles (
    sha256   TEXT COLLATE "C" PRIMARY KEY,
    data     BYTEA NOT NULL,
    envelope TEXT COLLATE "C" NOT NULL
);

CREATE TABLE set_versions (
    id              TEXT COLLATE "C" PRIMARY KEY,
    policy_set_id   TEXT COLLATE "C" NOT NULL REFERENCES policy_sets (id),
    zone_id         TEXT COLLATE "C" NOT NULL REFERENCES zones (id),
    version         BIGINT NOT NULL,
    manifest        BYTEA NOT NULL,
    manifest_sha256 TEXT COLLATE "C" NOT NULL,
    bundle_sha256   TEXT COLLATE "C" NOT NULL REFERENCES bundles (sha256),
    bundle_size     BIGINT NOT NULL,
    schema_version  TEXT COLLATE "C" NOT NULL,
    warnings        TEXT COLLATE "C" NOT NULL,
    created_at      BIGINT NOT NULL,
    created_by      TEXT COLLATE "C" NOT NULL,
    UNIQUE (policy_set_id, version)
);
CREATE INDEX set_versions_newest ON set_versions (policy_set_id, created_at, id);
CREATE INDEX set_versions_bundle ON set_versions (bundle_sha256, zone_id);

CREATE TABLE set_version_policies (
    set_version_id    TEXT COLLATE "C" NOT NULL REFERENCES set_versions (id),
    position          BIGINT NOT NULL,
    policy_version_id TEXT COLLATE "C" NOT NULL REFERENCES policy_versions (id),
    PRIMARY KEY (set_version_id, position)
);

CREATE TABLE pointers (
    zone_id         TEXT COLLATE "C" PRIMARY KEY REFERENCES zones (id),
    sequence        BIGINT NOT NULL,
    policy_set_id   TEXT COLLATE "C" REFERENCES policy_sets (id),
    version_id      TEXT COLLATE "C" REFERENCES set_versions (id),
    manifest_sha256 TEXT COLLATE "C" NOT NULL,
    bundle_sha256   TEXT COLLATE "C" NOT NULL,
    bundle_size     BIGINT NOT NULL,
    envelope        TEXT COLLATE "C" NOT NULL,
    issued_at       BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    since           BIGINT NOT NULL,
    activated_by    TEXT COLLATE "C" NOT NULL,
    reason          TEXT COLLATE "C" NOT NULL
);

CREATE TABLE activations (
    id                  TEXT COLLATE "C" PRIMARY KEY,
    zone_id             TEXT COLLATE "C" NOT NULL REFERENCES zones (id),
    sequence            BIGINT NOT NULL,
    policy_set_id       TEXT COLLATE "C" REFERENCES policy_sets (id),
    version_id          TEXT COLLATE "C" REFERENCES set_versions (id),
    previous_version_id TEXT COLLATE "C" REFERENCES set_versions (id),
    manifest_sha256     TEXT COLLATE "C" NOT NULL,
    bundle_sha256       TEXT COLLATE "C" NOT NULL,
    reason              TEXT COLLATE "C" NOT NULL,
    actor_id            TEXT COLLATE "C" NOT NULL,
    actor_name          TEXT COLLATE "C" NOT NULL,
    created_at          BIGINT NOT NULL,
    attempts            BIGINT NOT NULL DEFAULT 0,
    last_error          TEXT COLLATE "C" NOT NULL DEFAULT '',
    dispatched_at       BIGINT,
    UNIQUE (zone_id, sequence)
);
CREATE INDEX activations_newest ON activations (zone_id, created_at, id);
CREATE INDEX activations_pending ON activations (created_at, id) WHERE dispatched_at IS NULL;

CREATE TABLE tokens (
    id           TEXT COLLATE "C" PRIMARY KEY,
    name         TEXT COLLATE "C" NOT NULL,
    hash         BYTEA NOT NULL UNIQUE,
    roles        TEXT COLLATE "C" NOT NULL,
    zone_id      TEXT COLLATE "C" REFERENCES zones (id),
    created_at   BIGINT NOT NULL,
    created_by   TEXT COLLATE "C" NOT NULL,
    expires_at   BIGINT,
    revoked_at   BIGINT,
    last_used_at BIGINT
);
CREATE INDEX tokens_newest ON tokens (created_at, id);

CREATE TABLE daemons (
    id           TEXT COLLATE "C" PRIMARY KEY,
    name         TEXT COLLATE "C" NOT NULL,
    version      TEXT COLLATE "C" NOT NULL,
    labels       TEXT COLLATE "C" NOT NULL,
    last_seen_at BIGINT NOT NULL
);

CREATE TABLE receipts (
    zone_id            TEXT COLLATE "C" NOT NULL,
    daemon_id          TEXT COLLATE "C" NOT NULL REFERENCES daemons (id),
    state              TEXT COLLATE "C" NOT NULL,
    sequence           BIGINT NOT NULL,
    version_id         TEXT COLLATE "C",
    manifest_sha256    TEXT COLLATE "C" NOT NULL,
    bundle_sha256      TEXT COLLATE "C" NOT NULL,
    loaded_at          BIGINT,
    detail             TEXT COLLATE "C" NOT NULL,
    serving_sequence   BIGINT NOT NULL,
    serving_version_id TEXT COLLATE "C",
    reported_at        BIGINT NOT NULL,
    PRIMARY KEY (zone_id, daemon_id)
);

CREATE TABLE admin_events (
    chain_seq   BIGINT PRIMARY KEY,
    id          TEXT COLLATE "C" NOT NULL UNIQUE,
    request_id  TEXT COLLATE "C" NOT NULL,
    zone_id     TEXT COLLATE "C" NOT NULL,
    actor_id    TEXT COLLATE "C" NOT NULL,
    actor_name  TEXT COLLATE "C" NOT NULL,
    action      TEXT COLLATE "C" NOT NULL,
    entity_type TEXT COLLATE "C" NOT NULL,
    entity_id   TEXT COLLATE "C" NOT NULL,
    status_code BIGINT NOT NULL,
    payload     TEXT COLLATE "C" NOT NULL,
    occurred_at BIGINT NOT NULL,
    chain_hash  TEXT COLLATE "C" NOT NULL
);
CREATE INDEX admin_events_zone ON admin_events (zone_id, chain_seq);

CREATE TABLE idempotent_answers (
    actor_id     TEXT COLLATE "C" NOT NULL,
    key          TEXT COLLATE "C" NOT NULL,
    request_hash BYTEA NOT NULL,
    status_code  BIGINT NOT NULL,
    body         BYTEA NOT NULL,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (actor_id, key)
);
CREATE INDEX idempotent_answers_age ON idempotent_answers (created_at);

CREATE TABLE secrets (
    name  TEXT COLLATE "C" PRIMARY KEY,
    value BYTEA NOT NULL
);

-- How often pointers were written, so that a poll learns of it cheaply.
CREATE TABLE counters (
    name  TEXT COLLATE "C" PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('pointer_writes', 0);
-- +goose StatementBegin
CREATE FUNCTION pointer_written() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE counters SET value = value + 1 WHERE name = 'pointer_writes';
    NOTIFY caracal_pointers;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER pointers_written AFTER INSERT OR UPDATE ON pointers FOR EACH ROW EXECUTE FUNCTION pointer_written();

-- CI001 is the code by which the store knows a refusal.
-- +goose StatementBegin
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'immutable: %', TG_ARGV[0] USING ERRCODE = 'CI001';
END $$;
-- +goose StatementEnd
CREATE TRIGGER zones_fixed BEFORE UPDATE ON zones FOR EACH ROW
    WHEN (NEW.id IS DISTINCT FROM OLD.id OR NEW.created_at IS DISTINCT FROM OLD.created_at OR OLD.archived_at IS NOT NULL)
    EXECUTE FUNCTION refuse('zones');
CREATE TRIGGER zones_kept BEFORE DELETE ON zones FOR EACH ROW
    EXECUTE FUNCTION refuse('zones');
CREATE TRIGGER policies_fixed BEFORE UPDATE ON policies FOR EACH ROW
    WHEN (NEW.id IS DISTINCT FROM OLD.id OR NEW.zone_id IS DISTINCT FROM OLD.zone_id OR NEW.name IS DISTINCT FROM OLD.name
  OR NEW.description IS DISTINCT FROM OLD.description OR NEW.created_at IS DISTINCT FROM OLD.created_at
  OR NEW.created_by IS DISTINCT FROM OLD.created_by OR OLD.archived_at IS NOT NULL)
    EXECUTE FUNCTION refuse('policies');
CREATE TRIGGER policies_kept BEFORE DELETE ON policies FOR EACH ROW
    EXECUTE FUNCTION refuse('policies');
CREATE TRIGGER policy_versions_fixed BEFORE UPDATE ON policy_versions FOR EACH ROW
    EXECUTE FUNCTION refuse('policy_versions');
CREATE TRIGGER policy_versions_kept BEFORE DELETE ON policy_versions FOR EACH ROW
    EXECUTE FUNCTION refuse('policy_versions');
CREATE TRIGGER policy_sets_fixed BEFORE UPDATE ON policy_sets FOR EACH ROW
    WHEN (NEW.id IS DISTINCT FROM OLD.id OR NEW.zone_id IS DISTINCT FROM OLD.zone_id OR NEW.name IS DISTINCT FROM OLD.name
  OR NEW.description IS DISTINCT FROM OLD.description OR NEW.created_at IS DISTINCT FROM OLD.created_at
  OR NEW.created_by IS DISTINCT FROM OLD.created_by OR OLD.archived_at IS NOT NULL)
    EXECUTE FUNCTION refuse('policy_sets');
CREATE TRIGGER policy_sets_kept BEFORE DELETE ON policy_sets FOR EACH ROW
    EXECUTE FUNCTION refuse('policy_sets');
CREATE TRIGGER bundles_fixed BEFORE UPDATE ON bundles FOR EACH ROW
    EXECUTE FUNCTION refuse('bundles');
CREATE TRIGGER bundles_kept BEFORE DELETE ON bundles FOR EACH ROW
    EXECUTE FUNCTION refuse('bundles');
CREATE TRIGGER set_versions_fixed BEFORE UPDATE ON set_versions FOR EACH ROW
    EXECUTE FUNCTION refuse('set_versions');
CREATE TRIGGER set_versions_kept BEFORE DELETE ON set_versions FOR EACH ROW
    EXECUTE FUNCTION refuse('set_versions');
CREATE TRIGGER set_version_policies_fixed BEFORE UPDATE ON set_version_policies FOR EACH ROW
    EXECUTE FUNCTION refuse('set_version_policies');
CREATE TRIGGER set_version_policies_kept BEFORE DELETE ON set_version_policies FOR EACH ROW
    EXECUTE FUNCTION refuse('set_version_policies');
CREATE TRIGGER pointers_forward BEFORE UPDATE ON pointers FOR EACH ROW
    WHEN (NEW.zone_id IS DISTINCT FROM OLD.zone_id
  OR NOT (NEW.sequence = OLD.sequence + 1
    OR (NEW.sequence = OLD.sequence AND NEW.issued_at > OLD.issued_at
      AND NEW.policy_set_id IS NOT DISTINCT FROM OLD.policy_set_id AND NEW.version_id IS NOT DISTINCT FROM OLD.version_id
      AND NEW.manifest_sha256 IS NOT DISTINCT FROM OLD.manifest_sha256 AND NEW.bundle_sha256 IS NOT DISTINCT FROM OLD.bundle_sha256)))
    EXECUTE FUNCTION refuse('pointers');
CREATE TRIGGER pointers_kept BEFORE DELETE ON pointers FOR EACH ROW
    EXECUTE FUNCTION refuse('pointers');
CREATE TRIGGER activations_fixed BEFORE UPDATE ON activations FOR EACH ROW
    WHEN (NEW.id IS DISTINCT FROM OLD.id OR NEW.zone_id IS DISTINCT FROM OLD.zone_id OR NEW.sequence IS DISTINCT FROM OLD.sequence
  OR NEW.policy_set_id IS DISTINCT FROM OLD.policy_set_id OR NEW.version_id IS DISTINCT FROM OLD.version_id
  OR NEW.previous_version_id IS DISTINCT FROM OLD.previous_version_id OR NEW.manifest_sha256 IS DISTINCT FROM OLD.manifest_sha256
  OR NEW.bundle_sha256 IS DISTINCT FROM OLD.bundle_sha256 OR NEW.reason IS DISTINCT FROM OLD.reason OR NEW.actor_id IS DISTINCT FROM OLD.actor_id
  OR NEW.actor_name IS DISTINCT FROM OLD.actor_name OR NEW.created_at IS DISTINCT FROM OLD.created_at)
    EXECUTE FUNCTION refuse('activations');
CREATE TRIGGER activations_kept BEFORE DELETE ON activations FOR EACH ROW
    EXECUTE FUNCTION refuse('activations');
CREATE TRIGGER admin_events_fixed BEFORE UPDATE ON admin_events FOR EACH ROW
    EXECUTE FUNCTION refuse('admin_events');
CREATE TRIGGER admin_events_kept BEFORE DELETE ON admin_events FOR EACH ROW
    EXECUTE FUNCTION refuse('admin_events');
-- A zone's first pointer has sequence 0.
CREATE TRIGGER pointers_begin BEFORE INSERT ON pointers FOR EACH ROW WHEN (NEW.sequence <> 0) EXECUTE FUNCTION refuse('pointers');
CREATE TRIGGER zones_whole BEFORE TRUNCATE ON zones EXECUTE FUNCTION refuse('zones');
CREATE TRIGGER policies_whole BEFORE TRUNCATE ON policies EXECUTE FUNCTION refuse('policies');
CREATE TRIGGER policy_versions_whole BEFORE TRUNCATE ON policy_versions EXECUTE FUNCTION refuse('policy_versions');
CREATE TRIGGER policy_sets_whole BEFORE TRUNCATE ON policy_sets EXECUTE FUNCTION refuse('policy_sets');
CREATE TRIGGER bundles_whole BEFORE TRUNCATE ON bundles EXECUTE FUNCTION refuse('bundles');
CREATE TRIGGER set_versions_whole BEFORE TRUNCATE ON set_versions EXECUTE FUNCTION refuse('set_versions');
CREATE TRIGGER set_version_policies_whole BEFORE TRUNCATE ON set_version_policies EXECUTE FUNCTION refuse('set_version_policies');
CREATE TRIGGER pointers_whole BEFORE TRUNCATE ON pointers EXECUTE FUNCTION refuse('pointers');
CREATE TRIGGER activations_whole BEFORE TRUNCATE ON activations EXECUTE FUNCTION refuse('activations');
CREATE TRIGGER admin_events_whole BEFORE TRUNCATE ON admin_events EXECUTE FUNCTION refuse('admin_events');
