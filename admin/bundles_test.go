package admin_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/bundle"
)

func TestBundleIsServedByItsHash(t *testing.T) {
	p := newPlane(t, nil)
	v := p.publish(p.zone("one"), "set")
	path := "/v1/bundles/" + v.sha256
	whole := p.call("GET", path, root, nil)
	if whole.status != 200 || bundle.SHA256Hex(whole.body) != v.sha256 {
		t.Fatalf("answered %d with %d bytes that hash to %s, want %s", whole.status, len(whole.body), bundle.SHA256Hex(whole.body), v.sha256)
	}
	for name, want := range map[string]string{
		"Content-Type":   "application/vnd.caracal.bundle+zstd",
		"ETag":           `"` + v.sha256 + `"`,
		"Cache-Control":  "private, max-age=31536000, immutable",
		"Accept-Ranges":  "bytes",
		"Content-Length": strconv.Itoa(len(whole.body)),
	} {
		if got := whole.header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	env := p.call("GET", path+"/envelope", root, nil)
	trust, err := bundle.LoadTrust(p.keys.Roots[0])
	if err != nil {
		t.Fatal(err)
	}
	s, err := trust.VerifyStatement(env.body)
	if err != nil || s.BundleSHA256 != v.sha256 || s.ManifestSHA256 != v.manifest || s.BundleSize != int64(len(whole.body)) {
		t.Fatalf("the envelope %s says %+v, %v", env.body, s, err)
	}
	if _, err := bundle.Unpack(whole.body, s, bundle.DefaultLimits()); err != nil {
		t.Fatal(err)
	}

	if head := p.call("HEAD", path, root, nil); head.status != 200 || len(head.body) != 0 || head.header.Get("Content-Length") != strconv.Itoa(len(whole.body)) {
		t.Errorf("HEAD answered %d, %v", head.status, head.header)
	}
	if a := p.call("GET", path, root, nil, "If-None-Match", whole.header.Get("ETag")); a.status != 304 || len(a.body) != 0 {
		t.Errorf("with the same ETag: %d and %d bytes, want 304", a.status, len(a.body))
	}
	half := len(whole.body) / 2
	first := p.call("GET", path, root, nil, "Range", fmt.Sprintf("bytes=0-%d", half-1))
	rest := p.call("GET", path, root, nil, "Range", fmt.Sprintf("bytes=%d-", half), "If-Range", whole.header.Get("ETag"))
	if first.status != 206 || rest.status != 206 || !bytes.Equal(append(first.body, rest.body...), whole.body) {
		t.Errorf("two ranges answered %d and %d and do not make the whole", first.status, rest.status)
	}
	if want := fmt.Sprintf("bytes %d-%d/%d", half, len(whole.body)-1, len(whole.body)); rest.header.Get("Content-Range") != want {
		t.Errorf("Content-Range is %q, want %q", rest.header.Get("Content-Range"), want)
	}
	beyond := p.call("GET", path, root, nil, "Range", fmt.Sprintf("bytes=%d-", len(whole.body)))
	p.refused(beyond, 416, "range_not_satisfiable")
	if beyond.header.Get("Cache-Control") != "no-store" {
		t.Errorf("an error may be kept: %q", beyond.header.Get("Cache-Control"))
	}
}

func TestBundleRefusals(t *testing.T) {
	p := newPlane(t, nil)
	mine, foreign := p.zone("mine"), p.zone("foreign")
	v := p.publish(mine, "set")
	unknown := strings.Repeat("0", 64)
	for _, suffix := range []string{"", "/envelope"} {
		for _, bad := range []string{"x", v.sha256[1:], v.sha256 + "0", strings.ToUpper("a" + v.sha256[1:]), strings.Repeat("g", 64), "..%2f.."} {
			p.refused(p.call("GET", "/v1/bundles/"+bad+suffix, root, nil), 400, "invalid_bundle_sha256")
		}
		p.refused(p.call("GET", "/v1/bundles/"+unknown+suffix, root, nil), 404, "bundle_not_found")
		path := "/v1/bundles/" + v.sha256 + suffix
		p.refused(p.call("GET", path, "nobody", nil), 401, "unauthorized")
		p.refused(p.call("GET", path, p.token(foreign, api.RoleDaemon), nil), 403, "forbidden")
		p.refused(p.call("GET", path, p.token(foreign, api.RoleViewer), nil), 403, "forbidden")
		for _, role := range []string{api.RoleDaemon, api.RoleViewer} {
			for _, zone := range []string{mine, ""} {
				if a := p.call("GET", path, p.token(zone, role), nil); a.status != 200 {
					t.Errorf("%s of zone %q: %d %s", role, zone, a.status, a.body)
				}
			}
		}
	}
}

func TestTrustIsToldToEveryRole(t *testing.T) {
	p := newPlane(t, nil)
	zone := p.zone("one")
	for _, role := range []string{api.RoleAdmin, api.RoleViewer, api.RoleAuthor, api.RoleActivator, api.RoleAuditor, api.RoleDaemon} {
		got := must[bundle.TrustResponse](p, 200, "GET", "/v1/trust", p.token(zone, role), nil)
		if len(got.Roots) != 1 {
			t.Fatalf("%s: %d roots", role, len(got.Roots))
		}
		if _, err := bundle.LoadTrust(got.Roots[0]); err != nil {
			t.Errorf("%s: %v", role, err)
		}
		var want, have any
		if json.Unmarshal(p.keys.Roots[0], &want) != nil || json.Unmarshal(got.Roots[0], &have) != nil || fmt.Sprint(want) != fmt.Sprint(have) {
			t.Errorf("%s: the root is another one", role)
		}
	}
	p.refused(p.call("GET", "/v1/trust", "nobody", nil), 401, "unauthorized")
}
