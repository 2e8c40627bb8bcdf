package policy_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/caracalai/caracald/policy"
)

// told is a policy that tells in its diagnostics what a call gives for each of the
// operands in the input, which are lists.
func told(call string) []policy.Module {
	return []policy.Module{module("told", `package caracal.authz

answers contains {"at": i, "gives": gives} if {
	some i, x in input.context.actor_claims.operands
	gives := `+call+`
}

result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": answers}
`)}
}

// asking is an input with lists of operands.
func asking(t rapid.TB, operands [][]any) string {
	t.Helper()
	data, err := json.Marshal(map[string]any{
		"schema_version": policy.InputSchemaVersion,
		"principal":      map[string]any{"type": "agent", "id": "a", "zone_id": "z", "labels": []string{}},
		"resource":       map[string]any{"type": "service", "id": "r", "identifier": "i", "scopes": []string{}},
		"action":         map[string]any{"id": "read"},
		"context":        map[string]any{"actor_claims": map[string]any{"operands": operands}, "challenge_resolved": false, "requested_scopes": []string{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// joined draws one to four parts and writes them one after another.
func joined(parts ...string) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(parts), 1, 4).Draw(t, "parts"), "")
	})
}

// Operands for which the engine has implementations of its own, and others next to
// them, which it leaves to OPA's.
func TestEvaluatorsAgreeOnBuiltins(t *testing.T) {
	anything := rapid.SampledFrom([]any{nil, true, false, 0, 7, -12, 1.5, json.Number("1e2"), json.Number("1.0"), json.Number("123456789012345678901234567890"), "", "a", `"é` + "\x01\u2028", "x%y", []any{1, "b"}, map[string]any{"k": "v"}})
	address := rapid.SampledFrom([]string{"10.0.0.1", "10.20.30.40", "10.20.30.255", "255.255.255.255", "010.0.0.1", "::1", "fd00::1", "::ffff:10.20.30.40", "::ffff:a14:1e28", "fe80::1%eth0", "::", "10.0.0", "", "x"})
	network := rapid.Custom(func(t *rapid.T) string {
		return address.Draw(t, "address") + rapid.SampledFrom([]string{"/0", "/8", "/08", "/24", "/32", "/33", "/64", "/90", "/96", "/104", "/128", "/129", "/-1", "/+8", "/", ""}).Draw(t, "bits")
	})
	texts := func(g *rapid.Generator[string]) *rapid.Generator[any] {
		return rapid.Map(g, func(s string) any { return s })
	}
	for name, c := range map[string]struct {
		call     string
		operands []*rapid.Generator[any]
	}{
		"networks": {"net.cidr_contains(x[0], x[1])", []*rapid.Generator[any]{
			rapid.OneOf(texts(network), anything), rapid.OneOf(texts(address), texts(network), anything)}},
		"numbers": {"to_number(x[0])", []*rapid.Generator[any]{
			rapid.OneOf(anything, texts(joined("0", "1", "9", "-", "+", ".", "e", "12345678", "_", " ", "inf", "0x")))}},
		"formats": {"sprintf(x[0], array.slice(x, 1, count(x)))", []*rapid.Generator[any]{
			rapid.OneOf(anything, texts(joined("%s", "%d", "%v", "%q", "%%", "%", "a", "é", "%x", "%5d", "%*d", "%[2]v", "%!"))), anything, anything}},
		"formats of lists": {"sprintf(x[0], x[1])", []*rapid.Generator[any]{
			texts(joined("%s", "%d", "a")), rapid.OneOf(anything, rapid.Just[any]([]any{}), rapid.Just[any]([]any{"a", 1}))}},
	} {
		t.Run(name, func(t *testing.T) {
			compiled, interpreted := both(t, told(c.call))
			if err := compiled.Interpreted(); err != nil {
				t.Fatal(err)
			}
			rapid.Check(t, func(t *rapid.T) {
				var all [][]any
				for range 8 {
					var one []any
					for _, g := range c.operands {
						one = append(one, g.Draw(t, "operand"))
					}
					all = append(all, one)
				}
				agree(t, compiled, interpreted, []string{asking(t, all)})
			})
		})
	}
}

