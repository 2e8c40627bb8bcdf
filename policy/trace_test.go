package policy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caracalai/caracald/policy"
)

// traced evaluates raw by a set and gives the trace.
func traced(t rapid.TB, set *policy.Set, raw string, lim policy.Limits) *policy.Trace {
	t.Helper()
	in, err := policy.ParseInput([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	trace, err := set.Trace(context.Background(), in, lim)
	if err != nil {
		t.Fatal(err)
	}
	return trace
}

// agreedTrace fails unless the trace is whole, comes to what the engine comes to, and
// says of each rule what there is to say of it.
func agreedTrace(t rapid.TB, set *policy.Set, raw string) *policy.Trace {
	t.Helper()
	trace := traced(t, set, raw, generous)
	if trace.Differs != nil {
		t.Fatalf("the trace came to %+v, for %s, by %s", *trace.Differs, raw, text(set.Modules()))
	}
	if trace.Incomplete != "" {
		t.Fatalf("the trace is incomplete: %s", trace.Incomplete)
	}
	contents := map[string]string{}
	for _, m := range set.Modules() {
		contents[m.Name] = m.Content
	}
	for i, r := range trace.Rules {
		content, known := contents[r.Policy]
		if !known || r.PolicyID == "" || r.VersionID == "" {
			t.Fatalf("rule %d is of the policy %q, %q, %q", i, r.Policy, r.PolicyID, r.VersionID)
		}
		if r.Held == (r.Failed != nil) || r.Held != (r.Value != nil) || r.Tried < 1 {
			t.Fatalf("rule %d says %+v", i, r)
		}
		if i == 0 && r.Depth != 0 || i > 0 && r.Depth > trace.Rules[i-1].Depth+1 {
			t.Fatalf("rule %d has the depth %d", i, r.Depth)
		}
		at(t, content, r.Location, "")
		if r.Failed != nil {
			at(t, content, r.Failed.Location, strings.TrimSuffix(r.Failed.Text, "…"))
		} else if !json.Valid(r.Value) {
			t.Fatalf("rule %d has the value %s", i, r.Value)
		}
	}
	return trace
}

// at fails unless a text is what the content has at that place.
func at(t rapid.TB, content string, where policy.Location, want string) {
	t.Helper()
	lines := strings.SplitAfter(content, "\n")
	if where.Row > len(lines) {
		t.Fatalf("row %d of %d", where.Row, len(lines))
	}
	row := []rune(lines[where.Row-1])
	if where.Col > len(row) {
		t.Fatalf("column %d of %d in %q", where.Col, len(row), lines[where.Row-1])
	}
	rest := string(row[where.Col-1:]) + strings.Join(lines[where.Row:], "")
	if !strings.HasPrefix(rest, want) {
		t.Fatalf("at %v is %.60q, not %q", where, rest, want)
	}
}

func TestTraceAgreesOnTemplates(t *testing.T) {
	sets := map[string][]policy.Module{}
	for _, tpl := range policy.Templates() {
		sets[tpl.ID] = []policy.Module{module(tpl.ID, tpl.Content)}
		if tpl.ID != "deny-all" {
			sets["all together"] = append(sets["all together"], module(tpl.ID, tpl.Content))
		}
	}
	for _, pattern := range []string{"../examples/payments/policies/*.rego", "testdata/reference/*.rego"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, f := range files {
			content, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			sets[pattern] = append(sets[pattern], module(filepath.Base(f), string(content)))
		}
	}
	for name, mods := range sets {
		t.Run(name, func(t *testing.T) {
			set, err := policy.Compile(context.Background(), mods)
			if err != nil {
				t.Fatal(err)
			}
			rapid.Check(t, func(t *rapid.T) {
				// An overlay gives no result by itself, so that nothing asks for its rules.
				if trace := agreedTrace(t, set, drawInput(t)); len(trace.Rules) == 0 && strings.Contains(text(mods), "result :=") {
					t.Error("no rule was tried")
				}
			})
		})
	}
}

func TestTraceAgreesOnGenerated(t *testing.T) { rapid.Check(t, traceGenerated) }

// FuzzTrace is TestTraceAgreesOnGenerated for as long as one likes.
func FuzzTrace(f *testing.F) { f.Fuzz(rapid.MakeFuzz(traceGenerated)) }

func traceGenerated(t *rapid.T) {
	var mods []policy.Module
	g := &writer{t: t}
	for i := range rapid.IntRange(1, 3).Draw(t, "policies") {
		mods = append(mods, module(fmt.Sprintf("p%d", i), g.document(i == 0)))
	}
	set, err := policy.Compile(context.Background(), mods)
	if err != nil {
		t.Skip("does not compile")
	}
	for range 3 {
		agreedTrace(t, set, drawInput(t))
	}
}

// traceOf gives a line for each rule of a trace.
func traceOf(trace *policy.Trace) []string {
	var lines []string
	for _, r := range trace.Rules {
		line := fmt.Sprintf("%s%s %d:%d", strings.Repeat(" ", r.Depth), strings.TrimPrefix(r.Rule, "data.caracal.authz."), r.Location.Row, r.Location.Col)
		if r.Held {
			value := string(r.Value)
			if len(value) > 60 {
				value = value[:60]
			}
			line += " = " + value
		} else {
			line += fmt.Sprintf(" ! %d:%d %s", r.Failed.Location.Row, r.Failed.Location.Col, r.Failed.Text)
		}
		lines = append(lines, line)
	}
	return lines
}

func TestTrace(t *testing.T) {
	const input = `{"schema_version": "2026-05-20", "principal": {"type": "agent", "id": "a", "zone_id": "z", "labels": ["x", "y", "z"]},
		"resource": {"type": "service", "id": "r", "identifier": "urn:é", "scopes": ["read", "write"]}, "action": {"id": "go"},
		"context": {"actor_claims": {"n": 1}, "challenge_resolved": false, "requested_scopes": ["read", "admin"]}}`
	for name, c := range map[string]struct {
		rules string
		want  []string
	}{
		"the conditions that failed are given as they were written": {
			"result := \"a\" if {\n\tinput.action.id == \"go\"\n\tcount(split(input.resource.identifier, \":\")) >\n\t\t2 # a comment\n}\nresult := \"b\" if not startswith(input.resource.identifier, \"urn:é\")",
			[]string{"result 1:1 ! 3:2 count(split(input.resource.identifier, \":\")) >\n\t\t2", "result 6:1 ! 6:18 not startswith(input.resource.identifier, \"urn:é\")"},
		},
		"a rule follows the one that asked for it, a default comes last": {
			"default result := false\nresult if {\n\tinput.action\n\tgranted\n}\ngranted if { labelled; input.nosuch }\nlabelled if \"x\" in input.principal.labels",
			[]string{"result 2:1 ! 4:2 granted", " granted 6:1 ! 6:24 input.nosuch", "  labelled 7:1 = true", "result 1:1 = false"},
		},
		"of a loop the attempt that came furthest": {
			"result if {\n\tsome l in input.principal.labels\n\tl != \"x\"\n\tl == \"y\"\n\tcount(l) > 1\n}",
			[]string{"result 1:1 ! 5:2 count(l) > 1"},
		},
		"else branches are tried one by one": {
			"result := 1 if input.nosuch\nelse := 2 if input.action.id == \"é\" else := 3 if {\n\tinput.action.id == \"go\"\n}",
			[]string{"result 1:1 ! 1:16 input.nosuch", "result 2:1 ! 2:14 input.action.id == \"é\"", "result 2:37 = 3"},
		},
		"what rules add": {
			"result := [names, table]\nnames contains l if some l in input.principal.labels\nnames contains \"w\" if input.nosuch\ntable[s] := count(s) if some s in input.resource.scopes\ntable.fixed := 7",
			[]string{"result 1:1 = [[\"x\",\"y\",\"z\"],{\"fixed\":7,\"read\":4,\"write\":5}]", " names 2:1 = [\"x\",\"y\",\"z\"]", " names 3:1 ! 3:23 input.nosuch", " table 4:1 = {\"read\":4,\"write\":5}", " table.fixed 5:1 = 7"},
		},
		"a key or an argument that does not match": {
			"result if { names.q; true }\nresult if f(\"b\", 2)\nnames contains \"w\"\nf(\"a\", x) if x > 1\nf(\"b\", x) if x > 2\nf(\"b\", 2) := false",
			[]string{"result 1:1 ! 1:13 names.q", " names 3:1 ! 3:1 names contains \"w\"", "result 2:1 ! 2:11 f(\"b\", 2)", " f 4:1 ! 4:1 f(\"a\", x)", " f 5:1 ! 5:14 x > 2", " f 6:1 = false"},
		},
		"a value that is undefined": {
			"result := {\"v\": input.nosuch, \"w\": 1} if input.action",
			[]string{"result 1:1 ! 1:17 input.nosuch"},
		},
		"inside of every, the whole condition": {
			"result if {\n\tevery s in input.context.requested_scopes {\n\t\ts in input.resource.scopes\n\t}\n}",
			[]string{"result 1:1 ! 2:2 every s in input.context.requested_scopes {\n\t\ts in input.resource.scopes\n\t}"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			content := "package caracal.authz\n\nimport rego.v1\n\n" + c.rules + "\n"
			set, err := policy.Compile(context.Background(), []policy.Module{module("p", content)})
			if err != nil {
				t.Fatal(err)
			}
			trace := agreedTrace(t, set, input)
			for i := range trace.Rules { // rows from the first rule on
				r := &trace.Rules[i]
				r.Location.Row -= 4
				if r.Failed != nil {
					r.Failed.Location.Row -= 4
				}
			}
			if got := traceOf(trace); !slices.Equal(got, c.want) {
				t.Errorf("got\n%q\nnot\n%q", got, c.want)
			}
		})
	}
}

// Values and texts are of bounded size, and what is left out is said.
func TestTraceIsBounded(t *testing.T) {
	set, err := policy.Compile(context.Background(), []policy.Module{module("p", `package caracal.authz

import rego.v1

result := count(many) + count(large) if count(text) > 1
many contains n if some n in numbers.range(1, 100)
large := numbers.range(1, 50000)
text := sprintf("%999d", [1]) if input.action.id != "`+strings.Repeat("x", 2000)+`"
`)})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("testdata/reference/input.json")
	if err != nil {
		t.Fatal(err)
	}
	trace := agreedTrace(t, set, string(raw))
	for _, r := range trace.Rules {
		if len(r.Value) > 5000 {
			t.Errorf("%s has a value of %d bytes", r.Rule, len(r.Value))
		}
		cut := strings.HasSuffix(r.Rule, "many") || strings.HasSuffix(r.Rule, "large")
		if r.ValueTruncated != cut {
			t.Errorf("%s: value_truncated is %v", r.Rule, r.ValueTruncated)
		}
	}
	steps, err := policy.Compile(context.Background(), []policy.Module{module("p", "package caracal.authz\n\nimport rego.v1\n\nresult := count([1 | some a in numbers.range(1, 700); some b in numbers.range(1, 700); a == b])\n")})
	if err != nil {
		t.Fatal(err)
	}
	if trace := traced(t, steps, string(raw), generous); trace.Incomplete == "" || trace.Differs != nil {
		t.Errorf("a long evaluation says %q, %v", trace.Incomplete, trace.Differs)
	}
	for name, lim := range map[string]policy.Limits{"time": {Timeout: time.Nanosecond}, "memory": {MaxMemory: 1000}} {
		if trace := traced(t, steps, string(raw), lim); trace.Incomplete == "" || trace.Differs != nil {
			t.Errorf("past the limit of %s the trace says %q, %v", name, trace.Incomplete, trace.Differs)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	in, err := policy.ParseInput(raw)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := steps.Trace(ctx, in, generous); err == nil {
		t.Error("a caller who is gone gets a trace")
	}
}
