package peer

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/cedar-policy/cedar-go"

	"github.com/caracalai/caracald/bench/workload"
)

// cedarRequest are requests that have to be allowed, all of them, with the
// entities that they are about, ready made.
type cedarRequest struct {
	entities cedar.EntityMap
	requests []cedar.Request
}

// Cedar is cedar-go with an equivalent policy. What Cedar has no means to
// express, such as taking a label apart, is done where its entities are made.
func Cedar(_ context.Context, w *workload.Workload) (*Peer, error) {
	if w.Cedar == "" {
		return nil, errNoPolicy
	}
	policies, err := cedar.NewPolicySetFromBytes(w.Name+".cedar", []byte(w.Cedar))
	if err != nil {
		return nil, err
	}
	parse := cedarParser(w)
	decide := func(r *cedarRequest) (bool, error) {
		for i := range r.requests {
			decision, diagnostic := cedar.Authorize(policies, r.entities, r.requests[i])
			if len(diagnostic.Errors) > 0 {
				return false, fmt.Errorf("cedar: %v", diagnostic.Errors)
			}
			if decision != cedar.Allow {
				return false, nil
			}
		}
		return len(r.requests) > 0, nil
	}
	return &Peer{
		Name:   "cedar-go",
		Parse:  func(raw []byte) (any, error) { return parse(raw) },
		Decide: func(parsed any) (bool, error) { return decide(parsed.(*cedarRequest)) },
		Answer: func(dst, raw []byte) ([]byte, error) {
			r, err := parse(raw)
			if err != nil {
				return dst, err
			}
			allow, err := decide(r)
			return appendAnswer(dst, allow), err
		},
	}, nil
}

// cedarParser makes the requests of a workload.
func cedarParser(w *workload.Workload) func(raw []byte) (*cedarRequest, error) {
	switch w.Name {
	case "rbac":
		return cedarRoles(workload.RoleGrants())
	case "claims":
		return cedarClaims
	case "network":
		return cedarNetwork
	case "statements":
		return cedarStatements
	}
	return cedarParse
}

// cedarParse is that of workloads A and B.
func cedarParse(raw []byte) (*cedarRequest, error) {
	var in Document
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, err
	}
	principal := cedar.NewEntityUID("Principal", cedar.String(in.Principal.ID))
	resource := cedar.NewEntityUID("Resource", cedar.String(in.Resource.Identifier))
	var roles []cedar.EntityUID
	var areas []cedar.Value
	for _, label := range in.Principal.Labels {
		if role, ok := strings.CutPrefix(label, "role:"); ok {
			roles = append(roles, cedar.NewEntityUID("Role", cedar.String(role)))
		}
		if rest, ok := strings.CutPrefix(label, "confine:"); ok {
			area, _, _ := strings.Cut(rest, "/")
			areas = append(areas, cedar.String(area))
		}
	}
	scopes := cedarSet(in.Context.RequestedScopes)
	context := cedar.RecordMap{"scopes": scopes, "client": cedar.String(in.Context.ActorClaims.ClientID)}
	if e := in.DelegationEdge; e != nil {
		context["edge"] = cedar.NewRecord(cedar.RecordMap{
			"resource": cedar.String(e.ResourceID), "receiver": cedar.String(e.ReceiverApplicationID), "scopes": cedarSet(e.Scopes)})
	}
	return &cedarRequest{
		entities: cedar.EntityMap{
			principal: {UID: principal, Parents: cedar.NewEntityUIDSet(roles...),
				Attributes: cedar.NewRecord(cedar.RecordMap{"areas": cedar.NewSet(areas...)})},
			resource: {UID: resource, Attributes: cedar.NewRecord(cedar.RecordMap{
				"type": cedar.String(in.Resource.Type), "id": cedar.String(in.Resource.ID), "identifier": cedar.String(in.Resource.Identifier),
				"scopes": cedarSet(in.Resource.Scopes)})},
		},
		requests: []cedar.Request{{Principal: principal, Action: cedar.NewEntityUID("Action", cedar.String(in.Action.ID)), Resource: resource,
			Context: cedar.NewRecord(context)}},
	}, nil
}

func cedarSet(items []string) cedar.Set {
	values := make([]cedar.Value, len(items))
	for i, s := range items {
		values[i] = cedar.String(s)
	}
	return cedar.NewSet(values...)
}
