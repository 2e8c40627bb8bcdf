-- +goose Up
-- The oldest schema that a program must know to use this one.
CREATE TABLE schema_floor (
    floor INTEGER NOT NULL
) STRICT;
INSERT INTO schema_floor (floor) VALUES (1);
