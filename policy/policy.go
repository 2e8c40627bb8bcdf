// Package policy is what a policy is and means: it parses, validates and
// previews Rego documents, compiles the documents of a policy-set version
// together, and evaluates the result. Simulation, replay and production all
// call this package, so there is one engine and one answer.
//
// A policy is a Rego document in package caracal.authz (or a sub-package).
// The documents of a set are compiled together; the entry point is
// data.caracal.authz.result.
package policy

import (
	"errors"
)

// Facts of the contract that callers and stored manifests rely on.
const (
	// SchemaVersion names the shape of policies and results.
	SchemaVersion = "2026-05-20"
	// InputSchemaVersion names the shape of the input document.
	InputSchemaVersion = "2026-05-20"
	// Package is the Rego package that every policy lives in or below.
	Package = "caracal.authz"
	// EntryPoint is the reference that a decision evaluates.
	EntryPoint = "data.caracal.authz.result"
	// MaxContent is the most characters (runes) one policy may have.
	MaxContent = 262144
	// MaxPolicies is the most policies one policy-set version may list.
	MaxPolicies = 256
)

// Decisions and evaluation statuses.
const (
	Allow = "allow"
	Deny  = "deny"

	StatusComplete = "complete"
	StatusPartial  = "partial"
	StatusError    = "error"
)

var (
	// ErrInvalidRego is matched by every refusal of a policy's content. The
	// concrete error is an *InvalidError that lists what and where.
	ErrInvalidRego = errors.New("invalid rego")
	// ErrConflict is matched when the policies of a set contradict each other
	// whatever the input. The concrete error is a *ConflictError.
	ErrConflict = errors.New("policies conflict")
	// ErrInvalidInput is matched when a decision's input is malformed or lacks
	// a required field. The concrete error is an *InputError.
	ErrInvalidInput = errors.New("invalid input")
)

// Module is one policy version as a member of a set.
type Module struct {
	PolicyID  string
	VersionID string
	Name      string
	Content   string
}

// Location is a place in a policy's content; both count from 1.
type Location struct {
	Row int `json:"row"`
	Col int `json:"col"`
}

// Warning is something a policy's author should know. A blocking warning stops
// activation; others do not.
type Warning struct {
	Code     string    `json:"code"`
	Message  string    `json:"message"`
	Location *Location `json:"location"`
	Blocking bool      `json:"blocking"`
	// Policy names the policy the warning is about, where a set is checked.
	Policy string `json:"policy,omitempty"`
}

// ContentError is one reason why content was refused.
type ContentError struct {
	Message  string   `json:"message"`
	Location Location `json:"location"`
	// Policy names the offending policy, where a set was compiled.
	Policy string `json:"policy,omitempty"`
	// File names the offending document, where policies were tested.
	File string `json:"file,omitempty"`
}

// Entry is one element of determining_policies or diagnostics: a JSON object.
// Numbers are json.Number so that nothing an author wrote loses digits.
type Entry = map[string]any

// Result is the outcome of one evaluation. The slices are never nil.
type Result struct {
	Decision            string  `json:"decision"`
	EvaluationStatus    string  `json:"evaluation_status"`
	DeterminingPolicies []Entry `json:"determining_policies"`
	Diagnostics         []Entry `json:"diagnostics"`
}

// DenyResult is a deny with one diagnostic that has the given reason.
func DenyResult(status, reason string) Result {
	return Result{
		Decision:            Deny,
		EvaluationStatus:    status,
		DeterminingPolicies: []Entry{},
		Diagnostics:         []Entry{{"reason": reason}},
	}
}
