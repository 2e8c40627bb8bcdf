package policy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caracalai/caracald/policy"
)

// generous lets both evaluators finish whatever the generator writes.
var generous = policy.Limits{Timeout: time.Minute, MaxMemory: 1 << 30}

// agree fails unless both evaluators give one answer for every input: decision,
// status, determining policies and diagnostics. Of an evaluation that fails, how
// it fails is compared, and not where; of several contradictions, one may be
// found before another. Numbers are compared by what they are: of two that are equal
// and written differently, either may be the one that a set keeps.
func agree(t rapid.TB, compiled, interpreted *policy.Set, inputs []string) {
	t.Helper()
	read := new(policy.Input)
	defer read.Release()
	results := map[string]policy.Result{}
	for _, raw := range inputs {
		in, err := policy.ParseInput([]byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		got, want := compiled.Evaluate(context.Background(), in, generous), interpreted.Evaluate(context.Background(), in, generous)
		written := want
		got.Diagnostics, want.Diagnostics = plain(got.Diagnostics), plain(want.Diagnostics)
		// Reading only what the policies read changes nothing, and inputs that are
		// one to them have one result. The text is gone before it is compared.
		borrowed := []byte(raw)
		if err := compiled.ReadInput(borrowed, read); err != nil {
			t.Fatal(err)
		}
		key := string(read.Key())
		projected := compiled.Evaluate(context.Background(), read, generous)
		clear(borrowed)
		if before, ok := results[key]; ok && !reflect.DeepEqual(before, projected) {
			t.Fatalf("one key %q has the results %+v and %+v, by %s", key, before, projected, text(compiled.Modules()))
		}
		results[key] = projected
		if again := compiled.Evaluate(context.Background(), in, generous); !reflect.DeepEqual(projected, again) {
			t.Fatalf("reading a part gives %+v, reading all %+v, for %s, by %s", projected, again, raw, text(compiled.Modules()))
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("the compiled engine gives %+v, OPA's evaluator %+v, for %s, by %s", got, written, raw, text(compiled.Modules()))
		}
	}
}

// plain is entries with each number written in one way.
func plain(entries []policy.Entry) (copies []policy.Entry) {
	var write func(x any) any
	write = func(x any) any {
		switch x := x.(type) {
		case json.Number:
			if r, ok := new(big.Rat).SetString(string(x)); ok {
				return r.String()
			}
		case []any:
			list := make([]any, len(x))
			for i := range x {
				list[i] = write(x[i])
			}
			return list
		case map[string]any:
			object := map[string]any{}
			for k := range x {
				object[k] = write(x[k])
			}
			return object
		}
		return x
	}
	for _, e := range entries {
		copies = append(copies, write(map[string]any(e)).(map[string]any))
	}
	return copies
}

func text(mods []policy.Module) string {
	var b strings.Builder
	for _, m := range mods {
		fmt.Fprintf(&b, "\n# %s\n%s", m.Name, m.Content)
	}
	return b.String()
}

// both compiles a set twice.
func both(t rapid.TB, mods []policy.Module) (compiled, interpreted *policy.Set) {
	t.Helper()
	compiled, err := policy.Compile(context.Background(), mods)
	other, otherErr := policy.CompileInterpreted(context.Background(), mods)
	if (err == nil) != (otherErr == nil) {
		t.Fatalf("one compiles, the other does not: %v; %v", err, otherErr)
	}
	if err != nil {
		var conflict *policy.ConflictError
		if !errors.As(err, &conflict) && !strings.Contains(err.Error(), "conflict") {
			t.Logf("not compiled: %v", err)
		}
		return nil, nil
	}
	return compiled, other
}

func TestEvaluatorsAgreeOnTemplates(t *testing.T) {
	sets := map[string][]policy.Module{}
	var all []policy.Module
	for _, tpl := range policy.Templates() {
		sets[tpl.ID] = []policy.Module{module(tpl.ID, tpl.Content)}
		if tpl.ID != "deny-all" {
			all = append(all, module(tpl.ID, tpl.Content))
		}
	}
	sets["all together"] = all
	for _, pattern := range []string{"../examples/payments/policies/*.rego", "testdata/reference/*.rego"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		var mods []policy.Module
		for _, f := range files {
			content, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			mods = append(mods, module(filepath.Base(f), string(content)))
		}
		sets[pattern] = mods
	}
	for name, mods := range sets {
		t.Run(name, func(t *testing.T) {
			compiled, interpreted := both(t, mods)
			if compiled == nil {
				t.Fatal("does not compile")
			}
			if err := compiled.Interpreted(); err != nil {
				t.Fatalf("not compiled ahead: %v", err)
			}
			rapid.Check(t, func(t *rapid.T) { agree(t, compiled, interpreted, []string{drawInput(t)}) })
		})
	}
}

func TestEvaluatorsAgreeOnGenerated(t *testing.T) {
	compiledAhead := 0
	rapid.Check(t, func(t *rapid.T) {
		if agreeOnGenerated(t).Interpreted() == nil {
			compiledAhead++
		}
	})
	if compiledAhead == 0 {
		t.Error("no generated policy was compiled ahead")
	}
}

// FuzzEvaluatorsAgree is TestEvaluatorsAgreeOnGenerated for as long as one likes.
func FuzzEvaluatorsAgree(f *testing.F) {
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) { agreeOnGenerated(t) }))
}

