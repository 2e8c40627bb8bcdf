package daemon_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caracalai/caracald/daemon"
)

// node is a running daemon and a client of its decision API.
type node struct {
	t      testing.TB
	d      *daemon.Daemon
	cfg    daemon.Config
	url    string
	client *http.Client
	// ahead is how far its clock is ahead, in nanoseconds.
	ahead *atomic.Int64
	stop  func()
}

// configOf is a daemon's configuration for a plane, quick enough for tests.
func configOf(t testing.TB, p *plane) daemon.Config {
	cfg := daemon.Config{
		AdminURLs: []string{p.server.URL}, Token: daemonToken, TrustRoot: p.trust.roots[0], StateDir: filepath.Join(t.TempDir(), "state"),
		DecideAddr: "127.0.0.1:0", Name: "test", CacheBytes: 1 << 20,
		WatchWait: time.Second, Heartbeat: 50 * time.Millisecond, RetryMin: time.Millisecond, RetryMax: 50 * time.Millisecond,
		DrainTimeout: time.Second, ShipInterval: 20 * time.Millisecond,
	}
	if os.Getenv("TEST_LOG") != "" {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return cfg
}

// start runs a daemon until the test ends or stop is called.
func start(t testing.TB, cfg daemon.Config) *node {
	t.Helper()
	n := &node{t: t, cfg: cfg, ahead: new(atomic.Int64)}
	if cfg.Now == nil {
		cfg.Now = func() time.Time { return time.Now().Add(time.Duration(n.ahead.Load())) }
	}
	d, err := daemon.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.d = d
	n.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}
	if d.Addr() != nil {
		n.url = "http://" + d.Addr().String()
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	stopped := false
	n.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		n.client.CloseIdleConnections()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run does not end")
		}
	}
	t.Cleanup(n.stop)
	return n
}

// startReady runs a daemon and waits until it is ready.
func startReady(t testing.TB, cfg daemon.Config) *node {
	t.Helper()
	n := start(t, cfg)
	n.ready()
	return n
}

func (n *node) ready() {
	n.t.Helper()
	select {
	case <-n.d.Ready():
	case <-time.After(patience):
		n.t.Fatal("the daemon does not become ready")
	}
}

// reply is what a call was answered.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (n *node) call(method, path string, body []byte, header ...string) reply {
	n.t.Helper()
	r, err := n.try(method, path, body, header...)
	if err != nil {
		n.t.Fatal(err)
	}
	return r
}

func (n *node) try(method, path string, body []byte, header ...string) (reply, error) {
	req, err := http.NewRequest(method, n.url+path, bytes.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	if n.cfg.Name == servedBehind {
		req.Header.Set("Connection", "Keep-Alive, X-Test") // the loops leave whatever is not plain
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := n.client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, data}, err
}

// decision is an answer of /v1/decide.
type decision struct {
	Decision            string           `json:"decision"`
	EvaluationStatus    string           `json:"evaluation_status"`
	DeterminingPolicies []map[string]any `json:"determining_policies"`
	Diagnostics         []map[string]any `json:"diagnostics"`
	RequestID           string           `json:"request_id"`
	DecisionID          string           `json:"decision_id"`
	ZoneID              string           `json:"zone_id"`
	PolicySetID         *string          `json:"policy_set_id"`
	PolicySetVersionID  *string          `json:"policy_set_version_id"`
	ManifestSHA256      *string          `json:"manifest_sha256"`
	BundleSHA256        *string          `json:"bundle_sha256"`
	Error               string           `json:"error"`
	ErrorDescription    string           `json:"error_description"`
}

// decide asks for a decision, which there must be.
func (n *node) decide(input string, header ...string) decision {
	n.t.Helper()
	r := n.call("POST", "/v1/decide", []byte(input), header...)
	if r.status != http.StatusOK {
		n.t.Fatalf("decide: %d %s", r.status, r.body)
	}
	return parse[decision](n.t, r.body)
}

func parse[T any](t testing.TB, data []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return v
}

func (d decision) reason() string {
	if len(d.Diagnostics) == 0 {
		return ""
	}
	reason, _ := d.Diagnostics[0]["reason"].(string)
	return reason
}

func (d decision) tag() string {
	if len(d.Diagnostics) == 0 {
		return ""
	}
	tag, _ := d.Diagnostics[0]["tag"].(string)
	return tag
}

// status is a zone's status, which there must be.
func (n *node) status(zone string) daemon.Status {
	n.t.Helper()
	r := n.call("GET", "/v1/zones/"+zone+"/status", nil)
	if r.status != http.StatusOK {
		n.t.Fatalf("status: %d %s", r.status, r.body)
	}
	return parse[daemon.Status](n.t, r.body)
}

// inputOf is an input document. extra members are put into its context.
func inputOf(zone, action, extra string) string {
	return fmt.Sprintf(`{"schema_version":"2026-05-20",`+
		`"principal":{"type":"Application","id":"app-1","zone_id":%q},`+
		`"resource":{"type":"Resource","id":"res-1","identifier":"urn:res-1","scopes":[]},`+
		`"action":{"id":%q},"session":null,"delegation_edge":null,`+
		`"context":{"actor_claims":{},"challenge_resolved":false,"requested_scopes":[]%s}}`, zone, action, extra)
}

// reference is the reference policy and an input document of zone z1 for it.
func reference(t testing.TB) (content string, input []byte) {
	t.Helper()
	rego, err := os.ReadFile("../policy/testdata/reference/policy.rego")
	if err != nil {
		t.Fatal(err)
	}
	input, err = os.ReadFile("../policy/testdata/reference/input.json")
	if err != nil {
		t.Fatal(err)
	}
	return string(rego), bytes.ReplaceAll(input, []byte("zone-1"), []byte("z1"))
}

// overSocket makes a client of a Unix socket.
func overSocket(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
}
