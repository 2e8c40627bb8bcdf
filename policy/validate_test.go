package policy_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/caracalai/caracald/policy"
)

func TestValidateRefusesWithThePlace(t *testing.T) {
	for name, c := range map[string]struct {
		content  string
		row, col int
		message  string
	}{
		"empty":                   {"", 1, 1, "empty module"},
		"only a comment":          {"# nothing\n", 1, 1, "empty module"},
		"no package":              {"x := 1\n", 1, 1, "package expected"},
		"syntax":                  {rego("x := }"), 3, 6, "unexpected }"},
		"second line":             {rego("x := 1", "  y := (]"), 4, 9, "unexpected"},
		"unsafe variable":         {rego("x := y if {", "  true", "}"), 3, 6, "var y is unsafe"},
		"type error":              {rego(`x if count(1) == 2`), 3, 6, "invalid argument"},
		"wrong arity":             {rego(`x if startswith("a")`), 3, 6, "arity mismatch"},
		"unknown function":        {rego(`x := nosuch("a")`), 3, 6, "undefined function nosuch"},
		"function of another":     {rego(`x := data.caracal.authz.f("a")`), 3, 6, "functions it calls must be its own"},
		"recursion":               {rego("x if y", "y if x"), 3, 1, "recursive"},
		"two defaults":            {rego("default x := 1", "default x := 2"), 1, 1, "multiple default"},
		"kinds of one rule":       {rego("x := 1", "x contains 1"), 3, 1, "conflicting rules"},
		"assigned twice":          {rego("x if { y := 1; y := 2; y }"), 3, 16, "y assigned above"},
		"unused local":            {rego("x if { some y; true }"), 3, 8, "declared var y unused"},
		"result as a function":    {rego("x := 1", `result(y) := y`), 4, 1, "result must be a rule"},
		"other package":           {"package other\n\nx := 1\n", 1, 1, "package must be caracal.authz or below it, not other"},
		"package above":           {"package caracal\n\nx := 1\n", 1, 1, "package must be"},
		"package with its prefix": {"package caracal.authzz\n\nx := 1\n", 1, 1, "package must be"},
		"package with its names":  {"\n\n  package authz.caracal\n", 3, 3, "package must be"},
		"Rego v0 rule":            {rego(`x { input.action.id == "a" }`), 3, 1, "`if` keyword is required"},
		"Rego v0 set":             {rego(`x["a"] { true }`), 3, 1, "keyword is required"},
		"invalid UTF-8":           {rego("# \xff"), 1, 1, "UTF-8"},
		"bad annotation":          {rego("# METADATA", "# scope: nosuch", "x := 1"), 3, 1, "scope"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := policy.Validate(context.Background(), c.content)
			invalid := refusal(t, err)
			first := invalid.Errors[0]
			if first.Location != (policy.Location{Row: c.row, Col: c.col}) {
				t.Errorf("at %d:%d, want %d:%d (%s)", first.Location.Row, first.Location.Col, c.row, c.col, first.Message)
			}
			if !strings.Contains(first.Message, c.message) {
				t.Errorf("message %q lacks %q", first.Message, c.message)
			}
			if !strings.Contains(invalid.Error(), first.Message) {
				t.Errorf("Error() %q does not say what is wrong", invalid)
			}
			// The set refuses the same, and says which policy it is.
			_, err = policy.Compile(context.Background(), []policy.Module{module("broken", c.content)})
			if got := refusal(t, err).Errors[0]; got.Policy != "broken" || got.Location != first.Location {
				t.Errorf("Compile says %+v, Validate %+v", got, first)
			}
		})
	}
}

func TestValidateListsEveryCompilerError(t *testing.T) {
	_, err := policy.Validate(context.Background(), rego("a := p if true", "b := q if true"))
	if got := refusal(t, err).Errors; len(got) != 2 || got[0].Location.Row != 3 || got[1].Location.Row != 4 {
		t.Errorf("got %+v, want one error in row 3 and one in row 4", got)
	}
}

