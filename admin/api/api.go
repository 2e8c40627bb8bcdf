// Package api holds the wire shapes of the admin API: what the control plane
// answers and what its clients send. Server, Go client and OpenAPI document
// share them, so they cannot drift apart.
package api

import (
	"encoding/json"
	"time"

	"github.com/caracalai/caracald/policy"
)

// Error is the body of every answer outside 2xx.
type Error struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
	// Details is set where the code defines more, such as the errors of invalid_rego.
	Errors []policy.ContentError `json:"errors,omitempty"`
}

// Page is the shape of every list: newest first, NextCursor null on the last page.
type Page[T any] struct {
	Items      []T     `json:"items"`
	NextCursor *string `json:"next_cursor"`
}

// Zone is a tenant boundary: it owns policies, sets, one active pointer and an audit trail.
type Zone struct {
	ID        string       `json:"id"`
	Name      string       `json:"name"`
	Slug      string       `json:"slug"`
	Settings  ZoneSettings `json:"settings"`
	CreatedAt time.Time    `json:"created_at"`
	UpdatedAt time.Time    `json:"updated_at"`
}

// ZoneSettings are the choices a zone makes about its audit and its activations.
type ZoneSettings struct {
	// AuditMask lists JSON pointers into the input that are masked in the audit.
	AuditMask []string `json:"audit_mask"`
	// AuditInputs is "kept" or "hashed".
	AuditInputs string `json:"audit_inputs"`
	// RetentionDays removes audit events older than this; 0 keeps them.
	RetentionDays int `json:"retention_days"`
	// RetentionBytes bounds the audit's size for the zone; 0 is unbounded.
	RetentionBytes int64 `json:"retention_bytes"`
	// LoadedShare is the share of the zone's reachable daemons that must have loaded an activated
	// version for the activation to be loaded: above 0, at most 1. Null takes the control plane's.
	LoadedShare *float64 `json:"loaded_share"`
}

// ZoneCreate is the body of POST /v1/zones. Slug is made from the name when absent.
type ZoneCreate struct {
	Name     string        `json:"name" required:"true"`
	Slug     string        `json:"slug,omitempty"`
	Settings *ZoneSettings `json:"settings,omitempty"`
}

// ZoneUpdate is the body of PATCH /v1/zones/{zone}; absent fields stay.
type ZoneUpdate struct {
	Name     *string       `json:"name,omitempty"`
	Slug     *string       `json:"slug,omitempty"`
	Settings *ZoneSettings `json:"settings,omitempty"`
}

// ValidateRequest is the body of POST /v1/policies/validate.
type ValidateRequest struct {
	Content string `json:"content" required:"true"`
}

// ValidateFailure is its 422 answer.
type ValidateFailure struct {
	Valid       bool                  `json:"valid"`
	Code        string                `json:"error"`
	Description string                `json:"error_description"`
	Errors      []policy.ContentError `json:"errors"`
}

// TestRequest is the body of POST /v1/policies/test: tests, a document of test rules
// in any package, are run against content, and modules beside it, compiled together.
type TestRequest struct {
	Content string       `json:"content" required:"true"`
	Tests   string       `json:"tests" required:"true"`
	Modules []TestModule `json:"modules,omitempty"`
}

// TestModule is another policy that content needs, such as the rest of its set.
type TestModule struct {
	Name    string `json:"name" required:"true"`
	Content string `json:"content" required:"true"`
}

// TestReport is its answer. Documents are called policy.rego, policy_test.rego and by
// the names of the modules, there and in the errors of a 422.
type TestReport struct {
	Passed  int `json:"passed"`
	Failed  int `json:"failed"`
	Errored int `json:"errored"`
	Skipped int `json:"skipped"`
	// DurationMS is how long the tests took, in milliseconds.
	DurationMS float64             `json:"duration_ms"`
	Results    []policy.TestResult `json:"results"`
	// Coverage is that of content.
	Coverage policy.FileCoverage `json:"coverage"`
}

