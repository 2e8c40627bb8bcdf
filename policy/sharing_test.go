package policy_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/caracalai/caracald/policy"
)

// Policies that read the same of an input share what reads it, and those that do not
// do not.
func TestSetsThatReadAlike(t *testing.T) {
	var l policy.Library
	compile := func(content string) *policy.Set {
		t.Helper()
		s, err := l.Compile(t.Context(), zoneModules(0, content))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	one := compile(plainGrants)
	constant := compile(strings.Replace(plainGrants, "token:exchange", "token:revoke", 1))
	path := compile(strings.Replace(plainGrants, "input.action.id", "input.resource.type", 1))
	if !policy.ReadAlike(one, constant) {
		t.Error("sets that read the same share nothing")
	}
	if policy.ReadAlike(one, path) {
		t.Error("sets that read different paths share what reads them")
	}
	var in policy.Input
	for set, want := range map[*policy.Set]string{one: policy.Allow, constant: policy.Deny, path: policy.Deny} {
		if err := set.ReadInput(referenceInput(t), &in); err != nil {
			t.Fatal(err)
		}
		if got := set.Evaluate(t.Context(), &in, policy.Limits{}).Decision; got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
}

// A set of a Library has no texts, and says so where they are needed.
func TestLibraryKeepsNoTexts(t *testing.T) {
	var l policy.Library
	s, err := l.Compile(t.Context(), zoneModules(7, plainGrants))
	if err != nil {
		t.Fatal(err)
	}
	if m := s.Modules(); len(m) != 1 || m[0].Content != "" || m[0].VersionID != "version-7" {
		t.Errorf("modules are %+v", m)
	}
	in, err := policy.ParseInput(referenceInput(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Trace(t.Context(), in, policy.Limits{}); err == nil {
		t.Error("it is traced")
	}
}

// Sets of one library that have some policies in common, and so share functions,
// decide as each does by itself.
func TestEvaluatorsAgreeOnSharedFunctions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var documents []string
		for i := range 4 {
			g := &writer{t: t}
			documents = append(documents, g.document(i == 0))
		}
		var inputs []string
		for range 4 {
			inputs = append(inputs, drawInput(t))
		}
		var l policy.Library
		type pair struct{ shared, interpreted *policy.Set }
		var all []pair
		for _, which := range [][]int{{0}, {0, 1}, {0, 2}, {0, 1, 2}, {0, 1, 3}, {0, 2, 1}, {0, 3}} {
			var mods []policy.Module
			for i, n := range which {
				mods = append(mods, module(fmt.Sprintf("p%d", i), documents[n]))
			}
			interpreted, err := policy.CompileInterpreted(t.Context(), mods)
			if err != nil {
				continue
			}
			shared, err := l.Compile(t.Context(), mods)
			if err != nil {
				t.Fatalf("one by itself compiles, in a library it does not: %v", err)
			}
			all = append(all, pair{shared, interpreted})
			agree(t, shared, interpreted, inputs)
		}
		for _, p := range all { // what came later changed nothing
			agree(t, p.shared, p.interpreted, inputs)
		}
	})
}

// Zones whose policies come from one template, and differ in what its lists have, decide
// as each does by itself.
func TestEvaluatorsAgreeOnATemplate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var inputs []string
		for range 4 {
			inputs = append(inputs, drawInput(t))
		}
		list := func(what string) string {
			text, err := json.Marshal(wordsG.Draw(t, what))
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
		var l policy.Library
		type pair struct{ shared, interpreted *policy.Set }
		var all []pair
		for range 3 {
			mods := []policy.Module{module("template", `package caracal.authz

names := {name | some name in `+list("names")+`}

granted contains name if some name in `+list("granted")+`

granted contains name if some name in `+list("also granted")+`

teams := {"a": `+list("team a")+`, "b": {"read": `+list("team b")+`}, "role:x": {"write": 1}}

found contains "in" if input.principal.id in names

found contains "not in" if not input.principal.id in names

found contains "granted" if granted[input.action.id]

found contains label if { some label in input.principal.labels; granted[label] }

found contains "of all" if every scope in input.context.requested_scopes { scope in names }

found contains team if { team := teams[input.principal.id][input.action.id] }

found contains ["copied", name] if { these := names; name := these[input.resource.id] }

known if "read" in names

found contains "known" if known

found contains count(joined) if input.principal.id != "b"

joined := names | granted

found contains ["key", k] if { some k, _ in teams; k == input.principal.id }

result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": [{"found": found}]}
`), module("other", "package caracal.authz\n\ngranted contains \"write\" if \"a\" in names\n")}
			interpreted, err := policy.CompileInterpreted(t.Context(), mods)
			if err != nil {
				t.Fatal(err)
			}
			shared, err := l.Compile(t.Context(), mods)
			if err != nil {
				t.Fatal(err)
			}
			if err := shared.Interpreted(); err != nil {
				t.Fatal(err)
			}
			all = append(all, pair{shared, interpreted})
			agree(t, shared, interpreted, inputs)
		}
		for _, p := range all {
			agree(t, p.shared, p.interpreted, inputs)
		}
	})
}