// acceptedRego is one policy for each feature of the language.
var acceptedRego = map[string]string{
	"nothing but a package":  "package caracal.authz\n",
	"sub-package":            "package caracal.authz.payments.limits\n\nx := 1\n",
	"quoted sub-package":     "package caracal.authz[\"a b\"]\n\nx := 1\n",
	"rego.v1":                "package caracal.authz\n\nimport rego.v1\n\nx if input.action.id\n",
	"future keywords":        "package caracal.authz\n\nimport future.keywords\n\nx contains 1 if true\n",
	"array comprehension":    rego(`x := [s | some s in input.context.requested_scopes; s != ""]`),
	"set comprehension":      rego(`x := {s | some s in input.context.requested_scopes}`),
	"object comprehension":   rego(`x := {s: i | some i, s in input.context.requested_scopes}`),
	"with":                   rego(`y if input.action.id == "a"`, `x if y with input as {"action": {"id": "a"}}`),
	"with on a built-in":     rego(`f(_) := 3`, `x if count([1]) == 3 with count as f`),
	"with on data":           rego(`x if data.caracal.authz.y with data.caracal.authz.y as true`),
	"every":                  rego(`x if { every s in input.context.requested_scopes { startswith(s, "a") } }`),
	"some in":                rego(`x if { some k, v in input.context.actor_claims; k == v }`),
	"some":                   rego(`x if { some i; input.principal.labels[i] == "a" }`),
	"functions":              rego(`f(x, y) := x + y if x > 0`, `f(0, y) := y`, `x := f(1, 2)`),
	"default function":       rego(`default f(_) := 0`, `f(x) := 1 if x > 1`, `x := f(2)`),
	"partial object":         rego(`x[k] := v if some k, v in input.context.actor_claims`),
	"nested partial object":  rego(`x[k].v := 1 if some k in input.principal.labels`, `x.y.z := 2`),
	"partial set of objects": rego(`x[k] contains v if some k, v in input.context.actor_claims`),
	"else":                   rego(`x := 1 if input.action.id == "a" else := 2 if input.action.id == "b" else := 3`),
	"chained bodies":         rego(`x if { input.action.id == "a" } { input.action.id == "b" }`),
	"import of another":      "package caracal.authz\n\nimport data.caracal.authz.grants\nimport data.caracal.authz.limits as bounds\n\nx if grants[input.principal.id] > bounds.least\n",
	"import of the input":    "package caracal.authz\n\nimport input.principal as who\n\nx if who.id == \"a\"\n",
	"unused import":          "package caracal.authz\n\nimport data.caracal.authz.unused\n\nx := 1\n",
	"annotations":            rego("# METADATA", "# title: A rule", "# description: What it does", "# entrypoint: true", "# custom:", "#   owner: payments", "x := 1"),
	"test rules":             rego(`x if input.action.id == "a"`, `test_x if x with input as {"action": {"id": "a"}}`, `todo_test_y if false`),
	"raw strings":            rego("x if regex.match(`^a\\d+$`, input.action.id)"),
	"template strings":       rego(`x := $"id {input.action.id}"`),
	"unification":            rego(`x if [a, {"k": b}] = [1, {"k": 2}]`),
	"arithmetic and sets":    rego(`x := ({1, 2} | {3}) & {2, 3}`, `y := (1 + 2) * 3 % 4`, `z := {1} - {1}`),
	"negation":               rego(`x if not input.principal.labels`),
	"walk":                   rego(`x contains p if walk(input.context.actor_claims, [p, _])`),
	"a rule named http":      rego(`http.send := 1`, `x := http.send`),
	"a function named trace": rego(`trace(x) := x`, `x := trace(1)`),
	"a rule named print":     rego(`print(x) := x`, `x := print(1)`),
	"comments in Unicode":    rego("# ¿Qué? 日本語 🦁", `x := "🦁"`),
	"dynamic data":           rego(`x := data.caracal.authz.sub[input.action.id].y`),
	"deprecated shadowing":   rego(`allow := true`, `input_ok := input`),
	"windows line ends":      "package caracal.authz\r\n\r\nx := 1\r\n",
	"metadata at run time":   rego("# METADATA", "# title: A rule", `x := rego.metadata.rule().title`),
}

