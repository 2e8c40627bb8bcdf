package admin_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/policy"
)

const testsPath = "/v1/policies/test"

func TestPolicyTests(t *testing.T) {
	p := newPlane(t, nil)
	req := api.TestRequest{Content: readersOnly, Tests: `package caracal.authz_test

import data.caracal.authz

test_reads if {
	print("hello")
	authz.result.decision == "allow" with input as {"action": {"id": "read"}, "context": {"requested_scopes": []}}
}

test_writes if {
	authz.result.decision == "allow" with input as {"action": {"id": "write"}}
}

test_endless if {
	every a in numbers.range(1, 1000000) { every b in numbers.range(1, 1000000) { a + b > 1 } }
}

todo_test_later if false
`}
	raw := must[map[string]any](p, 200, "POST", testsPath, root, req)
	if keys := keysOf(raw); keys != "coverage duration_ms errored failed passed results skipped" {
		t.Errorf("a report has the keys %q", keys)
	}
	if keys := keysOf(raw["coverage"]); keys != "covered file not_covered percent" {
		t.Errorf("the coverage has the keys %q", keys)
	}
	results := raw["results"].([]any)
	for i, want := range []string{"file location name outcome output package", "failed file location message name outcome package", "file location message name outcome package", "file location name outcome package"} {
		if keys := keysOf(results[i]); keys != want {
			t.Errorf("result %d has the keys %q", i, keys)
		}
	}
	// The same code tests on the authors' machines.
	local, err := policy.Test(t.Context(), policy.TestRun{Policies: []policy.Document{{Name: "policy.rego", Content: req.Content}}, Tests: []policy.Document{{Name: "policy_test.rego", Content: req.Tests}}})
	if err != nil {
		t.Fatal(err)
	}
	r := must[api.TestReport](p, 200, "POST", testsPath, p.token(p.zone("one"), "viewer"), req)
	if r.Passed != 1 || r.Failed != 1 || r.Errored != 1 || r.Skipped != 1 || fmt.Sprint(r.Coverage) != fmt.Sprint(local.Coverage[0]) || r.Coverage.Percent != 100 {
		t.Errorf("reported %+v; locally %+v", r, local)
	}
	for i := range r.Results {
		got, want := r.Results[i], local.Results[i]
		got.Failed, want.Failed = nil, nil
		if got != want {
			t.Errorf("result %d is %+v; locally %+v", i, got, want)
		}
	}
}

func TestPolicyTestsWithModules(t *testing.T) {
	p := newPlane(t, nil)
	req := api.TestRequest{
		Content: "package caracal.authz\n\ndenials contains \"night\" if input.context.night\n",
		Modules: []api.TestModule{{Name: "base", Content: "package caracal.authz\n\nclear if count(denials) == 0\n"}},
		Tests:   "package caracal.authz\n\ntest_day if clear with input as {}\n\ntest_night if not clear with input as {\"context\": {\"night\": true}}\n",
	}
	if r := must[api.TestReport](p, 200, "POST", testsPath, root, req); r.Passed != 2 || r.Coverage.File != "policy.rego" || r.Coverage.Percent != 100 {
		t.Errorf("reported %+v", r)
	}
}

