package api

import "time"

// States of a daemon. The first that fits holds.
const (
	// DaemonRetired was retired, and has not reported since.
	DaemonRetired = "retired"
	// DaemonUnreachable has not reported for longer than the control plane's heartbeat timeout.
	DaemonUnreachable = "unreachable"
	// DaemonFailing could not load what a zone wants, is not ready, or cannot keep its audit.
	DaemonFailing = "failing"
	// DaemonLagging has not loaded what a zone wants yet.
	DaemonLagging = "lagging"
	// DaemonHealthy has loaded what all of its zones want.
	DaemonHealthy = "healthy"
)

// Daemon is one daemon as its reports describe it.
type Daemon struct {
	ID      string            `json:"id"`
	Name    string            `json:"name"`
	Version string            `json:"version"`
	Labels  map[string]string `json:"labels"`
	// State is healthy, lagging, failing, unreachable or retired.
	State string `json:"state"`
	// Reason says in words why the state is not healthy; "" where it is.
	Reason string `json:"reason"`
	// Since is when the state began, as far as that is known.
	Since *time.Time `json:"since"`
	// FirstSeenAt is null where it was not kept.
	FirstSeenAt *time.Time `json:"first_seen_at"`
	LastSeenAt  time.Time  `json:"last_seen_at"`
	RetiredAt   *time.Time `json:"retired_at"`
	// ReportedBy is the id of the token, or of the certificate, that alone may report for the
	// daemon; null until one does.
	ReportedBy *string `json:"reported_by"`
	// Status is what the daemon says of itself; null from daemons that say nothing.
	Status *DaemonHealth `json:"status"`
	// Zones are what it reported for its zones, first what failed, then what is behind. A list of
	// daemons has at most 20 of each; ZonesTotal is how many there are.
	Zones      []DaemonZone `json:"zones"`
	ZonesTotal int          `json:"zones_total"`
}

// DaemonHealth is what a daemon says of itself. Rates and latencies are of the
// last WindowSeconds.
type DaemonHealth struct {
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

// DaemonZone is what one daemon reported for one zone.
type DaemonZone struct {
	ZoneID string `json:"zone_id"`
	// State is loaded or failed.
	State              string  `json:"state"`
	Sequence           int64   `json:"sequence"`
	PolicySetVersionID *string `json:"policy_set_version_id"`
	ManifestSHA256     string  `json:"manifest_sha256"`
	BundleSHA256       string  `json:"bundle_sha256"`
	// ServingSequence is that of what answers meanwhile, -1 for nothing.
	ServingSequence int64      `json:"serving_sequence"`
	LoadedAt        *time.Time `json:"loaded_at"`
	Detail          string     `json:"detail"`
	// WantedSequence is the zone's newest, Behind by how much the daemon is behind it.
	WantedSequence int64 `json:"wanted_sequence"`
	Behind         int64 `json:"behind"`
	// Since is when the daemon first reported just this; null where that was not kept.
	Since *time.Time `json:"since"`
}

// Fleet answers GET /v1/fleet: how many daemons there are. Retired ones are left
// out, unless they are asked for.
type Fleet struct {
	Daemons int         `json:"daemons"`
	States  FleetStates `json:"states"`
	// Versions are the most frequent first, at most 50.
	Versions []FleetVersion `json:"versions"`
}

// FleetStates counts daemons by state.
type FleetStates struct {
	Healthy     int `json:"healthy"`
	Lagging     int `json:"lagging"`
	Failing     int `json:"failing"`
	Unreachable int `json:"unreachable"`
	Retired     int `json:"retired"`
}

// FleetVersion counts the daemons of one version of the software.
type FleetVersion struct {
	Version string `json:"version"`
	Daemons int    `json:"daemons"`
}

// Rollout is how an activation comes on among a zone's daemons. Reachable are
// those that report for the zone and did so within the heartbeat timeout;
// retired ones are not among them.
type Rollout struct {
	// LoadedShare of the reachable daemons, which is Wanted daemons, must have loaded the version.
	LoadedShare float64 `json:"loaded_share"`
	Wanted      int     `json:"wanted"`
	Reachable   int     `json:"reachable"`
	Loaded      int     `json:"loaded"`
	// Lagging, Failing and Unreachable list daemons that have not loaded it, at most 20 each;
	// the counts are of all.
	LaggingTotal     int             `json:"lagging_total"`
	FailingTotal     int             `json:"failing_total"`
	UnreachableTotal int             `json:"unreachable_total"`
	Lagging          []RolloutDaemon `json:"lagging"`
	Failing          []RolloutDaemon `json:"failing"`
	Unreachable      []RolloutDaemon `json:"unreachable"`
}

// RolloutDaemon is a daemon that has not loaded a version, and why.
type RolloutDaemon struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Sequence is that of what it reports for the zone.
	Sequence int64      `json:"sequence"`
	Reason   string     `json:"reason"`
	Since    *time.Time `json:"since"`
}