func TestValidateAcceptsTheLanguage(t *testing.T) {
	for name, content := range acceptedRego {
		t.Run(name, func(t *testing.T) {
			v := validate(t, content)
			if !v.Valid || v.SchemaVersion != "2026-05-20" || v.InputSchemaVersion != "2026-05-20" {
				t.Errorf("got %+v", v)
			}
			compile(t, content)
		})
	}
}

func TestOutputContract(t *testing.T) {
	got := validate(t, rego("x := 1")).OutputContract
	want := `{"package":"caracal.authz","rule":"result","decision":["allow","deny"],"evaluation_status":["complete","partial","error"]}`
	if raw := string(encode(t, got)); raw != want {
		t.Errorf("got %s, want %s", raw, want)
	}
}

func TestForbiddenBuiltins(t *testing.T) {
	calls := map[string]string{
		"http.send":            `http.send({"method": "get", "url": "http://127.0.0.1"})`,
		"net.lookup_ip_addr":   `net.lookup_ip_addr("localhost")`,
		"opa.runtime":          `opa.runtime()`,
		"rand.intn":            `rand.intn("a", 10)`,
		"time.now_ns":          `time.now_ns()`,
		"uuid.rfc4122":         `uuid.rfc4122("a")`,
		"trace":                `trace("a")`,
		"print":                `print("a")`,
		"internal.print":       `internal.print([{"a"}])`,
		"internal.test_case":   `internal.test_case([])`,
		"io.jwt.decode_verify": `io.jwt.decode_verify("a", {"secret": "b"})`,
		"io.jwt.encode_sign":   `io.jwt.encode_sign({}, {}, {})`,
		"json.match_schema":    `json.match_schema({}, {})`,
		"json.verify_schema":   `json.verify_schema({})`,
		"crypto.x509.parse_and_verify_certificates": `crypto.x509.parse_and_verify_certificates("a")`,
	}
	forbidden := policy.ForbiddenBuiltins()
	for name := range calls {
		if !slices.Contains(forbidden, name) {
			t.Errorf("ForbiddenBuiltins lacks %s", name)
		}
	}
	for _, b := range ast.CapabilitiesForThisVersion().Builtins {
		if b.Nondeterministic && !slices.Contains(forbidden, b.Name) {
			t.Errorf("%s is nondeterministic but not forbidden", b.Name)
		}
	}
	if !slices.IsSorted(forbidden) {
		t.Errorf("not sorted: %v", forbidden)
	}

	// Each way to write a call; %s is the call.
	places := map[string]string{
		"value":          "x := %s",
		"body":           "x if { %s }",
		"nested":         "x := [1, {\"a\": %s}]",
		"argument":       "x := type_name(%s)",
		"comprehension":  "x := [y | y := %s]",
		"every":          "x if { every y in [1] { %s; y } }",
		"every's domain": "x if { every y in %s { y } }",
		"negated":        "x if { not %s }",
		"else":           "x := 1 if input.a else := %s",
		"function":       "f(y) := %s if y",
		"key":            "x contains %s",
		"reference":      "x := input[%s]",
		"with":           "x if { input.a with input.a as %s }",
		"template":       "x := $`{%s}`",
		"in a list":      "x if { some y in %s; y }",
		"test rule":      "test_x if { %s }",
	}
	statementsOnly := []string{"print", "trace"} // print has no value
	for name, call := range calls {
		for place, pattern := range places {
			if slices.Contains(statementsOnly, name) && place != "body" && place != "every" {
				continue
			}
			t.Run(name+" "+place, func(t *testing.T) {
				content := rego(strings.ReplaceAll(pattern, "%s", call))
				_, err := policy.Validate(context.Background(), content)
				invalid := refusal(t, err)
				if name == "internal.print" || name == "internal.test_case" {
					return // any refusal will do: nobody may write these
				}
				i := slices.IndexFunc(invalid.Errors, func(e policy.ContentError) bool {
					return strings.Contains(e.Message, name+" is forbidden")
				})
				if i < 0 {
					t.Fatalf("%s: refused for another reason: %v", content, err)
				}
				if invalid.Errors[i].Location.Row != 3 || invalid.Errors[i].Location.Col != strings.Index(strings.Split(content, "\n")[2], call)+1 {
					t.Errorf("%s: placed at %+v", content, invalid.Errors[i].Location)
				}
				if _, err = policy.Compile(context.Background(), modules(rego("y := 1"), content)); !errors.Is(err, policy.ErrInvalidRego) {
					t.Errorf("Compile: %v", err)
				}
			})
		}
	}
	for name, content := range map[string]string{
		"as a replacement":    rego(`x if count([1]) == 1 with count as http.send`),
		"as what is replaced": rego(`f(_) := 1`, `x if http.send({}) == 1 with http.send as f`),
		"only replaced":       rego(`f := 1`, `x if true with time.now_ns as f`),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := policy.Validate(context.Background(), content)
			if !strings.Contains(refusal(t, err).Error(), "is forbidden") {
				t.Errorf("refused for another reason: %v", err)
			}
		})
	}
}

