-- +goose Up
-- The oldest schema that a program must know to use this one. Only migrations
-- that take something away raise it.
CREATE TABLE schema_floor (
    floor BIGINT NOT NULL
);
INSERT INTO schema_floor (floor) VALUES (1);

-- Who does what only one replica needs to do, until when.
CREATE TABLE leases (
    name       TEXT COLLATE "C" PRIMARY KEY,
    holder     TEXT COLLATE "C" NOT NULL,
    generation BIGINT NOT NULL,
    until      BIGINT NOT NULL
);

-- Sign-in links that were used and sessions that were signed out, until they
-- would have ended by themselves.
CREATE TABLE spent (
    id    TEXT COLLATE "C" PRIMARY KEY,
    until BIGINT NOT NULL
);
CREATE INDEX spent_until ON spent (until);
