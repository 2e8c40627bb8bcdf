-- +goose Up
-- What is known of a daemon: who may report for it, what it says of itself, and
-- whether it was retired. Null is what was not kept before.
ALTER TABLE daemons ADD COLUMN first_seen_at INTEGER;
ALTER TABLE daemons ADD COLUMN owner TEXT;
ALTER TABLE daemons ADD COLUMN digest TEXT;
ALTER TABLE daemons ADD COLUMN status TEXT NOT NULL DEFAULT 'null';
ALTER TABLE daemons ADD COLUMN failing_since INTEGER;
ALTER TABLE daemons ADD COLUMN retired_at INTEGER;
ALTER TABLE receipts ADD COLUMN since INTEGER;
CREATE INDEX receipts_daemon ON receipts (daemon_id, zone_id);
