-- +goose Up
-- One stream for each daemon and epoch of its spool: where the next record
-- belongs, and the daemon's hash chain up to there.
CREATE TABLE streams (
    id          INTEGER PRIMARY KEY,
    daemon_id   TEXT NOT NULL,
    epoch       TEXT NOT NULL,
    next_offset INTEGER NOT NULL,
    hash        BLOB NOT NULL,
    UNIQUE (daemon_id, epoch)
) STRICT;

CREATE TABLE events (
    seq                   INTEGER PRIMARY KEY AUTOINCREMENT,
    id                    TEXT NOT NULL,
    zone_id               TEXT NOT NULL,
    event_type            TEXT NOT NULL,
    request_id            TEXT NOT NULL,
    decision              TEXT NOT NULL,
    evaluation_status     TEXT NOT NULL,
    policy_set_id         TEXT NOT NULL,
    policy_set_version_id TEXT NOT NULL,
    manifest_sha256       TEXT NOT NULL,
    bundle_sha256         TEXT NOT NULL,
    pointer_sequence      INTEGER NOT NULL,
    determining_policies  BLOB,
    diagnostics           BLOB,
    metadata              BLOB,
    input                 BLOB,
    occurred_at           INTEGER NOT NULL,
    ingested_at           INTEGER NOT NULL,
    stream                INTEGER NOT NULL REFERENCES streams (id),
    stream_offset         INTEGER NOT NULL,
    bytes                 INTEGER NOT NULL
) STRICT;
CREATE INDEX events_request ON events (zone_id, request_id);
-- Unique, so that a position in the list names one event.
CREATE UNIQUE INDEX events_newest ON events (zone_id, occurred_at, id);
-- What people look for is rare: these two stay small.
CREATE INDEX events_refused ON events (zone_id, occurred_at, id) WHERE decision <> 'allow';
CREATE INDEX events_special ON events (zone_id, occurred_at, id) WHERE event_type <> 'decision';
-- Ends with the row's seq by itself.
CREATE INDEX events_tail ON events (zone_id);

-- What each zone's events take, so that retention by size needs no scan.
CREATE TABLE zone_sizes (
    zone_id TEXT PRIMARY KEY,
    events  INTEGER NOT NULL,
    bytes   INTEGER NOT NULL
) STRICT;

-- Events are removed by retention alone, and never changed.
-- +goose StatementBegin
CREATE TRIGGER events_fixed BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'immutable: events'); END;
-- +goose StatementEnd
