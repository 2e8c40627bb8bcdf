package peer

import (
	"encoding/json"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
)

// labelled is a principal in an entity for each of its labels.
func labelled(in *Document) cedar.Entity {
	labels := make([]cedar.EntityUID, len(in.Principal.Labels))
	for i, label := range in.Principal.Labels {
		labels[i] = cedar.NewEntityUID("Label", cedar.String(label))
	}
	return cedar.Entity{UID: cedar.NewEntityUID("Principal", cedar.String(in.Principal.ID)), Parents: cedar.NewEntityUIDSet(labels...)}
}

// cedarRoles has the roles as data of the resources: who may do what with each. Each
// scope that is requested is an action.
func cedarRoles(roles map[string]map[string][]string) func(raw []byte) (*cedarRequest, error) {
	may := map[string]map[string][]cedar.Value{} // labels by resource and scope
	for role, grants := range roles {
		for identifier, scopes := range grants {
			if may[identifier] == nil {
				may[identifier] = map[string][]cedar.Value{}
			}
			for _, scope := range scopes {
				may[identifier][scope] = append(may[identifier][scope], cedar.NewEntityUID("Label", cedar.String(role)))
			}
		}
	}
	entity := func(identifier string) cedar.Entity {
		attributes := cedar.RecordMap{}
		for _, scope := range []string{"read", "list", "write"} {
			attributes[cedar.String(scope)] = cedar.NewSet(may[identifier][scope]...)
		}
		return cedar.Entity{UID: cedar.NewEntityUID("Resource", cedar.String(identifier)), Attributes: cedar.NewRecord(attributes)}
	}
	resources := make(map[string]cedar.Entity, len(may))
	for identifier := range may {
		resources[identifier] = entity(identifier)
	}
	return func(raw []byte) (*cedarRequest, error) {
		var in Document
		if err := json.Unmarshal(raw, &in); err != nil {
			return nil, err
		}
		resource, ok := resources[in.Resource.Identifier]
		if !ok {
			resource = entity(in.Resource.Identifier)
		}
		principal := labelled(&in)
		requests := make([]cedar.Request, len(in.Context.RequestedScopes))
		for i, scope := range in.Context.RequestedScopes {
			requests[i] = cedar.Request{Principal: principal.UID, Action: cedar.NewEntityUID("Action", cedar.String(scope)), Resource: resource.UID}
		}
		return &cedarRequest{cedar.EntityMap{principal.UID: principal, resource.UID: resource}, requests}, nil
	}
}

func cedarStatements(raw []byte) (*cedarRequest, error) {
	var in Document
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, err
	}
	principal := labelled(&in)
	resource := cedar.Entity{UID: cedar.NewEntityUID("Resource", cedar.String(in.Resource.Identifier)),
		Attributes: cedar.NewRecord(cedar.RecordMap{"identifier": cedar.String(in.Resource.Identifier)})}
	return &cedarRequest{
		entities: cedar.EntityMap{principal.UID: principal, resource.UID: resource},
		requests: []cedar.Request{{Principal: principal.UID, Action: cedar.NewEntityUID("Action", cedar.String(in.Action.ID)), Resource: resource.UID,
			Context: cedar.NewRecord(cedar.RecordMap{"scopes": cedarSet(in.Context.RequestedScopes)})}},
	}, nil
}

// cedarClaims makes a number of the level of assurance, for which Cedar has no means.
func cedarClaims(raw []byte) (*cedarRequest, error) {
	var in claimsDocument
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, err
	}
	c := &in.Context.Claims
	token := cedar.RecordMap{
		"iss": cedar.String(c.Issuer), "sub": cedar.String(c.Subject), "aud": cedarSet(c.Audience), "amr": cedarSet(c.Methods), "groups": cedarSet(c.Groups),
		"iat": cedar.Long(c.IssuedAt), "auth_time": cedar.Long(c.AuthTime), "exp": cedar.Long(c.Expires),
		"email": cedar.String(c.Email), "email_verified": cedar.Boolean(c.EmailVerified),
	}
	level, _ := c.assurance() // without one it is 0, which no issuer is content with
	token["assurance"] = cedar.Long(level)
	principal := cedar.Entity{UID: cedar.NewEntityUID("Principal", cedar.String(in.Principal.ID)),
		Attributes: cedar.NewRecord(cedar.RecordMap{"id": cedar.String(in.Principal.ID)})}
	return &cedarRequest{
		entities: cedar.EntityMap{principal.UID: principal},
		requests: []cedar.Request{{Principal: principal.UID,
			Context: cedar.NewRecord(cedar.RecordMap{"token": cedar.NewRecord(token), "scopes": cedarSet(in.Context.RequestedScopes)})}},
	}, nil
}

// cedarNetwork takes the path apart: stars of Cedar's patterns go past slashes.
func cedarNetwork(raw []byte) (*cedarRequest, error) {
	var in networkDocument
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, err
	}
	address, err := types.ParseIPAddr(in.Context.ActorClaims.IP)
	if err != nil {
		return &cedarRequest{}, nil // which is denied
	}
	var parts []string
	if rest, ok := strings.CutPrefix(in.Action.Path, "/"); ok {
		parts = strings.Split(rest, "/")
	}
	part := func(i int) cedar.String {
		if i < len(parts) {
			return cedar.String(parts[i])
		}
		return ""
	}
	return &cedarRequest{requests: []cedar.Request{{Context: cedar.NewRecord(cedar.RecordMap{
		"address": address, "method": cedar.String(in.Action.Method), "scopes": cedarSet(in.Context.RequestedScopes),
		"path": cedar.NewRecord(cedar.RecordMap{"whole": cedar.String(in.Action.Path), "parts": cedar.Long(len(parts)),
			"first": part(0), "third": part(2), "fifth": part(4)}),
	})}}}, nil
}
