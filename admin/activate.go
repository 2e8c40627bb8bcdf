package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/policy"
)

func activateRoutes() []route {
	return []route{
		writes(http.MethodPost, "/v1/zones/{zone}/policy-sets/{set}/activate", "policy_set.activate",
			"Move the zone's pointer to a version of the set; an older version rolls back", activators, http.StatusAccepted, (*Server).activate),
		reads("/v1/zones/{zone}/active", "zone.active", "Read what governs a zone, since when and by whom", anyone, nil, (*Server).getActive),
		reads("/v1/zones/{zone}/activations", "zone.activations", "List a zone's activations", anyone, paging, (*Server).listActivations),
	}
}

// expectation is what an activation wants to find active.
type expectation struct {
	given bool
	// version is nil where nothing must be active.
	version *string
}

func readExpectation(raw json.RawMessage) (expectation, error) {
	if raw == nil {
		return expectation{}, nil
	}
	e := expectation{given: true}
	if err := json.Unmarshal(raw, &e.version); err != nil || (e.version != nil && !bundle.ValidID(*e.version)) {
		return e, invalidBody("/expected_active_version_id", "must be the id of a version, or null where nothing is expected to be active")
	}
	return e, nil
}

func (e expectation) holds(active *string) bool {
	switch {
	case !e.given:
		return true
	case e.version == nil || active == nil:
		return e.version == nil && active == nil
	}
	return *e.version == *active
}

func (s *Server) activate(ctx context.Context, c *call, req *api.ActivateRequest) (commit[api.Activated], error) {
	if !bundle.ValidID(req.VersionID) {
		return nil, invalidBody("/version_id", "is no id")
	}
	if len(req.Reason) > 2000 {
		return nil, invalidBody("/reason", "must be at most 2000 bytes")
	}
	expected, err := readExpectation(req.ExpectedActiveVersionID)
	if err != nil {
		return nil, err
	}
	var v store.SetVersion
	err = s.store.View(ctx, func(tx store.Reader) (err error) {
		v, _, err = setVersion(ctx, tx, c, req.VersionID)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := s.activatable(ctx, v); err != nil {
		return nil, err
	}
	return func(tx store.Tx) (effect[api.Activated], error) {
		// Read again: the set may have been archived meanwhile.
		v, _, err := setVersion(ctx, tx, c, req.VersionID)
		if err != nil {
			return effect[api.Activated]{}, err
		}
		zone, err := tx.Zone(ctx, c.zone())
		if err != nil {
			return effect[api.Activated]{}, missing(err, "zone", c.zone())
		}
		before, err := tx.Pointer(ctx, c.zone())
		if err != nil {
			return effect[api.Activated]{}, err
		}
		if !expected.holds(before.VersionID) {
			return effect[api.Activated]{}, refuse(http.StatusConflict, "active_version_changed", "%s is active, not %s", named(before.VersionID), named(expected.version))
		}
		a, err := s.movePointer(ctx, tx, c, &before, move{zone: zone, version: &v, reason: req.Reason})
		if err != nil {
			return effect[api.Activated]{}, err
		}
		status := url.URL{
			Path:     fmt.Sprintf("/v1/zones/%s/policy-sets/%s/activation-status", zone.ID, v.PolicySetID),
			RawQuery: url.Values{"version_id": {v.ID}, "outbox_id": {a.ID}}.Encode(),
		}
		return effect[api.Activated]{
			body: api.Activated{Activated: true, VersionID: v.ID, OutboxID: a.ID, StatusURL: status.String(), Sequence: a.Sequence},
			subject: subject{entityType: "policy_set_version", entityID: v.ID, payload: map[string]any{
				"policy_set_id": v.PolicySetID, "previous_version_id": a.PreviousVersionID, "sequence": a.Sequence, "reason": req.Reason,
			}},
		}, nil
	}, nil
}

func named(version *string) string {
	if version == nil {
		return "nothing"
	}
	return "version " + *version
}

// activatable refuses a version that daemons could not load, or that a warning blocks.
func (s *Server) activatable(ctx context.Context, v store.SetVersion) error {
	set, err := s.compiled(ctx, v)
	if err != nil {
		if p := invalidBundle(err); p != nil {
			return p
		}
		return err
	}
	p := refuse(http.StatusUnprocessableEntity, "activation_blocked", "%s", blockedBy(set.Warnings()))
	for _, w := range set.Warnings() {
		if w.Blocking {
			e := policy.ContentError{Message: w.Code + ": " + w.Message, Policy: w.Policy}
			if w.Location != nil {
				e.Location = *w.Location
			}
			p.errors = append(p.errors, e)
		}
	}
	if len(p.errors) > 0 {
		return p
	}
	return nil
}

func (s *Server) getActive(ctx context.Context, c *call) (api.Active, error) {
	var body api.Active
	err := s.store.View(ctx, func(tx store.Reader) error {
		p, err := tx.Pointer(ctx, c.zone())
		if err != nil {
			return err
		}
		body = api.Active{ZoneID: p.ZoneID, PolicySetID: p.PolicySetID, PolicySetVersionID: p.VersionID, Sequence: p.Sequence,
			Since: p.Since, ActivatedBy: p.ActivatedBy, Reason: p.Reason}
		if p.VersionID != nil {
			body.ManifestSHA256, body.BundleSHA256 = &p.ManifestSHA256, &p.BundleSHA256
		}
		return nil
	})
	return body, err
}

func (s *Server) listActivations(ctx context.Context, c *call) (api.Page[api.Activation], error) {
	var page api.Page[api.Activation]
	limit, after, err := c.page()
	if err != nil {
		return page, err
	}
	err = s.store.View(ctx, func(tx store.Reader) error {
		rows, err := tx.Activations(ctx, c.zone(), limit+1, after)
		if err != nil {
			return err
		}
		page, err = paged(rows, limit, activationBody, func(a store.Activation) store.Cursor { return store.Cursor{At: a.CreatedAt, ID: a.ID} })
		return err
	})
	return page, err
}

func activationBody(a store.Activation) (api.Activation, error) {
	body := api.Activation{ID: a.ID, ZoneID: a.ZoneID, Sequence: a.Sequence, PolicySetID: a.PolicySetID, VersionID: a.VersionID,
		PreviousVersionID: a.PreviousVersionID, Reason: a.Reason, ActorID: a.ActorID, ActorName: a.ActorName, CreatedAt: a.CreatedAt}
	if a.VersionID != nil {
		body.ManifestSHA256, body.BundleSHA256 = &a.ManifestSHA256, &a.BundleSHA256
	}
	return body, nil
}