func TestPolicyTestsRefusals(t *testing.T) {
	p := newPlane(t, nil)
	tests := "package caracal.authz\n"
	for name, c := range map[string]struct {
		req  api.TestRequest
		file string
		row  int
	}{
		"content":               {api.TestRequest{Content: "package caracal.authz\n\nx := {\n", Tests: tests}, "policy.rego", 4},
		"tests":                 {api.TestRequest{Content: readersOnly, Tests: tests + "\ntest_x if nosuch(1)\n"}, "policy_test.rego", 3},
		"a module":              {api.TestRequest{Content: readersOnly, Tests: tests, Modules: []api.TestModule{{Name: "more", Content: "package other\n"}}}, "more", 1},
		"a forbidden built-in":  {api.TestRequest{Content: readersOnly, Tests: tests + "\ntest_x if time.now_ns() > 0\n"}, "policy_test.rego", 3},
		"the same two rules":    {api.TestRequest{Content: readersOnly, Tests: "package caracal.authz\n\ndefault result := 1\n"}, "", 0},
		"content that is long":  {api.TestRequest{Content: "package caracal.authz\n#" + strings.Repeat("x", policy.MaxContent), Tests: tests}, "policy.rego", 1},
		"tests without package": {api.TestRequest{Content: readersOnly, Tests: ""}, "policy_test.rego", 1},
	} {
		t.Run(name, func(t *testing.T) {
			p := p.in(t)
			e := p.refused(p.call("POST", testsPath, root, c.req), 422, "invalid_rego")
			if len(e.Errors) == 0 {
				t.Fatalf("refused with %+v", e)
			}
			if got := e.Errors[0]; c.file != "" && (got.File != c.file || got.Location.Row != c.row || !strings.Contains(e.Description, c.file)) {
				t.Errorf("refused with %+v", e)
			}
		})
	}
	for name, body := range map[string]string{
		"no tests":      `{"content":"package caracal.authz"}`,
		"no content":    `{"tests":"package caracal.authz"}`,
		"a taken name":  `{"content":"","tests":"","modules":[{"name":"policy.rego","content":""}]}`,
		"a nameless":    `{"content":"","tests":"","modules":[{"name":"","content":""}]}`,
		"name and name": `{"content":"","tests":"","modules":[{"name":"a","content":""},{"name":"a","content":""}]}`,
		"many modules":  `{"content":"","tests":"","modules":[` + strings.TrimSuffix(strings.Repeat(`{"name":"a","content":""},`, policy.MaxPolicies), ",") + `]}`,
	} {
		t.Run(name, func(t *testing.T) {
			p := p.in(t)
			p.refused(p.call("POST", testsPath, root, []byte(body)), 400, "invalid_body")
		})
	}
	p.refused(p.call("POST", testsPath, p.token("", "daemon"), api.TestRequest{Content: readersOnly, Tests: tests}), http.StatusForbidden, "forbidden")
}

// Callers who went away leave nothing behind that the next one waits for.
func TestPolicyTestsOfCallersWhoLeave(t *testing.T) {
	p := newPlane(t, nil)
	slow := api.TestRequest{Content: readersOnly, Tests: "package caracal.authz\n" + strings.Repeat("\ntest_x if { every a in numbers.range(1, 100000) { a > 0; sum([a, 1]) > 0 } }\n", 400)}
	for range 8 {
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan struct{})
		go func() {
			defer close(left)
			_, _ = p.try(ctx, "POST", testsPath, root, slow)
		}()
		cancel()
		<-left
	}
	req := api.TestRequest{Content: readersOnly, Tests: "package caracal.authz\n\ntest_x if true\n"}
	if r := must[api.TestReport](p, 200, "POST", testsPath, root, req); r.Passed != 1 {
		t.Errorf("reported %+v", r)
	}
}

// Tests are kept beside the version they were written for, and refused where they
// are no tests; the bundle and the content's hash know nothing of them.
func TestKeptPolicyTests(t *testing.T) {
	p := newPlane(t, nil)
	zone := must[api.Zone](p, 201, "POST", "/v1/zones", root, api.ZoneCreate{Name: "tested"}).ID
	policies := "/v1/zones/" + zone + "/policies"
	const tests = "package caracal.authz_test\n\ntest_one if true\n"
	made := must[api.Policy](p, 201, "POST", policies, root, api.PolicyCreate{Name: "kept", Content: readersOnly, Tests: tests})
	version := func(id string) api.PolicyVersion {
		return must[api.PolicyVersion](p, 200, "GET", policies+"/"+made.ID+"/versions/"+id, root, nil)
	}
	if v := version(made.VersionID); v.Tests != tests || v.Content != readersOnly {
		t.Errorf("the version is %+v", v)
	}
	second := must[api.PolicyVersion](p, 201, "POST", policies+"/"+made.ID+"/versions", root, api.PolicyVersionCreate{Content: readersOnly})
	if v := version(second.ID); v.Tests != "" || v.ContentSHA256 != made.Version.ContentSHA256 {
		t.Errorf("the version without tests is %+v", v)
	}
	if list := must[api.Policy](p, 200, "GET", policies+"/"+made.ID, root, nil); len(list.Versions) != 2 || list.Versions[1].Tests != "" {
		t.Errorf("a list of versions has the tests: %+v", list.Versions)
	}
	refused := must[api.ValidateFailure](p, 422, "POST", policies+"/"+made.ID+"/versions", root, api.PolicyVersionCreate{Content: readersOnly, Tests: "package"})
	if len(refused.Errors) == 0 || refused.Errors[0].File != "policy_test.rego" {
		t.Errorf("tests that are no Rego are refused with %+v", refused)
	}
}
