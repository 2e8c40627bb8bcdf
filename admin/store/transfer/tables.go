package transfer

import "strings"

// table is a table that every relational backend has, with the columns that all
// of them have.
type table struct {
	name string
	// events tells that it belongs to the audit.
	events bool
	// key are the first columns: rows are copied in their order.
	key     int
	columns []string
}

func (t table) list() string { return strings.Join(t.columns, ", ") }
func (t table) keys() string { return strings.Join(t.columns[:t.key], ", ") }

// descending is the key's columns, the last row first.
func (t table) descending() string { return strings.Join(t.columns[:t.key], " DESC, ") + " DESC" }

// marks is a ? for each of n columns.
func marks(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }

func columns(list string) []string { return strings.Fields(list) }

// tables are in the order in which they refer to each other. Secrets come last:
// without them the control plane that a half-made copy would run has no keys.
var tables = []table{
	{"zones", false, 1, columns("id name slug settings created_at updated_at archived_at")},
	{"policies", false, 1, columns("id zone_id name description created_at created_by archived_at")},
	{"policy_versions", false, 1, columns("id policy_id zone_id version content tests content_sha256 schema_version warnings created_at created_by")},
	{"policy_sets", false, 1, columns("id zone_id name description created_at created_by archived_at")},
	{"bundles", false, 1, columns("sha256 data envelope")},
	{"set_versions", false, 1, columns("id policy_set_id zone_id version manifest manifest_sha256 bundle_sha256 bundle_size schema_version warnings created_at created_by")},
	{"set_version_policies", false, 2, columns("set_version_id position policy_version_id")},
	{"activations", false, 1, columns("id zone_id sequence policy_set_id version_id previous_version_id manifest_sha256 bundle_sha256 reason actor_id actor_name created_at attempts last_error dispatched_at")},
	{"pointers", false, 1, columns("zone_id sequence policy_set_id version_id manifest_sha256 bundle_sha256 bundle_size envelope issued_at expires_at since activated_by reason")},
	{"tokens", false, 1, columns("id name hash roles zone_id created_at created_by expires_at revoked_at last_used_at")},
	{"daemons", false, 1, columns("id name version labels last_seen_at first_seen_at owner digest status failing_since retired_at")},
	{"receipts", false, 2, columns("zone_id daemon_id state sequence version_id manifest_sha256 bundle_sha256 loaded_at detail serving_sequence serving_version_id reported_at since")},
	{"admin_events", false, 1, columns("chain_seq id request_id zone_id actor_id actor_name action entity_type entity_id status_code payload occurred_at chain_hash")},
	{"idempotent_answers", false, 2, columns("actor_id key request_hash status_code body created_at")},
	{"spent", false, 1, columns("id until")},
	{"streams", true, 1, columns("id daemon_id epoch next_offset hash")},
	{"events", true, 2, columns("zone_id seq id event_type request_id decision evaluation_status policy_set_id policy_set_version_id manifest_sha256 bundle_sha256 pointer_sequence determining_policies diagnostics metadata input occurred_at ingested_at stream stream_offset bytes")},
	{"zone_sizes", true, 1, columns("zone_id events bytes")},
	{"secrets", false, 1, columns("name value")},
}

// What a copy needs of events' and pointers' columns.
const (
	occurredAtColumn = 16
	sequenceColumn   = 1
	issuedAtColumn   = 8
)