// agreeOnGenerated puts generated inputs to a generated set, which it gives back.
func agreeOnGenerated(t *rapid.T) *policy.Set {
	var mods []policy.Module
	g := &writer{t: t}
	for i := range rapid.IntRange(1, 3).Draw(t, "policies") {
		mods = append(mods, module(fmt.Sprintf("p%d", i), g.document(i == 0)))
	}
	compiled, interpreted := both(t, mods)
	if compiled == nil {
		t.Skip("does not compile")
	}
	var inputs []string
	for range 10 {
		inputs = append(inputs, drawInput(t))
	}
	agree(t, compiled, interpreted, inputs)
	return compiled
}

// Values that inputs and policies have in common, so that they meet.
var (
	words  = []string{"a", "b", "read", "write", "role:x", "urn:a"}
	word   = rapid.SampledFrom(words)
	wordsG = rapid.SliceOfN(word, 0, 3)
)

func drawInput(t *rapid.T) string {
	w := func(what string) string { return word.Draw(t, what) }
	doc := map[string]any{
		"schema_version": policy.InputSchemaVersion,
		"principal":      map[string]any{"type": "agent", "id": w("id"), "zone_id": "z", "labels": wordsG.Draw(t, "labels")},
		"resource":       map[string]any{"type": "service", "id": w("resource"), "identifier": w("identifier"), "scopes": wordsG.Draw(t, "scopes")},
		"action":         map[string]any{"id": w("action")},
		"context": map[string]any{
			"actor_claims":       map[string]any{w("claim"): w("value"), "n": json.Number(rapid.SampledFrom([]string{"-2", "-1", "0", "1", "2", "3", "-0", "0.0", "1.0", "2e0", "1.5"}).Draw(t, "n")), "list": []any{w("item"), 1, nil, map[string]any{"k": w("k")}}},
			"challenge_resolved": rapid.Bool().Draw(t, "challenge"),
			"requested_scopes":   wordsG.Draw(t, "requested"),
		},
	}
	if rapid.Bool().Draw(t, "delegated") {
		doc["delegation_edge"] = map[string]any{"id": w("edge"), "scopes": wordsG.Draw(t, "edge scopes")}
	}
	if rapid.Bool().Draw(t, "in a session") {
		doc["session"] = map[string]any{"id": w("session"), "application_id": w("application")}
	}
	data, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// writer writes policies.
type writer struct {
	t     *rapid.T
	vars  int
	depth int
}

func (g *writer) pick(options ...func() string) string {
	return rapid.SampledFrom(options).Draw(g.t, "form")()
}

func (g *writer) one(options ...string) string { return rapid.SampledFrom(options).Draw(g.t, "one") }

func (g *writer) quoted() string { return `"` + word.Draw(g.t, "word") + `"` }

func (g *writer) number() string { return g.one("0", "1", "2", "-1", "1.5", "10", "1e2") }

func (g *writer) fresh() string {
	g.vars++
	return fmt.Sprintf("v%d", g.vars)
}

// input is a reference to something in the input, which may not be there.
func (g *writer) input() string {
	return g.one("input.principal.id", "input.principal.labels", "input.principal.labels[0]", "input.resource.identifier", "input.resource.scopes",
		"input.action.id", "input.context.requested_scopes", "input.context.actor_claims", "input.context.actor_claims.n", "input.context.actor_claims.list",
		"input.context.actor_claims.list[3].k", "input.context.actor_claims.list[input.context.actor_claims.n]", "input.resource.scopes[input.context.actor_claims.n]", "input.context.challenge_resolved", "input.delegation_edge", "input.delegation_edge.scopes", "input.session.application_id", "input.nosuch")
}

// collection is an expression that is often a collection.
func (g *writer) collection() string {
	return g.pick(
		func() string { return g.input() },
		func() string { return "members" },
		func() string { return "table" },
		func() string { return "{" + g.quoted() + ", " + g.value() + "}" },
		func() string {
			p, v := g.fresh(), g.fresh()
			return "[" + g.one(p, v, "["+p+", "+v+"]") + " | walk(" + g.shallow() + ", [" + p + ", " + v + "])]"
		},
		func() string { return "[" + g.value() + ", " + g.quoted() + "]" },
		func() string { return `{"a": ` + g.value() + `, "b": ` + g.quoted() + "}" },
		func() string { v := g.fresh(); return "[" + v + " | some " + v + " in " + g.shallow() + "]" },
		func() string {
			v := g.fresh()
			return "{" + v + " | some " + v + " in " + g.shallow() + "; " + v + " != " + g.quoted() + "}"
		},
		func() string {
			k, v := g.fresh(), g.fresh()
			return "{" + k + ": " + v + " | some " + k + ", " + v + " in " + g.shallow() + "}"
		},
	)
}

func (g *writer) shallow() string {
	return g.one("input.principal.labels", "input.resource.scopes", "members", "table", `{"a", "b"}`, "[1, 2, 2]", "slots", "input.context.actor_claims")
}

func (g *writer) value() string {
	if g.depth++; g.depth > 4 {
		g.depth--
		return g.quoted()
	}
	defer func() { g.depth-- }()
	return g.pick(
		g.quoted, g.number, g.input,
		func() string { return g.one("true", "false", "null") },
		func() string { return "flag" },
		func() string { return "chosen" },
		func() string { return g.one("table", "slots") + "[" + g.quoted() + "]" },
		func() string { return "classify(" + g.value() + ")" },
		func() string { return "count(" + g.collection() + ")" },
		func() string { return "concat(\",\", " + g.collection() + ")" },
		func() string { return "split(" + g.value() + `, "e")` },
		func() string { return "upper(" + g.value() + ")" },
		func() string {
			return "substring(" + g.value() + ", " + g.one("1", "1.0", "input.context.actor_claims.n") + ", 2)"
		},
		func() string { return "replace(" + g.value() + `, "a", "bb")` },
		func() string { return "(" + g.value() + g.one(" + ", " - ", " * ", " / ", " % ") + g.value() + ")" },
		func() string { return "object.get(" + g.collection() + ", " + g.quoted() + ", " + g.number() + ")" },
		func() string { return "sprintf(\"%v\", [" + g.value() + "])" },
		func() string {
			return "sprintf(\"%s-%d%q\", [" + g.value() + ", " + g.value() + ", " + g.value() + "])"
		},
		func() string { return "to_number(" + g.value() + ")" },
		func() string { return "json.unmarshal(" + g.value() + ")" },
		func() string { return "json.marshal(" + g.collection() + ")" },
		func() string { return "sum(" + g.collection() + ")" },
		func() string {
			return g.one("max", "min", "sort", "type_name", "is_string") + "(" + g.collection() + ")"
		},
		g.collection,
	)
}

func (g *writer) condition() string {
	return g.pick(
		func() string { return g.value() + g.one(" == ", " != ", " < ", " >= ") + g.value() },
		func() string { return g.value() + " in " + g.collection() },
		func() string { return g.input() },
		func() string { return "not " + g.input() },
		func() string { return "not " + g.value() + " == " + g.value() },
		func() string { return "not members[" + g.value() + "]" },
		func() string { return "members[" + g.value() + "]" },
		func() string { return g.one("table", "slots") + "[" + g.quoted() + "] == " + g.value() },
		func() string { return g.one("", "not ") + "slots[" + g.value() + "]" },
		func() string { return "flag" },
		func() string { return "not flag" },
		func() string { return "startswith(" + g.value() + ", " + g.quoted() + ")" },
		func() string { v := g.fresh(); return v + " := " + g.value() + "; " + v + " != " + g.quoted() },
		func() string {
			v := g.fresh()
			return "some " + v + " in " + g.collection() + "; " + v + g.one(" == ", " != ") + g.value()
		},
		func() string {
			k, v := g.fresh(), g.fresh()
			return "some " + k + ", " + v + " in " + g.collection() + "; " + k + " != " + v
		},
		func() string { return "walk(" + g.collection() + ", [_, " + g.quoted() + "])" },
		func() string { return "not walk(" + g.shallow() + ", [[], " + g.quoted() + "])" },
		func() string {
			v := g.fresh()
			return "some " + v + " in " + g.collection() + "; " + g.one("good("+v+")", "not good("+v+")", "classify("+v+") == \"short\"", "members["+v+"]", "slots["+v+"]")
		},
		func() string { return g.one("", "not ") + "found" },
		func() string {
			v := g.fresh()
			return "every " + v + " in " + g.collection() + " { " + v + g.one(" == ", " != ") + g.value() + " }"
		},
		func() string { v := g.fresh(); return "members[" + v + "]; " + v + " != " + g.quoted() },
		func() string { return "flag with input.principal.id as " + g.quoted() },
		func() string {
			return "not members[" + g.quoted() + "] with input.resource.scopes as [" + g.quoted() + "]"
		},
		func() string { return "regex.match(\"^[a-r]\", " + g.value() + ")" },
		func() string {
			return g.one("", "not ") + "glob.match(" + g.one(`"r*"`, `"*:?"`, `"{a,read}"`, g.value()) + ", " + g.one("null", "[]", `[":"]`) + ", " + g.value() + ")"
		},
		func() string {
			v := g.fresh()
			return "some " + v + ` in [{"p": "r*", "e": "^r"}, {"p": "*:*", "e": ":"}]; ` + g.one("glob.match("+v+".p, null, ", "regex.match("+v+".e, ") + g.value() + ")"
		},
		func() string { return "net.cidr_contains(" + g.one(`"10.0.0.0/8"`, g.value()) + ", " + g.value() + ")" },
	)
}

func (g *writer) body() string {
	var parts []string
	for range rapid.IntRange(1, 3).Draw(g.t, "conditions") {
		parts = append(parts, g.condition())
	}
	return "{ " + strings.Join(parts, "; ") + " }"
}

// document writes a policy; the first of a set has what all rely on.
func (g *writer) document(first bool) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("package caracal.authz\n")
	if first {
		line("members contains %s", g.quoted())
		line("table[%s] := %s", `"a"`, g.number())
		line("slots[v] := 1 if some v in input.resource.scopes")
		line("default chosen := %s", g.number())
		line("classify(x) := \"short\" if count(x) < 2")
		line("classify(x) := \"long\" if count(x) >= 2")
		line("flag if input.context.challenge_resolved")
		line("good(x) if x == %s", g.quoted())
		line("found if { some x in %s; good(x) }", g.shallow())
		line(denyDefault)
	}
	for range rapid.IntRange(1, 5).Draw(g.t, "rules") {
		g.depth = 0
		line("%s", g.pick(
			func() string { return "members contains " + g.input() + " if " + g.plain() },
			func() string { return "members contains " + g.quoted() + " if " + g.plain() },
			func() string {
				v := g.fresh()
				return "members contains " + v + " if some " + v + " in input.resource.scopes"
			},
			func() string { return "table[" + g.quoted() + "] := " + g.number() + " if " + g.plain() },
			func() string {
				v := g.fresh()
				return "slots[" + v + "] := " + g.number() + " if { some " + v + " in input.principal.labels; " + v + " != " + g.quoted() + " }"
			},
			func() string { return "flag if " + g.plain() },
			func() string { return "good(x) if x == " + g.quoted() },
			func() string {
				return "found if { some x in " + g.shallow() + "; " + g.one("good(x)", "members[x]", "every y in "+g.shallow()+" { good(y) }", "slots[x]; good(x)") + " }"
			},
			func() string {
				return "chosen := " + g.number() + " if " + g.plain() + " else := " + g.quoted() + " if " + g.plain()
			},
			func() string { return "result := " + allowValue + " if " + g.body() },
			func() string { return "result := " + allowValue + " if " + g.body() },
			func() string { return "result := " + denyValue + " if " + g.body() },
			func() string {
				return `result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": [{"reason": "r", "v": ` + g.value() + `}]} if ` + g.body()
			},
		))
	}
	return b.String()
}

