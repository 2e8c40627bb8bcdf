package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Place is where a record stands: what tells one that came twice from two.
type Place struct {
	DaemonID string `json:"daemon_id"`
	Epoch    string `json:"epoch"`
	Offset   uint64 `json:"offset"`
}

// line is a record as a line of JSON; the fields that the admin API lists too
// have its names.
type line struct {
	Place
	ID                  string          `json:"id"`
	ZoneID              string          `json:"zone_id"`
	EventType           string          `json:"event_type"`
	RequestID           string          `json:"request_id"`
	Decision            string          `json:"decision"`
	EvaluationStatus    string          `json:"evaluation_status"`
	PolicySetID         string          `json:"policy_set_id"`
	PolicySetVersionID  string          `json:"policy_set_version_id"`
	ManifestSHA         string          `json:"manifest_sha"`
	BundleSHA256        string          `json:"bundle_sha256"`
	Sequence            int64           `json:"sequence"`
	DeterminingPolicies json.RawMessage `json:"determining_policies_json"`
	Diagnostics         json.RawMessage `json:"diagnostics_json"`
	Metadata            json.RawMessage `json:"metadata_json"`
	OccurredAt          *time.Time      `json:"occurred_at"`
	PolicyInput         json.RawMessage `json:"policy_input"`
}

// AppendLine appends a record as one line of JSON, with the newline. Numbers,
// texts and the order of members in its documents stay as they are; spaces
// between them do not. docs/formats/record.md lists the members.
func AppendLine(dst []byte, at Place, r *Record) ([]byte, error) {
	l := line{
		Place: at, ID: r.ID, ZoneID: r.ZoneID, EventType: r.EventType, RequestID: r.RequestID, Decision: r.Decision, EvaluationStatus: r.EvaluationStatus,
		PolicySetID: r.PolicySetID, PolicySetVersionID: r.PolicySetVersionID, ManifestSHA: r.ManifestSHA256, BundleSHA256: r.BundleSHA256, Sequence: r.Sequence,
		DeterminingPolicies: SoundJSON(r.DeterminingPolicies), Diagnostics: SoundJSON(r.Diagnostics), Metadata: SoundJSON(r.Metadata), PolicyInput: SoundJSON(r.Input),
	}
	// RFC 3339 can say no other years.
	if y := r.OccurredAt.UTC().Year(); !r.OccurredAt.IsZero() && y >= 1 && y <= 9999 {
		occurred := r.OccurredAt.UTC()
		l.OccurredAt = &occurred
	}
	buf := bytes.NewBuffer(dst)
	e := json.NewEncoder(buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(&l); err != nil {
		return dst, fmt.Errorf("encoding an audit record as JSON: %w", err)
	}
	return buf.Bytes(), nil
}

// SoundJSON gives back what is JSON, byte for byte, and makes a JSON string of
// what is not; nothing stays nothing.
func SoundJSON(data json.RawMessage) json.RawMessage {
	if len(data) == 0 {
		return nil
	}
	// Duplicate names are the sender's affair; what would break our own answers is not.
	if jsontext.Value(data).IsValid(jsontext.AllowDuplicateNames(true)) {
		return data
	}
	text, err := jsontext.AppendQuote(nil, bytes.ToValidUTF8(data, []byte("\uFFFD")))
	if err != nil {
		return json.RawMessage(`"unreadable"`)
	}
	return json.RawMessage(text)
}
