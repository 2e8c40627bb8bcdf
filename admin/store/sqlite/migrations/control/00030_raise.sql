-- +goose Up
-- A pointer moves by one step, is renewed at the same sequence without moving,
-- or is raised: issued anew under a higher sequence without moving, for daemons
-- that have seen more than a store that was restored. What was taken before is
-- taken still.
-- widens: pointers_forward
DROP TRIGGER pointers_forward;
-- +goose StatementBegin
CREATE TRIGGER pointers_forward BEFORE UPDATE ON pointers
WHEN NEW.zone_id IS NOT OLD.zone_id
  OR NOT (NEW.sequence = OLD.sequence + 1
    OR ((NEW.sequence = OLD.sequence OR (NEW.sequence > OLD.sequence AND NEW.sequence <= 4503599627370496))
      AND NEW.issued_at > OLD.issued_at
      AND NEW.policy_set_id IS OLD.policy_set_id AND NEW.version_id IS OLD.version_id
      AND NEW.manifest_sha256 IS OLD.manifest_sha256 AND NEW.bundle_sha256 IS OLD.bundle_sha256))
BEGIN SELECT RAISE(ABORT, 'immutable: pointers'); END;
-- +goose StatementEnd
