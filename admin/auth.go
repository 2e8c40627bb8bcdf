package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
)

// actor is who makes a call.
type actor struct {
	id, name string
	roles    []string
	// zone bounds the actor to one zone; "" reaches all.
	zone string
}

// has tells whether the actor has one of the roles; an admin has them all.
func (a actor) has(roles ...string) bool {
	return slices.ContainsFunc(a.roles, func(r string) bool {
		return r == api.RoleAdmin || slices.Contains(roles, r)
	})
}

// reaches tells whether the actor may touch the zone.
func (a actor) reaches(zone string) bool { return a.zone == "" || a.zone == zone }

var errUnauthorized = refuse(http.StatusUnauthorized, "unauthorized", "a valid bearer token is required")

// tokens finds the actor of a call. Secrets are only ever compared as hashes.
type tokens struct {
	store     store.Store
	bootstrap [sha256.Size]byte
	enabled   bool
	now       func() time.Time
	console   *consoleSessions

	mu   sync.Mutex
	used map[string]time.Time // token id -> last use not yet stored
}

func newTokens(ctx context.Context, st store.Store, bootstrap string, now func() time.Time) (*tokens, error) {
	console, err := newConsoleSessions(ctx, st, now)
	if err != nil {
		return nil, fmt.Errorf("preparing the console's sessions: %w", err)
	}
	return &tokens{
		console:   console,
		store:     st,
		bootstrap: sha256.Sum256([]byte(bootstrap)),
		enabled:   bootstrap != "",
		now:       now,
		used:      map[string]time.Time{},
	}, nil
}

// authenticate finds who makes the call: by the bearer token, or, where there is
// none, by the cookie of the console, or, where the listener verified a client
// certificate, by that, which makes a daemon.
func (t *tokens) authenticate(r *http.Request) (actor, error) {
	secret, ok := bearer(r)
	if !ok {
		if r.Header.Get("Authorization") == "" {
			if a, signedIn, err := t.consoleActor(r); signedIn {
				return a, err
			}
		}
		if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 && r.Header.Get("Authorization") == "" {
			name := r.TLS.PeerCertificates[0].Subject.CommonName
			return actor{id: "cert:" + name, name: name, roles: []string{api.RoleDaemon}}, nil
		}
		return actor{}, errUnauthorized
	}
	return t.byHash(r.Context(), sha256.Sum256([]byte(secret)))
}

// byHash finds the actor by the hash of a token's secret.
func (t *tokens) byHash(ctx context.Context, hash [sha256.Size]byte) (actor, error) {
	if t.enabled && subtle.ConstantTimeCompare(hash[:], t.bootstrap[:]) == 1 {
		return actor{id: "bootstrap", name: "bootstrap", roles: []string{api.RoleAdmin}}, nil
	}
	var token store.Token
	err := t.store.View(ctx, func(tx store.Reader) error {
		var err error
		token, err = tx.TokenByHash(ctx, hash[:])
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return actor{}, errUnauthorized
	}
	if err != nil {
		return actor{}, fmt.Errorf("looking a token up: %w", err)
	}
	now := t.now()
	switch {
	case subtle.ConstantTimeCompare(hash[:], token.Hash) != 1:
		return actor{}, errUnauthorized
	case token.RevokedAt != nil:
		return actor{}, refuse(http.StatusUnauthorized, "unauthorized", "the token was revoked")
	case token.ExpiresAt != nil && !token.ExpiresAt.After(now):
		return actor{}, refuse(http.StatusUnauthorized, "unauthorized", "the token has expired")
	}
	t.mu.Lock()
	t.used[token.ID] = now
	t.mu.Unlock()
	a := actor{id: token.ID, name: token.Name, roles: token.Roles}
	if token.ZoneID != nil {
		a.zone = *token.ZoneID
	}
	return a, nil
}

func bearer(r *http.Request) (string, bool) {
	scheme, secret, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	secret = strings.TrimSpace(secret)
	return secret, ok && strings.EqualFold(scheme, "Bearer") && secret != ""
}

// flush stores when tokens were last used. That is for people who look for
// tokens nobody uses, so it is written now and then and not with each call.
func (t *tokens) flush(ctx context.Context) error {
	t.mu.Lock()
	used := t.used
	t.used = map[string]time.Time{}
	t.mu.Unlock()
	if len(used) == 0 {
		return nil
	}
	err := t.store.Update(ctx, func(tx store.Tx) error {
		for id, at := range used {
			if err := tx.TouchToken(ctx, id, at); err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("storing when tokens were used: %w", err)
	}
	return nil
}
