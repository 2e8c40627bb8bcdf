package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caracalai/caracald/daemon/client"
	"github.com/caracalai/caracald/daemon/client/clienttest"
)

// A token is minted for what the policies allow, and names what allowed it.
func TestAllowed(t *testing.T) {
	rig := governed(t)
	for name, addr := range map[string]string{"TCP": rig.URL, "socket": "unix://" + rig.Socket} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, addr, rig.Zone, 10*time.Second)
			const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
			r := s.post(s.asks(s.presents(nil), "payments:read"), "Traceparent", "00-"+trace+"-00f067aa0ba902b7-01")
			m := s.token(r)
			if r.TokenType != "Bearer" || r.IssuedType != typeAccessToken || r.Scope != "payments:read" || r.ExpiresIn != 300 {
				t.Errorf("%+v", r.issued)
			}
			if m.Subject != "agent-reconciler" || fmt.Sprint(m.Audience) != "[urn:payments:ledger]" || m.Scope != "payments:read" || m.Act != nil || m.ID == "" || m.ClientID != m.Subject ||
				m.Expiry.Time().Sub(m.IssuedAt.Time()) != 5*time.Minute {
				t.Errorf("%+v", m)
			}
			active, err := rig.Admin.Active(t.Context(), rig.Zone)
			check(t, err)
			records := rig.Recorded(r.header.Get("X-Request-Id"), 1)
			if len(records) != 1 || len(m.Decisions) != 1 {
				t.Fatalf("%d records, %d decisions", len(records), len(m.Decisions))
			}
			if d := m.Decisions[0]; d.Resource != "urn:payments:ledger" || d.DecisionID != records[0].ID || d.PolicySetVersionID != *active.PolicySetVersionID || d.BundleSHA256 != records[0].BundleSHA256 || d.ManifestSHA256 == "" {
				t.Errorf("%+v, record %+v", d, records[0])
			}
			if !strings.Contains(string(records[0].MetadataJSON), trace) {
				t.Errorf("metadata %s", records[0].MetadataJSON)
			}
		})
	}
}

// What the policies deny is refused, and the audit has it.
func TestDenied(t *testing.T) {
	rig := governed(t)
	s := newScene(t, rig.URL, rig.Zone, 10*time.Second)
	operator := claims{"labels": []string{"role:operator"}}
	r := s.refused("without step-up", s.asks(s.presents(operator), "payments:refund"), http.StatusBadRequest, invalidTarget)
	if len(r.DecisionIDs) != 1 || strings.Contains(r.text, "step_up") {
		t.Errorf("%s", r.text)
	}
	if record := rig.Recorded(r.RequestID, 1)[0]; record.ID != r.DecisionIDs[0] || record.Decision != "deny" || !strings.Contains(string(record.DiagnosticsJSON), "step_up_required") {
		t.Errorf("record %+v", record)
	}
	operator["amr"] = []string{"pwd", "mfa"}
	if m := s.token(s.post(s.asks(s.presents(operator), "payments:refund"))); m.Scope != "payments:refund" {
		t.Errorf("%+v", m)
	}
	s.refused("no operator", s.asks(s.presents(nil), "payments:refund"), http.StatusBadRequest, invalidTarget)
	s.refused("no agent", s.asks(s.presents(claims{"principal_type": "user"}), "payments:read"), http.StatusBadRequest, invalidTarget)

	empty := clienttest.Start(t, nil)
	s = newScene(t, empty.URL, empty.Zone, 10*time.Second)
	s.refused("nothing is active", s.asks(s.presents(nil), "payments:read"), http.StatusBadRequest, invalidTarget)
	s = newScene(t, empty.URL, "another-zone", 10*time.Second)
	s.refused("a zone that is not loaded", s.asks(s.presents(nil), "payments:read"), http.StatusServiceUnavailable, temporarilyUnavailable)
}