// Policy is a named Rego document. Version is its newest version; Versions
// (newest first) is filled only when one policy is read.
type Policy struct {
	ID          string          `json:"id"`
	VersionID   string          `json:"version_id"`
	ZoneID      string          `json:"zone_id"`
	Name        string          `json:"name"`
	Description string          `json:"description"`
	CreatedAt   time.Time       `json:"created_at"`
	Version     PolicyVersion   `json:"version"`
	Versions    []PolicyVersion `json:"versions,omitempty"`
}

// PolicyVersion is one immutable snapshot of a policy. ID and VersionID are
// the same; Content and Tests are filled only when one version is read.
type PolicyVersion struct {
	ID            string           `json:"id"`
	VersionID     string           `json:"version_id"`
	PolicyID      string           `json:"policy_id"`
	ZoneID        string           `json:"zone_id"`
	Version       int              `json:"version"`
	ContentSHA256 string           `json:"content_sha256"`
	SchemaVersion string           `json:"schema_version"`
	CreatedAt     time.Time        `json:"created_at"`
	CreatedBy     string           `json:"created_by"`
	Content       string           `json:"content,omitempty"`
	Tests         string           `json:"tests,omitempty"`
	Warnings      []policy.Warning `json:"warnings,omitempty"`
}

// PolicyCreate is the body of POST /v1/zones/{zone}/policies.
type PolicyCreate struct {
	Name        string `json:"name" required:"true"`
	Description string `json:"description,omitempty"`
	Content     string `json:"content" required:"true"`
	// Tests is a document of test rules, kept beside the content; no bundle has it.
	Tests string `json:"tests,omitempty"`
	// SchemaVersion may say which schema the content is written for; only the current one is accepted.
	SchemaVersion string `json:"schema_version,omitempty"`
}

// PolicyVersionCreate is the body of POST .../policies/{id}/versions.
type PolicyVersionCreate struct {
	Content string `json:"content" required:"true"`
	// Tests is a document of test rules, kept beside the content; no bundle has it.
	Tests string `json:"tests,omitempty"`
	// SchemaVersion may say which schema the content is written for; only the current one is accepted.
	SchemaVersion string `json:"schema_version,omitempty"`
}

// PolicySet names a series of manifests. ActiveVersionID is set while one of
// its versions governs the zone.
type PolicySet struct {
	ID              string    `json:"id"`
	ZoneID          string    `json:"zone_id"`
	Name            string    `json:"name"`
	Description     string    `json:"description"`
	ActiveVersionID *string   `json:"active_version_id"`
	CreatedAt       time.Time `json:"created_at"`
}

// PolicySetCreate is the body of POST /v1/zones/{zone}/policy-sets.
type PolicySetCreate struct {
	Name        string `json:"name" required:"true"`
	Description string `json:"description,omitempty"`
}

// ManifestEntry is one element of a manifest as people write it.
type ManifestEntry struct {
	PolicyVersionID string `json:"policy_version_id" required:"true"`
}

// PolicySetVersionCreate is the body of POST .../policy-sets/{id}/versions.
type PolicySetVersionCreate struct {
	Manifest []ManifestEntry `json:"manifest" required:"true"`
	// SchemaVersion may say which schema the content is written for; only the current one is accepted.
	SchemaVersion string `json:"schema_version,omitempty"`
}

// PolicySetVersion is one immutable manifest. ID and VersionID are the same.
// ManifestJSON and Policies are filled only when one version is read.
type PolicySetVersion struct {
	ID             string           `json:"id"`
	VersionID      string           `json:"version_id"`
	PolicySetID    string           `json:"policy_set_id"`
	ZoneID         string           `json:"zone_id"`
	Version        int              `json:"version"`
	ManifestSHA256 string           `json:"manifest_sha256"`
	SchemaVersion  string           `json:"schema_version"`
	BundleSHA256   string           `json:"bundle_sha256"`
	BundleSize     int64            `json:"bundle_size"`
	CreatedAt      time.Time        `json:"created_at"`
	CreatedBy      string           `json:"created_by"`
	Warnings       []policy.Warning `json:"warnings,omitempty"`
	ManifestJSON   json.RawMessage  `json:"manifest_json,omitempty"`
	Policies       []SetPolicy      `json:"policies,omitempty"`
}

