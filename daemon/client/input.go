package client

import (
	"bytes"
	"encoding/json"
)

// SchemaVersion is the version of the input that this package writes.
const SchemaVersion = "2026-05-20"

// Input is what a decision is about. Policies may read more than these fields:
// for others use DecideJSON.
type Input struct {
	// SchemaVersion is SchemaVersion where it is "".
	SchemaVersion string    `json:"schema_version"`
	Principal     Principal `json:"principal"`
	Resource      Resource  `json:"resource"`
	Action        Action    `json:"action"`
	// Session and DelegationEdge are nil where there are none.
	Session        *Session        `json:"session"`
	DelegationEdge *DelegationEdge `json:"delegation_edge"`
	Context        Context         `json:"context"`
}

// Principal is who acts. Type, ID and ZoneID are required.
type Principal struct {
	// Type is what sort of principal it is, such as user, application or agent.
	Type string `json:"type"`
	ID   string `json:"id"`
	// ZoneID is the zone whose active policy set decides: [A-Za-z0-9_.:-]{1,128}.
	ZoneID             string `json:"zone_id"`
	RegistrationMethod string `json:"registration_method,omitempty"`
	AgentSessionID     string `json:"agent_session_id,omitempty"`
	// Lifecycle is task or service, or "" where it is not known.
	Lifecycle string   `json:"lifecycle,omitempty"`
	Labels    []string `json:"labels,omitempty"`
}

// Resource is what is acted on.
type Resource struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	// Identifier is the resource's own name, such as a URI.
	Identifier string `json:"identifier"`
	// Scopes are those that the resource offers; nil is none.
	Scopes []string `json:"scopes"`
}

// Action is what is done.
type Action struct {
	ID     string `json:"id"`
	Method string `json:"method,omitempty"`
	Path   string `json:"path,omitempty"`
}

// Session is the session that the request belongs to.
type Session struct {
	ID string `json:"id"`
}

// DelegationEdge is the delegation that the principal acts under.
type DelegationEdge struct {
	ID                    string `json:"id"`
	SourceSessionID       string `json:"source_session_id,omitempty"`
	TargetSessionID       string `json:"target_session_id,omitempty"`
	IssuerApplicationID   string `json:"issuer_application_id,omitempty"`
	ReceiverApplicationID string `json:"receiver_application_id,omitempty"`
	ResourceID            string `json:"resource_id,omitempty"`
	// Scopes are those that the delegation is confined to; nil is none.
	Scopes []string `json:"scopes"`
	// EdgeVersion and GraphEpoch are a string or a number.
	EdgeVersion any `json:"edge_version,omitempty"`
	GraphEpoch  any `json:"graph_epoch,omitempty"`
	// Path has the edges from the root of the delegation to this one.
	Path            []any `json:"path,omitempty"`
	ConstraintsJSON any   `json:"constraints_json,omitempty"`
}

// Context is the circumstances.
type Context struct {
	// ActorClaims and SubjectClaims are claims of their tokens; nil is none.
	ActorClaims   map[string]any `json:"actor_claims"`
	SubjectClaims map[string]any `json:"subject_claims,omitempty"`
	// ChallengeResolved tells whether a step-up challenge was passed.
	ChallengeResolved bool `json:"challenge_resolved"`
	// RequestedScopes are the scopes asked for; nil is none.
	RequestedScopes  []string `json:"requested_scopes"`
	TraceID          string   `json:"trace_id,omitempty"`
	SessionID        string   `json:"session_id,omitempty"`
	AgentSessionID   string   `json:"agent_session_id,omitempty"`
	DelegationEdgeID string   `json:"delegation_edge_id,omitempty"`
}

// encode writes an input as JSON. Equal inputs give equal bytes, by which the
// daemon's cache knows them.
func (in *Input) encode(e *json.Encoder) error {
	out := *in // the caller's stays as it is
	if out.SchemaVersion == "" {
		out.SchemaVersion = SchemaVersion
	}
	if out.Resource.Scopes == nil {
		out.Resource.Scopes = []string{}
	}
	if edge := out.DelegationEdge; edge != nil && edge.Scopes == nil {
		filled := *edge
		filled.Scopes = []string{}
		out.DelegationEdge = &filled
	}
	if out.Context.ActorClaims == nil {
		out.Context.ActorClaims = map[string]any{}
	}
	if out.Context.RequestedScopes == nil {
		out.Context.RequestedScopes = []string{}
	}
	if err := e.Encode(&out); err != nil {
		return invalidInput("encoding the input: %w", err)
	}
	return nil
}

// zoneOf finds principal.zone_id in an input, and refuses what cannot be sent.
func zoneOf(raw []byte) (string, error) {
	if !json.Valid(raw) {
		return "", invalidInput("it is not JSON")
	}
	var zone string
	found := 0
	object := members(raw, func(name, value []byte) bool {
		if string(name) == "principal" {
			members(value, func(name, value []byte) bool {
				if string(name) == "zone_id" {
					zone, found = string(unquote(value)), found+1
				}
				return true
			})
		}
		return true
	})
	if !object || found != 1 || zone == "" {
		return "", invalidInput("it has not one principal.zone_id")
	}
	return zone, nil
}

// newEncoder writes JSON the way people would: < stays <.
func newEncoder(b *bytes.Buffer) *json.Encoder {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	return e
}
