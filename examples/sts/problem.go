package main

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/caracalai/caracald/daemon/client"
)

// problem is a refusal as RFC 6749 section 5.2 shapes it.
type problem struct {
	status      int
	Code        string `json:"error"`
	Description string `json:"error_description,omitempty"`
	// RequestID and DecisionIDs let an operator find out why; the reasons
	// themselves stay in the audit, because they tell an attacker what to try.
	RequestID   string   `json:"request_id,omitempty"`
	DecisionIDs []string `json:"decision_ids,omitempty"`
}

func (p *problem) Error() string { return p.Code + ": " + p.Description }

// The codes, and where they are from.
const (
	// RFC 6749, 5.2. RFC 8693, 2.2.2 wants it too for a subject or actor token
	// that is not valid or not acceptable.
	invalidRequest       = "invalid_request"
	unsupportedGrantType = "unsupported_grant_type"
	invalidScope         = "invalid_scope"
	// RFC 8693, 2.2.2: the server is "unwilling or unable to issue a token" for
	// a target. That is what a policy's deny says. access_denied, which sounds
	// closer, is registered for the authorization endpoint, where a person refused.
	invalidTarget = "invalid_target"
	// Registered for the authorization endpoint because that cannot answer 503;
	// here it names the reason of a 503.
	temporarilyUnavailable = "temporarily_unavailable"
	serverError            = "server_error"
)

func wrongRequest(description string) *problem {
	return &problem{status: http.StatusBadRequest, Code: invalidRequest, Description: description}
}

// noDecision is the problem of a question that was not answered. None of them
// is a reason to mint.
func noDecision(err error) *problem {
	if errors.Is(err, client.ErrInvalidInput) && !errors.Is(err, client.ErrUnavailable) {
		// What the client presented verified, but makes no input: too long, for example.
		return wrongRequest("the request cannot be put to the policies")
	}
	return &problem{status: http.StatusServiceUnavailable, Code: temporarilyUnavailable, Description: "nobody could decide about the request; try again later"}
}

func (p *problem) write(w http.ResponseWriter) {
	if p.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, p.status, p)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil { // everything given here is made of strings and numbers
		status, data = http.StatusInternalServerError, []byte(`{"error":"`+serverError+`"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(data) // who is gone cannot be told
}
