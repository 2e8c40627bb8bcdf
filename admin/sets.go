package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
)

func setRoutes() []route {
	return []route{
		reads("/v1/zones/{zone}/policy-sets", "policy_set.list", "List a zone's policy sets", anyone, paging, (*Server).listSets),
		writes(http.MethodPost, "/v1/zones/{zone}/policy-sets", "policy_set.create", "Create a policy set", authors, http.StatusCreated, (*Server).createSet),
		reads("/v1/zones/{zone}/policy-sets/{set}", "policy_set.get", "Read a policy set", anyone, nil, (*Server).getSet),
		writes(http.MethodDelete, "/v1/zones/{zone}/policy-sets/{set}", "policy_set.delete", "Archive a policy set; if it governs the zone, everything is denied from then on", authors, http.StatusNoContent, (*Server).deleteSet),
		reads("/v1/zones/{zone}/policy-sets/{set}/versions", "policy_set_version.list", "List a set's versions", anyone, paging, (*Server).listSetVersions),
		writes(http.MethodPost, "/v1/zones/{zone}/policy-sets/{set}/versions", createSetVersion, "Make an immutable, signed version of a set from policy versions", authors, http.StatusCreated, (*Server).createSetVersion),
		reads("/v1/zones/{zone}/policy-sets/{set}/versions/{version}", "policy_set_version.get", "Read a set version with its manifest and policies", anyone, nil, (*Server).getSetVersion),
	}
}

func (s *Server) listSets(ctx context.Context, c *call) (api.Page[api.PolicySet], error) {
	var page api.Page[api.PolicySet]
	limit, after, err := c.page()
	if err != nil {
		return page, err
	}
	err = s.store.View(ctx, func(tx store.Reader) error {
		rows, err := tx.PolicySets(ctx, c.zone(), limit+1, after)
		if err != nil {
			return err
		}
		page, err = paged(rows, limit, func(p store.PolicySet) (api.PolicySet, error) { return setBody(p), nil },
			func(p store.PolicySet) store.Cursor { return store.Cursor{At: p.CreatedAt, ID: p.ID} })
		return err
	})
	return page, err
}

func (s *Server) createSet(ctx context.Context, c *call, req *api.PolicySetCreate) (commit[api.PolicySet], error) {
	if err := checkName("/name", req.Name); err != nil {
		return nil, err
	}
	if err := checkDescription(req.Description); err != nil {
		return nil, err
	}
	return func(tx store.Tx) (effect[api.PolicySet], error) {
		p := store.PolicySet{ID: newID(), ZoneID: c.zone(), Name: req.Name, Description: req.Description, CreatedAt: c.now, CreatedBy: c.actor.name}
		err := tx.InsertPolicySet(ctx, p)
		if errors.Is(err, store.ErrConflict) {
			return effect[api.PolicySet]{}, refuse(http.StatusConflict, "policy_set_name_conflict", "the zone has a policy set of the name %q already", req.Name)
		}
		return effect[api.PolicySet]{body: setBody(p), subject: subject{entityType: "policy_set", entityID: p.ID, payload: req}}, missing(err, "zone", c.zone())
	}, nil
}

func (s *Server) getSet(ctx context.Context, c *call) (api.PolicySet, error) {
	var body api.PolicySet
	err := s.store.View(ctx, func(tx store.Reader) error {
		p, err := tx.PolicySet(ctx, c.zone(), c.path("set"))
		body = setBody(p)
		return missing(err, "policy_set", c.path("set"))
	})
	return body, err
}

func (s *Server) deleteSet(ctx context.Context, c *call, _ *nothing) (commit[nothing], error) {
	return func(tx store.Tx) (effect[nothing], error) {
		id := c.path("set")
		p, err := tx.PolicySet(ctx, c.zone(), id)
		if err != nil {
			return effect[nothing]{}, missing(err, "policy_set", id)
		}
		if p.ActiveVersionID != nil {
			if !c.actor.has(activators...) {
				return effect[nothing]{}, refuse(http.StatusForbidden, "forbidden", "the set governs its zone; deleting it needs %s", needed(activators))
			}
			zone, err := tx.Zone(ctx, c.zone())
			if err != nil {
				return effect[nothing]{}, missing(err, "zone", c.zone())
			}
			before, err := tx.Pointer(ctx, c.zone())
			if err != nil {
				return effect[nothing]{}, err
			}
			if _, err := s.movePointer(ctx, tx, c, &before, move{zone: zone, reason: "policy set deleted"}); err != nil {
				return effect[nothing]{}, err
			}
		}
		if err := tx.ArchivePolicySet(ctx, c.zone(), id, c.now); err != nil {
			return effect[nothing]{}, missing(err, "policy_set", id)
		}
		return effect[nothing]{subject: subject{entityType: "policy_set", entityID: id, payload: map[string]bool{"governed": p.ActiveVersionID != nil}}}, nil
	}, nil
}

func setBody(p store.PolicySet) api.PolicySet {
	return api.PolicySet{ID: p.ID, ZoneID: p.ZoneID, Name: p.Name, Description: p.Description, ActiveVersionID: p.ActiveVersionID, CreatedAt: p.CreatedAt}
}
