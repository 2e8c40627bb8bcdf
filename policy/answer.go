package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Answer is a result as JSON. It is immutable: many decisions share one.
type Answer struct {
	Decision, EvaluationStatus string
	// DeterminingPolicies and Diagnostics are JSON arrays, on one line.
	DeterminingPolicies, Diagnostics json.RawMessage
	// members are all of them in an object, without its braces.
	members []byte
}

// undefinedAnswer is what an undefined result comes to.
var undefinedAnswer = NewAnswer(DenyResult(StatusComplete, ReasonNoRuleMatched))

// NewAnswer encodes a result. What cannot be said in JSON cannot be allowed: it is a
// deny, error, invalid_result.
func NewAnswer(r Result) *Answer {
	determining, err1 := encodeEntries(r.DeterminingPolicies)
	diagnostics, err2 := encodeEntries(r.Diagnostics)
	if errors.Join(err1, err2) != nil {
		return answer(Deny, StatusError, json.RawMessage("[]"), json.RawMessage(`[{"reason":"`+ReasonInvalidResult+`"}]`))
	}
	return answer(r.Decision, r.EvaluationStatus, determining, diagnostics)
}

func encodeEntries(entries []Entry) (json.RawMessage, error) {
	if len(entries) == 0 {
		return json.RawMessage("[]"), nil
	}
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(entries); err != nil {
		return nil, fmt.Errorf("encoding a result: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// Bytes is how much memory the answer takes, about.
func (a *Answer) Bytes() int64 {
	return int64(len(a.members)) + 128
}

// AppendJSON appends the members of the answer, without the braces around them.
func (a *Answer) AppendJSON(b []byte) []byte { return append(b, a.members...) }

// answer makes the members of an answer beforehand.
func answer(decision, status string, determining, diagnostics json.RawMessage) *Answer {
	b := append([]byte(nil), `"decision":"`...)
	b = append(b, decision...)
	b = append(b, `","evaluation_status":"`...)
	b = append(b, status...)
	b = append(b, `","determining_policies":`...)
	from := len(b)
	b = append(b, determining...)
	to := len(b)
	b = append(b, `,"diagnostics":`...)
	b = bytes.Clone(append(b, diagnostics...)) // without room to grow
	return &Answer{decision, status, b[from:to:to], b[len(b)-len(diagnostics):], b}
}
