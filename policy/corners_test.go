package policy_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caracalai/caracald/policy"
)

// claimed is an input whose claims are those.
func claimed(claims string) string {
	return `{"schema_version":"` + policy.InputSchemaVersion + `","principal":{"type":"agent","id":"a","zone_id":"z","labels":["x","y"]},` +
		`"resource":{"type":"service","id":"r","identifier":"urn:a","scopes":["read","write"]},"action":{"id":"read"},` +
		`"context":{"actor_claims":` + claims + `,"challenge_resolved":false,"requested_scopes":[]}}`
}

// showing is a policy whose result has the value of an expression.
func showing(expression string, more ...string) string {
	return rego(append([]string{
		denyDefault,
		`result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": [{"reason": "r", "v": v}]} if v := ` + expression,
	}, more...)...)
}

// named is a policy that names who determined its result, so that nobody asks which
// rules hold, with a rule that contradicts itself for some inputs.
const named = `default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [{"policy": "n"}], "diagnostics": []}
` + contradictory

const contradictory = `bad := 1 if "b" in input.context.actor_claims.letters
bad := 2 if "c" in input.context.actor_claims.letters`

const namedAllow = `{"decision": "allow", "evaluation_status": "complete", "determining_policies": [{"policy": "n"}], "diagnostics": []}`

// alike are rules that differ in one thing.
func alike(n int, rule string) (rules []string) {
	for i := range n {
		rules = append(rules, fmt.Sprintf(rule, 'a'+i))
	}
	return rules
}

