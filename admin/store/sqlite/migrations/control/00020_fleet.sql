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
CREATE INDEX receipts_daemon ON receipts (daemon_id, zone_id, sequence);
-- So that what is behind or failed is found without looking at all the rest.
CREATE INDEX receipts_behind ON receipts (zone_id, sequence, daemon_id);
CREATE INDEX receipts_failed ON receipts (daemon_id, zone_id) WHERE state = 'failed';
CREATE INDEX pointers_sequence ON pointers (zone_id, sequence);