// SetPolicy is one policy version as a member of a set version.
type SetPolicy struct {
	PolicyID        string `json:"policy_id"`
	PolicyVersionID string `json:"policy_version_id"`
	Name            string `json:"name"`
	Version         int    `json:"version"`
	ContentSHA256   string `json:"content_sha256"`
}

// SimulateRequest is the body of POST .../policy-sets/{id}/simulate. Input or
// Inputs may be given, not both; without either, only the checks that need no
// input are made. Trace asks for how the rules came to the result of Input.
type SimulateRequest struct {
	VersionID        string            `json:"version_id" required:"true"`
	Input            json.RawMessage   `json:"input,omitempty"`
	Inputs           []json.RawMessage `json:"inputs,omitempty"`
	ExpectedDecision string            `json:"expected_decision,omitempty"`
	Trace            bool              `json:"trace,omitempty"`
}

// Simulation is its answer.
type Simulation struct {
	DryRun             bool             `json:"dry_run"`
	WouldActivate      bool             `json:"would_activate"`
	PolicySetID        string           `json:"policy_set_id"`
	VersionID          string           `json:"version_id"`
	SchemaVersion      string           `json:"schema_version"`
	InputSchemaVersion string           `json:"input_schema_version"`
	ManifestSHA256     string           `json:"manifest_sha256"`
	Policies           []SetPolicy      `json:"policies"`
	Warnings           []policy.Warning `json:"warnings"`
	Explanation        Explanation      `json:"explanation"`
	// Result is null where there was no (good) input.
	Result *policy.Result `json:"result"`
	// Results answers Inputs, in order.
	Results []SimulationResult `json:"results,omitzero"`
	// Trace is there where it was asked for and there is a result.
	Trace *policy.Trace `json:"trace,omitzero"`
}

// Explanation says what a simulation came to and why.
type Explanation struct {
	// Evaluation is "evaluated", "not_evaluated" or "failed".
	Evaluation         string `json:"evaluation"`
	Decision           string `json:"decision,omitempty"`
	PolicySetVersionID string `json:"policy_set_version_id"`
	ManifestSHA256     string `json:"manifest_sha256"`
	Reason             string `json:"reason"`
	// InputError is there where the input does not fit the schema.
	InputError InputError `json:"input_error,omitzero"`
}

// InputError says which value of an input is wrong.
type InputError struct {
	// Pointer is the value's RFC 6901 pointer, "" for the whole input.
	Pointer string `json:"pointer"`
	Message string `json:"message"`
}

// SimulationResult is the outcome for one element of Inputs.
type SimulationResult struct {
	WouldActivate bool           `json:"would_activate"`
	Explanation   Explanation    `json:"explanation"`
	Result        *policy.Result `json:"result"`
}

// ActivateRequest is the body of POST .../policy-sets/{id}/activate.
type ActivateRequest struct {
	VersionID string `json:"version_id" required:"true"`
	// ExpectedActiveVersionID makes the activation a compare-and-set: absent
	// means no expectation, null that nothing is active.
	ExpectedActiveVersionID json.RawMessage `json:"expected_active_version_id,omitempty"`
	Reason                  string          `json:"reason,omitempty"`
}

// Activated is its 202 answer.
type Activated struct {
	Activated bool   `json:"activated"`
	VersionID string `json:"version_id"`
	OutboxID  string `json:"outbox_id"`
	StatusURL string `json:"status_url"`
	Sequence  int64  `json:"sequence"`
}

