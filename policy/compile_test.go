package policy_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/caracalai/caracald/policy"
)

func TestConflictsThatEveryInputShows(t *testing.T) {
	for name, c := range map[string]struct {
		a, b string
		rule string // empty where the two stand together
		says string
	}{
		"different constants":          {rego(`x := 1`), rego(`x := 2`), "data.caracal.authz.x", "give it the different values 1 and 2"},
		"different results":            {rego(`result := ` + allowValue), rego(`result := ` + denyValue), "data.caracal.authz.result", "different values"},
		"different after many equal":   {rego(strings.Repeat("x := 1\n", 50)), rego(strings.Repeat("x := 1\n", 50), `x := 2`), "data.caracal.authz.x", "different values 1 and 2"},
		"different in a sub-package":   {"package caracal.authz.p\n\nx := 1\n", "package caracal.authz.p\n\nx := 2\n", "data.caracal.authz.p.x", "different values"},
		"different by a longer name":   {rego(`p.x := 1`), "package caracal.authz.p\n\nx := 2\n", "data.caracal.authz.p.x", "different values"},
		"different types":              {rego(`x := 1`), rego(`x := "1"`), "data.caracal.authz.x", "different values"},
		"different objects":            {rego(`x := {"a": 1}`), rego(`x := {"a": 2}`), "data.caracal.authz.x", "different values"},
		"two defaults":                 {rego(denyDefault), rego(denyDefault), "data.caracal.authz.result", "both give it a default"},
		"two defaults of a function":   {rego(`default f(_) := 1`, `f(x) := x if x > 1`), rego(`default f(_) := 1`), "data.caracal.authz.f", "both give it a default"},
		"a value and a set":            {rego(`x := 1`), rego(`x contains 1`), "data.caracal.authz.x", "different kinds"},
		"a value and an object":        {rego(`x := {}`), rego(`x[k] := 1 if some k in ["a"]`), "data.caracal.authz.x", "different kinds"},
		"a set and an object of sets":  {rego(`x contains 1`), rego(`x[k] contains 1 if some k in ["a"]`), "data.caracal.authz.x", "different kinds"},
		"a value and a function":       {rego(`x := 1`), rego(`x(y) := y`), "data.caracal.authz.x", "different numbers of arguments"},
		"one and two arguments":        {rego(`f(x) := x`), rego(`f(x, y) := x + y`), "data.caracal.authz.f", "different numbers of arguments"},
		"a value and a rule inside":    {rego(`x := {"y": 1}`), rego(`x.y := 1`), "data.caracal.authz.x", "inside its value"},
		"a rule inside and a value":    {rego(`x.y := 1`), rego(`x := {"y": 1}`), "data.caracal.authz.x", "inside its value"},
		"a value and a package inside": {rego(`p := 1`), "package caracal.authz.p.q\n\nx := 1\n", "data.caracal.authz.p", "inside its value"},
		"a value and an empty package": {rego(`p := 1`), "package caracal.authz.p\n", "data.caracal.authz.p", "as a rule and as a package"},

		"equal constants":                {rego(`x := 1`), rego(`x := 1`), "", ""},
		"numbers written differently":    {rego(`x := 1`), rego(`x := 1.0`), "", ""},
		"a default and a constant":       {rego(`default x := 1`), rego(`x := 2`), "", ""},
		"a constant and a condition":     {rego(`x := 1`), rego(`x := 2 if input.action.id == "a"`), "", ""},
		"parts of a set":                 {rego(`x contains 1`), rego(`x contains 2`), "", ""},
		"parts of an object":             {rego(`x.a := 1`), rego(`x.b := 2`), "", ""},
		"parts with a computed key":      {rego(`x[k] := 1 if some k in ["a"]`), rego(`x.b := 2`), "", ""},
		"definitions of a function":      {rego(`f(1) := 1`), rego(`f(2) := 2`), "", ""},
		"one name in two packages":       {rego(`x := 1`), "package caracal.authz.p\n\nx := 2\n", "", ""},
		"rules inside a computed object": {rego(`x[k].a := 1 if some k in ["a"]`), rego(`x.b.c := 2`), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := policy.Compile(context.Background(), modules(c.a, rego(`unrelated := 1`), c.b))
			if c.rule == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			var conflict *policy.ConflictError
			if !errors.As(err, &conflict) || !errors.Is(err, policy.ErrConflict) {
				t.Fatalf("got %v (%T), want a *ConflictError", err, err)
			}
			if conflict.Rule != c.rule || !slices.Equal(conflict.Policies, []string{"a", "c"}) || len(conflict.Locations) != 2 {
				t.Errorf("got %+v", conflict)
			}
			for _, part := range []string{`"a"`, `"c"`, c.rule, c.says} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %s", err, part)
				}
			}
			for _, at := range conflict.Locations {
				if at.Row < 1 || at.Col < 1 {
					t.Errorf("got the place %+v", at)
				}
			}
			// Each policy alone is fine.
			validate(t, c.a)
			validate(t, c.b)
		})
	}
}

