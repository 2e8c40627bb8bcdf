package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/policy"
)

// defaultReplay is how many decisions are made again where nobody says.
const defaultReplay = 200

func replayRoutes() []route {
	return []route{
		asks("/v1/zones/{zone}/policy-sets/{set}/replay", "policy_set.replay",
			"Make a zone's recent decisions again by a set version, and tell which come out otherwise; nothing changes", auditors, (*Server).replay),
	}
}

func (s *Server) replay(ctx context.Context, c *call, req *api.ReplayRequest) (api.Replay, error) {
	r := api.Replay{Flipped: []api.Flip{}}
	switch {
	case !bundle.ValidID(req.VersionID):
		return r, invalidBody("/version_id", "is no id")
	case req.Limit < 0 || req.Limit > maxInputs:
		return r, invalidBody("/limit", "must be a number from 1 to %d", maxInputs)
	case req.Decision != "" && req.Decision != policy.Allow && req.Decision != policy.Deny:
		return r, invalidBody("/decision", "must be %q or %q", policy.Allow, policy.Deny)
	}
	var v store.SetVersion
	err := s.store.View(ctx, func(tx store.Reader) (err error) {
		v, _, err = setVersion(ctx, tx, c, req.VersionID)
		return err
	})
	if err != nil {
		return r, err
	}
	set, err := s.compiled(ctx, v)
	if err != nil {
		if p := invalidBundle(err); p != nil {
			return r, p
		}
		return r, err
	}
	limit := req.Limit
	if limit == 0 {
		limit = defaultReplay
	}
	events, err := s.store.Events().Query(ctx, store.EventQuery{
		ZoneID: c.zone(), Since: req.Since.UTC(), EventType: audit.EventDecision, Decision: req.Decision, Limit: limit,
	})
	if err != nil {
		return r, fmt.Errorf("reading the audit: %w", err)
	}
	r.PolicySetID, r.VersionID, r.ManifestSHA256 = v.PolicySetID, v.ID, v.ManifestSHA256
	m := simulator{s: s, version: v, set: set, zone: c.zone()}
	err = m.again(ctx, events, &r)
	return r, err
}

// again makes decisions anew, and notes in r how they come out.
func (m *simulator) again(ctx context.Context, events []store.Event, r *api.Replay) error {
	var kept []store.Event
	var inputs []json.RawMessage
	for _, e := range events {
		if m.replayable(e) {
			kept, inputs = append(kept, e), append(inputs, e.Input)
		}
	}
	results, err := m.all(ctx, inputs)
	if err != nil {
		return err
	}
	for i, e := range kept {
		now := results[i].Result
		if now == nil {
			continue
		}
		r.Replayed++
		r.Oldest = &e.OccurredAt
		if now.Decision != e.Decision {
			r.Flipped = append(r.Flipped, api.Flip{
				EventID: e.ID, RequestID: e.RequestID, OccurredAt: e.OccurredAt, PolicySetVersionID: e.PolicySetVersionID,
				Was: e.Decision, Now: now.Decision, EvaluationStatus: now.EvaluationStatus, Reason: results[i].Explanation.Reason,
			})
		}
	}
	r.Skipped = len(events) - r.Replayed
	return nil
}

// replayable tells whether a decision's input was kept as it was evaluated, as
// far as the version reads it.
func (m *simulator) replayable(e store.Event) bool {
	if len(e.Input) == 0 {
		return false
	}
	var metadata struct {
		Masked []string `json:"masked"`
	}
	if err := json.Unmarshal(e.Metadata, &metadata); len(e.Metadata) > 0 && err != nil {
		return false
	}
	return !slices.ContainsFunc(metadata.Masked, m.set.ReadsInput)
}
