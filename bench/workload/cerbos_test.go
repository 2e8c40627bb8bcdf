package workload_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/caracalai/caracald/bench/workload"
)

type object = map[string]any

// Cerbos is asked the same as all others: nothing is left out, and nothing added.
func TestCerbosInputsAreTheSame(t *testing.T) {
	w := workload.Find("A")
	zones := workload.Zones(3)
	inputs, requests := w.Inputs(7, zones...), w.CerbosInputs(7, zones...)
	for range 2000 {
		raw, want := inputs.Next(nil)
		asked, allow := requests.Next(nil)
		var in, request object
		if err := json.Unmarshal(raw, &in); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(asked, &request); err != nil {
			t.Fatalf("%v: %s", err, asked)
		}
		if got := document(t, request); allow != want || !reflect.DeepEqual(got, in) {
			t.Fatalf("asked (allow=%t) %s\nwhere the input (allow=%t) is %s", allow, asked, want, raw)
		}
	}
}

// document makes the input of a request to Cerbos.
func document(t *testing.T, request object) object {
	t.Helper()
	principal := request["principal"].(object)
	of := principal["attr"].(object)
	of["id"] = principal["id"]
	var roles []any
	for _, label := range of["labels"].([]any) {
		if role, ok := strings.CutPrefix(label.(string), "role:"); ok {
			roles = append(roles, role)
		}
	}
	if !reflect.DeepEqual(principal["roles"], roles) {
		t.Errorf("the roles are %v, the labels %v", principal["roles"], of["labels"])
	}
	check := request["resources"].([]any)[0].(object)
	resource := check["resource"].(object)
	in := resource["attr"].(object)
	in["principal"] = of
	in["resource"] = object{"type": resource["kind"], "id": resource["id"], "identifier": in["identifier"], "scopes": in["scopes"]}
	in["action"] = object{"id": check["actions"].([]any)[0], "method": in["method"], "path": in["path"]}
	for _, moved := range []string{"identifier", "scopes", "method", "path"} {
		delete(in, moved)
	}
	return in
}