// Active is the pointer that governs a zone; the ids and hashes are null where nothing is active.
type Active struct {
	ZoneID             string    `json:"zone_id"`
	PolicySetID        *string   `json:"policy_set_id"`
	PolicySetVersionID *string   `json:"policy_set_version_id"`
	ManifestSHA256     *string   `json:"manifest_sha256"`
	BundleSHA256       *string   `json:"bundle_sha256"`
	Sequence           int64     `json:"sequence"`
	Since              time.Time `json:"since"`
	ActivatedBy        string    `json:"activated_by"`
	Reason             string    `json:"reason"`
}

// Activation is one entry of a zone's activation history.
type Activation struct {
	ID                string    `json:"id"`
	ZoneID            string    `json:"zone_id"`
	Sequence          int64     `json:"sequence"`
	PolicySetID       *string   `json:"policy_set_id"`
	VersionID         *string   `json:"version_id"`
	PreviousVersionID *string   `json:"previous_version_id"`
	ManifestSHA256    *string   `json:"manifest_sha256"`
	BundleSHA256      *string   `json:"bundle_sha256"`
	Reason            string    `json:"reason"`
	ActorID           string    `json:"actor_id"`
	ActorName         string    `json:"actor_name"`
	CreatedAt         time.Time `json:"created_at"`
}

// Propagation statuses of an activation.
const (
	PropagationLoaded               = "loaded"
	PropagationWaitingForActivation = "waiting_for_activation"
	PropagationWaitingForOutbox     = "waiting_for_outbox"
	PropagationWaitingForSTS        = "waiting_for_sts"
	PropagationFailed               = "failed"
)

// ActivationStatus answers GET .../activation-status.
type ActivationStatus struct {
	ZoneID            string       `json:"zone_id"`
	PolicySetID       string       `json:"policy_set_id"`
	VersionID         string       `json:"version_id"`
	Active            bool         `json:"active"`
	ActiveVersionID   *string      `json:"active_version_id"`
	ManifestSHA256    string       `json:"manifest_sha256"`
	PropagationStatus string       `json:"propagation_status"`
	Outbox            *Outbox      `json:"outbox"`
	STS               STSStatus    `json:"sts"`
	Daemons           DaemonCounts `json:"daemons"`
	Rollout           Rollout      `json:"rollout"`
}

// Outbox is the state of the activation's way to the watchers: pending, then dispatched.
type Outbox struct {
	ID           string     `json:"id"`
	State        string     `json:"state"`
	Attempts     int        `json:"attempts"`
	LastError    *string    `json:"last_error"`
	DispatchedAt *time.Time `json:"dispatched_at"`
}

// STSStatus is what the daemons' receipts come to. State is loaded, not_loaded,
// not_configured (no daemon was ever seen for the zone), unreachable (seen, but not lately) or failed.
type STSStatus struct {
	State              string     `json:"state"`
	Loaded             bool       `json:"loaded"`
	PolicySetVersionID *string    `json:"policy_set_version_id"`
	ManifestSHA256     *string    `json:"manifest_sha256"`
	LoadedAt           *time.Time `json:"loaded_at"`
	AgeSeconds         *float64   `json:"age_seconds"`
	Detail             string     `json:"detail"`
}

// DaemonCounts counts a zone's daemons by what they have loaded.
type DaemonCounts struct {
	Total   int `json:"total"`
	Loaded  int `json:"loaded"`
	Failed  int `json:"failed"`
	Lagging int `json:"lagging"`
}

// Event is one audit event. The *_json fields are JSON values, not strings of JSON.
type Event struct {
	ID                      string          `json:"id"`
	ZoneID                  string          `json:"zone_id"`
	EventType               string          `json:"event_type"`
	RequestID               string          `json:"request_id"`
	Decision                string          `json:"decision"`
	EvaluationStatus        string          `json:"evaluation_status"`
	PolicySetID             string          `json:"policy_set_id"`
	PolicySetVersionID      string          `json:"policy_set_version_id"`
	ManifestSHA             string          `json:"manifest_sha"`
	BundleSHA256            string          `json:"bundle_sha256"`
	DeterminingPoliciesJSON json.RawMessage `json:"determining_policies_json"`
	DiagnosticsJSON         json.RawMessage `json:"diagnostics_json"`
	MetadataJSON            json.RawMessage `json:"metadata_json"`
	OccurredAt              time.Time       `json:"occurred_at"`
	IngestedAt              time.Time       `json:"ingested_at"`
}

