package daemon_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/daemon"
)

// one is a plane with zone z1 at version 1, zone empty with nothing active, and
// a ready daemon.
func one(t testing.TB, change func(*daemon.Config)) (*plane, *node, version) {
	t.Helper()
	p := newPlane(t)
	v := p.publish("z1", 1, "")
	p.activate("z1", nil)
	p.activate("z1", &v)
	p.activate("empty", nil)
	cfg := configOf(t, p)
	if change != nil {
		change(&cfg)
	}
	return p, startReady(t, cfg), v
}

func TestDecide(t *testing.T) {
	p, n, v := one(t, nil)
	for range 4 { // evaluated, evaluated and kept, then from the cache
		got := n.decide(inputOf("z1", "read", ""), "X-Request-Id", "req-1")
		if got.Decision != "allow" || got.EvaluationStatus != "complete" || got.tag() != "v1" || got.RequestID != "req-1" || got.ZoneID != "z1" {
			t.Fatalf("got %+v", got)
		}
		if *got.PolicySetID != v.set || *got.PolicySetVersionID != v.id || *got.ManifestSHA256 != v.packed.ManifestSHA256 || *got.BundleSHA256 != v.packed.BundleSHA256 {
			t.Fatalf("got %+v, want version %+v", got, v)
		}
		if id, err := uuid.Parse(got.DecisionID); err != nil || id.Version() != 7 {
			t.Fatalf("decision id %q: %v", got.DecisionID, err)
		}
		if want := "policy-1"; len(got.DeterminingPolicies) != 1 || got.DeterminingPolicies[0]["policy_id"] != want {
			t.Fatalf("determining policies %v", got.DeterminingPolicies)
		}
		r := p.record(got.DecisionID)
		if r.EventType != audit.EventDecision || r.ZoneID != "z1" || r.RequestID != "req-1" || r.Decision != "allow" || r.EvaluationStatus != "complete" ||
			r.PolicySetID != v.set || r.PolicySetVersionID != v.id || r.ManifestSHA256 != v.packed.ManifestSHA256 || r.BundleSHA256 != v.packed.BundleSHA256 ||
			r.Sequence != 1 || string(r.Input) != inputOf("z1", "read", "") || string(r.Metadata) != "{}" || r.OccurredAt.IsZero() {
			t.Fatalf("record %+v", r)
		}
		if !strings.Contains(string(r.DeterminingPolicies), "policy-1") || string(r.Diagnostics) != `[{"tag":"v1"}]` {
			t.Fatalf("record %s %s", r.DeterminingPolicies, r.Diagnostics)
		}
	}
	if got := n.decide(inputOf("z1", "write", "")); got.Decision != "deny" || got.EvaluationStatus != "complete" || got.reason() != "denied" {
		t.Fatalf("got %+v", got)
	}
}

func TestDenials(t *testing.T) {
	p, n, _ := one(t, func(c *daemon.Config) { c.Zones = []string{"z1", "empty"} })
	for _, test := range []struct {
		zone, status, reason string
	}{
		{"empty", "complete", "no_active_policy_set"},
		{"elsewhere", "error", "zone_not_loaded"},
	} {
		got := n.decide(inputOf(test.zone, "read", `,"subject_claims":{"secret":"s3cret"}`))
		if got.Decision != "deny" || got.EvaluationStatus != test.status || got.reason() != test.reason || got.PolicySetVersionID != nil || got.BundleSHA256 != nil || got.ZoneID != test.zone {
			t.Errorf("%s: got %+v", test.zone, got)
		}
		r := p.record(got.DecisionID)
		if r.Decision != "deny" || r.EvaluationStatus != test.status || r.ZoneID != test.zone || r.PolicySetVersionID != "" {
			t.Errorf("%s: record %+v", test.zone, r)
		}
		// Nobody knows what the settings of an unknown zone would mask.
		if kept := r.Input != nil; kept != (test.zone == "empty") {
			t.Errorf("%s: the record's input is %s", test.zone, r.Input)
		}
	}
}

// What looks like the zone at first is not what decides.
func TestZoneIsReadNotGuessed(t *testing.T) { eachWay(t, zoneIsReadNotGuessed) }

