-- +goose Up
-- The oldest schema that a program must know to use this one. Only migrations
-- that take something away raise it.
CREATE TABLE schema_floor (
    floor INTEGER NOT NULL
) STRICT;
INSERT INTO schema_floor (floor) VALUES (1);

-- Who does what only one process needs to do, until when.
CREATE TABLE leases (
    name       TEXT PRIMARY KEY,
    holder     TEXT NOT NULL,
    generation INTEGER NOT NULL,
    until      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Sign-in links that were used and sessions that were signed out, until they
-- would have ended by themselves.
CREATE TABLE spent (
    id    TEXT PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX spent_until ON spent (until);
