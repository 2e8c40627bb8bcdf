package main

import (
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/propagation"

	"github.com/caracalai/caracald/daemon/client"
)

// server exchanges tokens.
type server struct {
	daemon  *client.Client
	zone    string
	trusted *trust
	offered catalogue
	signer  *signer
	now     func() time.Time
	log     *slog.Logger
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", s.token)
	mux.HandleFunc("GET /.well-known/jwks.json", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.signer.public) })
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", s.metadata)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", s.ready)
	return mux
}

// metadata is that of RFC 8414.
func (s *server) metadata(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                                s.signer.issuer,
		"token_endpoint":                        s.signer.issuer + "/token",
		"jwks_uri":                              s.signer.issuer + "/.well-known/jwks.json",
		"grant_types_supported":                 []string{grantTokenExchange},
		"token_endpoint_auth_methods_supported": []string{"none"},
		"response_types_supported":              []string{},
	})
}

// ready follows the daemon: without decisions there are no tokens.
func (s *server) ready(w http.ResponseWriter, r *http.Request) {
	if err := s.daemon.Ready(r.Context()); err != nil {
		noDecision(err).write(w)
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
}

// issued is the answer of RFC 8693 section 2.2.1.
type issued struct {
	AccessToken string `json:"access_token"`
	IssuedType  string `json:"issued_token_type"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"`
	Scope       string `json:"scope"`
}

func (s *server) token(w http.ResponseWriter, r *http.Request) {
	id := rand.Text() // ours, so that nobody can choose what the audit calls a request
	w.Header().Set("X-Request-Id", id)
	answer, p := s.exchange(w, r, id)
	if p != nil {
		p.RequestID = id
		p.write(w)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

// exchange verifies, asks, and mints, in this order. A token is made in one
// place, after every target was allowed; each other way out is a problem.
func (s *server) exchange(w http.ResponseWriter, r *http.Request, requestID string) (*issued, *problem) {
	f, p := readForm(w, r)
	if p != nil {
		return nil, p
	}
	now := s.now()
	x := &exchange{form: f}
	var err error
	if x.subject, err = s.trusted.verify(f.subjectToken, now); err != nil {
		s.log.Info("a subject token is refused", "request_id", requestID, "error", err)
		return nil, wrongRequest("the subject token is not acceptable")
	}
	if f.actorToken != "" {
		if x.actor, err = s.trusted.verify(f.actorToken, now); err != nil {
			s.log.Info("an actor token is refused", "request_id", requestID, "error", err)
			return nil, wrongRequest("the actor token is not acceptable")
		}
		if !x.subject.permits(x.actor) {
			return nil, wrongRequest("the subject token does not let this actor act")
		}
	}
	if p := x.resolve(s.offered); p != nil {
		return nil, p
	}

	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx = client.WithRequestID(ctx, requestID)
	decisions, err := s.daemon.DecideBatch(ctx, x.inputs(ctx, s.zone))
	if err != nil {
		s.log.Error("there is no decision", "request_id", requestID, "error", err)
		return nil, noDecision(err)
	}
	if p := s.judge(decisions, requestID); p != nil {
		return nil, p
	}
	token, lasts, err := s.signer.mint(x, decisions, now)
	if err != nil {
		s.log.Error("no token could be minted", "request_id", requestID, "error", err)
		return nil, &problem{status: http.StatusInternalServerError, Code: serverError, Description: "the token could not be made"}
	}
	s.log.Info("minted", "request_id", requestID, "decision_id", decisions[0].DecisionID, "subject", x.subject.Subject, "scope", strings.Join(f.scopes, " "))
	answer := &issued{AccessToken: token, IssuedType: f.requestedType, TokenType: "Bearer", ExpiresIn: int64(lasts.Seconds()), Scope: strings.Join(f.scopes, " ")}
	if f.requestedType != typeAccessToken {
		answer.TokenType = "N_A" // RFC 8693: it is not said to be an access token
	}
	return answer, nil
}

// judge gives the problem of decisions that are not all allows.
func (s *server) judge(decisions []client.Outcome, requestID string) *problem {
	var failed error
	denied := &problem{status: http.StatusBadRequest, Code: invalidTarget, Description: "the policies do not allow a token for this target and scope"}
	undecided := false
	for i := range decisions {
		switch d := &decisions[i]; {
		case d.Err != nil:
			failed = errors.Join(failed, d.Err)
		case d.Allowed():
		case d.EvaluationStatus == client.StatusError:
			// A deny because the zone is not loaded or an evaluation failed says
			// nothing about the request, and may be over soon.
			undecided = true
			s.log.Error("the policies could not decide", "request_id", requestID, "decision_id", d.DecisionID, "reasons", d.Reasons())
		default:
			denied.DecisionIDs = append(denied.DecisionIDs, d.DecisionID)
			s.log.Info("denied", "request_id", requestID, "decision_id", d.DecisionID, "reasons", d.Reasons())
		}
	}
	switch {
	case len(denied.DecisionIDs) > 0: // which no other answer could mend
		return denied
	case failed != nil:
		s.log.Error("there is no decision", "request_id", requestID, "error", failed)
		return noDecision(failed)
	case undecided:
		return noDecision(client.ErrUnavailable)
	}
	return nil
}
