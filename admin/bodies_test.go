package admin_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/caracalai/caracald/admin/api"
)

// Bodies of the wrong shape are refused by every call that takes one, and the
// refusal names the field.
func TestMalformedBodies(t *testing.T) {
	p := newPlane(t, nil)
	zone, set, v := p.governed("one", readersOnly)
	pol := p.policy(zone, "second", denyAll)
	in := "/v1/zones/" + zone
	calls := []struct {
		method, path string
		// field is one of the call's, of a type other than number; good a value of it.
		field, good string
		// required fields are refused when absent and when null.
		required []string
		// whole is a good body.
		whole string
	}{
		{"POST", "/v1/zones", "slug", `"s"`, []string{"name"}, `{"name":"n"}`},
		{"PATCH", in, "name", `"n"`, nil, `{}`},
		{"POST", "/v1/policies/validate", "content", `"package caracal.authz"`, []string{"content"}, `{"content":"package caracal.authz"}`},
		{"POST", in + "/policies", "description", `"d"`, []string{"name", "content"}, `{"name":"n","content":"package caracal.authz"}`},
		{"POST", in + "/policies/" + pol.ID + "/versions", "content", `"package caracal.authz"`, []string{"content"}, `{"content":"package caracal.authz"}`},
		{"POST", in + "/policy-sets", "description", `"d"`, []string{"name"}, `{"name":"n"}`},
		{"POST", set + "/versions", "manifest", `[]`, []string{"manifest"}, fmt.Sprintf(`{"manifest":[{"policy_version_id":%q}]}`, pol.VersionID)},
		{"POST", set + "/simulate", "expected_decision", `"allow"`, []string{"version_id"}, fmt.Sprintf(`{"version_id":%q}`, v.ID)},
		{"POST", set + "/activate", "reason", `"r"`, []string{"version_id"}, fmt.Sprintf(`{"version_id":%q}`, v.ID)},
		{"POST", "/v1/tokens", "expires_at", `"2100-01-01T00:00:00Z"`, []string{"name", "roles"}, `{"name":"n","roles":["viewer"]}`},
	}
	ids := regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	for _, c := range calls {
		t.Run(c.method+ids.ReplaceAllString(strings.ReplaceAll(c.path, "/", " "), "x"), func(t *testing.T) {
			p := p.in(t)
			wrong := func(what, body, says string) {
				t.Helper()
				e := p.refused(p.call(c.method, c.path, root, []byte(body)), 400, "invalid_body")
				if !strings.Contains(e.Description, says) {
					t.Errorf("%s: %q does not say %q", what, e.Description, says)
				}
			}
			add := func(member string) string {
				if c.whole == "{}" {
					return "{" + member + "}"
				}
				return strings.TrimSuffix(c.whole, "}") + "," + member + "}"
			}
			wrong("empty", "", "empty")
			wrong("white space", " \n", "empty")
			wrong("an array", "[]", "the body")
			wrong("a string", `"x"`, "the body")
			wrong("null", "null", "object")
			wrong("truncated", c.whole[:len(c.whole)-1], "")
			wrong("two values", c.whole+c.whole, "")
			wrong("a comment", "// x\n"+c.whole, "not valid JSON")
			wrong("an unknown field", add(`"Mystery":1`), "/Mystery is not a field")
			wrong("another case", add(`"`+strings.ToUpper(c.field)+`":`+c.good), "/"+strings.ToUpper(c.field))
			wrong("a wrong type", "{\""+c.field+`":7}`, "/"+c.field)
			wrong("NaN", "{\""+c.field+`":NaN}`, "not valid JSON")
			wrong("a duplicate name", `{"`+c.field+`":`+c.good+`,"`+c.field+`":`+c.good+"}", "/"+c.field)
			wrong("invalid UTF-8", add("\"\xff\":1"), "not valid JSON")
			wrong("invalid UTF-8 in a value", "{\""+c.field+"\":\"\xc3\x28\"}", "not valid JSON")
			wrong("a lone surrogate", "{\""+c.field+`":"\ud800"}`, "not valid JSON")
			wrong("deep nesting", add(`"x":`+strings.Repeat("[", 100000)), "")
			for _, name := range c.required {
				wrong(name+" absent", "{}", "is required")
				wrong(name+" null", "{\""+name+`":null}`, "/")
			}
			huge := append([]byte(`{"`+c.field+`":"`), bytes.Repeat([]byte("x"), 10<<20)...)
			p.refused(p.call(c.method, c.path, root, append(huge, `"}`...)), 413, "payload_too_large")
		})
	}
	// None of them did anything.
	if list := must[api.Page[api.Policy]](p, 200, "GET", in+"/policies", root, nil); len(list.Items) != 2 {
		t.Errorf("there are %d policies", len(list.Items))
	}
	if now := p.active(zone); now.Sequence != 0 {
		t.Errorf("governs %+v", now)
	}
}

func TestErrorsNameWhatIsInside(t *testing.T) {
	p := newPlane(t, nil)
	zone := p.zone("one")
	for body, says := range map[string]string{
		`{"name":"n","settings":{"audit_mask":[1]}}`:       "/settings/audit_mask/0 must be a string",
		`{"name":"n","settings":{"audit_mask":["no"]}}`:    "/settings/audit_mask",
		`{"name":"n","settings":{"audit_inputs":"burnt"}}`: "/settings/audit_inputs",
		`{"name":"n","settings":{"retention_days":-1}}`:    "/settings/retention_days",
		`{"name":"n","settings":{"retention_days":1.5}}`:   "/settings/retention_days must be an integer",
		`{"name":"n","settings":{"retention_bytes":1e30}}`: "/settings/retention_bytes",
		`{"name":"n","settings":{"more":1}}`:               "/settings/more is not a field",
		`{"name":"n","slug":"Not A Slug"}`:                 "/slug",
		`{"name":"n","slug":"a--b"}`:                       "/slug",
	} {
		e := p.refused(p.call("POST", "/v1/zones", root, []byte(body)), 400, "invalid_body")
		if !strings.Contains(e.Description, says) {
			t.Errorf("%s: %q does not say %q", body, e.Description, says)
		}
	}
	e := p.refused(p.call("POST", "/v1/tokens", root, []byte(`{"name":"n","roles":["viewer"],"expires_at":"soon"}`)), 400, "invalid_body")
	if !strings.Contains(e.Description, "/expires_at must be an RFC 3339 time") {
		t.Errorf("said %q", e.Description)
	}
	e = p.refused(p.call("POST", "/v1/zones/"+zone+"/policies", root, []byte(`{"name":["n"],"content":"x"}`)), 400, "invalid_body")
	if !strings.Contains(e.Description, "/name must be a string, not an array") {
		t.Errorf("said %q", e.Description)
	}
}

// Who sends far more than is taken, and reads only then, is told so and not only
// that the connection broke.
func TestTooLongIsTold(t *testing.T) {
	p := newPlane(t, nil)
	zone := p.zone("one")
	addr := strings.TrimPrefix(p.url, "http://")
	for _, length := range []int{9 << 20, 60 << 20} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if _, err := fmt.Fprintf(conn, "POST /v1/zones/%s/policies HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", zone, addr, root, length); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(bytes.Repeat([]byte(" "), length)); err != nil {
			t.Fatalf("sending %d bytes: %v", length, err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("after %d bytes: %v", length, err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusRequestEntityTooLarge || !bytes.Contains(body, []byte("payload_too_large")) {
			t.Errorf("after %d bytes: %d %s, %v", length, resp.StatusCode, body, err)
		}
	}
}
