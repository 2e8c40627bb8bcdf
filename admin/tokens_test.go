package admin_test

import (
	"bytes"
	"crypto/sha256"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin"
	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/sqlite"
)

func (p *plane) createToken(req api.TokenCreate) api.TokenCreated {
	p.t.Helper()
	return must[api.TokenCreated](p, 201, "POST", "/v1/tokens", root, req)
}

func TestTokenLife(t *testing.T) {
	p := newPlane(t, nil)
	zone, other := p.zone("one"), p.zone("two")
	made := p.createToken(api.TokenCreate{Name: "ci", Roles: []string{"viewer", "author", "viewer"}, ZoneID: &zone})
	if !regexp.MustCompile(`^crcl_[A-Za-z0-9_-]{43}$`).MatchString(made.Secret) {
		t.Errorf("the secret is %q", made.Secret)
	}
	if !slices.Equal(made.Roles, []string{"author", "viewer"}) || *made.ZoneID != zone || made.CreatedBy != "bootstrap" || made.ExpiresAt != nil || made.RevokedAt != nil {
		t.Errorf("created %+v", made)
	}
	var kept store.Token
	p.view(func(tx store.Reader) (err error) {
		kept, err = tx.Token(t.Context(), made.ID)
		return err
	})
	if hash := sha256.Sum256([]byte(made.Secret)); !bytes.Equal(kept.Hash, hash[:]) {
		t.Error("what is stored is not the secret's SHA-256")
	}

	who := must[api.WhoAmI](p, 200, "GET", "/v1/whoami", made.Secret, nil)
	if who.ID != made.ID || who.Name != "ci" || !slices.Equal(who.Roles, made.Roles) || who.ZoneID == nil || *who.ZoneID != zone {
		t.Errorf("is %+v", who)
	}
	if boot := must[api.WhoAmI](p, 200, "GET", "/v1/whoami", root, nil); boot.Name != "bootstrap" || boot.ZoneID != nil || !slices.Equal(boot.Roles, []string{"admin"}) {
		t.Errorf("the bootstrap token is %+v", boot)
	}
	if zones := must[api.Page[api.Zone]](p, 200, "GET", "/v1/zones", made.Secret, nil); len(zones.Items) != 1 || zones.Items[0].ID != zone {
		t.Errorf("it sees the zones %+v", zones)
	}
	must[api.Page[api.Policy]](p, 200, "GET", "/v1/zones/"+zone+"/policies", made.Secret, nil)
	p.refused(p.call("GET", "/v1/zones/"+other+"/policies", made.Secret, nil), 403, "forbidden")
	p.refused(p.call("GET", "/v1/zones/"+newID()+"/policies", made.Secret, nil), 403, "forbidden")

	list := must[api.Page[api.Token]](p, 200, "GET", "/v1/tokens", root, nil)
	if len(list.Items) != 1 || list.Items[0].ID != made.ID {
		t.Errorf("listed %+v", list)
	}
	if a := p.call("DELETE", "/v1/tokens/"+made.ID, root, nil); a.status != 204 {
		t.Fatalf("revoked: %d %s", a.status, a.body)
	}
	p.refused(p.call("GET", "/v1/whoami", made.Secret, nil), 401, "unauthorized")
	if list := must[api.Page[api.Token]](p, 200, "GET", "/v1/tokens", root, nil); list.Items[0].RevokedAt == nil {
		t.Errorf("then listed %+v", list)
	}
	p.refused(p.call("DELETE", "/v1/tokens/"+newID(), root, nil), 404, "token_not_found")
}

func (p *plane) view(f func(tx store.Reader) error) {
	p.t.Helper()
	if err := p.store.View(p.t.Context(), f); err != nil {
		p.t.Fatal(err)
	}
}

func TestTokensExpire(t *testing.T) {
	p := newPlane(t, nil)
	at := p.now().Add(time.Hour)
	made := p.createToken(api.TokenCreate{Name: "short", Roles: []string{"viewer"}, ExpiresAt: &at})
	must[api.WhoAmI](p, 200, "GET", "/v1/whoami", made.Secret, nil)
	p.ahead.Store(int64(61 * time.Minute))
	p.refused(p.call("GET", "/v1/whoami", made.Secret, nil), 401, "unauthorized")
	if a := p.call("GET", "/v1/whoami", made.Secret, nil); a.header.Get("WWW-Authenticate") == "" {
		t.Error("a 401 without WWW-Authenticate")
	}
}

