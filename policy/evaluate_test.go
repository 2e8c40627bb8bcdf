package policy_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/caracalai/caracald/policy"
)

func TestEvaluate(t *testing.T) {
	s := compile(t, rego(denyDefault,
		`result := `+allowValue+` if { input.principal.id == "alice"; every s in input.context.requested_scopes { s in input.resource.scopes } }`,
		`result := {"decision": "deny", "evaluation_status": "partial", "determining_policies": [{"policy": "elsewhere", "n": 1e400}], "diagnostics": [{"reason": "blocked", "who": input.principal.id, "big": 12345678901234567890123}]} if input.principal.id == "mallory"`))
	if r := evaluate(s, input(t)); r.Decision != policy.Allow || r.EvaluationStatus != policy.StatusComplete || len(r.Diagnostics) != 0 || r.Diagnostics == nil {
		t.Errorf("alice: got %+v", r)
	}
	if r := evaluate(s, input(t, set("principal.id", "bob"))); r.Decision != policy.Deny || r.EvaluationStatus != policy.StatusComplete || names(r) != "a" {
		t.Errorf("bob: got %+v", r)
	}
	r := evaluate(s, input(t, set("principal.id", "mallory")))
	want := `{"decision":"deny","evaluation_status":"partial","determining_policies":[{"n":1e400,"policy":"elsewhere"}],"diagnostics":[{"big":12345678901234567890123,"reason":"blocked","who":"mallory"}]}`
	if got := string(encode(t, r)); got != want {
		t.Errorf("mallory: got %s, want %s", got, want)
	}
}

