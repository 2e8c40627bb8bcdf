package api

import "time"

// ReplayRequest is the body of POST .../policy-sets/{id}/replay: which recent
// decisions are made again, the newest first.
type ReplayRequest struct {
	VersionID string `json:"version_id" required:"true"`
	// Limit is the most decisions, 1 to 1000; 200 by default.
	Limit int `json:"limit,omitempty"`
	// Decision, "allow" or "deny", takes only those that were so decided.
	Decision string `json:"decision,omitempty"`
	// Since leaves out what was decided before.
	Since time.Time `json:"since,omitzero"`
}

// Replay tells which recent decisions of a zone a version would make otherwise.
type Replay struct {
	PolicySetID    string `json:"policy_set_id"`
	VersionID      string `json:"version_id"`
	ManifestSHA256 string `json:"manifest_sha256"`
	// Replayed is how many decisions were made again. Skipped could not be: their
	// input was not kept, was masked where a policy reads it, or no longer fits the schema.
	Replayed int `json:"replayed"`
	Skipped  int `json:"skipped"`
	// Oldest is when the oldest of them occurred; absent where there is none.
	Oldest *time.Time `json:"oldest,omitempty"`
	// Flipped are those that come out otherwise, newest first.
	Flipped []Flip `json:"flipped"`
}

// Flip is a decision that a version makes otherwise.
type Flip struct {
	EventID            string    `json:"event_id"`
	RequestID          string    `json:"request_id"`
	OccurredAt         time.Time `json:"occurred_at"`
	PolicySetVersionID string    `json:"policy_set_version_id"`
	// Was is the decision that was given, Now what the version decides.
	Was string `json:"was"`
	Now string `json:"now"`
	// EvaluationStatus and Reason tell how the version came to it.
	EvaluationStatus string `json:"evaluation_status"`
	Reason           string `json:"reason"`
}
