package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"go.opentelemetry.io/otel/propagation"

	"github.com/caracalai/caracald/daemon/client"
	"github.com/caracalai/caracald/daemon/client/clienttest"
)

const idp = "https://idp.example"

// scene is an STS, an identity provider that it trusts, and mostly a real
// daemon that decides for it.
type scene struct {
	t      testing.TB
	server *server
	url    string
	key    *ecdsa.PrivateKey // the identity provider's
}

// newScene runs an STS that asks the daemon at an address.
func newScene(t testing.TB, addr, zone string, timeout time.Duration) *scene {
	t.Helper()
	key := newKey(t)
	daemon, err := client.New(client.Config{Addr: addr, Timeout: timeout, Inject: func(ctx context.Context, h client.Headers) { propagation.TraceContext{}.Inject(ctx, h) }})
	check(t, err)
	t.Cleanup(func() { check(t, daemon.Close()) })
	offered, err := loadCatalogue("")
	check(t, err)
	s := &scene{t: t, key: key}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.server.handler().ServeHTTP(w, r) }))
	t.Cleanup(web.Close)
	s.url = web.URL
	signer, err := loadSigner(web.URL, "", 5*time.Minute)
	check(t, err)
	s.server = &server{
		daemon: daemon, zone: zone, offered: offered, signer: signer, now: time.Now, log: slog.New(slog.DiscardHandler),
		trusted: &trust{issuer: idp, audience: web.URL, keys: jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "idp-1", Algorithm: "ES256"}}}},
	}
	return s
}

// governed starts a daemon that the payments example's policies govern.
func governed(t testing.TB) *clienttest.Rig {
	t.Helper()
	rig := clienttest.Start(t, nil)
	rig.Activate(payments(t))
	return rig
}

func payments(t testing.TB) map[string]string {
	t.Helper()
	policies := map[string]string{}
	for _, name := range []string{"payments", "step_up"} {
		content, err := os.ReadFile(filepath.Join("..", "payments", "policies", name+".rego"))
		check(t, err)
		policies[name] = string(content)
	}
	return policies
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	return key
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type claims = map[string]any

// claimsOf are those of an agent's token for this STS, some replaced; nil takes one away.
func (s *scene) claimsOf(changed claims) claims {
	now := time.Now()
	all := claims{
		"iss": idp, "aud": s.url, "sub": "agent-reconciler", "jti": "subject-token-1", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"principal_type": "agent", "lifecycle": "task", "sid": "session-7",
	}
	maps.Copy(all, changed)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return all
}

// presents signs a token of the identity provider.
func (s *scene) presents(changed claims) string {
	s.t.Helper()
	return sign(s.t, jose.ES256, s.key, "idp-1", s.claimsOf(changed))
}

func sign(t testing.TB, with jose.SignatureAlgorithm, key any, kid string, c claims) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: with, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", kid))
	check(t, err)
	token, err := jwt.Signed(signer).Claims(c).Serialize()
	check(t, err)
	return token
}

// asks is a request for the ledger, some parameters replaced; "" takes one away.
func (s *scene) asks(subjectToken, scope string, more ...string) url.Values {
	v := url.Values{
		"grant_type": {grantTokenExchange}, "subject_token": {subjectToken}, "subject_token_type": {typeJWT},
		"resource": {"urn:payments:ledger"}, "scope": {scope},
	}
	for i := 0; i+1 < len(more); i += 2 {
		if v.Del(more[i]); more[i+1] != "" {
			v.Set(more[i], more[i+1])
		}
	}
	return v
}

// reply is what the STS answered.
type reply struct {
	issued
	problem
	status int
	header http.Header
	text   string
}

// post asks for a token. Whatever the answer, one that is not 200 holds none.
func (s *scene) post(v url.Values, header ...string) reply {
	s.t.Helper()
	r, err := s.try(v, header...)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *scene) try(v url.Values, header ...string) (reply, error) {
	req, err := http.NewRequest(http.MethodPost, s.url+"/token", strings.NewReader(v.Encode()))
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{}, err
	}
	r := reply{status: resp.StatusCode, header: resp.Header, text: string(data)}
	if err := json.Unmarshal(data, &r.issued); err != nil {
		return reply{}, err
	}
	if err := json.Unmarshal(data, &r.problem); err != nil {
		return reply{}, err
	}
	if r.status != http.StatusOK && (r.AccessToken != "" || strings.Contains(r.text, "eyJ")) || resp.Header.Get("Cache-Control") != "no-store" {
		s.t.Errorf("the answer is %d %v %s", r.status, resp.Header, data)
	}
	return r, nil
}

// refused asks for a token that there must not be.
func (s *scene) refused(what string, v url.Values, status int, code string) reply {
	s.t.Helper()
	r := s.post(v)
	if r.status != status || r.Code != code || r.RequestID == "" || r.RequestID != r.header.Get("X-Request-Id") {
		s.t.Errorf("%s: %d %s, want %d %s", what, r.status, r.text, status, code)
	}
	return r
}

// token reads a token that was minted, by the published keys.
func (s *scene) token(r reply) *minted {
	s.t.Helper()
	if r.status != http.StatusOK {
		s.t.Fatalf("no token: %d %s", r.status, r.text)
	}
	resp, err := http.Get(s.url + "/.well-known/jwks.json")
	check(s.t, err)
	defer func() { _ = resp.Body.Close() }()
	var keys jose.JSONWebKeySet
	check(s.t, json.NewDecoder(resp.Body).Decode(&keys))
	for _, k := range keys.Keys {
		if !k.IsPublic() {
			s.t.Fatal("a private key is published")
		}
	}
	parsed, err := jwt.ParseSigned(r.AccessToken, []jose.SignatureAlgorithm{jose.ES256})
	check(s.t, err)
	m := &minted{}
	check(s.t, parsed.Claims(&keys, m))
	check(s.t, m.Validate(jwt.Expected{Issuer: s.url, Time: time.Now()}))
	if parsed.Headers[0].ExtraHeaders["typ"] != "at+jwt" {
		s.t.Errorf("the token's header is %+v", parsed.Headers[0])
	}
	return m
}