// Patterns that stand in a policy, also as fields of what a loop goes through.
func TestEvaluatorsAgreeOnPatterns(t *testing.T) {
	patterns := []string{"/a/*/b", "/a/**", "{a,b*}{c,*}", "*.example", "a?[b-d]", `\*`, "*a*b*c*", "**a**b**", ""}
	listed, err := json.Marshal(patterns)
	if err != nil {
		t.Fatal(err)
	}
	var asked strings.Builder
	for _, delimiters := range []string{"null", "[]", `["/"]`, `["/", "é"]`, `["ab"]`} {
		fmt.Fprintf(&asked, "answers contains [%q, i, pattern, \"glob\"] if { some i, x in input.context.actor_claims.operands; some pattern in patterns; glob.match(pattern, %s, x[0]) }\n", delimiters, delimiters)
		fmt.Fprintf(&asked, "answers contains [%q, i, route.name, \"route\"] if { some i, x in input.context.actor_claims.operands; some route in routes; glob.match(route.pattern, %s, x[0]) }\n", delimiters, delimiters)
	}
	mods := []policy.Module{module("patterns", `package caracal.authz

patterns := `+string(listed)+`

routes := [{"name": "one", "pattern": "/a/*"}, {"name": "two", "pattern": "/{a,b}/**"}]

expressions := {{"name": "one", "expression": "^a+$"}, {"name": "two", "expression": "b|/"}}

`+asked.String()+`
answers contains [i, e.name, "expression"] if { some i, x in input.context.actor_claims.operands; some e in expressions; regex.match(e.expression, x[0]) }

answers contains [i, pattern, "function"] if { some i, x in input.context.actor_claims.operands; some pattern in patterns; matches(pattern, x[0]) }

matches(pattern, text) if glob.match(pattern, ["/"], text)

answers contains [i, j, "asked"] if { some i, x in input.context.actor_claims.operands; some j, y in input.context.actor_claims.operands; glob.match(y[0], [], x[0]) }

answers contains [i, "not"] if { some i, x in input.context.actor_claims.operands; not glob.match("/a/*", ["/"], x[0]) }

diagnostics := {{"answer": a} | some a in answers}

result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": diagnostics}
`)}
	compiled, interpreted := both(t, mods)
	if compiled == nil {
		t.Fatal("does not compile")
	}
	if err := compiled.Interpreted(); err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		var all [][]any
		for range 4 {
			all = append(all, []any{rapid.OneOf(
				rapid.Map(joined("/", "a", "b", "c", "/a/", "*", "é", ".example", strings.Repeat("ab", 40), "{", "[a", "**"), func(s string) any { return s }),
				rapid.SampledFrom([]any{nil, 1, "", []any{"a"}})).Draw(t, "text")})
		}
		agree(t, compiled, interpreted, []string{asking(t, all)})
	})
}

// Evaluations that come to a built-in which may take long, among others that do not:
// both are answered as ever, however they follow each other.
func TestEvaluatorsAgreeWhereBuiltinsAreSlow(t *testing.T) {
	compiled, interpreted := both(t, told(`json.unmarshal(x[0])`))
	if err := compiled.Interpreted(); err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		var inputs []string
		for _, run := range rapid.SliceOfN(rapid.IntRange(0, 100), 1, 3).Draw(t, "quick ones between") {
			for range run {
				inputs = append(inputs, asking(t, nil))
			}
			inputs = append(inputs, asking(t, [][]any{{rapid.SampledFrom([]any{"{", "[1]", `"a"`, 1}).Draw(t, "text")}}))
		}
		agree(t, compiled, interpreted, inputs)
	})
}
