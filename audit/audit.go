// Package audit is the record of decisions: its encoding, the append-only
// spool a daemon keeps on disk, the hash chain over it, and the compressed
// batches in which records travel to the admin side.
package audit

import (
	"encoding/json"
	"time"
)

// Event types.
const (
	// EventDecision is the record of one answered decision.
	EventDecision = "decision"
	// EventGap says that records before it could not be kept, how many and why.
	EventGap = "audit_gap"
)

// Record is one audited event as the daemon saw it.
type Record struct {
	// ID is the decision id, a UUIDv7.
	ID                 string
	EventType          string
	ZoneID             string
	RequestID          string
	Decision           string
	EvaluationStatus   string
	PolicySetID        string
	PolicySetVersionID string
	ManifestSHA256     string
	BundleSHA256       string
	// Sequence is the pointer's sequence under which the decision was made.
	Sequence int64
	// DeterminingPolicies and Diagnostics are JSON arrays, Metadata is a JSON object.
	DeterminingPolicies json.RawMessage
	Diagnostics         json.RawMessage
	Metadata            json.RawMessage
	// Input is the evaluated input (JSON), masked where the zone says so; nil where only hashed.
	Input      json.RawMessage
	OccurredAt time.Time
}