func TestConflictsThatSomeInputsShow(t *testing.T) {
	when := func(value, condition string) string { return rego(`x := ` + value + ` if { ` + condition + ` }`) }
	entry := rego(denyDefault, `result := `+denyValue+` if { x == 1; count(input.context.requested_scopes) == 0 }`)
	for name, c := range map[string]struct {
		a, b  string
		warn  bool
		shown bool // an input that shows it was found
	}{
		"unrelated conditions":        {when(`1`, `input.action.id == "a"`), when(`2`, `input.principal.type == "b"`), true, true},
		"overlapping conditions":      {when(`1`, `input.action.id == "a"`), when(`2`, `input.action.id == "a"; input.principal.id == "b"`), true, true},
		"always and sometimes":        {rego(`x := 1`), when(`2`, `input.action.id == "a"`), true, true},
		"elements of one array":       {when(`1`, `"a" in input.principal.labels`), when(`2`, `"b" in input.principal.labels`), true, true},
		"through other rules":         {when(`1`, `admin`) + "\nadmin if input.principal.id == \"root\"\n", when(`2`, `danger`) + "\ndanger if input.action.id == \"delete\"\n", true, true},
		"a boolean":                   {when(`1`, `input.context.challenge_resolved`), when(`2`, `input.action.id == "a"`), true, true},
		"computed values":             {when(`input.action.id`, `true`), when(`input.principal.id`, `true`), true, true},
		"else branches":               {rego(`x := 1 if input.action.id == "a" else := 3`), when(`2`, `input.principal.id == "b"`), true, true},
		"functions":                   {rego(`x := f("a")`, `f(y) := 1 if startswith(y, "a")`), rego(`f(y) := 2 if endswith(y, "a")`), true, true},
		"partial objects":             {rego(`x := o.k`, `o[k] := 1 if k := input.action.id`), rego(`o[k] := 2 if k := input.action.id`), true, false},
		"a computed and a fixed key":  {rego(`x := o.k`, `o[k] := 1 if k := input.action.id`), rego(`o.k := 2`), true, false},
		"conditions nobody can solve": {when(`1`, `regex.match("^a+$", input.action.id)`), when(`2`, `startswith(input.action.id, "a")`), true, false},

		"different values of a field":    {when(`1`, `input.action.id == "a"`), when(`2`, `input.action.id == "b"`), false, false},
		"the value on the left":          {when(`1`, `"a" == input.action.id`), when(`2`, `input.action.id = "b"`), false, false},
		"a value and not it":             {when(`1`, `input.action.id == "a"`), when(`2`, `input.action.id != "a"`), false, false},
		"a boolean and its negation":     {when(`1`, `input.context.challenge_resolved`), when(`2`, `not input.context.challenge_resolved`), false, false},
		"a rule and its negation":        {when(`1`, `admin`) + "\nadmin if input.principal.id == \"root\"\n", when(`2`, `not data.caracal.authz.admin`), false, false},
		"labels and none":                {when(`1`, `"a" in input.principal.labels`), when(`2`, `not input.principal.labels`), false, false},
		"the same value":                 {when(`1`, `input.action.id == "a"`), when(`1`, `input.principal.id == "b"`), false, false},
		"arguments that differ":          {rego(`x := f("a")`, `f("a") := 1`), rego(`f("b") := 2`), false, false},
		"sets":                           {rego(`x := 1 if s[1]`, `s contains 1 if input.action.id == "a"`), rego(`s contains 2 if input.action.id == "a"`), false, false},
		"a default and a condition":      {rego(`default x := 1`), when(`2`, `input.action.id == "a"`), false, false},
		"objects of different depth":     {rego(`x := 1 if o`, `o.a := 1`), rego(`o.b.c := 2`), false, false},
		"a computed key, the same value": {rego(`x := o.k`, `o[k] := 1 if k := input.action.id`), rego(`o.k := 1`), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := compile(t, entry, c.a, c.b)
			var found []policy.Warning
			for _, w := range s.Warnings() {
				if w.Code == policy.WarnPossibleConflict {
					found = append(found, w)
				}
			}
			if (len(found) > 0) != c.warn {
				t.Fatalf("got %+v", s.Warnings())
			}
			for _, w := range found {
				if w.Blocking || w.Policy == "" || w.Location == nil || !strings.Contains(w.Message, `"b"`) || !strings.Contains(w.Message, `"c"`) {
					t.Errorf("got %+v", w)
				}
				_, raw, shown := strings.Cut(w.Message, "they do for ")
				if shown != c.shown {
					t.Errorf("an input that shows it: %v, want %v; %s", shown, c.shown, w.Message)
				}
				if shown {
					in, err := policy.ParseInput([]byte(raw))
					if err != nil {
						t.Fatalf("the input of the message: %v", err)
					}
					wantFailure(t, evaluate(s, in), policy.ReasonError)
				}
			}
		})
	}
}

