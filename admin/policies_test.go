package admin_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/policy"
)

func sortedKeys(object map[string]any) []string { return slices.Sorted(maps.Keys(object)) }

func validating(content string) api.ValidateRequest { return api.ValidateRequest{Content: content} }

func TestValidateAnswersTheContractsShape(t *testing.T) {
	p := newPlane(t, nil)
	good := must[map[string]any](p, 200, "POST", "/v1/policies/validate", root, validating("package caracal.authz\n\nresult := {\"decision\": \"allow\", \"evaluation_status\": \"complete\", \"determining_policies\": [], \"diagnostics\": []} if input.action.id == \"read\"\n"))
	for what, keys := range map[string]string{
		keysOf(good):                    "input_schema_version output_contract preview schema_version valid warnings",
		keysOf(good["output_contract"]): "decision evaluation_status package rule",
		keysOf(good["preview"]):         "data_referenced decisions default_result inputs_referenced package rules",
	} {
		if what != keys {
			t.Errorf("has the keys %q, not %q", what, keys)
		}
	}
	if good["valid"] != true || good["schema_version"] != "2026-05-20" || good["input_schema_version"] != "2026-05-20" {
		t.Errorf("answered %v", good)
	}
	codes := map[any]any{}
	for _, w := range good["warnings"].([]any) {
		if keys := keysOf(w); keys != "blocking code location message" {
			t.Errorf("a warning has the keys %q", keys)
		}
		codes[w.(map[string]any)["code"]] = w.(map[string]any)["blocking"]
	}
	if codes["missing_default_result"] != false || codes["missing_requested_scope_check"] != false {
		t.Errorf("warned of %v", codes)
	}

	bad := must[map[string]any](p, 422, "POST", "/v1/policies/validate", root, validating("package caracal.authz\n\nresult := {\n"))
	if keys := keysOf(bad); keys != "error error_description errors valid" {
		t.Errorf("a refusal has the keys %q", keys)
	}
	first := bad["errors"].([]any)[0].(map[string]any)
	if bad["valid"] != false || bad["error"] != "invalid_rego" || keysOf(first) != "location message" || keysOf(first["location"]) != "col row" {
		t.Errorf("refused with %v", bad)
	}
}

func TestValidateAndCreateRefuseTheSame(t *testing.T) {
	p := newPlane(t, nil)
	zone := p.zone("one")
	rule := func(expression string) string {
		return "package caracal.authz\n\nx := " + expression + "\n"
	}
	for name, content := range map[string]string{
		"empty":             "",
		"no rego":           "{",
		"another package":   "package other\n\nx := 1\n",
		"a type error":      rule(`1 + "a"`),
		"an unsafe var":     rule("y"),
		"http.send":         rule(`http.send({"method": "get", "url": "http://127.0.0.1"})`),
		"net.lookup":        rule(`net.lookup_ip_addr("localhost")`),
		"opa.runtime":       rule("opa.runtime()"),
		"rand.intn":         rule(`rand.intn("a", 5)`),
		"time.now_ns":       rule("time.now_ns()"),
		"uuid.rfc4122":      rule(`uuid.rfc4122("a")`),
		"trace":             rule(`trace("a")`),
		"a character more":  readersOnly + "#" + strings.Repeat("ä", policy.MaxContent-len([]rune(readersOnly))),
		"an import of data": "package caracal.authz\n\nimport data.x as input\n\ny := input\n",
	} {
		t.Run(name, func(t *testing.T) {
			p := p.in(t)
			failure := must[api.ValidateFailure](p, 422, "POST", "/v1/policies/validate", root, validating(content))
			e := p.refused(p.call("POST", "/v1/zones/"+zone+"/policies", root, api.PolicyCreate{Name: "bad", Content: content}), 422, "invalid_rego")
			if len(e.Errors) == 0 || len(e.Errors) != len(failure.Errors) || e.Errors[0] != failure.Errors[0] || e.Description != failure.Description {
				t.Errorf("creating is refused with %+v, validating with %+v", e, failure)
			}
			if e.Errors[0].Message == "" || e.Errors[0].Location.Row < 1 || e.Errors[0].Location.Col < 1 {
				t.Errorf("refused with %+v", e.Errors[0])
			}
		})
	}
	largest := readersOnly + "#" + strings.Repeat("ä", policy.MaxContent-1-len([]rune(readersOnly)))
	p.policy(zone, "largest", largest)
	if list := must[api.Page[api.Policy]](p, 200, "GET", "/v1/zones/"+zone+"/policies", root, nil); len(list.Items) != 1 {
		t.Errorf("%d policies were made, not the good one alone", len(list.Items))
	}
}

