-- What the role of the running store may do: read everything, add rows, and
-- change only what the API changes. It removes nothing but answers kept for
-- repeated calls, what was spent, and daemons that are gone; retention and partitions go through functions.
GRANT USAGE ON SCHEMA caracal TO @role;
GRANT SELECT ON ALL TABLES IN SCHEMA caracal TO @role;
GRANT INSERT ON zones, policies, policy_versions, policy_sets, bundles, set_versions, set_version_policies, pointers, activations,
    tokens, daemons, receipts, admin_events, idempotent_answers, spent, leases, secrets, streams, zone_sizes, events TO @role;
GRANT UPDATE (name, slug, settings, updated_at, archived_at) ON zones TO @role;
GRANT UPDATE (archived_at) ON policies TO @role;
GRANT UPDATE (archived_at) ON policy_sets TO @role;
GRANT UPDATE (sequence, policy_set_id, version_id, manifest_sha256, bundle_sha256, bundle_size, envelope, issued_at, expires_at, since,
    activated_by, reason) ON pointers TO @role;
GRANT UPDATE (attempts, last_error, dispatched_at) ON activations TO @role;
GRANT UPDATE (revoked_at, last_used_at) ON tokens TO @role;
GRANT UPDATE, DELETE ON daemons, receipts TO @role;
GRANT UPDATE (value) ON secrets TO @role;
GRANT UPDATE (value) ON counters TO @role;
GRANT UPDATE (next_offset, hash) ON streams TO @role;
GRANT UPDATE (events, bytes, last_seq) ON zone_sizes TO @role;
GRANT UPDATE ON leases TO @role;
GRANT DELETE ON idempotent_answers, spent TO @role;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA caracal TO @role;
GRANT EXECUTE ON FUNCTION make_partition(BIGINT), drop_partitions(TEXT, BIGINT), trim_events(TEXT, BIGINT, BIGINT, INTEGER) TO @role;