// plain is a body that reads the input only, so that no rule reads itself.
func (g *writer) plain() string {
	return "{ " + g.pick(
		func() string { return g.input() + " == " + g.quoted() },
		func() string { return g.quoted() + " in " + g.input() },
		func() string { return "not " + g.input() },
		func() string {
			v := g.fresh()
			return "some " + v + " in " + g.input() + "; " + v + " != " + g.quoted()
		},
		func() string { return "count(" + g.input() + ") > 1" },
	) + " }"
}

// Many rules that compare the same paths with constants are looked up, and must
// come to what trying each comes to.
func TestEvaluatorsAgreeOnManyRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := &writer{t: t}
		test := func() string {
			return g.one("input.action.id", "input.resource.identifier", "input.principal.id", "input.session.id") + " == " + g.quoted()
		}
		var mods []policy.Module
		for i := range rapid.IntRange(1, 2).Draw(t, "policies") {
			var lines []string
			if i == 0 {
				lines = append(lines, denyDefault, `default level := 0`, `members contains "x" if input.nosuch`)
			}
			for range rapid.IntRange(6, 16).Draw(t, "rules") {
				body := "{ " + g.pick(test, func() string { return test() + "; " + test() }, func() string { return `"a" in input.principal.labels; ` + test() },
					func() string { return "v := input.action.id; v == " + g.quoted() + "; " + test() }, func() string { return "not " + test() }) + " }"
				lines = append(lines, g.pick(
					func() string { return "result := " + allowValue + " if " + body },
					func() string { return "result := " + denyValue + " if " + body },
					func() string { return "members contains " + g.quoted() + " if " + body },
					func() string { return "level := " + g.number() + " if " + body + " else := 5 if { " + test() + " }" },
					func() string { return "level := 1 if " + body },
					func() string { return "result := " + allowValue + ` if { members["a"]; level == 1 }` },
				))
			}
			mods = append(mods, module(fmt.Sprintf("p%d", i), rego(lines...)))
		}
		compiled, interpreted := both(t, mods)
		if compiled == nil {
			t.Skip("does not compile")
		}
		agree(t, compiled, interpreted, []string{drawInput(t), drawInput(t), drawInput(t), drawInput(t)})
	})
}