// Compiling sets that share functions and evaluating others meanwhile is safe, and
// what nobody has any more is let go.
func TestFunctionsAreSharedSafely(t *testing.T) {
	var l policy.Library
	content := func(i int) string {
		return fmt.Sprintf(`package caracal.authz

names := {"a": [1, {"b": %q}], "c": {"d", "e"}}

other := names.a[1]

listed contains name if some name in ["x", "y", "z-%d"]

same contains name if { some name in names.c; name != input.principal.id }

pairs[k] := v if some k, v in names

result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": [{"n": names, "o": other, "l": listed, "s": same, "p": pairs}]}
`, "fixed", i%5)
	}
	in, err := policy.ParseInput(referenceInput(t))
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := range 40 {
				mods := zoneModules(i, content(i+worker))
				s, err := l.Compile(t.Context(), mods)
				if err != nil {
					t.Error(err)
					return
				}
				alone, err := policy.Compile(t.Context(), mods)
				if err != nil {
					t.Error(err)
					return
				}
				got, want := s.Evaluate(t.Context(), in, policy.Limits{}), alone.Evaluate(t.Context(), in, policy.Limits{})
				if !reflect.DeepEqual(got, want) || got.EvaluationStatus != policy.StatusComplete {
					t.Errorf("%+v, not %+v", got, want)
				}
				if i%10 == 0 {
					runtime.GC()
				}
			}
		})
	}
	all.Wait()
}

