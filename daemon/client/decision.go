package client

import (
	"encoding/json"
	"fmt"
)

// The words of a decision.
const (
	Allow = "allow"
	Deny  = "deny"

	StatusComplete = "complete"
	StatusPartial  = "partial"
	StatusError    = "error"
)

// Decision is the daemon's answer. The zero Decision is a deny.
type Decision struct {
	// Decision is Allow or Deny. Ask Allowed.
	Decision string `json:"decision"`
	// EvaluationStatus is StatusComplete, StatusPartial or StatusError. An error
	// is always a deny.
	EvaluationStatus string `json:"evaluation_status"`
	// DeterminingPolicies is an array of objects with at least "policy"; see Policies.
	DeterminingPolicies json.RawMessage `json:"determining_policies,omitempty"`
	// Diagnostics is an array of objects, as the policies' authors made them; see Reasons.
	Diagnostics json.RawMessage `json:"diagnostics,omitempty"`
	// RequestID finds the call, and DecisionID this decision, in the audit.
	RequestID  string `json:"request_id"`
	DecisionID string `json:"decision_id"`
	ZoneID     string `json:"zone_id"`
	// What decided; all are "" where nothing is active in the zone or the
	// daemon has not loaded it, which denies. The hashes are hexadecimal SHA-256.
	PolicySetID        string `json:"policy_set_id"`
	PolicySetVersionID string `json:"policy_set_version_id"`
	ManifestSHA256     string `json:"manifest_sha256"`
	BundleSHA256       string `json:"bundle_sha256"`
}

// Allowed tells whether the token may be minted. Everything that is not a
// complete or partial allow is a no.
func (d *Decision) Allowed() bool {
	return d.Decision == Allow && (d.EvaluationStatus == StatusComplete || d.EvaluationStatus == StatusPartial)
}

// DeterminingPolicy is a policy that determined a decision. The ids are "" for
// names that are no policy of the set.
type DeterminingPolicy struct {
	Policy          string `json:"policy"`
	PolicyID        string `json:"policy_id"`
	PolicyVersionID string `json:"policy_version_id"`
}

// Policies reads DeterminingPolicies.
func (d *Decision) Policies() ([]DeterminingPolicy, error) {
	if len(d.DeterminingPolicies) == 0 {
		return nil, nil
	}
	var list []DeterminingPolicy
	if err := json.Unmarshal(d.DeterminingPolicies, &list); err != nil {
		return nil, fmt.Errorf("reading determining_policies: %w", err)
	}
	return list, nil
}

// Reasons lists the "reason" of each of the Diagnostics that has one which is text.
func (d *Decision) Reasons() []string {
	var reasons []string
	if len(d.Diagnostics) == 0 || !json.Valid(d.Diagnostics) {
		return nil
	}
	elements(d.Diagnostics, func(entry []byte) bool {
		members(entry, func(name, value []byte) bool {
			if string(name) == "reason" && value[0] == '"' {
				reasons = append(reasons, string(unquote(value)))
			}
			return true
		})
		return true
	})
	return reasons
}

// denied stands beside an error.
func denied(requestID string) Decision {
	return Decision{Decision: Deny, EvaluationStatus: StatusError, RequestID: requestID}
}

// fields of an answer, as bits of what was seen.
const (
	fieldDecision = 1 << iota
	fieldStatus
	fieldDetermining
	fieldDiagnostics
	fieldRequest
	fieldDecisionID
	fieldZone
	fieldSet
	fieldVersion
	fieldManifest
	fieldBundle

	allFields = 1<<iota - 1
)

// readDecision reads an answer that json.Valid has accepted, and checks that it
// is one to the question asked. The decision keeps raw.
func readDecision(raw []byte, zone, requestID string) (Decision, error) {
	var d Decision
	var seen int
	var wrong error
	object := members(raw, func(name, value []byte) bool {
		var field int
		var text *string
		optional := false
		switch string(name) {
		case "decision":
			field, text = fieldDecision, &d.Decision
		case "evaluation_status":
			field, text = fieldStatus, &d.EvaluationStatus
		case "determining_policies":
			field, d.DeterminingPolicies = fieldDetermining, value
		case "diagnostics":
			field, d.Diagnostics = fieldDiagnostics, value
		case "request_id":
			field, text = fieldRequest, &d.RequestID
		case "decision_id":
			field, text = fieldDecisionID, &d.DecisionID
		case "zone_id":
			field, text = fieldZone, &d.ZoneID
		case "policy_set_id":
			field, text, optional = fieldSet, &d.PolicySetID, true
		case "policy_set_version_id":
			field, text, optional = fieldVersion, &d.PolicySetVersionID, true
		case "manifest_sha256":
			field, text, optional = fieldManifest, &d.ManifestSHA256, true
		case "bundle_sha256":
			field, text, optional = fieldBundle, &d.BundleSHA256, true
		default:
			return true // a newer daemon may say more
		}
		if seen&field != 0 {
			wrong = fmt.Errorf("%s is there twice", name)
			return false
		}
		seen |= field
		switch {
		case text == nil:
			if value[0] != '[' {
				wrong = fmt.Errorf("%s is no array", name)
			}
		case value[0] == '"':
			*text = intern(unquote(value), zone, requestID)
		case optional && value[0] == 'n':
		default:
			wrong = fmt.Errorf("%s is no string", name)
		}
		return wrong == nil
	})
	switch {
	case wrong != nil:
	case !object:
		wrong = fmt.Errorf("it is no object")
	case seen != allFields:
		wrong = fmt.Errorf("it lacks a field of a decision")
	default:
		wrong = d.check(zone, requestID)
	}
	if wrong != nil {
		return denied(requestID), badAnswer("%w", wrong)
	}
	return d, nil
}

// check tells what forbids acting on a decision.
func (d *Decision) check(zone, requestID string) error {
	switch d.Decision {
	case Allow, Deny:
	default:
		return fmt.Errorf("the decision is %.40q", d.Decision)
	}
	switch d.EvaluationStatus {
	case StatusComplete, StatusPartial, StatusError:
	default:
		return fmt.Errorf("the evaluation status is %.40q", d.EvaluationStatus)
	}
	switch {
	case d.ZoneID != zone:
		return fmt.Errorf("it is for the zone %.140q, not %q", d.ZoneID, zone)
	case d.RequestID != requestID:
		return fmt.Errorf("it is for the request %.140q, not %q", d.RequestID, requestID)
	case d.DecisionID == "":
		return fmt.Errorf("it has no decision id")
	case d.Decision == Deny:
		return nil
	case d.EvaluationStatus == StatusError:
		return fmt.Errorf("it allows after an evaluation that failed")
	case d.PolicySetVersionID == "" || !isHash(d.ManifestSHA256) || !isHash(d.BundleSHA256):
		return fmt.Errorf("it allows without naming what allowed")
	}
	return nil
}

func isHash(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// intern gives text as a string, without a copy where it is one of those that
// every answer has.
func intern(text []byte, known ...string) string {
	switch string(text) {
	case Allow:
		return Allow
	case Deny:
		return Deny
	case StatusComplete:
		return StatusComplete
	}
	for _, s := range known {
		if string(text) == s {
			return s
		}
	}
	return string(text)
}