func TestModulesAreCompiledTogether(t *testing.T) {
	allows := func(t *testing.T, contents ...string) {
		t.Helper()
		if r := evaluate(compile(t, contents...), input(t)); r.Decision != policy.Allow {
			t.Errorf("got %+v", r)
		}
	}
	result := `result := ` + allowValue + ` if ok`
	t.Run("functions", func(t *testing.T) {
		allows(t, rego(denyDefault, result, `ok if data.caracal.authz.f("a") == "aa"`), rego(`f(x) := concat("", [x, x])`))
	})
	t.Run("imports", func(t *testing.T) {
		allows(t, "package caracal.authz\n\nimport data.caracal.authz.limits as bounds\nimport input.principal\n\n"+denyDefault+result+"\n\nok if bounds.most[principal.id] == 5\n",
			"package caracal.authz.limits\n\nmost.alice := 5\n")
	})
	t.Run("a rule in parts", func(t *testing.T) {
		allows(t, rego(denyDefault, result, `ok if users == {"alice", "bob"}`), rego(`users contains "alice"`), rego(`users contains "bob"`))
	})
	t.Run("rego.v1 in some of them", func(t *testing.T) {
		allows(t, "package caracal.authz\n\nimport rego.v1\n\n"+denyDefault+result, rego(`ok := true`))
	})
	t.Run("the same import twice", func(t *testing.T) {
		allows(t, "package caracal.authz\n\nimport data.caracal.authz.k\n\n"+denyDefault+result+"\nok if k == 1\n", "package caracal.authz\n\nimport data.caracal.authz.k\n\nl := k\n", rego(`k := 1`))
	})
	t.Run("recursion between them", func(t *testing.T) {
		_, err := policy.Compile(context.Background(), modules(rego(`x if data.caracal.authz.y`), rego(`y if data.caracal.authz.x`)))
		if e := refusal(t, err).Errors[0]; !strings.Contains(e.Message, "recursive") || e.Policy != "a" {
			t.Errorf("got %+v", e)
		}
	})
}

func TestCompileNamesThePolicyThatIsWrong(t *testing.T) {
	_, err := policy.Compile(context.Background(), []policy.Module{
		module("fine", rego("x := 1")), module("first", rego("y := }")), module("second", rego(`z := http.send({})`)), module("third", "package other\n"),
	})
	var named []string
	for _, e := range refusal(t, err).Errors {
		named = append(named, e.Policy)
	}
	if got := strings.Join(slices.Compact(named), " "); got != "first third" {
		t.Errorf("got %s", got)
	}
	if !strings.Contains(err.Error(), "first:3:6: ") {
		t.Errorf("got %q", err)
	}
	_, err = policy.Compile(context.Background(), []policy.Module{module("fine", rego("x := 1")), module("second", rego(`z := http.send({})`))})
	if got := refusal(t, err).Errors; len(got) != 1 || got[0].Policy != "second" {
		t.Errorf("got %+v", got)
	}
}

