package policy_test

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/caracalai/caracald/policy"
)

// FuzzParseInput holds the two readers of input documents to each other: what
// the fast one accepts is what the other reads.
func FuzzParseInput(f *testing.F) {
	files, err := filepath.Glob("../examples/payments/inputs/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, name := range append(files, "testdata/reference/input.json") {
		raw, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
		for _, change := range [][2]string{
			{`"agent"`, `7`}, {`"scopes"`, `"scopes":[],"scopes"`}, {`false`, `null`}, {`"POST"`, `"P\u00d6ST"`}, {`"POST"`, `"P\nST"`}, {`{}`, `{"a":1e400}`},
			{`"context"`, `"contexts"`}, {`ZONE_ID`, `no/zone`}, {`}`, `]`}, {`"2026-05-20"`, `"2026-05-21"`}, {`[]`, `[1.50, -7, null]`}, {`null`, `{"id":"e","path":3}`},
		} {
			f.Add(bytes.Replace(raw, []byte(change[0]), []byte(change[1]), 1))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > policy.MaxInputBytes {
			return
		}
		got, err := policy.ParseInput(raw)
		want, slowErr := policy.ReadInputSlowly(bytes.Clone(raw))
		if (err == nil) != (slowErr == nil) || err != nil && err.Error() != slowErr.Error() {
			t.Fatalf("%q: %v; the slow reader: %v", raw, err, slowErr)
		}
		if err == nil && (!policy.SameDocument(got, want) || !bytes.Equal(got.Raw(), raw)) {
			t.Fatalf("%q was read differently", raw)
		}
	})
}

// readers are sets that read inputs in different ways.
var readers = []string{
	`allowed if { input.principal.labels[_] == input.resource.scopes[0]; not input.session }`,
	`allowed if { input.delegation_edge == null; input.principal.type == "agent" }
allowed if { input.delegation_edge.resource_id == input.resource.id; is_object(input.delegation_edge) }`,
	`allowed if { input.context.subject_claims == {"a": 1}; count(input.context) > 3 }`,
	`allowed if { some k; input.context[k] == input.principal.id }`,
	`allowed if { input.extra.deep["a b"].x > 1; input.extra.deep == {"a b": {"x": 2}} }`,
	`allowed if { walk(input, [p, v]); v == "purge"; p[0] == "context" }`,
	`allowed if { object.get(input, ["context", "trace_id"], "") != ""; input.action }`,
	`allowed if { other with input.principal.id as "x" }
other if { input.principal.id == "x"; input.resource.type == "service" }`,
	`allowed if true`,
}

// FuzzReadInput holds what a set reads of a document to what it is as a whole:
// one is refused where the other is, with the same words, and both give one result.
func FuzzReadInput(f *testing.F) {
	var sets []*policy.Set
	for _, rules := range readers {
		sets = append(sets, compile(f, "package caracal.authz\n\nimport rego.v1\n\n"+rules+`

default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}

result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []} if allowed
`))
	}
	raw, err := os.ReadFile("testdata/reference/input.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	for _, change := range [][2]string{
		{`"agent"`, `7`}, {`"scopes"`, `"scopes":[],"scopes"`}, {`false`, `null`}, {`}`, `]`}, {`null`, `{"id":"e","path":3}`},
		{`{`, `{"x":{"a":1,"b":{},"a":2},`}, {`{`, `{"x":[{"a":1},{"a":"\ud800"}],`}, {`{`, `{"x":1,"x":2,`}, {`{`, `{"x":{"é":"é"},`}, {`{`, `{"x":"` + "\xff" + `",`},
		{`{`, `{"extra":{"deep":{"a b":{"x":2}}},`}, {`{`, `{"extra":{"deep":{"a b":{"x":1e2}}},`}, {`"context"`, `"\u0063ontext"`}, {`{`, `{"session":{"id":"s"},`},
		{`{`, `{"action":{"id":"a","id":"b"},`}, {`{`, `{"x":"a\nb\"\\","y":-0,"z":[1,2.5,[]],`}, {`{`, `{"x":[],"y":{},`}, {`{`, `{"x":[,],`}, {`{`, `{"x":{,},`}, {`{`, `{"x":[1 2],`},
	} {
		f.Add(bytes.Replace(raw, []byte(change[0]), []byte(change[1]), 1))
	}
	in := new(policy.Input)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > policy.MaxInputBytes {
			return
		}
		whole, err := policy.ParseInput(raw)
		for i, s := range sets {
			readErr := s.ReadInput(raw, in)
			if (err == nil) != (readErr == nil) || err != nil && err.Error() != readErr.Error() {
				t.Fatalf("%q: set %d says %v; read as a whole: %v", raw, i, readErr, err)
			}
			if err != nil {
				continue
			}
			if in.ZoneID() != whole.ZoneID() || in.TraceID() != whole.TraceID() {
				t.Fatalf("%q: set %d read zone %q, trace %q", raw, i, in.ZoneID(), in.TraceID())
			}
			got, want := s.Evaluate(t.Context(), in, generous), s.Evaluate(t.Context(), whole, generous)
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%q: set %d decides %+v; from the whole %+v", raw, i, got, want)
			}
		}
	})
}

// Inputs that differ in what the policies do not read have one key; others do not.
func TestKey(t *testing.T) {
	set := compile(t, "package caracal.authz\n\nimport rego.v1\n\nresult := input.principal.id if input.delegation_edge == null\n")
	raw, err := os.ReadFile("testdata/reference/input.json")
	if err != nil {
		t.Fatal(err)
	}
	key := func(old, changed string) string {
		t.Helper()
		text := bytes.Replace(raw, []byte(old), []byte(changed), 1)
		if old != changed && bytes.Equal(text, raw) {
			t.Fatalf("%s is not in the input", old)
		}
		in := new(policy.Input)
		if err := set.ReadInput(text, in); err != nil {
			t.Fatal(err)
		}
		return string(in.Key())
	}
	same := key("{", "{")
	for _, change := range [][2]string{{`"context"`, `"other": [1, {"a": null}], "context"`}, {`"resource": {`, `"resource": {"more": 1, `}, {"\n", "\n\n"}} {
		if got := key(change[0], change[1]); got != same {
			t.Errorf("with %s the key is %q, not %q", change[1], got, same)
		}
	}
	for _, change := range [][2]string{{`"agent-7f3a"`, `"agent-7f3b"`}, {`{"id": "edge-1", "scopes": ["payments:read", "payments:refund"], "depth": 1}`, `null`}} {
		if got := key(change[0], change[1]); got == same {
			t.Errorf("with %s the key is still %q", change[1], got)
		}
	}
	// Of the edge only is asked whether it is null.
	if got := key(`"edge-1"`, `"edge-2"`); got != same {
		t.Errorf("another edge has another key, %q", got)
	}
}