func zoneIsReadNotGuessed(t *testing.T, set func(*daemon.Config)) {
	p, n, _ := one(t, set)
	other := p.publish("z2", 1, "package caracal.authz\n\nresult := {\"decision\": \"deny\", \"evaluation_status\": \"complete\", \"determining_policies\": [], \"diagnostics\": []}\n")
	p.activate("z2", &other)
	p.loaded("z2", 0)
	for _, before := range []string{"", `"x":{"zone_id":"z1"},`, `"x":"\"zone_id\":\"z1\"",`, `"zone_id":"z1",`, `"zone_id":"empty",`, `"zone_id":"unknown",`, `"zone_id":7,`} {
		got := n.decide("{" + before + inputOf("z2", "read", "")[1:])
		if got.Decision != "deny" || got.ZoneID != "z2" || *got.PolicySetVersionID != other.id {
			t.Errorf("with %s: got %+v", before, got)
		}
		if got := n.decide("{" + strings.ReplaceAll(before, "z1", "z2") + inputOf("z1", "read", "")[1:]); got.Decision != "allow" || got.ZoneID != "z1" {
			t.Errorf("with %s in z1: got %+v", before, got)
		}
	}
}

// TestNotLoadedYet: a configured zone that the daemon cannot load denies, its
// status says so, and the daemon is not ready.
func TestNotLoadedYet(t *testing.T) {
	p := newPlane(t)
	p.misbehave(func(*http.Request) int { return http.StatusServiceUnavailable })
	cfg := configOf(t, p)
	cfg.Zones = []string{"z1"}
	n := start(t, cfg)
	if got := n.decide(inputOf("z1", "read", "")); got.Decision != "deny" || got.EvaluationStatus != "error" || got.reason() != "zone_not_loaded" {
		t.Fatalf("got %+v", got)
	}
	if st := n.status("z1"); st.Loaded || st.Sequence != -1 || st.PolicySetVersionID != nil {
		t.Fatalf("status %+v", st)
	}
	if r := n.call("GET", "/readyz", nil); r.status != http.StatusServiceUnavailable || parse[decision](t, r.body).Error != "not_ready" {
		t.Fatalf("readyz: %d %s", r.status, r.body)
	}
	p.activate("z1", nil)
	p.misbehave(nil)
	n.ready()
	if r := n.call("GET", "/readyz", nil); r.status != http.StatusOK {
		t.Fatalf("readyz: %d %s", r.status, r.body)
	}
	if got := n.decide(inputOf("z1", "read", "")); got.reason() != "no_active_policy_set" {
		t.Fatalf("got %+v", got)
	}
}

func TestRefusals(t *testing.T) { eachWay(t, refusals) }