// Explain answers GET .../audit/by-request/{rid}/explain.
type Explain struct {
	RequestID     string `json:"request_id"`
	ZoneID        string `json:"zone_id"`
	FinalDecision string `json:"final_decision"`
	// Denied and Allowed are the request's decisions, oldest first.
	Denied  []DecidedEvent `json:"denied"`
	Allowed []DecidedEvent `json:"allowed"`
	Events  []Event        `json:"events"`
}

// DecidedEvent is one decision of a request with the input that was really
// evaluated; PolicyInput is null where only its hash was kept.
type DecidedEvent struct {
	EventID             string          `json:"event_id"`
	EventType           string          `json:"event_type"`
	EvaluationStatus    string          `json:"evaluation_status"`
	DeterminingPolicies json.RawMessage `json:"determining_policies"`
	Diagnostics         json.RawMessage `json:"diagnostics"`
	Metadata            json.RawMessage `json:"metadata"`
	PolicyInput         json.RawMessage `json:"policy_input"`
}

// AdminEvent is one entry of the admin audit: who did what. ChainHash is
// SHA-256 over the previous entry's hash and this entry, so a removed or
// changed entry shows.
type AdminEvent struct {
	ID          string          `json:"id"`
	RequestID   string          `json:"request_id"`
	ZoneID      string          `json:"zone_id"`
	ActorID     string          `json:"actor_id"`
	ActorName   string          `json:"actor_name"`
	Action      string          `json:"action"`
	EntityType  string          `json:"entity_type"`
	EntityID    string          `json:"entity_id"`
	StatusCode  int             `json:"status_code"`
	PayloadJSON json.RawMessage `json:"payload_json"`
	OccurredAt  time.Time       `json:"occurred_at"`
	ChainSeq    int64           `json:"chain_seq"`
	ChainHash   string          `json:"chain_hash"`
}

// Roles a token can have.
const (
	RoleAdmin     = "admin"
	RoleViewer    = "viewer"
	RoleAuthor    = "author"
	RoleActivator = "activator"
	RoleAuditor   = "auditor"
	RoleDaemon    = "daemon"
)

// Token describes a token; its secret is never stored and only shown once.
type Token struct {
	ID    string   `json:"id"`
	Name  string   `json:"name"`
	Roles []string `json:"roles"`
	// ZoneID bounds the token to one zone; null reaches every zone.
	ZoneID     *string    `json:"zone_id"`
	CreatedAt  time.Time  `json:"created_at"`
	CreatedBy  string     `json:"created_by"`
	ExpiresAt  *time.Time `json:"expires_at"`
	RevokedAt  *time.Time `json:"revoked_at"`
	LastUsedAt *time.Time `json:"last_used_at"`
}

// WhoAmI says whose token a call was made with.
type WhoAmI struct {
	ID     string   `json:"id"`
	Name   string   `json:"name"`
	Roles  []string `json:"roles"`
	ZoneID *string  `json:"zone_id"`
}

// TokenCreate is the body of POST /v1/tokens.
type TokenCreate struct {
	Name      string     `json:"name" required:"true"`
	Roles     []string   `json:"roles" required:"true"`
	ZoneID    *string    `json:"zone_id,omitempty"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

// TokenCreated is its 201 answer, the only time the secret is shown.
type TokenCreated struct {
	Token
	Secret string `json:"token"`
}

// BatchAccepted answers POST /v1/audit/batches: the next offset the admin side
// wants from this daemon and epoch. Records below it are durable.
type BatchAccepted struct {
	Accepted   int    `json:"accepted"`
	Duplicate  int    `json:"duplicate"`
	NextOffset uint64 `json:"next_offset"`
}