func TestContentLimitCountsCharacters(t *testing.T) {
	head := rego(`x := 1`) + "# "
	for name, c := range map[string]struct {
		letter string
		more   int
		ok     bool
	}{
		"ASCII, just fitting":      {"a", 0, true},
		"ASCII, one more":          {"a", 1, false},
		"four bytes, just fitting": {"🦁", 0, true},
		"four bytes, one more":     {"🦁", 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			content := head + strings.Repeat(c.letter, policy.MaxContent-len(head)+c.more)
			_, err := policy.Validate(context.Background(), content)
			if c.ok && err != nil {
				t.Fatalf("refused: %v", err)
			}
			if !c.ok && !strings.Contains(refusal(t, err).Error(), "262145 characters long; at most 262144") {
				t.Errorf("got %v", err)
			}
			if _, err = policy.Compile(context.Background(), modules(content)); (err == nil) != c.ok {
				t.Errorf("Compile: %v", err)
			}
		})
	}
}

// Content whose compilation would take minutes, gigabytes or the whole stack
// is refused, or done with, at once.
func TestContentThatNests(t *testing.T) {
	rep := strings.Repeat
	for name, c := range map[string]struct {
		content string
		ok      bool
	}{
		"arrays":                 {rego("x := " + rep("[", 120000) + rep("]", 120000)), false},
		"some arrays":            {rego("x := " + rep("[", 500) + rep("]", 500)), true},
		"objects":                {rego("x := " + rep(`{"a":`, 40000) + "1" + rep("}", 40000)), false},
		"parentheses":            {rego("x := " + rep("(", 120000) + "1" + rep(")", 120000)), false},
		"sums":                   {rego("x := 1" + rep("+1", 120000)), false},
		"a longish sum":          {rego("x := 1" + rep("+1", 500)), true},
		"calls":                  {rego("x := " + rep("abs(", 50000) + "1" + rep(")", 50000)), false},
		"comprehensions":         {rego("x := " + rep("[y | y := ", 40) + "1" + rep("]", 40)), false},
		"some comprehensions":    {rego("x := " + rep("[y | y := ", 6) + "1" + rep("]", 6)), true},
		"every":                  {rego("x if { " + rep("every y in [1] { y == 1; ", 40) + "1" + rep("}", 40) + "}"), false},
		"negations":              {rego("x if " + rep("not ", 60000) + "y"), false},
		"templates":              {rego("x := " + rep("$\"{", 20000) + "1" + rep("}\"", 20000)), false},
		"else branches":          {rego("x := 1 if input.a" + rep("\nelse := 2 if input.b", 10000)), false},
		"some else branches":     {rego("x := 1 if input.a" + rep("\nelse := 2 if input.b", 200)), true},
		"a long reference":       {rego("x := input" + rep(".a", 120000)), false},
		"a long package":         {"package caracal.authz" + rep(".a", 120000) + "\n\nx := 1\n", false},
		"a long head":            {rego("x" + rep(".a", 100000) + " := 1"), false},
		"nested references":      {rego("x := input" + rep("[input", 30000) + rep("]", 30000)), false},
		"many rules of one name": {rego(rep("result := {} if input.action.id\n", 4000)), true},
		"a tree in one rule":     {rego("x := x40 if { " + doubling("[%, %]", "input.a", 40) + " }"), false},
		"a tree by unification":  {rego("x := x40 if { " + strings.ReplaceAll(doubling("{\"a\": %, \"b\": [%]}", "input.a", 40), ":=", "=") + " }"), false},
		"a tree in an else":      {rego("x := 1 if input.b else := x40 if { " + doubling("{%, [%]}", "input.a", 40) + " }"), false},
		"a tree through rules":   {rego(treeOfRules(40)), false},
		"a tree in sets":         {rego("x := x40 if { " + doubling("{[%, 1], [%, 2]}", "input.a", 40) + " }"), false},
		"a tree, a small one":    {rego("x := x10 if { " + doubling("[%, %]", "input.a", 10) + " }"), true},
		"a long number":          {rego("x := 1e999999999"), false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := policy.Validate(context.Background(), c.content)
			if c.ok != (err == nil) {
				t.Errorf("got %.200v", err)
			}
			if err != nil {
				refusal(t, err)
			}
		})
	}
}

