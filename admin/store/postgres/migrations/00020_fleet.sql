-- +goose Up
-- What is known of a daemon: who may report for it, what it says of itself, and
-- whether it was retired. Null is what was not kept before.
ALTER TABLE daemons ADD COLUMN first_seen_at BIGINT;
ALTER TABLE daemons ADD COLUMN owner TEXT COLLATE "C";
ALTER TABLE daemons ADD COLUMN digest TEXT COLLATE "C";
ALTER TABLE daemons ADD COLUMN status TEXT COLLATE "C" NOT NULL DEFAULT 'null';
ALTER TABLE daemons ADD COLUMN failing_since BIGINT;
ALTER TABLE daemons ADD COLUMN retired_at BIGINT;
ALTER TABLE receipts ADD COLUMN since BIGINT;
CREATE INDEX receipts_daemon ON receipts (daemon_id, zone_id, sequence);
-- So that what is behind or failed is found without looking at all the rest.
CREATE INDEX receipts_behind ON receipts (zone_id, sequence, daemon_id);
CREATE INDEX receipts_failed ON receipts (daemon_id, zone_id) WHERE state = 'failed';
CREATE INDEX pointers_sequence ON pointers (zone_id, sequence);
