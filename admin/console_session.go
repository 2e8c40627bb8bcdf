package admin

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/caracalai/caracald/admin/store"
)

const (
	// consoleCodeLife is how long a one-time link can be used.
	consoleCodeLife = 2 * time.Minute
	// consoleSessionLife is how long a browser stays signed in.
	consoleSessionLife = 12 * time.Hour
	// consoleHeader has to be on every write that a cookie signs in: a page of
	// another origin cannot set it without being asked first.
	consoleHeader = "X-Caracal-Console"
)

// secretConsole names the store's secret that seals links and sessions, so that
// every replica opens what one of them sealed, after a restart too.
const secretConsole = "key.console"

// What is sealed: neither can be used in the other's place.
const (
	sealedLink    = "link"
	sealedSession = "session"
)

var errNoConsoleCode = refuse(http.StatusUnauthorized, "invalid_code", "the link was used already or is too old; run `caracal web` for another")

// consoleSessions signs browsers in. Links and sessions are sealed: each names
// the hash of the token it stands for and its end, and nothing is kept of it
// until it is spent, a link by its use and a session by signing out. The store
// keeps that, for all replicas. A session ends with its token too, which is
// looked up with every call.
type consoleSessions struct {
	store store.Store
	seal  cipher.AEAD
	now   func() time.Time
}

// consoleGrant is what a link or a session stands for.
type consoleGrant struct {
	id    [16]byte
	token [sha256.Size]byte
	until time.Time
}

// spendable is the id under which the store knows that a grant was spent.
func (g *consoleGrant) spendable(kind string) string { return kind + ":" + hex.EncodeToString(g.id[:]) }

// newConsoleSessions seals with the store's key, which it makes where there is none.
func newConsoleSessions(ctx context.Context, st store.Store, now func() time.Time) (*consoleSessions, error) {
	var key []byte
	read := func(tx store.Reader) (err error) {
		key, err = tx.Secret(ctx, secretConsole)
		return err
	}
	err := st.View(ctx, read)
	if errors.Is(err, store.ErrNotFound) {
		err = st.Update(ctx, func(tx store.Tx) error {
			if err := read(tx); !errors.Is(err, store.ErrNotFound) {
				return err // another replica was first
			}
			key = make([]byte, 32)
			_, _ = rand.Read(key) // never fails
			return tx.PutSecret(ctx, secretConsole, key)
		})
	}
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	seal, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &consoleSessions{store: st, seal: seal, now: now}, nil
}

// grant seals a link or a session for a token's hash.
func (s *consoleSessions) grant(kind string, token [sha256.Size]byte, life time.Duration) (sealed string, until time.Time) {
	g := consoleGrant{token: token, until: s.now().Add(life)}
	_, _ = rand.Read(g.id[:]) // never fails
	plain := append(g.id[:], g.token[:]...)
	plain = binary.BigEndian.AppendUint64(plain, uint64(g.until.UnixMicro()))
	return base64.RawURLEncoding.EncodeToString(s.seal.Seal(nil, nil, plain, []byte(kind))), g.until
}

// open reads what was sealed; ok is false where it is none, or is over.
func (s *consoleSessions) open(kind, sealed string) (g consoleGrant, ok bool) {
	data, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil {
		return g, false
	}
	plain, err := s.seal.Open(nil, nil, data, []byte(kind))
	if err != nil || len(plain) != len(g.id)+len(g.token)+8 {
		return g, false
	}
	n := copy(g.id[:], plain)
	n += copy(g.token[:], plain[n:])
	g.until = time.UnixMicro(int64(binary.BigEndian.Uint64(plain[n:])))
	return g, g.until.After(s.now())
}

// redeem uses a link up.
func (s *consoleSessions) redeem(ctx context.Context, code string) ([sha256.Size]byte, error) {
	g, ok := s.open(sealedLink, code)
	if !ok {
		return g.token, errNoConsoleCode
	}
	err := s.spend(ctx, sealedLink, g)
	if errors.Is(err, store.ErrConflict) {
		return g.token, errNoConsoleCode
	}
	return g.token, err
}

// end signs a session out.
func (s *consoleSessions) end(ctx context.Context, session consoleGrant) error {
	err := s.spend(ctx, sealedSession, session)
	if errors.Is(err, store.ErrConflict) { // it was signed out at the same time
		return nil
	}
	return err
}

func (s *consoleSessions) spend(ctx context.Context, kind string, g consoleGrant) error {
	err := s.store.Update(ctx, func(tx store.Tx) error { return tx.Spend(ctx, g.spendable(kind), g.until) })
	if err != nil {
		return fmt.Errorf("ending a %s: %w", kind, err)
	}
	return nil
}

// ended tells whether a session was signed out.
func (s *consoleSessions) ended(ctx context.Context, session consoleGrant) (spent bool, err error) {
	err = s.store.View(ctx, func(tx store.Reader) (err error) {
		spent, err = tx.Spent(ctx, session.spendable(sealedSession))
		return err
	})
	if err != nil {
		return false, fmt.Errorf("looking a session up: %w", err)
	}
	return spent, nil
}

// of finds the session of a request.
func (s *consoleSessions) of(r *http.Request) (consoleGrant, bool) {
	cookie, err := r.Cookie(consoleCookie(r))
	if err != nil {
		return consoleGrant{}, false
	}
	return s.open(sealedSession, cookie.Value)
}

// consoleCookie names the cookie by the port too, because browsers share cookies
// between the ports of a host.
func consoleCookie(r *http.Request) string {
	if _, port, err := net.SplitHostPort(r.Host); err == nil {
		return "caracal_console_" + port
	}
	return "caracal_console"
}

// sameOrigin refuses calls that a page of another origin may have made.
var sameOrigin = http.NewCrossOriginProtection()

// protect refuses writes that only a cookie vouches for and that the console did
// not make.
func (s *consoleSessions) protect(r *http.Request) error {
	if err := sameOrigin.Check(r); err != nil {
		return refuse(http.StatusForbidden, "cross_origin", "a page of another origin may not call: %v", err)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Header.Get(consoleHeader) == "" {
		return refuse(http.StatusForbidden, "console_header_missing", "calls that a cookie signs in need the header %s", consoleHeader)
	}
	return nil
}

// consoleActor finds the actor of a call that a cookie signs in; ok is false
// where there is no session.
func (t *tokens) consoleActor(r *http.Request) (a actor, ok bool, err error) {
	session, ok := t.console.of(r)
	if !ok {
		return actor{}, false, nil
	}
	ended, err := t.console.ended(r.Context(), session)
	if err != nil || ended {
		return actor{}, err != nil, err
	}
	if err := t.console.protect(r); err != nil {
		return actor{}, true, err
	}
	a, err = t.byHash(r.Context(), session.token)
	return a, true, err
}

// signIn answers with the cookie of a session, after the token was found good.
func (t *tokens) signIn(ctx context.Context, w http.ResponseWriter, r *http.Request, token [sha256.Size]byte) (actor, error) {
	a, err := t.byHash(ctx, token)
	if err != nil {
		return a, err
	}
	value, until := t.console.grant(sealedSession, token, consoleSessionLife)
	http.SetCookie(w, &http.Cookie{
		Name: consoleCookie(r), Value: value, Path: "/", Expires: until, MaxAge: int(consoleSessionLife / time.Second),
		HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode,
	})
	return a, nil
}