func TestUndefinedResultDenies(t *testing.T) {
	for name, contents := range map[string][]string{
		"no rule holds":  {rego(`result := ` + allowValue + ` if input.principal.id == "nobody"`)},
		"no result":      {rego(`allow := true`)},
		"empty policies": {"package caracal.authz\n", "package caracal.authz.sub\n"},
		"no policies":    nil,
		"another result": {"package caracal.authz.sub\n\nresult := " + allowValue},
		"undefined part": {rego(`result := {"decision": input.nosuch, "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}`)},
	} {
		t.Run(name, func(t *testing.T) {
			got := string(encode(t, evaluate(compile(t, contents...), input(t))))
			if want := `{"decision":"deny","evaluation_status":"complete","determining_policies":[],"diagnostics":[{"reason":"no_rule_matched"}]}`; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestWrongShapesDeny(t *testing.T) {
	for name, result := range map[string]string{
		"true":                          `true`,
		"null":                          `null`,
		"the string allow":              `"allow"`,
		"an array":                      `["allow"]`,
		"a set":                         `{"allow"}`,
		"a number":                      `1`,
		"an empty object":               `{}`,
		"an allow and nothing else":     `{"decision": "allow"}`,
		"another decision":              `{"decision": "permit", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}`,
		"decision in upper case":        `{"decision": "ALLOW", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}`,
		"decision true":                 `{"decision": true, "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}`,
		"decision null":                 `{"decision": null, "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}`,
		"another status":                `{"decision": "allow", "evaluation_status": "ok", "determining_policies": [], "diagnostics": []}`,
		"no status":                     `{"decision": "allow", "determining_policies": [], "diagnostics": []}`,
		"no policies":                   `{"decision": "allow", "evaluation_status": "complete", "diagnostics": []}`,
		"no diagnostics":                `{"decision": "allow", "evaluation_status": "complete", "determining_policies": []}`,
		"a field too many":              `{"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": [], "obligations": []}`,
		"a numeric key":                 `{"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": [], 1: 2}`,
		"policies an object":            `{"decision": "allow", "evaluation_status": "complete", "determining_policies": {}, "diagnostics": []}`,
		"policies strings":              `{"decision": "allow", "evaluation_status": "complete", "determining_policies": ["p"], "diagnostics": []}`,
		"policies without a name":       `{"decision": "allow", "evaluation_status": "complete", "determining_policies": [{"id": "p"}], "diagnostics": []}`,
		"policies with a numeric name":  `{"decision": "allow", "evaluation_status": "complete", "determining_policies": [{"policy": 1}], "diagnostics": []}`,
		"one policy of two has no name": `{"decision": "allow", "evaluation_status": "complete", "determining_policies": [{"policy": "p"}, {}], "diagnostics": []}`,
		"diagnostics a string":          `{"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": "x"}`,
		"diagnostics strings":           `{"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": ["x"]}`,
		"diagnostics null":              `{"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": null}`,
	} {
		t.Run(name, func(t *testing.T) {
			// Written as it is, and hidden from static checks.
			for _, content := range []string{rego(`result := ` + result), rego(`result := input.context.subject_claims.r`)} {
				edits := []func(map[string]any){}
				if strings.Contains(content, "subject_claims") {
					if strings.Contains(result, "1: 2") || name == "a set" {
						continue // JSON has no such thing
					}
					edits = append(edits, set("context.subject_claims", map[string]any{"r": rawJSON(result)}))
				}
				r := evaluate(compile(t, content), input(t, edits...))
				wantFailure(t, r, policy.ReasonInvalidResult)
				if message, _ := r.Diagnostics[0]["message"].(string); !strings.HasPrefix(message, "result") {
					t.Errorf("the message %q does not say what is wrong", message)
				}
			}
		})
	}
	// The warning and the evaluation agree: what is blocked is what fails.
	s := compile(t, rego(`result := {"decision": "allow"}`))
	if got := codes(s.Warnings()); !strings.Contains(got, "result_shape!") {
		t.Errorf("got the warnings %s", got)
	}
}

// rawJSON is a value that is encoded as the given JSON.
type rawJSON string

func (r rawJSON) MarshalJSON() ([]byte, error) { return []byte(r), nil }

func TestSetsAreReadAsArrays(t *testing.T) {
	r := evaluate(compile(t, rego(`result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": {{"policy": "z"}, {"policy": "y"}}, "diagnostics": {{"n": x} | some x in [3, 1, 2]}}`)), input(t))
	if names(r) != "y z" || fmt.Sprint(r.Diagnostics) != "[map[n:1] map[n:2] map[n:3]]" {
		t.Errorf("got %+v", r)
	}
}

func TestStatusErrorNeverAllows(t *testing.T) {
	r := evaluate(compile(t, rego(`result := {"decision": "allow", "evaluation_status": "error", "determining_policies": [], "diagnostics": [{"reason": "mine"}]}`)), input(t))
	if r.Decision != policy.Deny || r.EvaluationStatus != policy.StatusError || len(r.Diagnostics) != 2 || reason(r) != "mine" {
		t.Errorf("got %+v", r)
	}
}

func TestRuntimeConflictsDeny(t *testing.T) {
	for name, contents := range map[string][]string{
		"results": {
			rego(denyDefault, `result := `+allowValue+` if input.principal.id == "alice"`),
			rego(`result := ` + denyValue + ` if input.action.id == "read"`),
		},
		"another rule": {
			rego(denyDefault, `result := `+allowValue+` if x == 1`),
			rego(`x := 1 if input.principal.id == "alice"`),
			rego(`x := 2 if input.action.id == "read"`),
		},
		"a partial object": {
			rego(denyDefault, `result := `+allowValue+` if o.k == 1`),
			rego(`o[k] := 1 if k := "k"`), rego(`o[k] := 2 if k := "k"`),
		},
		"a function": {
			rego(denyDefault, `result := `+allowValue+` if f(input.action.id) == 1`),
			rego(`f(x) := 1 if x == "read"`), rego(`f(x) := 2 if startswith(x, "r")`),
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := evaluate(compile(t, contents...), input(t))
			wantFailure(t, r, policy.ReasonError)
			if message, _ := r.Diagnostics[0]["message"].(string); !strings.Contains(message, "(policy ") || !strings.Contains(message, "row ") {
				t.Errorf("the message %q does not say where", message)
			}
		})
	}
}

func TestFailingBuiltinsAreUndefined(t *testing.T) {
	for name, expression := range map[string]string{
		"division by zero":  `1 / (count(input.context.requested_scopes) - 1) > 0`,
		"not a number":      `to_number(input.principal.id) == 1`,
		"not a CIDR":        `net.cidr_contains("x", input.principal.id)`,
		"no such time zone": `time.clock([1, input.principal.id])`,
	} {
		r := evaluate(compile(t, rego(denyDefault, `result := `+allowValue+` if { `+expression+` }`)), input(t))
		if r.Decision != policy.Deny || r.EvaluationStatus != policy.StatusComplete {
			t.Errorf("%s: got %+v", name, r)
		}
	}
}

// Nothing that the host or the hour could change reaches a decision.
func TestDecisionsDoNotDependOnTheHost(t *testing.T) {
	for name, c := range map[string]struct {
		zone, expression string
		want             bool
	}{
		"the host's zone by name":   {"America/New_York", `time.clock([0, "Local"])`, false},
		"the host's zone in format": {"America/New_York", `time.format([0, "Local", "15"])`, false},
		"the host's zone in dates":  {"America/New_York", `time.date([0, "Local"])`, false},
		"an abbreviation":           {"America/New_York", `time.parse_ns("2006-01-02 15 MST", "1970-01-01 00 EST") == 0`, true},
		"a layout with a name":      {"America/New_York", `time.parse_ns("RFC822", "01 Jan 70 00:00 EST") == 0`, true},
		"an offset":                 {"America/New_York", `time.parse_ns("RFC822Z", "01 Jan 70 00:00 -0500") == 18000000000000`, true},
		"no time at all":            {"UTC", `time.parse_ns("RFC3339", "yesterday")`, false},
		"a time before the range":   {"UTC", `time.parse_ns("2006", "1500")`, false},
		"a named zone":              {"UTC", `time.clock([0, "America/New_York"]) == [19, 0, 0]`, true},
		"no zone":                   {"America/New_York", `time.clock(0) == [0, 0, 0]`, true},
	} {
		t.Run(name, func(t *testing.T) {
			inZone(t, c.zone)
			r := evaluate(compile(t, rego(denyDefault, `result := `+allowValue+` if { `+c.expression+` }`)), input(t))
			if (r.Decision == policy.Allow) != c.want || r.EvaluationStatus != policy.StatusComplete {
				t.Errorf("got %+v, want %v", r, c.want)
			}
		})
	}
}

func TestEvaluateIsDeterministicAndConcurrent(t *testing.T) {
	var mods []policy.Module
	for _, tpl := range policy.Templates()[1:] {
		mods = append(mods, module(tpl.ID, tpl.Content))
	}
	s, again := compileModules(t, mods), compileModules(t, mods)
	inputs := []*policy.Input{
		input(t), input(t, set("context.requested_scopes", strs("a", "b", "payments:write", "c"))), input(t, set("resource.identifier", "urn:payroll:x")),
		input(t, set("principal.labels", strs("sandbox", "contractor", "role:payments-operator"))),
	}
	var want []policy.Result
	for _, in := range inputs {
		want = append(want, evaluate(s, in))
	}
	var workers sync.WaitGroup
	for w := range 8 {
		workers.Go(func() {
			for i := range 40 {
				n := (i + w) % len(inputs)
				set := s
				if i%2 == 1 {
					set = again
				}
				got := evaluate(set, inputs[n])
				if !reflect.DeepEqual(got, want[n]) {
					t.Errorf("got %+v, want %+v", got, want[n])
				}
			}
		})
	}
	workers.Wait()
}

func TestEvaluateTakesTheContext(t *testing.T) {
	s := compile(t, rego(`result := `+allowValue))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	wantFailure(t, s.Evaluate(ctx, input(t), policy.Limits{}), policy.ReasonCanceled)
}

func TestMetadataIsThereAtRunTime(t *testing.T) {
	r := evaluate(compile(t, rego("# METADATA", "# title: Payments", "# custom:", "#   owner: treasury",
		`result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": [{"reason": m.title, "owner": m.custom.owner}]} if m := rego.metadata.rule()`)), input(t))
	if reason(r) != "Payments" || r.Diagnostics[0]["owner"] != "treasury" {
		t.Errorf("got %+v", r)
	}
}