func refusals(t *testing.T, set func(*daemon.Config)) {
	p, n, _ := one(t, func(c *daemon.Config) { set(c); c.MaxBatch = 3 })
	good := inputOf("z1", "read", "")
	deep := strings.Repeat("[", 100000) + strings.Repeat("]", 100000)
	batch := func(inputs ...string) string { return `{"inputs":[` + strings.Join(inputs, ",") + `]}` }
	for _, test := range []struct {
		name, method, path, body string
		status                   int
		code, says               string
	}{
		{"empty", "POST", "/v1/decide", "", 400, "invalid_input", ""},
		{"truncated", "POST", "/v1/decide", good[:len(good)-1], 400, "invalid_input", ""},
		{"trailing", "POST", "/v1/decide", good + "{}", 400, "invalid_input", ""},
		{"not an object", "POST", "/v1/decide", "[]", 400, "invalid_input", ""},
		{"duplicate", "POST", "/v1/decide", strings.Replace(good, `"session":null`, `"session":null,"session":null`, 1), 400, "invalid_input", "/session"},
		{"invalid UTF-8", "POST", "/v1/decide", strings.Replace(good, "app-1", "app-\xff", 1), 400, "invalid_input", ""},
		{"NaN", "POST", "/v1/decide", strings.Replace(good, "false", "NaN", 1), 400, "invalid_input", ""},
		{"wrong type", "POST", "/v1/decide", strings.Replace(good, `"app-1"`, `7`, 1), 400, "invalid_input", "/principal/id"},
		{"missing", "POST", "/v1/decide", strings.Replace(good, `"requested_scopes":[]`, `"x":1`, 1), 400, "invalid_input", "/context/requested_scopes"},
		{"no zone", "POST", "/v1/decide", strings.Replace(good, `"zone_id"`, `"zone"`, 1), 400, "invalid_input", "/principal/zone_id"},
		{"no zone id", "POST", "/v1/decide", strings.Replace(good, `"z1"`, `"../z1"`, 1), 400, "invalid_input", "/principal/zone_id"},
		{"deep", "POST", "/v1/decide", strings.Replace(good, `"actor_claims":{}`, `"actor_claims":{"a":`+deep+`}`, 1), 400, "invalid_input", "nests"},
		{"large", "POST", "/v1/decide", inputOf("z1", "read", `,"pad":"`+strings.Repeat("x", 2<<20)+`"`), 413, "payload_too_large", ""},
		{"10 MB", "POST", "/v1/decide", inputOf("z1", "read", `,"pad":"`+strings.Repeat("x", 10<<20)+`"`), 413, "payload_too_large", ""},
		{"wrong method", "GET", "/v1/decide", "", 405, "method_not_allowed", "POST"},
		{"wrong method", "POST", "/healthz", "", 405, "method_not_allowed", "GET"},
		{"wrong method", "DELETE", "/v1/zones/z1/status", "", 405, "method_not_allowed", "GET"},
		{"wrong path", "GET", "/v2/decide", "", 404, "not_found", ""},
		{"wrong path", "GET", "/v1/zones/z1/policies", "", 404, "not_found", ""},
		{"wrong path", "GET", "/v1/zones/z1", "", 404, "not_found", ""},
		{"wrong path", "GET", "/v1/zones/z1/more/status", "", 404, "not_found", ""},
		{"no metrics", "GET", "/metrics", "", 404, "not_found", ""},
		{"unknown zone", "GET", "/v1/zones/nope/status", "", 404, "zone_not_found", "nope"},
		{"batch without inputs", "POST", "/v1/decide/batch", `{}`, 400, "invalid_body", "/inputs"},
		{"batch of another type", "POST", "/v1/decide/batch", `{"inputs":7}`, 400, "invalid_body", "/inputs"},
		{"batch twice", "POST", "/v1/decide/batch", `{"inputs":[],"inputs":[]}`, 400, "invalid_body", "/inputs"},
		{"batch too long", "POST", "/v1/decide/batch", batch(good, good, good, good), 413, "payload_too_large", "3"},
		{"batch cut off", "POST", "/v1/decide/batch", `{"inputs":[`, 400, "invalid_body", ""},
		{"data without input", "POST", "/v1/data/caracal/authz/result", `{}`, 400, "invalid_body", "/input"},
		{"data null", "POST", "/v1/data/caracal/authz/result", `{"input":null}`, 400, "invalid_input", ""},
		{"data malformed", "POST", "/v1/data/caracal/authz/result", `{"input":{}}`, 400, "invalid_input", "/schema_version"},
	} {
		r := n.call(test.method, test.path, []byte(test.body))
		got := parse[decision](t, r.body)
		if r.status != test.status || got.Error != test.code || !strings.Contains(got.ErrorDescription, test.says) {
			t.Errorf("%s %s: %d %.300s; want %d %s %q", test.name, test.path, r.status, r.body, test.status, test.code, test.says)
		}
		if got.Decision != "" || bytes.Contains(r.body, []byte(`"allow"`)) {
			t.Errorf("%s: a refusal has a decision: %s", test.name, r.body)
		}
		if got.ErrorDescription == "" {
			t.Errorf("%s: no description", test.name)
		}
	}
	if kept := p.kept(); len(kept) != 0 {
		t.Errorf("refusals left %d records", len(kept))
	}
}

func TestRequestID(t *testing.T) { eachWay(t, requestID) }

func requestID(t *testing.T, set func(*daemon.Config)) {
	_, n, _ := one(t, set)
	for _, test := range []struct {
		sent string
		kept bool
	}{
		{"a-Z_0.9:x", true}, {strings.Repeat("x", 128), true}, {strings.Repeat("x", 129), false}, {"", false}, {"two words", false}, {`"quoted"`, false},
	} {
		r := n.call("POST", "/v1/decide", []byte(inputOf("z1", "read", "")), "X-Request-Id", test.sent)
		got := parse[decision](t, r.body)
		if echoed := r.header.Get("X-Request-Id"); echoed == "" || echoed != got.RequestID || (echoed == test.sent) != test.kept {
			t.Errorf("sent %q, got %q and %q", test.sent, echoed, got.RequestID)
		}
	}
	if r := n.call("POST", "/v1/decide", []byte("{"), "X-Request-Id", "bad-1"); r.header.Get("X-Request-Id") != "bad-1" {
		t.Error("a refusal does not echo the request id")
	}
}

