package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/policy"
)

// explain answers api.Explain. The input of each decision goes out byte for byte
// as it was evaluated; an encoder would rewrite its white space, so the answer
// is put together here.
func (s *Server) explain(w http.ResponseWriter, c *call) error {
	rows, err := s.requestEvents(c.r.Context(), c)
	if err != nil {
		return err
	}
	body := api.Explain{RequestID: c.path("request"), ZoneID: c.zone(), Denied: []api.DecidedEvent{}, Allowed: []api.DecidedEvent{}, Events: make([]api.Event, len(rows))}
	var denied, allowed [][]byte
	for i, row := range rows {
		body.Events[i] = eventBody(row)
		if row.EventType != audit.EventDecision {
			continue
		}
		body.FinalDecision = row.Decision // the newest is the last
		d, err := decidedBody(row)
		if err != nil {
			return err
		}
		if row.Decision == policy.Deny {
			denied = append(denied, d)
		} else {
			allowed = append(allowed, d)
		}
	}
	data, err := encode(body)
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	// The first match is the fields themselves: before them there are only
	// strings, in which quotes are escaped.
	marker := []byte(`,"denied":[],"allowed":[],`)
	lists := fmt.Appendf(nil, `,"denied":[%s],"allowed":[%s],`, bytes.Join(denied, []byte{','}), bytes.Join(allowed, []byte{','}))
	data = bytes.Replace(data, marker, lists, 1)
	writeJSON(w, http.StatusOK, data)
	return nil
}

// decidedBody encodes an api.DecidedEvent with its input as it is stored.
func decidedBody(e store.Event) ([]byte, error) {
	data, err := encode(api.DecidedEvent{
		EventID: e.ID, EventType: e.EventType, EvaluationStatus: e.EvaluationStatus,
		DeterminingPolicies: jsonOr(e.DeterminingPolicies, "[]"),
		Diagnostics:         jsonOr(e.Diagnostics, "[]"),
		Metadata:            jsonOr(e.Metadata, "{}"),
	})
	if err != nil {
		return nil, fmt.Errorf("encoding event %s: %w", e.ID, err)
	}
	const end = `"policy_input":null}`
	head, ok := bytes.CutSuffix(bytes.TrimSpace(data), []byte(end))
	if !ok {
		return nil, fmt.Errorf("encoding event %s: policy_input is not its last field", e.ID)
	}
	input := e.Input
	if len(input) == 0 { // only its hash was kept
		input = json.RawMessage("null")
	}
	return fmt.Appendf(head, `"policy_input":%s}`, input), nil
}