func TestPreview(t *testing.T) {
	for name, c := range map[string]struct{ content, want string }{
		"everything": {
			rego(denyDefault,
				`result := `+allowValue+` if { input.resource.identifier == "a"; every s in input.context.requested_scopes { s in data.caracal.authz.scopes.open }; allowed }`,
				`allowed if input.principal.labels[_] == "x"`,
				`f(x) := x if input["principal"].id`,
				`p[k] := 1 if some k in input.context.actor_claims.groups`),
			`{"package":"caracal.authz","rules":["allowed","f","p","result"],
			"default_result":{"decision":"deny","determining_policies":[],"diagnostics":[],"evaluation_status":"complete"},
			"decisions":["allow","deny"],
			"inputs_referenced":["input.context.actor_claims.groups","input.context.requested_scopes","input.principal.id","input.principal.labels","input.resource.identifier"],
			"data_referenced":["data.caracal.authz.allowed","data.caracal.authz.scopes.open"]}`,
		},
		"nothing": {
			"package caracal.authz.sub\n",
			`{"package":"caracal.authz.sub","rules":[],"default_result":null,"decisions":[],"inputs_referenced":[],"data_referenced":[]}`,
		},
		"the decision from elsewhere": {
			rego(`result := {"decision": choice, "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}`, `choice := "deny"`),
			`{"package":"caracal.authz","rules":["choice","result"],"default_result":null,"decisions":["deny"],"inputs_referenced":[],"data_referenced":["data.caracal.authz.choice"]}`,
		},
		"the decision from the input": {
			rego(`result := {"decision": input.action.id, "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}`),
			`{"package":"caracal.authz","rules":["result"],"default_result":null,"decisions":["allow","deny"],"inputs_referenced":["input.action.id"],"data_referenced":[]}`,
		},
		"the result from elsewhere": {
			rego(`result := deny("x")`, `deny(x) := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": [{"reason": x}]}`),
			`{"package":"caracal.authz","rules":["deny","result"],"default_result":null,"decisions":["deny"],"inputs_referenced":[],"data_referenced":["data.caracal.authz.deny"]}`,
		},
		"field by field": {
			rego(`result.decision := "allow" if input`, `default result.decision := "deny"`, `result.evaluation_status := "complete"`),
			`{"package":"caracal.authz","rules":["result.decision","result.evaluation_status"],"default_result":null,"decisions":["allow","deny"],"inputs_referenced":["input"],"data_referenced":[]}`,
		},
		"else branches": {
			rego(`result := ` + denyValue + ` if input.action.id == "a" else := ` + allowValue),
			`{"package":"caracal.authz","rules":["result"],"default_result":null,"decisions":["allow","deny"],"inputs_referenced":["input.action.id"],"data_referenced":[]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := validate(t, c.content).Preview
			var want policy.Preview
			if err := json.Unmarshal([]byte(c.want), &want); err != nil {
				t.Fatal(err)
			}
			if g, w := string(encode(t, got)), string(encode(t, want)); g != w {
				t.Errorf("got  %s\nwant %s", g, w)
			}
		})
	}
}

func TestValidateStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := policy.Validate(ctx, rego("x := 1")); !errors.Is(err, context.Canceled) {
		t.Errorf("Validate: %v", err)
	}
	if _, err := policy.Compile(ctx, modules(rego("x := 1"))); !errors.Is(err, context.Canceled) {
		t.Errorf("Compile: %v", err)
	}
}