func TestBatch(t *testing.T) {
	p, n, _ := one(t, nil)
	inputs := []string{inputOf("z1", "read", ""), `{"principal":1}`, inputOf("empty", "read", ""), inputOf("z1", "write", ""), `"text"`}
	for i := range 200 {
		inputs = append(inputs, inputOf("z1", "read", fmt.Sprintf(`,"trace_id":"t%d"`, i)))
	}
	r := n.call("POST", "/v1/decide/batch", []byte(`{"inputs":[`+strings.Join(inputs, " , ")+`]}`), "X-Request-Id", "batch-1")
	if r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	results := parse[struct {
		Results []decision `json:"results"`
	}](t, r.body).Results
	if len(results) != len(inputs) {
		t.Fatalf("%d results for %d inputs", len(results), len(inputs))
	}
	want := []string{"allow", "", "deny", "deny", ""}
	for i, got := range results {
		expect := "allow"
		if i < len(want) {
			expect = want[i]
		}
		if got.Decision != expect {
			t.Errorf("%d: %+v, want %q", i, got, expect)
		}
		if expect == "" {
			if got.Error != "invalid_input" || got.ErrorDescription == "" || got.DecisionID != "" {
				t.Errorf("%d: %+v", i, got)
			}
			continue
		}
		record := p.record(got.DecisionID)
		if record.RequestID != "batch-1" || record.Decision != expect || string(record.Input) != inputs[i] {
			t.Errorf("%d: record %+v", i, record)
		}
	}
	if got := n.call("POST", "/v1/decide/batch", []byte(`{"inputs":[]}`)); got.status != 200 || string(got.body) != `{"results":[]}` {
		t.Errorf("an empty batch: %d %s", got.status, got.body)
	}
}

func TestDataShape(t *testing.T) {
	p, n, _ := one(t, nil)
	r := n.call("POST", "/v1/data/caracal/authz/result", []byte(`{"input": `+inputOf("z1", "read", "")+` }`))
	var got struct {
		Result     map[string]any `json:"result"`
		DecisionID string         `json:"decision_id"`
	}
	if err := json.Unmarshal(r.body, &got); err != nil || r.status != 200 {
		t.Fatalf("%d %s: %v", r.status, r.body, err)
	}
	if got.Result["decision"] != "allow" || got.Result["evaluation_status"] != "complete" || len(got.Result) != 4 {
		t.Fatalf("got %s", r.body)
	}
	if record := p.record(got.DecisionID); string(record.Input) != inputOf("z1", "read", "") {
		t.Fatalf("record %+v", record)
	}
}

func TestStatusAndHealth(t *testing.T) {
	_, n, v := one(t, func(c *daemon.Config) {
		c.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("a_metric 1\n")) })
	})
	st := n.status("z1")
	if !st.Loaded || *st.PolicySetVersionID != v.id || *st.ManifestSHA256 != v.packed.ManifestSHA256 || *st.BundleSHA256 != v.packed.BundleSHA256 ||
		st.Sequence != 1 || st.LoadedAt == nil || st.AgeSeconds == nil || *st.AgeSeconds < 0 || st.Stale || st.Detail != "" {
		t.Fatalf("status %+v", st)
	}
	if st := n.status("empty"); !st.Loaded || st.PolicySetVersionID != nil || st.Sequence != 0 || st.Stale {
		t.Fatalf("status %+v", st)
	}
	for path, want := range map[string]string{"/healthz": `{"status":"ok"}`, "/readyz": `{"status":"ready"}`, "/metrics": "a_metric 1\n"} {
		if r := n.call("GET", path, nil); r.status != 200 || string(r.body) != want {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
}

func TestSocket(t *testing.T) {
	p := newPlane(t)
	p.activate("z1", nil)
	dir, err := os.MkdirTemp("", "caracald") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "decide.sock")
	cfg := configOf(t, p)
	cfg.DecideSocket, cfg.DecideAddr = path, ""
	n := startReady(t, cfg)
	if n.d.Addr() != nil || n.d.SocketPath() != path {
		t.Fatalf("listens at %v and %q", n.d.Addr(), n.d.SocketPath())
	}
	n.url, n.client = "http://unix", overSocket(path)
	if got := n.decide(inputOf("z1", "read", "")); got.reason() != "no_active_policy_set" {
		t.Fatalf("got %+v", got)
	}
	second := cfg
	second.StateDir = t.TempDir()
	if _, err := daemon.New(second); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("a second daemon took the socket: %v", err)
	}
	n.stop()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the socket is left: %v", err)
	}
	// A socket that a killed daemon left behind is replaced.
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	second.DecideSocket = filepath.Join(dir, "file")
	if _, err := daemon.New(second); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Fatalf("a file was taken for a socket: %v", err)
	}
}

