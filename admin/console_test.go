package admin_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin"
	"github.com/caracalai/caracald/admin/api"
)

// browser calls a plane as a browser does: it keeps cookies and sends no token.
type browser struct {
	t      *testing.T
	plane  *plane
	client *http.Client
}

func newBrowser(t *testing.T, p *plane) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t: t, plane: p, client: &http.Client{Jar: jar, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// do makes a call with headers given as pairs, and gives its answer and the error code in it.
func (b *browser) do(method, path, body string, headers ...string) (*http.Response, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.plane.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var failure api.Error
	_ = json.NewDecoder(resp.Body).Decode(&failure) // what is not JSON has no code
	return resp, failure.Code
}

// want makes a call as the console does and checks the status and error code.
func (b *browser) want(method, path, body string, status int, code string, headers ...string) *http.Response {
	b.t.Helper()
	resp, got := b.do(method, path, body, append([]string{"X-Caracal-Console", "1"}, headers...)...)
	if resp.StatusCode != status || got != code {
		b.t.Fatalf("%s %s: %d %q, want %d %q", method, path, resp.StatusCode, got, status, code)
	}
	return resp
}

// link gives the code of a one-time link for a token.
func (b *browser) link(token string) string {
	b.t.Helper()
	var answer struct {
		Path string `json:"path"`
	}
	a := b.plane.call(http.MethodPost, "/console/link", token, nil)
	if a.status != http.StatusCreated {
		b.t.Fatalf("asking for a link: %d %s", a.status, a.body)
	}
	if err := json.Unmarshal(a.body, &answer); err != nil {
		b.t.Fatal(err)
	}
	path, code, ok := strings.Cut(answer.Path, "#code=")
	if !ok || path != "/console/" {
		b.t.Fatalf("the link is %q", answer.Path)
	}
	return code
}

// signIn signs the browser in by a link.
func (b *browser) signIn(token string) *http.Response {
	b.t.Helper()
	return b.want(http.MethodPost, "/console/session", fmt.Sprintf(`{"code":%q}`, b.link(token)), http.StatusNoContent, "")
}

func TestConsoleSignIn(t *testing.T) {
	p := newPlane(t, nil)
	b := newBrowser(t, p)
	b.want(http.MethodGet, "/v1/whoami", "", http.StatusUnauthorized, "unauthorized")
	resp := b.signIn(root)
	cookies := resp.Cookies()
	if len(cookies) != 1 {
		t.Fatalf("signing in set %d cookies", len(cookies))
	}
	if c := cookies[0]; !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || strings.Contains(c.Value, root) {
		t.Errorf("the cookie is %+v", c)
	}
	b.want(http.MethodGet, "/v1/whoami", "", http.StatusOK, "")
	b.want(http.MethodPost, "/v1/zones", `{"name":"made in the console"}`, http.StatusCreated, "")

	// A copy of the cookie is of no use once the session was ended.
	b.want(http.MethodDelete, "/console/session", "", http.StatusNoContent, "")
	b.want(http.MethodGet, "/v1/whoami", "", http.StatusUnauthorized, "unauthorized")
	b.want(http.MethodGet, "/v1/whoami", "", http.StatusUnauthorized, "unauthorized", "Cookie", cookies[0].Name+"="+cookies[0].Value)
}

func TestConsoleCodeWorksOnce(t *testing.T) {
	p := newPlane(t, nil)
	b, thief := newBrowser(t, p), newBrowser(t, p)
	code := b.link(root)
	b.want(http.MethodPost, "/console/session", fmt.Sprintf(`{"code":%q}`, code), http.StatusNoContent, "")
	thief.want(http.MethodPost, "/console/session", fmt.Sprintf(`{"code":%q}`, code), http.StatusUnauthorized, "invalid_code")
	late := b.link(root)
	p.ahead.Add(int64(3 * time.Minute))
	thief.want(http.MethodPost, "/console/session", fmt.Sprintf(`{"code":%q}`, late), http.StatusUnauthorized, "invalid_code")
	thief.want(http.MethodGet, "/v1/whoami", "", http.StatusUnauthorized, "unauthorized")
}

func TestConsoleRefusesBadSignIns(t *testing.T) {
	p := newPlane(t, nil)
	b := newBrowser(t, p)
	for _, c := range []struct {
		body, code string
		status     int
	}{
		{`{"token":"not-a-token-of-anybody"}`, "unauthorized", http.StatusUnauthorized},
		{`{"code":"NOSUCHCODE"}`, "invalid_code", http.StatusUnauthorized},
		{`{}`, "invalid_body", http.StatusBadRequest},
		{`{"code":"a","token":"b"}`, "invalid_body", http.StatusBadRequest},
		{`{"cod`, "invalid_body", http.StatusBadRequest},
	} {
		if resp := b.want(http.MethodPost, "/console/session", c.body, c.status, c.code); len(resp.Cookies()) > 0 {
			t.Errorf("%s set a cookie", c.body)
		}
	}
	if a := p.call(http.MethodPost, "/console/link", "not-a-token-of-anybody", nil); a.status != http.StatusUnauthorized {
		t.Errorf("a link for a wrong token: %d", a.status)
	}
	// A session begets no links: only who has the token does.
	b.want(http.MethodPost, "/console/session", fmt.Sprintf(`{"token":%q}`, root), http.StatusNoContent, "")
	b.want(http.MethodPost, "/console/link", "", http.StatusUnauthorized, "unauthorized")
}

// What a page of another origin can make a browser send is refused.
func TestConsoleCrossSite(t *testing.T) {
	p := newPlane(t, nil)
	b := newBrowser(t, p)
	b.signIn(root)
	if resp, code := b.do(http.MethodPost, "/v1/zones", `{"name":"forged"}`); resp.StatusCode != http.StatusForbidden || code != "console_header_missing" {
		t.Errorf("a write without the header: %d %s", resp.StatusCode, code)
	}
	b.want(http.MethodPost, "/v1/zones", `{"name":"forged"}`, http.StatusForbidden, "cross_origin", "Sec-Fetch-Site", "same-site")
	b.want(http.MethodPost, "/v1/zones", `{"name":"forged"}`, http.StatusForbidden, "cross_origin", "Origin", "http://127.0.0.1:1")
	b.want(http.MethodDelete, "/console/session", "", http.StatusForbidden, "cross_origin", "Sec-Fetch-Site", "cross-site")
	if resp, code := newBrowser(t, p).do(http.MethodPost, "/console/session", fmt.Sprintf(`{"token":%q}`, root)); resp.StatusCode != http.StatusForbidden || code != "console_header_missing" {
		t.Errorf("signing in without the header: %d %s", resp.StatusCode, code)
	}
	b.want(http.MethodGet, "/v1/zones", "", http.StatusOK, "")
	var zones api.Page[api.Zone]
	if err := json.Unmarshal(p.call(http.MethodGet, "/v1/zones", root, nil).body, &zones); err != nil {
		t.Fatal(err)
	}
	for _, z := range zones.Items {
		if z.Name == "forged" {
			t.Error("a forged write was done")
		}
	}
}

// A session is worth what its token is: its role, and its life.
func TestConsoleSessionFollowsToken(t *testing.T) {
	p := newPlane(t, nil)
	b := newBrowser(t, p)
	var made api.TokenCreated
	a := p.call(http.MethodPost, "/v1/tokens", root, map[string]any{"name": "viewer", "roles": []string{api.RoleViewer}})
	if err := json.Unmarshal(a.body, &made); err != nil || a.status != http.StatusCreated {
		t.Fatalf("making a token: %d %s", a.status, a.body)
	}
	b.signIn(made.Secret)
	b.want(http.MethodGet, "/v1/zones", "", http.StatusOK, "")
	b.want(http.MethodPost, "/v1/zones", `{"name":"no"}`, http.StatusForbidden, "forbidden")
	if a := p.call(http.MethodDelete, "/v1/tokens/"+made.ID, root, nil); a.status != http.StatusNoContent {
		t.Fatalf("revoking: %d %s", a.status, a.body)
	}
	b.want(http.MethodGet, "/v1/zones", "", http.StatusUnauthorized, "unauthorized")

	b.signIn(root)
	p.ahead.Add(int64(13 * time.Hour))
	b.want(http.MethodGet, "/v1/zones", "", http.StatusUnauthorized, "unauthorized")
}

// The cookie is no use where it was not made, nor after it was changed.
func TestConsoleForeignCookie(t *testing.T) {
	p := newPlane(t, nil)
	other := newPlane(t, func(c *admin.Config) { c.BootstrapToken = "another-secret-of-tests" })
	c := newBrowser(t, p).signIn(root).Cookies()[0]
	for name, at := range map[string]struct {
		plane *plane
		value string
	}{"another plane": {other, c.Value}, "changed": {p, "A" + c.Value[1:]}, "empty": {p, ""}, "short": {p, "AAAA"}} {
		if name == "changed" && at.value == c.Value {
			at.value = "B" + c.Value[1:]
		}
		b := newBrowser(t, at.plane)
		port := at.plane.url[strings.LastIndex(at.plane.url, ":")+1:]
		b.want(http.MethodGet, "/v1/zones", "", http.StatusUnauthorized, "unauthorized", "Cookie", "caracal_console_"+port+"="+at.value)
	}
}

func TestConsolePages(t *testing.T) {
	p := newPlane(t, nil)
	b := newBrowser(t, p)
	if resp, _ := b.do(http.MethodGet, "/", ""); resp.StatusCode != http.StatusFound || resp.Header.Get("Location") != "/console/" {
		t.Errorf("/ leads to %d %s", resp.StatusCode, resp.Header.Get("Location"))
	}
	nonces := map[string]bool{}
	for _, path := range []string{"/console/", "/console/z/any/policies/new", "/console/z/any/audit/r.1"} {
		a := p.call(http.MethodGet, path, "", nil)
		if a.status != http.StatusOK {
			t.Fatalf("%s: %d", path, a.status)
		}
		resp, _ := b.do(http.MethodGet, path, "")
		csp := resp.Header.Get("Content-Security-Policy")
		for _, must := range []string{"default-src 'none'", "script-src 'self';", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(csp, must) {
				t.Errorf("%s: the policy %q has no %s", path, csp, must)
			}
		}
		if strings.Contains(csp, "unsafe") {
			t.Errorf("%s: %s", path, csp)
		}
		nonce := regexp.MustCompile(`'nonce-([^']+)'`).FindString(csp)
		if nonce == "" || nonces[nonce] {
			t.Errorf("%s: the nonce is %q again", path, nonce)
		}
		nonces[nonce] = true
		if regexp.MustCompile(`(?i)<script(?:\s[^>]*)?>[^<]|\son\w+=|<style`).Match(a.body) {
			t.Errorf("%s has something inline: %s", path, a.body)
		}
		found := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllSubmatch(a.body, -1)
		if len(found) < 3 {
			t.Errorf("%s loads %d files", path, len(found))
		}
		for _, f := range found {
			file, _ := b.do(http.MethodGet, string(f[1]), "")
			if !strings.HasPrefix(string(f[1]), "/console/assets/") || file.StatusCode != http.StatusOK || !strings.Contains(file.Header.Get("Cache-Control"), "immutable") {
				t.Errorf("%s loads %s: %d %v", path, f[1], file.StatusCode, file.Header)
			}
		}
	}
	if resp, _ := b.do(http.MethodGet, "/console/assets/gone-0.js", ""); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a file that is not there: %d", resp.StatusCode)
	}
}
