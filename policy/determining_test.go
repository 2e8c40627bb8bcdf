package policy_test

import (
	"testing"

	"github.com/caracalai/caracald/policy"
)

func TestAuthorsNamePolicies(t *testing.T) {
	mods := []policy.Module{
		module("main", rego(`result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [{"policy": "other", "weight": 1}, {"policy": "foreign", "policy_id": "theirs"}, {"policy": "main", "policy_id": "a lie"}], "diagnostics": []} if x`)),
		module("other", rego(`x := true`)),
	}
	got := string(encode(t, evaluate(compileModules(t, mods), input(t)).DeterminingPolicies))
	want := `[{"policy":"other","policy_id":"id-other","policy_version_id":"version-other","weight":1},` +
		`{"policy":"foreign","policy_id":"theirs"},{"policy":"main","policy_id":"id-main","policy_version_id":"version-main"}]`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestThePlatformFindsPolicies(t *testing.T) {
	mods := []policy.Module{
		module("main", rego(`result := `+allowValue+` if x`)),
		module("unused", rego(`y := true`)),
		module("other", rego(`x := true`)),
	}
	got := string(encode(t, evaluate(compileModules(t, mods), input(t)).DeterminingPolicies))
	want := `[{"policy":"main","policy_id":"id-main","policy_version_id":"version-main"},{"policy":"other","policy_id":"id-other","policy_version_id":"version-other"}]`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Policies are named a, b, c and so on.
func TestWhichPoliciesDetermine(t *testing.T) {
	overlays := []string{
		rego(denyDefault, `result := `+allowValue+` if count(denials) == 0`, `result := `+denyValue+` if count(denials) > 0`),
		rego(`denials contains "zone" if { some prefix in reserved; startswith(input.resource.identifier, prefix) }`, `reserved := ["urn:treasury:"]`),
		rego(`denials contains scope if { some scope in input.context.requested_scopes; not scope in grants }`),
		rego(`grants contains "payments:read" if input.principal.id == "alice"`),
		rego(`grants contains "payments:write" if input.principal.id == "bob"`),
	}
	for name, c := range map[string]struct {
		contents []string
		edits    []func(map[string]any)
		want     string
	}{
		"an allow, by the grant that kept the denial away": {overlays, nil, "a d"},
		"a denial by one overlay":                          {overlays, []func(map[string]any){set("resource.identifier", "urn:treasury:x")}, "a b"},
		"a denial for want of a grant":                     {overlays, []func(map[string]any){set("principal.id", "mallory")}, "a c"},
		"two denials":                                      {overlays, []func(map[string]any){set("principal.id", "mallory"), set("resource.identifier", "urn:treasury:x")}, "a b c"},
		"nothing asked for":                                {overlays, []func(map[string]any){set("context.requested_scopes", strs())}, "a"},
		"the default":                                      {[]string{rego(`x := true`), rego(denyDefault, `result := `+allowValue+` if { x; input.action.id == "nosuch" }`)}, nil, "b"},
		"rules through a function":                         {[]string{rego(`result := ` + allowValue + ` if f(1) == 2`), rego(`f(x) := 2 if x == 1`), rego(`f(x) := 3 if x == 9`)}, nil, "a b"},
		"a rule that is false":                             {[]string{rego(`result := ` + allowValue + ` if not x`), rego(`x := false`)}, nil, "a"},
		"an else branch":                                   {[]string{rego(`result := ` + denyValue + ` if x else := ` + allowValue + ` if y`), rego(`x if input.action.id == "nosuch"`), rego(`y := true`)}, nil, "a c"},
		"the rule that held of two equal ones":             {[]string{rego(`result := ` + allowValue + ` if input.action.id == "nosuch"`), rego(`result := ` + allowValue + ` if input.action.id == "read"`)}, nil, "b"},
		"two equal rules that held":                        {[]string{rego(`result := ` + allowValue + ` if input.principal.id == "alice"`), rego(`result := ` + allowValue + ` if input.action.id == "read"`)}, nil, "a b"},
		"a default that was used on the way":               {[]string{rego(`result := ` + allowValue + ` if x == 1`), rego(`default x := 1`)}, nil, "a"},
		"field by field":                                   {[]string{rego(`result.decision := d`, `result.evaluation_status := "complete"`), rego(`result.determining_policies := []`, `result.diagnostics := []`), rego(`d := "allow"`), rego(`e := 1`)}, nil, "a b c"},
		"every":                                            {[]string{rego(`result := ` + allowValue + ` if { every s in input.context.requested_scopes { s in grants } }`), rego(`grants := {"payments:read"}`)}, nil, "a b"},
		"a helper of a comprehension":                      {[]string{rego(`result := ` + allowValue + ` if count([s | some s in input.context.requested_scopes; not ok(s)]) == 0`), rego(`ok(s) if startswith(s, "payments:")`)}, nil, "a b"},
		"a sub-package":                                    {[]string{rego(`result := ` + allowValue + ` if data.caracal.authz.sub.x`), "package caracal.authz.sub\n\nx := true\n"}, nil, "a b"},
		"a denial that another policy lifts":               {[]string{rego(`result := `+allowValue+` if not denied`, `denied if { not lifted }`), rego(`lifted if input.principal.id == "alice"`), rego(`lifted if input.principal.id == "bob"`)}, nil, "a b"},
		"with":                                             {[]string{rego(`result := ` + allowValue + ` if x with input.action.id as "other"`), rego(`x if input.action.id == "other"`)}, nil, "a b"},
	} {
		t.Run(name, func(t *testing.T) {
			r := evaluate(compile(t, c.contents...), input(t, c.edits...))
			if r.EvaluationStatus != policy.StatusComplete {
				t.Fatalf("got %+v", r)
			}
			if got := names(r); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