func TestTokens(t *testing.T) { eachWay(t, tokens) }

func tokens(t *testing.T, set func(*daemon.Config)) {
	_, n, _ := one(t, func(c *daemon.Config) {
		set(c)
		c.DecideTokens = []string{"first-token-of-callers", "second-token-of-callers"}
	})
	for _, test := range []struct {
		header string
		status int
	}{
		{"Bearer second-token-of-callers", 200}, {"bearer first-token-of-callers", 200}, {"", 401},
		{"Bearer", 401}, {"Bearer first-token-of-caller", 401}, {"Basic first-token-of-callers", 401},
	} {
		for _, call := range [][2]string{{"POST", "/v1/decide"}, {"GET", "/v1/zones/z1/status"}, {"POST", "/access/v1/evaluation"}} {
			body := inputOf("z1", "read", "")
			if call[1] == "/access/v1/evaluation" {
				body = `{"subject":{"type":"user","id":"u","properties":{"zone_id":"z1"}},"action":{"name":"read"},"resource":{"type":"doc","id":"d"}}`
			}
			r := n.call(call[0], call[1], []byte(body), "Authorization", test.header)
			if r.status != test.status {
				t.Errorf("%q %s: %d %s", test.header, call[1], r.status, r.body)
			}
			if test.status == 401 && parse[decision](t, r.body).Error != "unauthorized" {
				t.Errorf("%q: %s", test.header, r.body)
			}
		}
	}
	if r := n.call("GET", "/healthz", nil); r.status != 200 {
		t.Errorf("health asks for a token: %d", r.status)
	}
}

func TestValidate(t *testing.T) {
	p := newPlane(t)
	for field, change := range map[string]func(*daemon.Config){
		"AdminURLs":       func(c *daemon.Config) { c.AdminURLs = []string{"ftp://x"} },
		"Token":           func(c *daemon.Config) { c.Token = "" },
		"Zones":           func(c *daemon.Config) { c.Zones = []string{"a/b"} },
		"TrustRoot":       func(c *daemon.Config) { c.TrustRoot = nil },
		"TrustRootSHA256": func(c *daemon.Config) { c.TrustRootSHA256 = "abc" },
		"StateDir":        func(c *daemon.Config) { c.StateDir = "" },
		"DecideAddr":      func(c *daemon.Config) { c.DecideAddr = "0.0.0.0:8181" },
		"DecideTokens":    func(c *daemon.Config) { c.DecideTokens = []string{"short"} },
		"AuditMode":       func(c *daemon.Config) { c.AuditMode = "perhaps" },
		"Lost":            func(c *daemon.Config) { c.Lost = "perhaps" },
		"Grace":           func(c *daemon.Config) { c.Grace = -1 },
		"WatchWait":       func(c *daemon.Config) { c.WatchWait = 1 << 50 },
		"RetryMax":        func(c *daemon.Config) { c.RetryMin = 2 * c.RetryMax },
		"MaxInputBytes":   func(c *daemon.Config) { c.MaxInputBytes = 2 << 20 },
		"MaxConcurrent":   func(c *daemon.Config) { c.MaxConcurrent = -1 },
		"CacheBytes":      func(c *daemon.Config) { c.CacheBytes = -1 },
		"SpoolMaxBytes":   func(c *daemon.Config) { c.SpoolMaxBytes = 100 },
		"Limits":          func(c *daemon.Config) { c.Limits.Timeout = -1 },
		"Name":            func(c *daemon.Config) { c.Name = strings.Repeat("n", 257) },
		"Labels":          func(c *daemon.Config) { c.Labels = map[string]string{"": "x"} },
	} {
		cfg := configOf(t, p)
		if err := cfg.Validate(); err != nil {
			t.Fatal(err)
		}
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.HasPrefix(err.Error(), field+": ") {
			t.Errorf("%s: %v", field, err)
		}
		var wrong *daemon.FieldError
		if _, err := daemon.New(cfg); !errors.As(err, &wrong) || wrong.Field != field {
			t.Errorf("%s: New: %v", field, err)
		}
	}
	// An address for everybody needs authentication, of one kind or another.
	cfg := configOf(t, p)
	cfg.DecideAddr = "0.0.0.0:8181"
	cfg.DecideTLS = &tls.Config{}
	if err := cfg.Validate(); err == nil {
		t.Error("TLS alone passes for authentication")
	}
	cfg.DecideTLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert}
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	cfg.DecideTLS, cfg.DecideTokens = nil, []string{"a-token-that-is-long-enough"}
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
}
