package admin

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// consoleCodeLife is how long a one-time link can be used.
	consoleCodeLife = 2 * time.Minute
	// consoleSessionLife is how long a browser stays signed in.
	consoleSessionLife = 12 * time.Hour
	// consoleCodes bounds the one-time links that are open at once.
	consoleCodes = 1000
	// consoleHeader has to be on every write that a cookie signs in: a page of
	// another origin cannot set it without being asked first.
	consoleHeader = "X-Caracal-Console"
)

var errNoConsoleCode = refuse(http.StatusUnauthorized, "invalid_code", "the link was used already or is too old; run `caracal web` for another")

// consoleSessions signs browsers in. A session is a sealed cookie that names the
// hash of the token it stands for and its end, so that it outlives a restart, and
// ends with the token: the token is looked up with every call. Codes and what was
// signed out live in memory.
type consoleSessions struct {
	seal cipher.AEAD
	now  func() time.Time

	mu    sync.Mutex
	codes map[[sha256.Size]byte]consoleGrant // hash of a code -> what it grants
	ended map[string]time.Time               // id of a session that was signed out -> its end
}

// consoleGrant is what a code can be exchanged for.
type consoleGrant struct {
	token [sha256.Size]byte
	until time.Time
}

// consoleSession is what a cookie holds.
type consoleSession struct {
	ID    string    `json:"i"`
	Token []byte    `json:"t"`
	Until time.Time `json:"u"`
}

// newConsoleSessions seals with a key made from the bootstrap token, or where
// there is none with one that ends with the process.
func newConsoleSessions(bootstrap string, now func() time.Time) (*consoleSessions, error) {
	if bootstrap == "" {
		bootstrap = rand.Text()
	}
	key, err := hkdf.Key(sha256.New, []byte(bootstrap), nil, "caracal console session", 32)
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
	return &consoleSessions{seal: seal, now: now, codes: map[[sha256.Size]byte]consoleGrant{}, ended: map[string]time.Time{}}, nil
}

// invite makes a code that signs one browser in as a token.
func (s *consoleSessions) invite(token [sha256.Size]byte) (code string, until time.Time, err error) {
	code, until = rand.Text(), s.now().Add(consoleCodeLife)
	s.mu.Lock()
	defer s.mu.Unlock()
	for hash, g := range s.codes {
		if !g.until.After(s.now()) {
			delete(s.codes, hash)
		}
	}
	if len(s.codes) >= consoleCodes {
		return "", until, refuse(http.StatusTooManyRequests, "too_many_links", "%d links wait to be opened; each ends after %v", consoleCodes, consoleCodeLife)
	}
	s.codes[sha256.Sum256([]byte(code))] = consoleGrant{token: token, until: until}
	return code, until, nil
}

// redeem uses a code up.
func (s *consoleSessions) redeem(code string) ([sha256.Size]byte, error) {
	hash := sha256.Sum256([]byte(code))
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.codes[hash]
	delete(s.codes, hash)
	if !ok || !g.until.After(s.now()) {
		return g.token, errNoConsoleCode
	}
	return g.token, nil
}

// begin seals a session for a token's hash.
func (s *consoleSessions) begin(token [sha256.Size]byte) (value string, until time.Time, err error) {
	until = s.now().Add(consoleSessionLife)
	plain, err := json.Marshal(consoleSession{ID: rand.Text(), Token: token[:], Until: until})
	if err != nil {
		return "", until, err
	}
	return base64.RawURLEncoding.EncodeToString(s.seal.Seal(nil, nil, plain, nil)), until, nil
}

// open reads a sealed session; ok is false where it is none, or is over.
func (s *consoleSessions) open(value string) (session consoleSession, ok bool) {
	sealed, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil {
		return session, false
	}
	plain, err := s.seal.Open(nil, nil, sealed, nil)
	if err != nil || json.Unmarshal(plain, &session) != nil || len(session.Token) != sha256.Size || !session.Until.After(s.now()) {
		return session, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, over := s.ended[session.ID]
	return session, !over
}

// end signs a session out.
func (s *consoleSessions) end(session consoleSession) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, until := range s.ended {
		if !until.After(s.now()) {
			delete(s.ended, id)
		}
	}
	s.ended[session.ID] = session.Until
}

// of finds the session of a request.
func (s *consoleSessions) of(r *http.Request) (consoleSession, bool) {
	cookie, err := r.Cookie(consoleCookie(r))
	if err != nil {
		return consoleSession{}, false
	}
	return s.open(cookie.Value)
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
	if err := t.console.protect(r); err != nil {
		return actor{}, true, err
	}
	a, err = t.byHash(r.Context(), [sha256.Size]byte(session.Token))
	return a, true, err
}

// signIn answers with the cookie of a session, after the token was found good.
func (t *tokens) signIn(ctx context.Context, w http.ResponseWriter, r *http.Request, token [sha256.Size]byte) (actor, error) {
	a, err := t.byHash(ctx, token)
	if err != nil {
		return a, err
	}
	value, until, err := t.console.begin(token)
	if err != nil {
		return a, fmt.Errorf("making a session: %w", err)
	}
	http.SetCookie(w, &http.Cookie{
		Name: consoleCookie(r), Value: value, Path: "/", Expires: until, MaxAge: int(consoleSessionLife / time.Second),
		HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode,
	})
	return a, nil
}
