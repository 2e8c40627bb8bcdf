package admin

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"time"

	"github.com/caracalai/caracald/admin/console"
)

// consoleLink answers POST /console/link: a path below the API's URL that signs
// one browser in, once.
type consoleLink struct {
	Path      string    `json:"path"`
	ExpiresAt time.Time `json:"expires_at"`
}

// consoleSignIn is the body of POST /console/session: a link's code or a token.
type consoleSignIn struct {
	Code  string `json:"code,omitempty"`
	Token string `json:"token,omitempty"`
}

// consolePages registers the web console, and how browsers are signed in to it.
func (s *Server) consolePages(mux *http.ServeMux) error {
	pages, err := console.Handler()
	if err != nil {
		return err
	}
	mux.Handle("GET "+console.Base, pages)
	mux.Handle("GET /console", http.RedirectHandler(console.Base, http.StatusMovedPermanently))
	mux.Handle("GET /{$}", http.RedirectHandler(console.Base, http.StatusFound))
	for pattern, answer := range map[string]func(http.ResponseWriter, *http.Request) error{
		"POST /console/link": s.consoleLink, "POST /console/session": s.consoleSignIn, "DELETE /console/session": s.consoleSignOut,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := answer(w, r); err != nil {
				s.fail(w, r, err)
			}
		})
	}
	return nil
}

// consoleLink makes a one-time link for the bearer of a token. The code is in
// the part of the address that browsers do not send.
func (s *Server) consoleLink(w http.ResponseWriter, r *http.Request) error {
	secret, ok := bearer(r)
	if !ok {
		return errUnauthorized
	}
	hash := sha256.Sum256([]byte(secret))
	if _, err := s.tokens.byHash(r.Context(), hash); err != nil {
		return err
	}
	code, until := s.tokens.console.grant(sealedLink, hash, consoleCodeLife)
	return respond(w, http.StatusCreated, consoleLink{Path: console.Base + "#code=" + code, ExpiresAt: until})
}

// consoleSignIn exchanges a code, or a token, for a session.
func (s *Server) consoleSignIn(w http.ResponseWriter, r *http.Request) error {
	if err := s.tokens.console.protect(r); err != nil {
		return err
	}
	body, err := readBody(r, 4096)
	if err != nil {
		return err
	}
	var req consoleSignIn
	if err := decodeBody(body, &req); err != nil {
		return err
	}
	token := sha256.Sum256([]byte(req.Token))
	switch {
	case (req.Code == "") == (req.Token == ""):
		return invalidBody("", "must have either code or token")
	case req.Code != "":
		if token, err = s.tokens.console.redeem(r.Context(), req.Code); err != nil {
			return err
		}
	}
	if _, err := s.tokens.signIn(r.Context(), w, r, token); err != nil {
		return fmt.Errorf("signing in: %w", err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// consoleSignOut ends the session of a browser.
func (s *Server) consoleSignOut(w http.ResponseWriter, r *http.Request) error {
	if err := s.tokens.console.protect(r); err != nil {
		return err
	}
	if session, ok := s.tokens.console.of(r); ok {
		if err := s.tokens.console.end(r.Context(), session); err != nil {
			return err
		}
	}
	http.SetCookie(w, &http.Cookie{Name: consoleCookie(r), Path: "/", MaxAge: -1, HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode})
	w.WriteHeader(http.StatusNoContent)
	return nil
}
