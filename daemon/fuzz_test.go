package daemon_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/caracalai/caracald/daemon"
	"github.com/caracalai/caracald/policy"
)

// FuzzDecideBody sends bytes to every call that decides. There is always an
// answer of the contract, and an allow only for an input that is well formed.
func FuzzDecideBody(f *testing.F) {
	good := inputOf("z1", "read", "")
	for _, seed := range []string{
		good, good[:len(good)-2], good + " ", inputOf("elsewhere", "read", ""), "", "{}", "null", `"zone_id":"z1"`, `{"zone_id":"z1"}`,
		`{"inputs":[` + good + `,{}]}`, `{"input":` + good + `}`,
		`{"subject":{"type":"user","id":"u","properties":{"zone_id":"z1"}},"action":{"name":"read"},"resource":{"type":"doc","id":"d"}}`,
		`{"subject":{"type":"user","id":"u"},"context":{"zone_id":"z1"},"resource":{"type":"doc","id":"d"},"evaluations":[{"action":{"name":"read"}},{}],"options":{"evaluations_semantic":"deny_on_first_deny"}}`,
		"\xff\xfe", `{"inputs":[[[[[[]]]]]]}`, `{"a":1e999999999}`,
	} {
		f.Add([]byte(seed))
	}
	_, n, _ := one(f, func(c *daemon.Config) { c.SpoolDurability = 2 })
	f.Fuzz(func(t *testing.T, body []byte) {
		n := &node{t: t, url: n.url, client: n.client}
		r := n.call("POST", "/v1/decide", body)
		in, err := policy.ParseInput(body)
		got := parse[decision](t, r.body)
		switch {
		case err != nil:
			if r.status != http.StatusBadRequest && r.status != http.StatusRequestEntityTooLarge || got.Error == "" || got.Decision != "" {
				t.Fatalf("malformed (%v): %d %s", err, r.status, r.body)
			}
		case r.status != http.StatusOK || got.Error != "" || got.ZoneID != in.ZoneID():
			t.Fatalf("well formed: %d %s", r.status, r.body)
		case got.Decision == "allow" && in.ZoneID() != "z1":
			t.Fatalf("zone %s allows: %s", in.ZoneID(), r.body)
		}
		for _, path := range []string{"/v1/decide/batch", "/v1/data/caracal/authz/result", "/access/v1/evaluation", "/access/v1/evaluations"} {
			r := n.call("POST", path, body)
			if r.status != http.StatusOK && r.status != http.StatusBadRequest && r.status != http.StatusRequestEntityTooLarge || !json.Valid(r.body) {
				t.Fatalf("%s: %d %s", path, r.status, r.body)
			}
		}
	})
}