// Rules whose text is the same but which are not, by what they call, by their place in
// the program or by their place in the text.
func TestRulesThatOnlyLookAlike(t *testing.T) {
	const result = `
result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": [{"given": given}]}
`
	rules := func(lines ...string) string { return "package caracal.authz\n\n" + strings.Join(lines, "\n\n") + "\n" }
	for name, sets := range map[string][2][]string{
		"a constant that is called": {
			{rules(`limits := {"a": 1, "b": [{"c"}]}`, `given := limits.a if input.action.id`, result)},
			{rules(`limits := {"a": 2, "b": [{"c"}]}`, `given := limits.a if input.action.id`, result)},
		},
		"a constant in a constant": {
			{rules(`limits := {"b": [{"c"}]}`, `given := [input.action.id, limits]`, result)},
			{rules(`limits := {"b": [["c"]]}`, `given := [input.action.id, limits]`, result)},
		},
		"a number": {
			{rules(`given := [input.action.id, 1.50]`, result)},
			{rules(`given := [input.action.id, 1.25]`, result)},
		},
		"what is replaced": {
			{rules(`asked := input.action.id`, `given := x if x := asked with input.action.id as "x"`, result)},
			{rules(`asked := input.action.id`, `given := x if x := asked with input.action.to as "x"`, result)},
		},
		"a function before others": {
			{rules(`first := input.action.id`, `second := input.principal.id`, `given := [first, second, second, first]`, result)},
			{rules(`first := input.action.id`, `second := input.principal.id`, `given := [first, second, second, first]`, `before := [input.action.id]`, `
result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []} if before == ["nobody"]`, result)},
		},
		"a path before others": {
			{rules(`second := input.principal.id`, `given := [second]`, result)},
			{rules(`second := input.principal.id`, `given := [second] if input.resource.id`, result)},
		},
		"paths in another order": {
			{rules(`a := input.principal.id`, `b := input.action.id`, `c := [input.action.id, input.principal.id]`, `given := [a, b, c]`, result)},
			{rules(`a := input.action.id`, `b := input.principal.id`, `c := [input.action.id, input.principal.id]`, `given := [a, b, c]`, result)},
		},
		"the rule that held": {
			{rules(`limit := 1`, `given if limit == 1`, result), rules(`given if limit == 2`)},
			{rules(`limit := 2`, `given if limit == 1`, result), rules(`given if limit == 2`)},
		},
		"the rule that held for a key": {
			{rules(`limit := 1`, `given := g if { some g in names; g == "x" }`, `names contains "x" if limit == 1`, result), rules(`names contains "x" if limit == 2`, `names contains "y"`)},
			{rules(`limit := 2`, `given := g if { some g in names; g == "x" }`, `names contains "x" if limit == 1`, result), rules(`names contains "x" if limit == 2`, `names contains "y"`)},
		},
		"keys that rules added": {
			{rules(`limit := 1`, `given if names["x"]`, `names contains "x" if limit == 1`, `names contains "y" if limit == 2`, result), rules(`names contains "x" if limit == 2`, `names contains "y" if limit == 1`)},
			{rules(`limit := 2`, `given if names["x"]`, `names contains "x" if limit == 1`, `names contains "y" if limit == 2`, result), rules(`names contains "x" if limit == 2`, `names contains "y" if limit == 1`)},
		},
		"the rule that added a key": {
			{rules(`limit := 1`, `given if names["x"]`, `names contains "x" if limit == 1`, result), rules(`names contains "x" if limit == 2`)},
			{rules(`limit := 2`, `given if names["x"]`, `names contains "x" if limit == 1`, result), rules(`names contains "x" if limit == 2`)},
		},
		"the key that a rule added": {
			{rules(`picks := {"a": "x", "b": "y"}`, `given if names["x"]`, `names contains picks.a`, result), rules(`names contains picks.b`)},
			{rules(`picks := {"a": "y", "b": "x"}`, `given if names["x"]`, `names contains picks.a`, result), rules(`names contains picks.b`)},
		},
		"where two values meet": {
			{rules(`given := input.action.id`, `given := input.principal.id`, result)},
			{rules(``, `given := input.action.id`, `given := input.principal.id`, result)},
		},
		"where two values of a key meet": {
			{rules(`pairs[k] := input.action.id if some k in ["a"]`, `pairs[k] := input.principal.id if some k in ["a"]`, `given := pairs.a`, result)},
			{rules(``, `pairs[k] := input.action.id if some k in ["a"]`, `pairs[k] := input.principal.id if some k in ["a"]`, `given := pairs.a`, result)},
		},
		"what is made of a set": {
			{rules(`names := {"a"}`, `known := "a" in names`, `given := [input.action.id, known]`, result)},
			{rules(`names := {"b"}`, `known := "a" in names`, `given := [input.action.id, known]`, result)},
		},
		"rules that held for a set that is searched": {
			{rules(`given if input.principal.id in names`, `names contains input.principal.id if false`, result), rules(`names contains "p-00042" if 1 == 1`)},
			{rules(`given if input.principal.id in names`, `names contains input.principal.id if false`, result), rules(`names contains "p-00043" if 1 == 1`)},
		},
		"sets that are made in an evaluation": {
			{rules(`names := {"a", "b"}`, `given := [n | some n in names; n != input.action.id]`, result)},
			{rules(`names := {"a", "c"}`, `given := [n | some n in names; n != input.action.id]`, result)},
		},
	} {
		for _, order := range [][]int{{0, 1}, {1, 0}} {
			t.Run(fmt.Sprint(name, " ", order), func(t *testing.T) {
				var l policy.Library
				in, err := policy.ParseInput(referenceInput(t))
				if err != nil {
					t.Fatal(err)
				}
				var kept []*policy.Set
				for _, i := range order {
					var mods []policy.Module
					for n, content := range sets[i] {
						mods = append(mods, module(fmt.Sprintf("p%d", n), content))
					}
					shared, err := l.Compile(t.Context(), mods)
					if err != nil {
						t.Fatal(err)
					}
					if err := shared.Interpreted(); err != nil {
						t.Fatal(err)
					}
					kept = append(kept, shared)
					alone, err := policy.Compile(t.Context(), mods)
					if err != nil {
						t.Fatal(err)
					}
					for range 2 { // as a result that is remembered, too
						if got, want := shared.Evaluate(t.Context(), in, generous), alone.Evaluate(t.Context(), in, generous); !reflect.DeepEqual(got, want) {
							t.Errorf("set %d gives %+v, by itself %+v", i, got, want)
						}
					}
				}
				runtime.KeepAlive(kept)
			})
		}
	}
}