func TestTokenRefusals(t *testing.T) {
	p := newPlane(t, nil)
	zone := p.zone("one")
	if a := p.call("DELETE", "/v1/zones/"+p.zone("gone"), root, nil); a.status != 204 {
		t.Fatal(a.status)
	}
	nowhere, past := newID(), p.now().Add(-time.Second)
	for _, tt := range []struct {
		name, token string
		req         api.TokenCreate
		status      int
		code        string
	}{
		{"no name", root, api.TokenCreate{Roles: []string{"viewer"}}, 400, "invalid_body"},
		{"no roles", root, api.TokenCreate{Name: "n", Roles: []string{}}, 400, "invalid_body"},
		{"an unknown role", root, api.TokenCreate{Name: "n", Roles: []string{"viewer", "king"}}, 400, "invalid_body"},
		{"expired from the start", root, api.TokenCreate{Name: "n", Roles: []string{"viewer"}, ExpiresAt: &past}, 400, "invalid_body"},
		{"an unknown zone", root, api.TokenCreate{Name: "n", Roles: []string{"viewer"}, ZoneID: &nowhere}, 404, "zone_not_found"},
		{"an admin of one zone", p.token(zone, "admin"), api.TokenCreate{Name: "n", Roles: []string{"viewer"}, ZoneID: &zone}, 403, "forbidden"},
		{"not an admin", p.token("", "author", "activator", "auditor", "viewer", "daemon"), api.TokenCreate{Name: "n", Roles: []string{"viewer"}}, 403, "forbidden"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := p.in(t)
			p.refused(p.call("POST", "/v1/tokens", tt.token, tt.req), tt.status, tt.code)
		})
	}
	p.refused(p.call("GET", "/v1/tokens", p.token(zone, "admin"), nil), 403, "forbidden")
	p.refused(p.call("DELETE", "/v1/tokens/"+newID(), p.token(zone, "admin"), nil), 403, "forbidden")
	p.refused(p.call("POST", "/v1/zones", p.token(zone, "admin"), api.ZoneCreate{Name: "more"}), 403, "forbidden")
}

func TestBadCredentials(t *testing.T) {
	p := newPlane(t, nil)
	for name, header := range map[string]string{
		"none": "", "no scheme": root, "another scheme": "Basic " + root, "empty": "Bearer ", "wrong": "Bearer wrong",
		"a prefix": "Bearer " + root[:len(root)-1], "more": "Bearer " + root + "x", "another case": "Bearer " + strings.ToUpper(root),
	} {
		t.Run(name, func(t *testing.T) {
			p := p.in(t)
			p.refused(p.call("GET", "/v1/whoami", "", nil, "Authorization", header), 401, "unauthorized")
		})
	}
	if a := p.call("GET", "/v1/whoami", "", nil, "Authorization", "bearer "+root); a.status != 200 {
		t.Errorf("the scheme in lower case: %d", a.status)
	}
}