// TestEvaluatorsAgreeOnCorners: what was found to differ once, and what is near it.
func TestEvaluatorsAgreeOnCorners(t *testing.T) {
	const c = "input.context.actor_claims"
	for name, test := range map[string]struct {
		policies []string
		// interpreted says that OPA's evaluator has to decide.
		interpreted bool
	}{
		"walk":                    {policies: []string{showing(`[[p, w] | walk(` + c + `, [p, w])]`)}},
		"walk to a value":         {policies: []string{rego(`default result := `+allowValue, `result := `+denyValue+` if walk(`+c+`, [_, "root"])`)}},
		"walk at a path":          {policies: []string{showing(`[w | walk(` + c + `, [["o", "k"], w])]`)}},
		"walk a constant":         {policies: []string{showing(`{p | walk({"a": [1, {"b": "root"}]}, [p, "root"])}`)}},
		"walk in a function":      {policies: []string{showing(`[x | some x in [`+c+`, [], {"z": "root"}]; has(x)]`, `has(x) if walk(x, [_, "root"])`)}},
		"walk with another input": {policies: []string{showing(`[w | walk(input.principal, [_, w])] with input.principal as ` + c)}},
		"not walk":                {policies: []string{showing(`[1 | not walk(` + c + `, [[], 1])]`)}, interpreted: true},
		"walk for nothing":        {policies: []string{showing(`[1 | walk(` + c + `)]`)}, interpreted: true},

		"comprehension for nothing": {policies: []string{
			rego(denyDefault, `result := `+allowValue+` if { [1 | some s in `+c+`.letters; good(s)] }`), rego(`good("a")`), rego(`good("b")`),
		}, interpreted: true},
		"not a comprehension": {policies: []string{
			rego(denyDefault, `result := `+allowValue+` if { not {1 | some s in `+c+`.letters; good(s)} }`), rego(`good("a")`), rego(`good("b")`),
		}, interpreted: true},

		"place":                {policies: []string{showing(`[i | some i in ` + c + `.numbers; input.resource.scopes[i] == "read"]`)}},
		"place of a constant":  {policies: []string{showing(`[i | some i in ` + c + `.numbers; ["read", "write"][i]]`)}},
		"constant place":       {policies: []string{showing(`[input.resource.scopes[0.0], input.resource.scopes[-0], input.resource.scopes[1e0]]`)}},
		"place that is read":   {policies: []string{showing(`[x | some t in ["0", "2.0", "1.0", "-0", "0e5", "1.5"]; x := input.resource.scopes[to_number(t)]]`)}},
		"place in object.get":  {policies: []string{showing(`[x | some i in ` + c + `.numbers; x := object.get({"a": ["x", "y"]}, ["a", i], "none")]`)}},
		"place in membership":  {policies: []string{showing(`[i | some i in ` + c + `.numbers; i, "write" in input.resource.scopes]`)}},
		"substring":            {policies: []string{showing(`[x | some i in ` + c + `.numbers; x := substring("héllo", i, 2)]`)}},
		"length of substring":  {policies: []string{showing(`[x | some i in ` + c + `.numbers; x := substring("héllo", 1, i)]`)}},
		"numbers of two forms": {policies: []string{showing(`{"in": 1.0 in {1, 2}, "key": {1: "a"}[1.0], "equal": [1 == 1.0, [1] == [1.0], {"a": 2e0} == {"a": 2}], "order": 1.0 <= 1}`)}},

		"rules in loops": {policies: []string{
			rego(denyDefault, `result := `+allowValue+` if ok`, `ok if { some s in `+c+`.letters; good(s) }`),
			rego(`good("a")`), rego(`good("b")`), rego(`good("z")`),
		}},
		"sets in loops": {policies: []string{
			rego(denyDefault, `result := `+allowValue+` if ok == "x"`, `ok := "x" if { some s in `+c+`.letters; good[s] }`),
			rego(`good contains "a"`), rego(`good contains s if some s in ` + c + `.letters`), rego(`good contains "z"`),
		}},
		"rules in functions with loops": {policies: []string{
			rego(denyDefault, `result := `+allowValue+` if ok(1)`, `ok(_) if { some s in `+c+`.letters; not bad(s); good(s) }`),
			rego(`good("a")`), rego(`good("b")`), rego(`bad("c")`), rego(`bad(s) if other[s]`, `other contains "d"`),
		}},

		"every until it fails": {policies: []string{
			showing(`[x | some x in [[0, 2], [2, 0], [1, 3], []]; all(x)]`, `all(x) if { every y in x { y > 0; f(y) == 1 } }`, `f(x) := 1 if x > 0`, `f(x) := 2 if x == 2`),
		}},
		"every by rules": {policies: []string{
			rego(denyDefault, `result := `+allowValue+` if { every s in `+c+`.letters { good(s) } }`),
			rego(`good("a")`), rego(`good("b")`), rego(`good("c") if false`),
		}},

		"a rule that holds before one that fails": {policies: []string{
			rego(named, `result := `+namedAllow+` if ok`, `ok if "a" in `+c+`.letters`, `ok if bad == 1`, `ok if "b" in `+c+`.letters`),
		}},
		"a rule that fails before one that holds": {policies: []string{
			rego(named, `result := `+namedAllow+` if ok`, `ok if bad == 1`, `ok if "a" in `+c+`.letters`),
		}},
		"a branch that holds before a rule that fails": {policies: []string{
			rego(named, `result := `+namedAllow+` if ok`, "ok if \"z\" in "+c+".letters\nelse if \"a\" in "+c+".letters", `ok if bad == 1`),
		}},
		"a function that holds before it fails": {policies: []string{
			rego(named, `result := `+namedAllow+` if ok("a")`, `ok(x) if x in `+c+`.letters`, `ok(x) if bad == count(x)`),
		}},
		"many rules that ask for one path": {policies: []string{
			rego(append([]string{named, `result := ` + namedAllow + ` if ok`, `ok if { input.principal.id == "a"; "c" in ` + c + `.letters }`, `ok if { bad == 1; not input.session }`, `ok if { input.principal.id == "a"; "a" in ` + c + `.letters }`},
				alike(20, `ok if input.principal.id == "p%d"`)...)...),
		}},
		"many rules that ask for one path, behind one that fails": {policies: []string{
			rego(append([]string{named, `result := ` + namedAllow + ` if ok`, `ok if bad == 1`}, alike(20, `ok if input.principal.id == "%c"`)...)...),
		}},

		"a key of a set with a rule for another that fails": {policies: []string{
			rego(named, `result := `+namedAllow+` if s.a`, `s contains "a" if "a" in `+c+`.letters`, `s contains "b" if bad == 1`),
		}},
		"a key of a set with a rule for another that fails, tracked": {policies: []string{
			rego(denyDefault, `result := `+allowValue+` if s.a`), rego(`s contains "a" if "a" in ` + c + `.letters`), rego(`s contains "b" if bad == 1`, contradictory),
		}},
		"a key of an object with a rule for another that fails": {policies: []string{
			rego(named, `result := `+namedAllow+` if o.a == 1`, `o[k] := 1 if k := `+c+`.letters[0]`, `o[input.action.id] := 2 if bad == 1`),
		}},
		"a key of an object with a rule for another that fails, tracked": {policies: []string{
			rego(denyDefault, `result := `+allowValue+` if o.a == 1`), rego(`o[k] := 1 if k := ` + c + `.letters[0]`), rego(`o[input.action.id] := 2 if bad == 1`, contradictory),
		}},
		"an index that leaves equal rules, of which one fails": {policies: []string{
			rego(named, `result := `+namedAllow+` if v == "x"`, `v := "x" if { input.principal.id == "a"; "a" in `+c+`.letters }`, `v := "x" if { input.principal.id == "a"; bad == 1 }`, `v := "y" if input.principal.id == "b"`),
		}},
		"rules with one number, of which one fails": {policies: []string{
			rego(named, `result := `+namedAllow+` if v == 1`, `v := 1 if "a" in `+c+`.letters`, `v := 1 if bad == 1`),
		}},
		"rules with one object, of which one fails": {policies: []string{
			rego(named, `result := `+namedAllow+` if v.k == 1`, `v := {"k": 1} if "a" in `+c+`.letters`, `v := {"k": 1} if bad == 1`),
		}},
		"rules with one object that is the result, of which one fails": {policies: []string{
			rego(named, `result := `+namedAllow+` if "a" in `+c+`.letters`, `result := `+namedAllow+` if bad == 1`),
		}},
		"a function with one number that fails": {policies: []string{
			rego(named, `result := `+namedAllow+` if f("a") == 1`, `f(x) := 1 if x in `+c+`.letters`, `f(x) := 1 if bad == count(x)`),
		}},
		"keys that contradict": {policies: []string{
			showing(`o`, `o[k] := i if some i, k in `+c+`.letters`, `o[k] := 1 if some k in `+c+`.letters`),
		}},
		"keys of a comprehension that contradict": {policies: []string{
			showing(`{k: i | some i; k := ` + c + `.numbers[i] > 0}`),
		}},

		"a value in itself": {policies: []string{showing(`count([[e, list] | some e in list]) == 2100`, `list := numbers.range(1, 2100)`)}},
		"many large parts":  {policies: []string{showing(`count([{"item": e, "claims": [list, list]} | some e in list])`, `list := numbers.range(1, 1200)`)}},
	} {
		t.Run(name, func(t *testing.T) {
			var mods []policy.Module
			for i, content := range test.policies {
				mods = append(mods, module(string(rune('a'+i)), content))
			}
			compiled, interpreted := both(t, mods)
			if compiled == nil {
				t.Fatal("does not compile")
			}
			if why := compiled.Interpreted(); (why != nil) != test.interpreted {
				t.Fatalf("interpreted: %v", why)
			}
			var l policy.Library
			served, err := l.Compile(t.Context(), mods)
			if err != nil {
				t.Fatal(err)
			}
			inputs := []string{
				claimed(`{"roles":["user"],"o":{"k":"root"},"numbers":[0,1,-1,0.0,-0,1.0,2.0,1e0,10e-1,1.5,0.5,1e20,2],"letters":["a","b","c"]}`),
				claimed(`{"roles":["root",["root"]],"numbers":[],"letters":["c","b","a","d"]}`),
				claimed(`{"letters":["b"]}`), claimed(`{"letters":[]}`), claimed(`{}`),
			}
			agree(t, compiled, interpreted, inputs)
			agree(t, served, interpreted, inputs)
		})
	}
}

