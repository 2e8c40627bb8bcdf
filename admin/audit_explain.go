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

// explain answers api.Explain. The input of each denial goes out byte for byte
// as it was evaluated; an encoder would rewrite its white space, so the answer
// is put together here.
func (s *Server) explain(w http.ResponseWriter, c *call) error {
	rows, err := s.requestEvents(c.r.Context(), c)
	if err != nil {
		return err
	}
	body := api.Explain{RequestID: c.path("request"), ZoneID: c.zone(), Denied: []api.DeniedEvent{}, Events: make([]api.Event, len(rows))}
	var denied [][]byte
	for i, row := range rows {
		body.Events[i] = eventBody(row)
		if row.EventType != audit.EventDecision {
			continue
		}
		body.FinalDecision = row.Decision // the newest is the last
		if row.Decision != policy.Deny {
			continue
		}
		d, err := deniedBody(row)
		if err != nil {
			return err
		}
		denied = append(denied, d)
	}
	data, err := encode(body)
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	if len(denied) > 0 {
		// The first match is the field itself: before it there are only strings,
		// in which quotes are escaped.
		marker := []byte(`,"denied":[],`)
		list := fmt.Appendf(nil, `,"denied":[%s],`, bytes.Join(denied, []byte{','}))
		data = bytes.Replace(data, marker, list, 1)
	}
	writeJSON(w, http.StatusOK, data)
	return nil
}

// deniedBody encodes an api.DeniedEvent with its input as it is stored.
func deniedBody(e store.Event) ([]byte, error) {
	data, err := encode(api.DeniedEvent{
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
