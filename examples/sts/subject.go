package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// algorithms are those that a token may be signed with; a token's own header
// has no say in it.
var algorithms = []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA, jose.RS256, jose.PS256}

// leeway is how far the issuer's clock may be off.
const leeway = 30 * time.Second

// trust says whose tokens are accepted: those of one issuer, meant for this STS.
type trust struct {
	issuer, audience string
	keys             jose.JSONWebKeySet
}

func loadTrust(issuer, audience, path string) (*trust, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	t := &trust{issuer: issuer, audience: audience}
	if err := json.Unmarshal(data, &t.keys); err != nil {
		return nil, fmt.Errorf("reading the keys in %s: %w", path, err)
	}
	for _, k := range t.keys.Keys {
		if !k.Valid() || !k.IsPublic() {
			return nil, fmt.Errorf("%s: the key %q is no valid public key", path, k.KeyID)
		}
	}
	if len(t.keys.Keys) == 0 {
		return nil, fmt.Errorf("%s has no keys", path)
	}
	return t, nil
}

// party is who a verified token is about.
type party struct {
	jwt.Claims
	// Scope has the scopes of the token; nil where it has no such claim and so
	// does not confine them.
	Scope *string `json:"scope"`
	// MayAct is who may act for the subject, RFC 8693 section 4.4; Act is who
	// already does, section 4.1.
	MayAct *actor `json:"may_act"`
	Act    *actor `json:"act"`
	// AuthMethods are those of RFC 8176, such as mfa.
	AuthMethods []string `json:"amr"`
	SessionID   string   `json:"sid"`
	ClientID    string   `json:"client_id"`
	// What the policies know a principal by.
	PrincipalType      string   `json:"principal_type"`
	RegistrationMethod string   `json:"registration_method"`
	Lifecycle          string   `json:"lifecycle"`
	Labels             []string `json:"labels"`

	// all are the claims as they are.
	all map[string]any
}

// actor is the value of an act or may_act claim.
type actor struct {
	Issuer  string `json:"iss,omitempty"`
	Subject string `json:"sub"`
	Act     *actor `json:"act,omitempty"`
}

// verify reads a token and checks that it may be relied on now.
func (t *trust) verify(token string, now time.Time) (*party, error) {
	parsed, err := jwt.ParseSigned(token, algorithms)
	if err != nil {
		return nil, fmt.Errorf("reading the token: %w", err)
	}
	p := &party{}
	if err := parsed.Claims(&t.keys, p, &p.all); err != nil {
		return nil, fmt.Errorf("verifying the token: %w", err)
	}
	if err := p.ValidateWithLeeway(jwt.Expected{Issuer: t.issuer, AnyAudience: jwt.Audience{t.audience}, Time: now}, leeway); err != nil {
		return nil, err
	}
	// The leeway is for clocks that are behind, not for tokens that are over.
	if p.Expiry == nil || !p.Expiry.Time().After(now) || p.Subject == "" {
		return nil, errors.New("the token is over, never ends, or is about nobody")
	}
	if p.PrincipalType == "" {
		p.PrincipalType = "user"
	}
	return p, nil
}

// scopes lists the scopes that a token is confined to; all tells that it is not.
func (p *party) scopes() (list []string, all bool) {
	if p.Scope == nil {
		return nil, true
	}
	return strings.Fields(*p.Scope), false
}

// permits tells whether a subject's token, where it says who may act, names the actor.
func (p *party) permits(by *party) bool {
	return p.MayAct == nil || p.MayAct.Subject == by.Subject && (p.MayAct.Issuer == "" || p.MayAct.Issuer == by.Issuer)
}

// steppedUp tells whether the subject has proved itself by more than one factor.
func (p *party) steppedUp() bool { return slices.Contains(p.AuthMethods, "mfa") }