// TestContainedInItself: OPA's evaluator would end the process for these.
func TestContainedInItself(t *testing.T) {
	for name, body := range map[string]string{ // OPA finds arrays and values of objects unsafe
		"set":      `x = {x}; y := [x]; count(y) > 0`,
		"key":      `x = {x: 1}`,
		"deep":     `x = {[{"a": {{x}}}]}`,
		"by parts": `[x, {"a": y}] = [{y}, {"a": {x}}]`,
		"nested":   `count({1 | x = {x}}) > 0`,
	} {
		for _, fallback := range []string{"", `a[x].c[y] := 1 if { some x in input.principal.labels; some y in input.principal.labels }`} {
			_, err := policy.Compile(context.Background(), []policy.Module{module("p", rego(denyDefault, `result := `+allowValue+` if { `+body+` }`, fallback))})
			var refused *policy.InvalidError
			if !errors.As(err, &refused) || len(refused.Errors) != 1 || !strings.Contains(refused.Errors[0].Message, "contains it") || refused.Errors[0].Policy != "p" || refused.Errors[0].Location.Row != 5 {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for name, body := range map[string]string{
		"another":     `some x in [1, [1]]; y = [x]; y == [1]`,
		"both ways":   `[x, y] = [y, 1]`,
		"computed":    `some x in [1]; y = [count({x, 2})]; y == [2]`,
		"shadowed":    `some x in [[1]]; z = [x]; count([x | some x in z]) == 1`,
		"of its name": `x := input.principal.labels; y := {"x": x}; count(y) == 1`,
	} {
		if _, err := policy.Compile(context.Background(), []policy.Module{module("p", rego(denyDefault, `result := `+allowValue+` if { `+body+` }`))}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLimitsHoldForLargeValues: what goes through much looks at the clock for it, and
// what cannot be interrupted is left behind.
func TestLimitsHoldForLargeValues(t *testing.T) {
	rows := make([]string, 300)
	for i := range rows {
		rows[i] = "[" + strings.TrimSuffix(strings.Repeat(fmt.Sprintf("%d,", i), 400), ",") + "]"
	}
	in := claimed(`{"rows":[` + strings.Join(rows, ",") + `],"text":"` + strings.Repeat("ab", 200_000) + `"}`)
	const c = "input.context.actor_claims"
	for name, expression := range map[string]string{
		"built-ins":   `[1 | l := [` + c + `.rows, ` + c + `.rows]; some i in numbers.range(1, 100000); some j in numbers.range(1, 100000); array.reverse([l, i, j])[0] == 1]`,
		"trim":        `[1 | some i in numbers.range(1, 100000); some j in numbers.range(1, 100000); trim(` + c + `.text, "ab") == "x"; i == j]`,
		"expressions": `[1 | some i in numbers.range(1, 100000); some j in numbers.range(1, 100000); regex.match("(a|b)*c$", ` + c + `.text); i == j]`,
		"contains":    `[1 | some i in numbers.range(1, 100000); some j in numbers.range(1, 100000); contains(` + c + `.text, "bb"); i == j]`,
		"count":       `[1 | some i in numbers.range(1, 100000); some j in numbers.range(1, 100000); count(` + c + `.text) == -1; i == j]`,
		"equality":    `[1 | other := json.unmarshal(json.marshal(` + c + `.rows)); some i in numbers.range(1, 100000); some j in numbers.range(1, 100000); other == ` + c + `.rows; i == -j]`,
		"membership":  `[1 | some i in numbers.range(1, 100000); some j in numbers.range(1, 100000); [` + c + `.rows, i] in {[` + c + `.rows, -1], [` + c + `.rows, -2], [[], -3]}; i == j]`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := compile(t, showing(expression))
			if why := s.Interpreted(); why != nil {
				t.Fatal(why)
			}
			parsed, err := policy.ParseInput([]byte(in))
			if err != nil {
				t.Fatal(err)
			}
			// Without its limit each takes hours.
			start := time.Now()
			r := s.Evaluate(context.Background(), parsed, policy.Limits{Timeout: 50 * time.Millisecond, MaxMemory: 1 << 50})
			if r.EvaluationStatus != policy.StatusError || r.Diagnostics[0]["reason"] != policy.ReasonTimeout {
				t.Errorf("got %.300v", r)
			}
			t.Logf("answered after %v", time.Since(start))
		})
	}
}
