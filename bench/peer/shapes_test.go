package peer_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/caracalai/caracald/bench/peer"
	"github.com/caracalai/caracald/bench/workload"
)

type object = map[string]any

// allowed is an input of a workload that is allowed.
func allowed(t *testing.T, w *workload.Workload) object {
	t.Helper()
	inputs := w.Inputs(1)
	for {
		raw, allow := inputs.Next(nil)
		if !allow {
			continue
		}
		var in object
		if err := json.Unmarshal(raw, &in); err != nil {
			t.Fatal(err)
		}
		return in
	}
}

// Peers decide alike what the benchmark never asks too, where policies have more
// cases than its inputs.
func TestPeersAgreeOnRareInputs(t *testing.T) {
	call := func(method, path string) func(object) {
		return func(in object) { in["action"].(object)["method"], in["action"].(object)["path"] = method, path }
	}
	from := func(ip string) func(object) {
		return func(in object) { in["context"].(object)["actor_claims"].(object)["ip"] = ip }
	}
	claim := func(changes object) func(object) {
		return func(in object) {
			for name, value := range changes {
				in["context"].(object)["subject_claims"].(object)[name] = value
			}
		}
	}
	ask := func(scopes ...string) func(object) {
		return func(in object) { in["context"].(object)["requested_scopes"] = append([]string{}, scopes...) }
	}
	label := func(labels ...string) func(object) {
		return func(in object) { in["principal"].(object)["labels"] = append([]string{}, labels...) }
	}
	use := func(identifier string, then func(object)) func(object) {
		return func(in object) {
			in["resource"].(object)["identifier"] = identifier
			then(in)
		}
	}
	prepared := map[string][]*peer.Peer{}
	for _, c := range []struct {
		workload string
		change   func(in object)
		allow    bool
	}{
		{"network", call("GET", "/api/v1/customers/7"), true},
		{"network", call("HEAD", "/api/v1/customers/7"), true},
		{"network", call("GET", "/api/v1/customers/7/secrets"), false},
		{"network", call("GET", "/api/v1/x/customers/7"), false},
		{"network", call("GET", "/api/v1/customers"), false},
		{"network", call("POST", "/api/v1/customers/7"), false},
		{"network", call("GET", "/api/v1/invoices/2026/11/7"), true},
		{"network", call("GET", "/api/v1/x/invoices/7"), false},
		{"network", call("GET", "/api/v1/orders/1/items/2/3"), false},
		{"network", call("POST", "/api/v2/orders"), true},
		{"network", call("POST", "/api/v1/orders"), false},
		{"network", call("GET", "/api/v2/status"), true},
		{"network", call("GET", "/api/v3/status"), false},
		{"network", call("GET", "api/v1/customers/7"), false},
		{"network", from("192.168.3.4"), true},
		{"network", from("fd00::7"), true},
		{"network", from("fe80::7"), false},
		{"network", from("10.17.255.255"), false},
		{"network", from("10.24.0.1"), false},
		{"network", ask("list"), false},
		{"claims", claim(object{"iss": "https://login.partner.example"}), false},
		{"claims", claim(object{"iss": "https://login.partner.example", "aud": []string{"urn:caracal:partner"}}), false},
		{"claims", claim(object{"iss": "https://login.partner.example", "aud": []string{"urn:caracal:partner"}, "acr": "urn:assurance:3"}), true},
		{"claims", claim(object{"acr": "urn:assurance:high"}), false},
		{"claims", claim(object{"sub": "somebody else"}), false},
		{"claims", claim(object{"iat": 1, "auth_time": 2}), false},
		{"claims", claim(object{"iat": 1, "auth_time": 1770005000}), true},
		{"claims", claim(object{"email": "person@example.com.example"}), false},
		{"claims", ask("list", "read"), true},
		{"claims", ask("list"), false},
		{"rbac", ask(), false},
		{"rbac", label(), false},
		{"rbac", use("urn:caracal:nothing", ask("read")), false},
		{"rbac", use("urn:caracal:payments:service:00000", label("role-0000")), true},
		{"rbac", use("urn:caracal:payments:service:00000", func(in object) { label("role-0000")(in); ask("read", "list")(in) }), false},
		{"rbac", use("urn:caracal:payments:service:00000", func(in object) { label("role-0000", "role-0160")(in); ask("read", "list")(in) }), true},
		{"statements", ask(), false},
		{"statements", use("urn:caracal:ledger:queue:7", func(in object) { label("role:operator")(in); ask("read")(in) }), false},
		{"statements", use("urn:caracal:ledger:queue:7", func(in object) { label("role:reader")(in); ask("write")(in) }), false},
		{"statements", use("urn:caracal:ledger:queue:7", func(in object) { label("role:reader")(in); ask("read", "list")(in) }), true},
		{"statements", use("urn:caracal:ledger:queue:7:8", func(in object) { label("role:reader")(in); ask("read", "list")(in) }), false},
		{"statements", use("urn:caracal:ledger:queue:7", func(in object) { label("role:reader", "confine:reports/eu-1")(in); ask("read")(in) }), false},
		{"statements", use("urn:caracal:ledger:queue:7", func(in object) { label("role:reader", "confine:reports/us-9")(in); ask("read")(in) }), true},
		{"statements", use("urn:caracal:ledger:queue:7", func(in object) { label("role:reader", "confine:reports/ap-1")(in); ask("read")(in) }), false},
		{"statements", func(in object) { in["principal"].(object)["id"] = "p-07013" }, false},
	} {
		w := workload.Find(c.workload)
		in := allowed(t, w)
		c.change(in)
		raw, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		if prepared[w.Name] == nil {
			if prepared[w.Name], err = peer.New(t.Context(), w); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range prepared[w.Name] {
			parsed, err := p.Parse(raw)
			if err != nil {
				t.Errorf("%s: %v", p.Name, err)
				continue
			}
			if got, err := p.Decide(parsed); err != nil || got != c.allow {
				t.Errorf("%s: allow is %t where it is to be %t (%v): %s", p.Name, got, c.allow, err, raw)
			}
		}
	}
}

// Where a policy tells faults, the function written by hand tells the same.
func TestFaultsAreTold(t *testing.T) {
	w := workload.Find("admission")
	peers, err := peer.New(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	in := allowed(t, w)
	pod := in["context"].(object)["object"].(object)
	pod["spec"].(object)["hostNetwork"] = true
	delete(pod["metadata"].(object)["labels"].(object), "team")
	pod["spec"].(object)["containers"] = []object{
		{"name": "a", "image": "docker.example/x:latest", "securityContext": object{"privileged": true}, "resources": object{"limits": object{"cpu": "1"}}},
		{"name": "b", "image": "registry.example/base/x:1", "securityContext": object{"privileged": false}, "resources": object{"limits": object{}}},
	}
	raw, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	told := map[string][]string{}
	for _, p := range peers {
		answer, err := p.Answer(nil, raw)
		if err != nil {
			t.Fatalf("%s: %v", p.Name, err)
		}
		var a struct {
			Decision    string
			Diagnostics []struct{ Reason string }
		}
		if err := json.Unmarshal(answer, &a); err != nil || a.Decision != "deny" {
			t.Errorf("%s answers %s (%v)", p.Name, answer, err)
		}
		for _, d := range a.Diagnostics {
			told[p.Name] = append(told[p.Name], d.Reason)
		}
	}
	if want := 8; len(told["opa"]) != want || !slices.Equal(told["go"], told["opa"]) || !slices.Equal(told["caracal"], told["opa"]) {
		t.Errorf("the faults told are %q, want %d of each", told, want)
	}
}