func TestPolicyLife(t *testing.T) {
	p := newPlane(t, nil)
	zone := p.zone("one")
	base := "/v1/zones/" + zone + "/policies"
	made := must[api.Policy](p, 201, "POST", base, root, api.PolicyCreate{Name: "readers", Description: "who reads", Content: readersOnly, SchemaVersion: "2026-05-20"})
	v := made.Version
	if made.ID == "" || made.VersionID != v.ID || v.ID != v.VersionID || v.PolicyID != made.ID || made.ZoneID != zone || v.ZoneID != zone ||
		made.Name != "readers" || made.Description != "who reads" || v.Version != 1 || v.SchemaVersion != "2026-05-20" ||
		v.ContentSHA256 != bundle.SHA256Hex([]byte(readersOnly)) || v.CreatedAt.IsZero() || v.Content != "" {
		t.Fatalf("created %+v", made)
	}
	second := must[api.PolicyVersion](p, 201, "POST", base+"/"+made.ID+"/versions", root, api.PolicyVersionCreate{Content: denyAll})
	if second.Version != 2 || second.PolicyID != made.ID || second.ID != second.VersionID || second.ContentSHA256 != bundle.SHA256Hex([]byte(denyAll)) {
		t.Fatalf("added %+v", second)
	}
	got := must[api.Policy](p, 200, "GET", base+"/"+made.ID, root, nil)
	if got.VersionID != second.ID || len(got.Versions) != 2 || got.Versions[0].ID != second.ID || got.Versions[1].ID != v.ID {
		t.Errorf("read %+v", got)
	}
	for id, content := range map[string]string{v.ID: readersOnly, second.ID: denyAll} {
		if one := must[api.PolicyVersion](p, 200, "GET", base+"/"+made.ID+"/versions/"+id, root, nil); one.Content != content || one.ID != id {
			t.Errorf("version %s reads as %+v", id, one)
		}
	}
	list := must[api.Page[api.Policy]](p, 200, "GET", base, root, nil)
	if len(list.Items) != 1 || list.Items[0].VersionID != second.ID || list.NextCursor != nil {
		t.Errorf("listed %+v", list)
	}
	p.refused(p.call("POST", base, root, api.PolicyCreate{Name: "readers", Content: denyAll}), 409, "policy_name_conflict")
	other := p.zone("two")
	p.policy(other, "readers", readersOnly) // a name is the zone's

	if a := p.call("DELETE", base+"/"+made.ID, root, nil); a.status != 204 || len(a.body) != 0 {
		t.Fatalf("deleted: %d %s", a.status, a.body)
	}
	p.refused(p.call("GET", base+"/"+made.ID, root, nil), 404, "policy_not_found")
	p.refused(p.call("DELETE", base+"/"+made.ID, root, nil), 404, "policy_not_found")
	p.refused(p.call("POST", base+"/"+made.ID+"/versions", root, api.PolicyVersionCreate{Content: denyAll}), 404, "policy_not_found")
	if list := must[api.Page[api.Policy]](p, 200, "GET", base, root, nil); len(list.Items) != 0 {
		t.Errorf("then listed %+v", list)
	}
	p.policy(zone, "readers", readersOnly) // the name is free again
}

