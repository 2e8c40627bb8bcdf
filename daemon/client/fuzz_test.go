package client

import (
	"encoding/json"
	"strings"
	"testing"
)

// However an answer looks, it allows only if encoding/json, too, reads it as an
// allow for this zone and request.
func FuzzReadDecision(f *testing.F) {
	hash := strings.Repeat("0a", 32)
	good := `"evaluation_status":"complete","determining_policies":[{"policy":"p"}],"diagnostics":[{"reason":"a\"b"}],"request_id":"r1","decision_id":"d",` +
		`"zone_id":"z1","policy_set_id":"s","policy_set_version_id":"v","manifest_sha256":"` + hash + `","bundle_sha256":"` + hash + `"`
	for _, text := range []string{
		`{"decision":"allow",` + good + `}`, ` { "decision" : "deny" , ` + good + ` } `, `{"decision":"allow","\u0064ecision":"deny",` + good + `}`,
		`{"decision":"allow","x":{"decision":"deny","y":["]","}"]},` + good + `}`, `{"Decision":"allow",` + good + `}`, `[]`, `{}`, `"\\"`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) {
			return
		}
		d, err := readDecision(raw, "z1", "r1")
		if err != nil {
			if d.Allowed() {
				t.Fatalf("%q: allowed beside %v", raw, err)
			}
			return
		}
		var m map[string]any
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		if m["decision"] != d.Decision || m["zone_id"] != "z1" || m["request_id"] != "r1" || m["evaluation_status"] != d.EvaluationStatus {
			t.Fatalf("%q was read as %+v", raw, d)
		}
		d.Reasons()
		_, _ = d.Policies() // entries of other shapes are an error
	})
}

// The members and elements of a value are those that encoding/json finds.
func FuzzMembers(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":[true,{"c":"\"}"}],"\u0041":null}`))
	f.Add([]byte(`[1,"]",[[]],{}]`))
	f.Add([]byte(` [ ] `))
	f.Add([]byte(`-1.5e3`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) {
			return
		}
		got := map[string]string{}
		object := members(raw, func(name, value []byte) bool {
			if !json.Valid(value) {
				t.Fatalf("%q has the member %q", raw, value)
			}
			got[string(name)] = string(value)
			return true
		})
		var list []string
		array := elements(raw, func(value []byte) bool {
			list = append(list, string(value))
			return true
		})
		var wantMembers map[string]json.RawMessage
		var wantElements []json.RawMessage
		switch strings.TrimLeft(string(raw), space)[0] {
		case '{':
			if err := json.Unmarshal(raw, &wantMembers); err != nil {
				t.Fatal(err)
			}
		case '[':
			if err := json.Unmarshal(raw, &wantElements); err != nil {
				t.Fatal(err)
			}
		}
		if object != (wantMembers != nil) || array != (wantElements != nil) || len(list) != len(wantElements) {
			t.Fatalf("%q is %v, %v", raw, object, array)
		}
		for i, want := range wantElements {
			if list[i] != string(want) {
				t.Fatalf("%q has the elements %q", raw, list)
			}
		}
		for name, value := range got {
			// Invalid UTF-8 in a name is replaced by encoding/json.
			if want, ok := wantMembers[name]; ok && value != string(want) {
				t.Fatalf("%q has the member %q: %q", raw, name, value)
			}
		}
	})
}