// What each role may do: a call that is let in fails for another reason, as
// there is nothing at the ids it names.
func TestRoles(t *testing.T) {
	p := newPlane(t, nil)
	zone := p.zone("one")
	in := "/v1/zones/" + zone
	all := []string{"viewer", "author", "activator", "auditor"}
	for _, tt := range []struct {
		method, path string
		body         any
		roles        []string
	}{
		{"GET", in, nil, all},
		{"GET", "/v1/zones", nil, all},
		{"PATCH", in, api.ZoneUpdate{}, nil},
		{"DELETE", "/v1/zones/" + zone + "x", nil, nil},
		{"POST", "/v1/policies/validate", validating(denyAll), all},
		{"GET", "/v1/policy-templates", nil, all},
		{"GET", "/v1/input-schema", nil, all},
		{"GET", in + "/policies", nil, all},
		{"POST", in + "/policies", []byte("{}"), []string{"author"}},
		{"GET", in + "/policies/x", nil, all},
		{"DELETE", in + "/policies/x", nil, []string{"author"}},
		{"POST", in + "/policies/x/versions", []byte("{}"), []string{"author"}},
		{"GET", in + "/policies/x/versions/y", nil, all},
		{"GET", in + "/policy-sets", nil, all},
		{"POST", in + "/policy-sets", []byte("{}"), []string{"author"}},
		{"GET", in + "/policy-sets/x", nil, all},
		{"DELETE", in + "/policy-sets/x", nil, []string{"author"}},
		{"GET", in + "/policy-sets/x/versions", nil, all},
		{"POST", in + "/policy-sets/x/versions", []byte("{}"), []string{"author"}},
		{"GET", in + "/policy-sets/x/versions/y", nil, all},
		{"POST", in + "/policy-sets/x/simulate", []byte("{}"), all},
		{"POST", in + "/policy-sets/x/activate", []byte("{}"), []string{"activator"}},
		{"GET", in + "/policy-sets/x/activation-status", nil, all},
		{"GET", in + "/active", nil, all},
		{"GET", in + "/activations", nil, all},
		{"GET", in + "/audit", nil, []string{"auditor"}},
		{"GET", in + "/audit/by-request/x", nil, []string{"auditor"}},
		{"GET", in + "/audit/by-request/x/explain", nil, []string{"auditor"}},
		{"GET", in + "/admin-audit", nil, []string{"auditor"}},
		{"GET", "/v1/admin-audit", nil, []string{"auditor"}},
		{"GET", "/v1/tokens", nil, nil},
		{"POST", "/v1/tokens", []byte("{}"), nil},
		{"DELETE", "/v1/tokens/x", nil, nil},
		{"GET", "/v1/daemons", nil, all},
		{"GET", in + "/daemons", nil, all},
		{"POST", "/v1/pointers/watch", []byte("{}"), []string{"daemon"}},
		{"POST", "/v1/receipts", []byte("{}"), []string{"daemon"}},
		{"POST", "/v1/audit/batches", []byte("{}"), []string{"daemon"}},
		{"GET", "/v1/bundles/" + strings.Repeat("0", 64), nil, append([]string{"daemon"}, all...)},
		{"GET", "/v1/trust", nil, append([]string{"daemon"}, all...)},
		{"GET", "/v1/whoami", nil, append([]string{"daemon"}, all...)},
	} {
		for _, role := range append([]string{"admin", "daemon"}, all...) {
			may := role == "admin" || slices.Contains(tt.roles, role)
			a := p.call(tt.method, tt.path, p.roleToken(role), tt.body)
			if may == (a.status == http.StatusForbidden) || a.status == http.StatusUnauthorized || a.status >= 500 {
				t.Errorf("%s %s as %s: %d %s", tt.method, tt.path, role, a.status, a.body)
			}
		}
	}
}

// roleToken gives a token of a role that reaches all zones.
func (p *plane) roleToken(role string) string {
	secret := "token-of-the-role-" + role
	hash := sha256.Sum256([]byte(secret))
	err := p.store.Update(p.t.Context(), func(tx store.Tx) error {
		if _, err := tx.TokenByHash(p.t.Context(), hash[:]); err == nil {
			return nil
		}
		return tx.InsertToken(p.t.Context(), store.Token{ID: newID(), Name: role, Hash: hash[:], Roles: []string{role}, CreatedAt: p.now()})
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return secret
}

// No secret is in the files of the store, nor in the admin audit.
func TestSecretsAreNotStored(t *testing.T) {
	dir := t.TempDir()
	st, err := sqlite.Open(t.Context(), dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := newPlane(t, func(cfg *admin.Config) {
		keys, err := admin.LoadOrCreateKeys(t.Context(), st, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		cfg.Store, cfg.Keys = st, keys
	})
	a := p.call("POST", "/v1/tokens", root, api.TokenCreate{Name: "ci", Roles: []string{"viewer"}}, "Idempotency-Key", "k1")
	secret := regexp.MustCompile(`crcl_[A-Za-z0-9_-]{43}`).Find(a.body)
	if a.status != 201 || secret == nil {
		t.Fatalf("created: %d %s", a.status, a.body)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	files := 0
	err = filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files++
		data, err := os.ReadFile(path)
		if bytes.Contains(data, secret) || bytes.Contains(data, []byte(root)) {
			t.Errorf("%s has a secret", path)
		}
		return err
	})
	if err != nil || files == 0 {
		t.Errorf("%d files, %v", files, err)
	}
}
