package admin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
)

func tokenRoutes() []route {
	return []route{
		reads("/v1/whoami", "token.whoami", "Say whose token this is and what it may do", nil, nil, (*Server).whoAmI),
		reads("/v1/tokens", "token.list", "List tokens, without their secrets", admins, paging, (*Server).listTokens),
		writes(http.MethodPost, "/v1/tokens", "token.create", "Create a token; its secret is shown in this answer only", admins, http.StatusCreated, (*Server).createToken),
		writes(http.MethodDelete, "/v1/tokens/{token}", "token.revoke", "Revoke a token", admins, http.StatusNoContent, (*Server).revokeToken),
	}
}

// roleNames are the roles that a token can have.
var roleNames = []string{api.RoleAdmin, api.RoleViewer, api.RoleAuthor, api.RoleActivator, api.RoleAuditor, api.RoleDaemon}

// everywhere refuses actors of one zone what concerns all of them.
func everywhere(c *call) error {
	if c.actor.zone != "" {
		return refuse(http.StatusForbidden, "forbidden", "a token for one zone cannot do this")
	}
	return nil
}

func (s *Server) whoAmI(_ context.Context, c *call) (api.WhoAmI, error) {
	who := api.WhoAmI{ID: c.actor.id, Name: c.actor.name, Roles: c.actor.roles}
	if c.actor.zone != "" {
		who.ZoneID = &c.actor.zone
	}
	return who, nil
}

func (s *Server) listTokens(ctx context.Context, c *call) (api.Page[api.Token], error) {
	var page api.Page[api.Token]
	if err := everywhere(c); err != nil {
		return page, err
	}
	limit, after, err := c.page()
	if err != nil {
		return page, err
	}
	err = s.store.View(ctx, func(tx store.Reader) error {
		rows, err := tx.Tokens(ctx, limit+1, after)
		if err != nil {
			return err
		}
		page, err = paged(rows, limit, func(t store.Token) (api.Token, error) { return tokenBody(t), nil },
			func(t store.Token) store.Cursor { return store.Cursor{At: t.CreatedAt, ID: t.ID} })
		return err
	})
	return page, err
}

func (s *Server) createToken(ctx context.Context, c *call, req *api.TokenCreate) (commit[api.TokenCreated], error) {
	if err := everywhere(c); err != nil {
		return nil, err
	}
	if err := checkName("/name", req.Name); err != nil {
		return nil, err
	}
	if len(req.Roles) == 0 {
		return nil, invalidBody("/roles", "must name at least one of %v", roleNames)
	}
	for _, r := range req.Roles {
		if !slices.Contains(roleNames, r) {
			return nil, invalidBody("/roles", "has %.80q, which is not one of %v", r, roleNames)
		}
	}
	if req.ExpiresAt != nil && !req.ExpiresAt.After(c.now) {
		return nil, invalidBody("/expires_at", "is in the past")
	}
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails
	secret := "crcl_" + base64.RawURLEncoding.EncodeToString(random)
	hash := sha256.Sum256([]byte(secret))
	return func(tx store.Tx) (effect[api.TokenCreated], error) {
		if req.ZoneID != nil {
			if _, err := tx.Zone(ctx, *req.ZoneID); err != nil {
				return effect[api.TokenCreated]{}, missing(err, "zone", *req.ZoneID)
			}
		}
		roles := slices.Clone(req.Roles)
		slices.Sort(roles)
		t := store.Token{ID: newID(), Name: req.Name, Hash: hash[:], Roles: slices.Compact(roles), ZoneID: req.ZoneID,
			CreatedAt: c.now, CreatedBy: c.actor.name, ExpiresAt: req.ExpiresAt}
		if err := tx.InsertToken(ctx, t); err != nil {
			return effect[api.TokenCreated]{}, err
		}
		sub := subject{entityType: "token", entityID: t.ID, payload: req, secret: true}
		if t.ZoneID != nil {
			sub.zone = *t.ZoneID
		}
		return effect[api.TokenCreated]{body: api.TokenCreated{Token: tokenBody(t), Secret: secret}, subject: sub}, nil
	}, nil
}

func (s *Server) revokeToken(ctx context.Context, c *call, _ *nothing) (commit[nothing], error) {
	if err := everywhere(c); err != nil {
		return nil, err
	}
	return func(tx store.Tx) (effect[nothing], error) {
		id := c.path("token")
		t, err := tx.Token(ctx, id)
		if err == nil {
			err = tx.RevokeToken(ctx, id, c.now)
		}
		if err != nil {
			return effect[nothing]{}, missing(err, "token", id)
		}
		sub := subject{entityType: "token", entityID: id, payload: map[string]string{"name": t.Name}}
		if t.ZoneID != nil {
			sub.zone = *t.ZoneID
		}
		return effect[nothing]{subject: sub}, nil
	}, nil
}

func tokenBody(t store.Token) api.Token {
	return api.Token{ID: t.ID, Name: t.Name, Roles: t.Roles, ZoneID: t.ZoneID, CreatedAt: t.CreatedAt, CreatedBy: t.CreatedBy,
		ExpiresAt: t.ExpiresAt, RevokedAt: t.RevokedAt, LastUsedAt: t.LastUsedAt}
}