func TestCompileManyPolicies(t *testing.T) {
	var mods []policy.Module
	for i := range policy.MaxPolicies {
		mods = append(mods, module(fmt.Sprintf("p%03d", i), rego(fmt.Sprintf("rule_%d := %d", i, i), fmt.Sprintf(`denials contains "%d" if input.action.id == "deny-%d"`, i, i))))
	}
	mods[0].Content += "\n" + denyDefault + "result := " + allowValue + " if count(denials) == 0\n"
	s := compileModules(t, mods)
	if got := s.Modules(); !slices.Equal(got, mods) {
		t.Error("Modules are others than were compiled")
	}
	if r := evaluate(s, input(t)); r.Decision != policy.Allow || names(r) != "p000" {
		t.Errorf("got %+v", r)
	}
	if r := evaluate(s, input(t, set("action.id", "deny-255"))); r.Decision != policy.Deny {
		t.Errorf("got %+v", r)
	}
	_, err := policy.Compile(context.Background(), append(mods, module("more", rego("x := 1"))))
	if !strings.Contains(refusal(t, err).Error(), "at most 256 policies, not 257") {
		t.Errorf("got %v", err)
	}
}

// Many rules of one name in many policies are compared in bounded time.
func TestCompileManyRulesOfOneName(t *testing.T) {
	var mods []policy.Module
	for i := range 64 {
		var b strings.Builder
		b.WriteString(rego())
		for j := range 40 {
			fmt.Fprintf(&b, "x := %d if input.action.id == \"%d-%d\"\n", i*100+j, i, j)
		}
		mods = append(mods, module(fmt.Sprintf("p%d", i), b.String()))
	}
	s := compileModules(t, mods)
	if got := codes(s.Warnings()); !strings.Contains(got, policy.WarnPossibleConflict) {
		t.Errorf("the end of the search is not mentioned: %s", got)
	}
}

func TestReadsInput(t *testing.T) {
	s := compile(t,
		rego(denyDefault, `result := `+denyValue+` if { input.principal.id == "a"; input.principal["labels"][0] == "b"; data.caracal.authz.sub.y }`),
		"package caracal.authz.sub\n\nimport input.context as c\n\ny if c.actor_claims[\"a/b\"][\"c~d\"]\n\nz if input.action with input.session as {}\n\nw[k] if some k in input.resource.scopes\n")
	want := []string{
		`input.action`, `input.context.actor_claims["a/b"]["c~d"]`, `input.principal.id`, `input.principal.labels`, `input.resource.scopes`,
	}
	if got := s.InputsReferenced(); !slices.Equal(got, want) {
		t.Errorf("InputsReferenced: got %q, want %q", got, want)
	}
	for pointer, want := range map[string]bool{
		"/principal/id": true, "/principal/id/below": true, "/principal": true, "": true,
		"/principal/labels/0": true, "/principal/labels/7": true, "/principal/type": false,
		"/action": true, "/action/id": true, "/resource/scopes/3": true, "/resource/identifier": false,
		"/context": true, "/context/actor_claims": true, "/context/actor_claims/a~1b/c~0d": true,
		"/context/actor_claims/a~1b": true, "/context/actor_claims/a": false, "/context/trace_id": false,
		"/session": false, "/session/id": false, "/nosuch": false, "no pointer": true,
	} {
		if got := s.ReadsInput(pointer); got != want {
			t.Errorf("ReadsInput(%q) = %v", pointer, got)
		}
	}
	for name, content := range map[string]string{
		"whole":    rego(`x := input`),
		"computed": rego(`x := input[data.caracal.authz.k]`),
		"passed":   rego(`f(y) := y`, `x := f(input)`),
	} {
		s := compile(t, content)
		if !s.ReadsInput("/principal/id") || !slices.Equal(s.InputsReferenced(), []string{"input"}) {
			t.Errorf("%s: got %q", name, s.InputsReferenced())
		}
	}
	if s := compile(t, rego(`x := 1`)); s.ReadsInput("") || s.InputsReferenced() == nil || len(s.InputsReferenced()) != 0 {
		t.Errorf("nothing is read: got %q", s.InputsReferenced())
	}
}