// Who acts for a subject is asked about, and is named in the token with those before.
func TestDelegation(t *testing.T) {
	rig := governed(t)
	s := newScene(t, rig.URL, rig.Zone, 10*time.Second)
	person := claims{"sub": "alice", "principal_type": "user", "scope": "payments:read profile", "client_id": "console", "act": claims{"sub": "assistant"}}
	agent := s.presents(claims{"sub": "agent-7", "exp": time.Now().Add(time.Minute).Unix()})
	r := s.post(s.asks(s.presents(person), "", "actor_token", agent, "actor_token_type", typeAccessToken, "resource", "", "audience", "res-ledger", "requested_token_type", typeJWT))
	m := s.token(r)
	if m.Subject != "alice" || m.Act == nil || m.Act.Subject != "agent-7" || m.Act.Issuer != idp || m.Act.Act == nil || m.Act.Act.Subject != "assistant" || m.Scope != "payments:read" || m.ClientID != "agent-7" {
		t.Errorf("%+v", m)
	}
	if r.TokenType != "N_A" || r.IssuedType != typeJWT || r.ExpiresIn > 60 {
		t.Errorf("%+v", r.issued)
	}
	denied := s.refused("more than is delegated", s.asks(s.presents(claims{"sub": "alice", "client_id": "console"}), "payments:refund", "actor_token", agent, "actor_token_type", typeJWT), http.StatusBadRequest, invalidTarget)
	rig.Recorded(denied.RequestID, 1)
	e, err := rig.Admin.Explain(t.Context(), rig.Zone, denied.RequestID)
	check(t, err)
	var asked client.Input
	check(t, json.Unmarshal(e.Denied[0].PolicyInput, &asked))
	if edge := asked.DelegationEdge; edge == nil || edge.ID != "subject-token-1" || edge.ReceiverApplicationID != "agent-7" || edge.IssuerApplicationID != "console" || edge.ResourceID != "res-ledger" ||
		asked.Principal.ID != "agent-7" || asked.Principal.ZoneID != rig.Zone || asked.Context.SubjectClaims["sub"] != "alice" || asked.Context.ActorClaims["sub"] != "agent-7" || asked.Session == nil || asked.Session.ID != "session-7" {
		t.Errorf("the policies were asked %s", e.Denied[0].PolicyInput)
	}
	act := func(mayAct any) url.Values {
		person["may_act"] = mayAct
		return s.asks(s.presents(person), "payments:read", "actor_token", agent, "actor_token_type", typeJWT)
	}
	if m := s.token(s.post(act(claims{"sub": "agent-7"}))); m.Act.Subject != "agent-7" {
		t.Errorf("%+v", m)
	}
	s.refused("another may act", act(claims{"sub": "agent-8"}), http.StatusBadRequest, invalidRequest)
	s.refused("another's agent may act", act(claims{"sub": "agent-7", "iss": "https://else.example"}), http.StatusBadRequest, invalidRequest)
}

// Each target is asked about; one that is denied is enough to refuse.
func TestSeveralTargets(t *testing.T) {
	rig := clienttest.Start(t, nil)
	both := payments(t)
	both["payments"] = strings.ReplaceAll(both["payments"], `input.resource.identifier == "urn:payments:ledger"`, `startswith(input.resource.identifier, "urn:payments:")`)
	rig.Activate(both)
	s := newScene(t, rig.URL, rig.Zone, 10*time.Second)
	v := s.asks(s.presents(nil), "payments:read")
	v["resource"] = []string{"urn:payments:ledger", "urn:payments:archive"}
	v["audience"] = []string{"res-ledger"} // the same again
	r := s.post(v)
	m := s.token(r)
	if fmt.Sprint(m.Audience) != "[urn:payments:ledger urn:payments:archive]" || len(m.Decisions) != 2 || m.Decisions[0].DecisionID == m.Decisions[1].DecisionID {
		t.Errorf("%+v", m)
	}
	if records := rig.Recorded(r.header.Get("X-Request-Id"), 2); len(records) != 2 {
		t.Errorf("%d records", len(records))
	}
	rig.Activate(payments(t)) // which know the ledger only
	if r := s.refused("one is denied", v, http.StatusBadRequest, invalidTarget); len(r.DecisionIDs) != 1 {
		t.Errorf("%s", r.text)
	}
}

func TestBadRequests(t *testing.T) {
	rig := governed(t)
	s := newScene(t, rig.URL, rig.Zone, 10*time.Second)
	good := s.presents(claims{"scope": "payments:read other"})
	const bad = http.StatusBadRequest
	for _, test := range []struct {
		name, code string
		change     []string
	}{
		{"no grant", unsupportedGrantType, []string{"grant_type", ""}},
		{"another grant", unsupportedGrantType, []string{"grant_type", "client_credentials"}},
		{"no subject", invalidRequest, []string{"subject_token", ""}},
		{"no subject type", invalidRequest, []string{"subject_token_type", ""}},
		{"SAML", invalidRequest, []string{"subject_token_type", "urn:ietf:params:oauth:token-type:saml2"}},
		{"actor without type", invalidRequest, []string{"actor_token", good}},
		{"actor type without actor", invalidRequest, []string{"actor_token_type", typeJWT}},
		{"bad actor", invalidRequest, []string{"actor_token", "x.y.z", "actor_token_type", typeJWT}},
		{"a refresh token", invalidRequest, []string{"requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token"}},
		{"no target", invalidRequest, []string{"resource", ""}},
		{"relative target", invalidTarget, []string{"resource", "/ledger"}},
		{"fragment", invalidTarget, []string{"resource", "urn:payments:ledger#x"}},
		{"unknown target", invalidTarget, []string{"resource", "urn:payments:vault"}},
		{"unknown audience", invalidTarget, []string{"resource", "", "audience", "vault"}},
		{"not offered", invalidScope, []string{"scope", "other"}},
		{"not held", invalidScope, []string{"scope", "payments:read payments:refund"}},
		{"bad scope", invalidScope, []string{"scope", "payments:\"read"}},
	} {
		s.refused(test.name, s.asks(good, "payments:read", test.change...), bad, test.code)
	}
	twice := s.asks(good, "payments:read")
	twice["subject_token"] = []string{good, good}
	s.refused("twice", twice, bad, invalidRequest)
	many := s.asks(good, "payments:read")
	many["audience"] = make([]string, 17)
	s.refused("many targets", many, bad, invalidTarget)
	s.refused("long", s.asks(strings.Repeat("x", 100<<10), ""), bad, invalidRequest)
	if r := s.post(s.asks(good, "payments:read"), "Content-Type", "application/json"); r.status != bad || r.Code != invalidRequest {
		t.Errorf("JSON: %s", r.text)
	}
	if m := s.token(s.post(s.asks(good, ""))); m.Scope != "payments:read" {
		t.Errorf("without a scope: %+v", m)
	}
}

