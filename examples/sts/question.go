package main

import (
	"context"
	"net/http"
	"slices"

	"go.opentelemetry.io/otel/trace"

	"github.com/caracalai/caracald/daemon/client"
)

// exchange is a request whose tokens were verified.
type exchange struct {
	*form
	subject *party
	// actor is who acts for the subject; nil where that acts by itself.
	actor *party
	// resources are the targets, in the order of the request.
	resources []*client.Resource
}

// acting is who would hold the token.
func (x *exchange) acting() *party {
	if x.actor != nil {
		return x.actor
	}
	return x.subject
}

// resolve finds the targets and the scopes. A token is never wider than the
// subject's own, nor than what its targets offer.
func (x *exchange) resolve(offered catalogue) *problem {
	for _, t := range x.targets {
		r := offered.find(t)
		if r == nil {
			return &problem{status: http.StatusBadRequest, Code: invalidTarget, Description: "a target is not known"}
		}
		if !slices.Contains(x.resources, r) {
			x.resources = append(x.resources, r)
		}
	}
	held, all := x.subject.scopes()
	fits := func(scope string) bool {
		if !all && !slices.Contains(held, scope) {
			return false
		}
		// Each scope holds at each target: RFC 8693, section 2.1.1.
		return !slices.ContainsFunc(x.resources, func(r *client.Resource) bool { return !slices.Contains(r.Scopes, scope) })
	}
	if x.form.scopes == nil {
		for _, scope := range x.resources[0].Scopes {
			if fits(scope) {
				x.form.scopes = append(x.form.scopes, scope)
			}
		}
	}
	if len(x.form.scopes) == 0 || !allOf(x.form.scopes, fits) {
		return &problem{status: http.StatusBadRequest, Code: invalidScope, Description: "a scope is not offered by every target, or not held by the subject"}
	}
	return nil
}

func allOf(list []string, holds func(string) bool) bool {
	return !slices.ContainsFunc(list, func(s string) bool { return !holds(s) })
}

// inputs are the questions to the policies, one for each target.
func (x *exchange) inputs(ctx context.Context, zone string) []*client.Input {
	by := x.acting()
	var session *client.Session
	if x.subject.SessionID != "" {
		session = &client.Session{ID: x.subject.SessionID}
	}
	traceID := ""
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		traceID = span.TraceID().String()
	}
	var list []*client.Input
	for _, r := range x.resources {
		list = append(list, &client.Input{
			Principal: client.Principal{
				Type: by.PrincipalType, ID: by.Subject, ZoneID: zone, RegistrationMethod: by.RegistrationMethod, Lifecycle: by.Lifecycle, Labels: by.Labels,
			},
			Resource:       *r,
			Action:         client.Action{ID: "token:exchange", Method: http.MethodPost, Path: "/token"},
			Session:        session,
			DelegationEdge: x.delegation(r),
			Context: client.Context{
				ActorClaims: by.all, SubjectClaims: x.subject.all, ChallengeResolved: x.subject.steppedUp(),
				RequestedScopes: x.form.scopes, TraceID: traceID, SessionID: x.subject.SessionID,
			},
		})
	}
	return list
}

// delegation is what the subject's token delegates to the actor; nil where
// nobody acts for the subject.
func (x *exchange) delegation(r *client.Resource) *client.DelegationEdge {
	if x.actor == nil {
		return nil
	}
	scopes, all := x.subject.scopes()
	if all {
		scopes = r.Scopes
	}
	edge := &client.DelegationEdge{ID: x.subject.ID, IssuerApplicationID: x.subject.ClientID, ReceiverApplicationID: x.actor.Subject, ResourceID: r.ID, Scopes: scopes}
	if edge.ID == "" { // a token's id is optional
		edge.ID = x.subject.Subject + "->" + x.actor.Subject
	}
	for at := x.subject.Act; at != nil; at = at.Act {
		edge.Path = append(edge.Path, at.Subject)
	}
	return edge
}