func TestPolicyRefusals(t *testing.T) {
	p := newPlane(t, nil)
	zone, other := p.zone("one"), p.zone("two")
	mine, foreign := p.policy(zone, "mine", readersOnly), p.policy(other, "foreign", readersOnly)
	second := p.policy(zone, "second", denyAll)
	base := "/v1/zones/" + zone + "/policies"
	create := func(change func(*api.PolicyCreate)) api.PolicyCreate {
		c := api.PolicyCreate{Name: "name", Content: readersOnly}
		change(&c)
		return c
	}
	for _, tt := range []struct {
		name, method, path string
		body               any
		status             int
		code               string
	}{
		{"an unknown zone", "POST", "/v1/zones/" + newID() + "/policies", create(func(*api.PolicyCreate) {}), 404, "zone_not_found"},
		{"an unknown zone's list", "GET", "/v1/zones/nowhere/policies", nil, 404, "zone_not_found"},
		{"an unknown policy", "GET", base + "/" + newID(), nil, 404, "policy_not_found"},
		{"a foreign policy", "GET", base + "/" + foreign.ID, nil, 404, "policy_not_found"},
		{"deleting a foreign policy", "DELETE", base + "/" + foreign.ID, nil, 404, "policy_not_found"},
		{"a version of a foreign policy", "POST", base + "/" + foreign.ID + "/versions", api.PolicyVersionCreate{Content: denyAll}, 404, "policy_not_found"},
		{"a bad version", "POST", base + "/" + mine.ID + "/versions", api.PolicyVersionCreate{Content: "package x"}, 422, "invalid_rego"},
		{"a foreign version", "GET", base + "/" + foreign.ID + "/versions/" + foreign.VersionID, nil, 404, "policy_version_not_found"},
		{"another policy's version", "GET", base + "/" + mine.ID + "/versions/" + second.VersionID, nil, 404, "policy_version_not_found"},
		{"another schema", "POST", base, create(func(c *api.PolicyCreate) { c.SchemaVersion = "2020-01-01" }), 422, "unsupported_schema_version"},
		{"an empty name", "POST", base, create(func(c *api.PolicyCreate) { c.Name = "" }), 400, "invalid_body"},
		{"a long name", "POST", base, create(func(c *api.PolicyCreate) { c.Name = strings.Repeat("n", 201) }), 400, "invalid_body"},
		{"a name with a new line", "POST", base, create(func(c *api.PolicyCreate) { c.Name = "a\nb" }), 400, "invalid_body"},
		{"a name between spaces", "POST", base, create(func(c *api.PolicyCreate) { c.Name = " a " }), 400, "invalid_body"},
		{"a long description", "POST", base, create(func(c *api.PolicyCreate) { c.Description = strings.Repeat("d", 8001) }), 400, "invalid_body"},
		{"a description with NUL", "POST", base, create(func(c *api.PolicyCreate) { c.Description = "a\x00" }), 400, "invalid_body"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := p.in(t)
			p.refused(p.call(tt.method, tt.path, root, tt.body), tt.status, tt.code)
		})
	}
	if got := must[api.Policy](p, 200, "GET", "/v1/zones/"+other+"/policies/"+foreign.ID, root, nil); len(got.Versions) != 1 {
		t.Errorf("the foreign policy has %d versions", len(got.Versions))
	}
}

func TestTemplatesAndInputSchema(t *testing.T) {
	p := newPlane(t, nil)
	list := must[[]policy.Template](p, 200, "GET", "/v1/policy-templates", root, nil)
	if len(list) < 5 {
		t.Fatalf("%d templates", len(list))
	}
	for _, template := range list {
		if template.ID == "" || template.Name == "" || template.Description == "" {
			t.Errorf("template %+v", template)
		}
		must[policy.Validation](p, 200, "POST", "/v1/policies/validate", root, validating(template.Content))
	}
	schema := must[map[string]json.RawMessage](p, 200, "GET", "/v1/input-schema", root, nil)
	if schema["properties"] == nil || !strings.Contains(string(schema["required"]), "principal") {
		t.Errorf("the schema is %s", schema)
	}
}

func TestWarningsAreKeptWithTheVersion(t *testing.T) {
	p := newPlane(t, nil)
	zone := p.zone("one")
	made := must[api.Policy](p, http.StatusCreated, "POST", "/v1/zones/"+zone+"/policies", root, api.PolicyCreate{Name: "open", Content: allowByDefault})
	blocking := func(list []policy.Warning) bool {
		return slices.ContainsFunc(list, func(w policy.Warning) bool { return w.Code == "default_result_allows_access" && w.Blocking })
	}
	read := must[api.PolicyVersion](p, 200, "GET", "/v1/zones/"+zone+"/policies/"+made.ID+"/versions/"+made.VersionID, root, nil)
	if !blocking(made.Version.Warnings) || !blocking(read.Warnings) {
		t.Errorf("warned of %+v, then of %+v", made.Version.Warnings, read.Warnings)
	}
}
