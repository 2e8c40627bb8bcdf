package bundle

import (
	"encoding/json"
	"time"
)

// WatchRequest is the body of POST /v1/pointers/watch.
type WatchRequest struct {
	// Zones is either the JSON string "*" (every zone the token reaches) or an
	// object from zone id to the last sequence the daemon has verified, -1 for
	// none. Build it with AllZones or SomeZones.
	Zones json.RawMessage `json:"zones"`
	// Have says, for each zone, exactly which pointer the daemon holds. It is
	// what "*" is compared with, and lets a re-signed pointer (same sequence,
	// later IssuedAt) reach the daemon before the held one expires.
	Have map[string]Held `json:"have,omitempty"`
	// WaitSeconds is how long the poll may stay open: 0 to 60.
	WaitSeconds int `json:"wait_seconds"`
}

// Held names one verified pointer.
type Held struct {
	Sequence int64     `json:"sequence"`
	IssuedAt time.Time `json:"issued_at"`
}

// WatchResponse is its answer, with status 200. When the wait ends and nothing
// is newer the answer is 204 without a body.
type WatchResponse struct {
	Pointers []SignedPointer `json:"pointers"`
	// SpreadMS is set where many are told at the same time: over how many
	// milliseconds they should spread, each at random, when they fetch what the
	// pointers name, so that they do not come all at once.
	SpreadMS int64 `json:"spread_ms,omitempty"`
}

// Spread is SpreadMS as a duration, never negative.
func (r *WatchResponse) Spread() time.Duration {
	const most = int64(time.Hour / time.Millisecond)
	return time.Duration(max(0, min(r.SpreadMS, most))) * time.Millisecond
}

// SignedPointer is a zone's pointer with the signature of the bundle it names.
type SignedPointer struct {
	ZoneID   string `json:"zone_id"`
	Sequence int64  `json:"sequence"`
	// Pointer is a DSSE envelope over a Pointer.
	Pointer json.RawMessage `json:"pointer"`
	// Bundle is a DSSE envelope over a Statement; null where the pointer names no bundle.
	Bundle json.RawMessage `json:"bundle"`
}

// Receipt states.
const (
	ReceiptLoaded = "loaded"
	ReceiptFailed = "failed"
)

// RevisionHeader is set in the answer to a report that the next one can build on.
// Its value names all that is stored of the daemon's zones after the report.
const RevisionHeader = "Caracal-Receipts-Revision"

// ReceiptReport is the body of POST /v1/receipts: what a daemon has loaded, and
// how it is. It is sent when something changes and with every heartbeat. The
// answer is 204.
//
// A report is whole, or has a Base. A daemon only sends a Base that was in the
// answer to its report before, so a control plane that knows none never sees one.
// A base that cannot be built on is answered 409 report_base_unknown, and a whole
// report follows.
type ReceiptReport struct {
	DaemonID string            `json:"daemon_id"`
	Name     string            `json:"name"`
	Version  string            `json:"version"`
	Labels   map[string]string `json:"labels,omitempty"`
	Zones    []Receipt         `json:"zones"`
	// Base, where it is set, is the revision that the answer to the report before
	// named: Zones has only what differs from it, and all else is as it was.
	Base string `json:"base,omitempty"`
	// Complete says that Zones has every zone of the daemon: what it reported for
	// others before holds no more.
	Complete bool `json:"complete,omitempty"`
	// Status is nil from daemons that do not know it yet.
	Status *DaemonStatus `json:"status,omitempty"`
}

// DaemonStatus is what a daemon says of itself. Rates and latencies are of the
// last WindowSeconds.
type DaemonStatus struct {
	StartedAt     time.Time `json:"started_at"`
	UptimeSeconds float64   `json:"uptime_seconds"`
	// Ready says that its zones are loaded. Its /readyz also says whether it keeps audit.
	Ready bool `json:"ready"`
	// AuditKept tells that the last audit record could be kept.
	AuditKept bool `json:"audit_kept"`
	// Detail says why it is not ready, or why audit cannot be kept; "" where neither holds.
	Detail string `json:"detail,omitempty"`
	// SpoolRecords wait in the audit spool for the control plane; SpoolBytes of
	// at most SpoolMaxBytes are taken.
	SpoolRecords  int64 `json:"spool_records"`
	SpoolBytes    int64 `json:"spool_bytes"`
	SpoolMaxBytes int64 `json:"spool_max_bytes"`
	// AuditGaps counts the audit records that could not be kept since the start.
	AuditGaps          int64   `json:"audit_gaps"`
	WindowSeconds      float64 `json:"window_seconds"`
	DecisionsPerSecond float64 `json:"decisions_per_second"`
	// The latencies are from an input to its answer, durable record included;
	// null where nothing was decided. They are upper bounds, at most an eighth too high.
	LatencyP50Seconds *float64 `json:"latency_p50_seconds"`
	LatencyP99Seconds *float64 `json:"latency_p99_seconds"`
	// CacheHitShare is from 0 to 1, null where nothing was looked up.
	CacheHitShare *float64 `json:"cache_hit_share"`
}

// Receipt is a daemon's state for one zone. A failed receipt has the wanted
// sequence and hashes, and Detail says why they could not be loaded; Serving*
// name what goes on answering meanwhile.
type Receipt struct {
	ZoneID             string    `json:"zone_id"`
	State              string    `json:"state"`
	Sequence           int64     `json:"sequence"`
	PolicySetVersionID *string   `json:"policy_set_version_id"`
	ManifestSHA256     string    `json:"manifest_sha256"`
	BundleSHA256       string    `json:"bundle_sha256"`
	LoadedAt           time.Time `json:"loaded_at"`
	Detail             string    `json:"detail,omitempty"`
	ServingSequence    int64     `json:"serving_sequence"`
	ServingVersionID   *string   `json:"serving_version_id"`
}

// TrustResponse is the answer of GET /v1/trust: every version of the trust
// root, oldest first, each a TUF root metadata document signed as TUF says.
type TrustResponse struct {
	Roots []json.RawMessage `json:"roots"`
}
