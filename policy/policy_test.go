package policy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/caracalai/caracald/policy"
)

// denyDefault is a default result that denies.
const denyDefault = `default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}
`

// allowValue is a result that allows and leaves its policies to the platform.
const allowValue = `{"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}`

// denyValue is a result that denies.
const denyValue = `{"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}`

// rego is content in the package of policies.
func rego(lines ...string) string {
	return "package caracal.authz\n\n" + strings.Join(lines, "\n") + "\n"
}

// module is a policy called name; its ids derive from the name.
func module(name, content string) policy.Module {
	return policy.Module{PolicyID: "id-" + name, VersionID: "version-" + name, Name: name, Content: content}
}

// modules names contents a, b, c and so on.
func modules(contents ...string) []policy.Module {
	var list []policy.Module
	for i, c := range contents {
		list = append(list, module(string(rune('a'+i)), c))
	}
	return list
}

func validate(t testing.TB, content string) *policy.Validation {
	t.Helper()
	v, err := policy.Validate(context.Background(), content)
	if err != nil {
		t.Fatalf("Validate refused:\n%s\n%v", content, err)
	}
	return v
}

func compile(t testing.TB, contents ...string) *policy.Set {
	t.Helper()
	return compileModules(t, modules(contents...))
}

func compileModules(t testing.TB, mods []policy.Module) *policy.Set {
	t.Helper()
	s, err := policy.Compile(context.Background(), mods)
	if err != nil {
		t.Fatalf("Compile: %v", err)
	}
	return s
}

// refusal is the *InvalidError that err has to be.
func refusal(t testing.TB, err error) *policy.InvalidError {
	t.Helper()
	var invalid *policy.InvalidError
	if !errors.As(err, &invalid) || !errors.Is(err, policy.ErrInvalidRego) {
		t.Fatalf("got the error %v (%T), want an *InvalidError", err, err)
	}
	if len(invalid.Errors) == 0 {
		t.Fatal("InvalidError without a reason")
	}
	for _, e := range invalid.Errors {
		if e.Location.Row < 1 || e.Location.Col < 1 || e.Message == "" {
			t.Errorf("reason without a place or message: %+v", e)
		}
	}
	return invalid
}

// document is an ordinary input as a Go value, changed by edits.
func document(edits ...func(map[string]any)) map[string]any {
	d := map[string]any{
		"schema_version": policy.InputSchemaVersion,
		"principal":      map[string]any{"type": "user", "id": "alice", "zone_id": "zone-1", "labels": []any{"role:payments-reader"}},
		"resource":       map[string]any{"type": "api", "id": "r1", "identifier": "urn:payments:invoices", "scopes": []any{"payments:read", "payments:write"}},
		"action":         map[string]any{"id": "read"},
		"session":        nil,
		"context": map[string]any{
			"actor_claims": map[string]any{}, "challenge_resolved": false,
			"requested_scopes": []any{"payments:read"}, "trace_id": "trace-1",
		},
	}
	for _, edit := range edits {
		edit(d)
	}
	return d
}

// set changes the value at a path such as "principal.id"; nothing removes it.
func set(path string, value any) func(map[string]any) {
	return func(d map[string]any) {
		names := strings.Split(path, ".")
		for _, name := range names[:len(names)-1] {
			below, ok := d[name].(map[string]any)
			if !ok {
				below = map[string]any{}
				d[name] = below
			}
			d = below
		}
		if last := names[len(names)-1]; value == nothing {
			delete(d, last)
		} else {
			d[last] = value
		}
	}
}

// nothing stands for an absent value.
var nothing = any(struct{ absent bool }{})

func strs(list ...string) []any {
	out := []any{}
	for _, s := range list {
		out = append(out, s)
	}
	return out
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("encoding %v: %v", v, err)
	}
	return raw
}

func input(t testing.TB, edits ...func(map[string]any)) *policy.Input {
	t.Helper()
	in, err := policy.ParseInput(encode(t, document(edits...)))
	if err != nil {
		t.Fatalf("ParseInput: %v", err)
	}
	return in
}

func evaluate(s *policy.Set, in *policy.Input) policy.Result {
	return s.Evaluate(context.Background(), in, policy.Limits{})
}

// reason is the reason of a result's first diagnostic.
func reason(r policy.Result) string {
	if len(r.Diagnostics) == 0 {
		return ""
	}
	return fmt.Sprint(r.Diagnostics[0]["reason"])
}

// wantFailure checks that r is a deny with status error for that reason.
func wantFailure(t testing.TB, r policy.Result, want string) {
	t.Helper()
	if r.Decision != policy.Deny || r.EvaluationStatus != policy.StatusError || reason(r) != want {
		t.Errorf("got %s, %s, %v; want deny, error, %s", r.Decision, r.EvaluationStatus, r.Diagnostics, want)
	}
	if r.DeterminingPolicies == nil || r.Diagnostics == nil {
		t.Error("a slice of the result is nil")
	}
}

// names lists the policies that a result names.
func names(r policy.Result) string {
	var list []string
	for _, e := range r.DeterminingPolicies {
		list = append(list, fmt.Sprint(e["policy"]))
	}
	return strings.Join(list, " ")
}

// codes lists the codes of warnings, each once, a blocking one with a "!".
func codes(warnings []policy.Warning) string {
	var list []string
	seen := map[string]bool{}
	for _, w := range warnings {
		code := w.Code
		if w.Blocking {
			code += "!"
		}
		if !seen[code] {
			seen[code] = true
			list = append(list, code)
		}
	}
	return strings.Join(list, " ")
}