// Tokens that cannot be relied on are no subject and no actor.
func TestBadTokens(t *testing.T) {
	rig := governed(t)
	s := newScene(t, rig.URL, rig.Zone, 10*time.Second)
	now := time.Now()
	good := s.presents(nil)
	parts := strings.Split(good, ".")
	forged := strings.Split(s.presents(claims{"sub": "root"}), ".")
	public, err := jose.JSONWebKey{Key: s.key.Public()}.MarshalJSON()
	check(t, err)
	tokens := map[string]string{
		"garbage":           "x",
		"another issuer":    s.presents(claims{"iss": "https://else.example"}),
		"for another":       s.presents(claims{"aud": "https://else.example"}),
		"for nobody":        s.presents(claims{"aud": nil}),
		"about nobody":      s.presents(claims{"sub": nil}),
		"over":              s.presents(claims{"exp": now.Add(-time.Second).Unix()}),
		"endless":           s.presents(claims{"exp": nil}),
		"not yet":           s.presents(claims{"nbf": now.Add(time.Hour).Unix()}),
		"labels of no kind": s.presents(claims{"labels": 7}),
		"another key":       sign(t, jose.ES256, newKey(t), "idp-1", s.claimsOf(nil)),
		"unknown key":       sign(t, jose.ES256, s.key, "idp-2", s.claimsOf(nil)),
		"HMAC by the key":   sign(t, jose.HS256, append(public, make([]byte, 32)...), "idp-1", s.claimsOf(nil)),
		"unsigned":          "eyJhbGciOiJub25lIn0." + parts[1] + ".",
		"cut off":           parts[0] + "." + parts[1] + ".",
		"another's claims":  parts[0] + "." + forged[1] + "." + parts[2],
		"of this STS":       s.post(s.asks(good, "payments:read")).AccessToken,
	}
	for name, token := range tokens {
		s.refused(name, s.asks(token, "payments:read"), http.StatusBadRequest, invalidRequest)
		s.refused(name+", actor", s.asks(good, "payments:read", "actor_token", token, "actor_token_type", typeJWT), http.StatusBadRequest, invalidRequest)
	}
}

// While policies change under load, each token is by a version that allowed it
// and each refusal by one that did not.
func TestConcurrent(t *testing.T) {
	rig := governed(t)
	s := newScene(t, "unix://"+rig.Socket, rig.Zone, 10*time.Second)
	agent := s.presents(nil)
	deny := strings.ReplaceAll(payments(t)["payments"], `input.principal.type == "agent"`, `input.principal.type == "nobody"`)
	done := make(chan struct{})
	var work sync.WaitGroup
	var mu sync.Mutex
	allowing := map[string]bool{}
	var tokens []*minted
	for range 8 {
		work.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				r, err := s.try(s.asks(agent, "payments:read"))
				if err != nil {
					t.Error(err)
					return
				}
				switch {
				case r.status == http.StatusOK:
					m := s.token(r)
					mu.Lock()
					tokens = append(tokens, m)
					mu.Unlock()
				case r.Code != invalidTarget:
					t.Errorf("%d %s", r.status, r.text)
				}
			}
		})
	}
	active, err := rig.Admin.Active(t.Context(), rig.Zone)
	check(t, err)
	allowing[*active.PolicySetVersionID] = true
	for range 3 {
		rig.Activate(map[string]string{"payments": deny})
		if r := s.post(s.asks(agent, "payments:read")); r.Code != invalidTarget {
			t.Errorf("after a deny was activated: %d %s", r.status, r.text)
		}
		allowing[rig.Activate(payments(t)).ID] = true
		s.token(s.post(s.asks(agent, "payments:read")))
	}
	close(done)
	work.Wait()
	if len(tokens) == 0 {
		t.Error("nothing was minted")
	}
	for _, m := range tokens {
		if !allowing[m.Decisions[0].PolicySetVersionID] {
			t.Errorf("minted by %+v", m.Decisions[0])
		}
	}
}
