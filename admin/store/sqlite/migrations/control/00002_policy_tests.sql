-- +goose Up
-- Tests that an author keeps beside a version of a policy; no bundle has them.
ALTER TABLE policy_versions ADD COLUMN tests TEXT NOT NULL DEFAULT '';
