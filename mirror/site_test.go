package mirror_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/caracalai/caracald/admin"
	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/client"
	"github.com/caracalai/caracald/admin/store/sqlite"
	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/daemon"
	"github.com/caracalai/caracald/mirror"
)

const (
	// patience bounds how long a test waits for what must happen.
	patience = time.Minute
	root     = "bootstrap-secret-of-tests"
)

// site is a real control plane, and a line to it that can be cut.
type site struct {
	t      *testing.T
	keys   admin.Keys
	client *client.Client
	// line is the address of the control plane as mirrors have it.
	line *httptest.Server
	cut  atomic.Bool
	// between, where set, may answer a call on the line instead.
	between atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]
	// calls counts the calls on the line by path.
	mu    sync.Mutex
	calls map[string]int
	token string // of the mirror
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, calls: map[string]int{}}
	st, err := sqlite.Open(t.Context(), t.TempDir(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	if s.keys, err = admin.LoadOrCreateKeys(t.Context(), st, time.Now()); err != nil {
		t.Fatal(err)
	}
	plane, err := admin.New(t.Context(), admin.Config{Store: st, Keys: s.keys, BootstrapToken: root})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- plane.Run(ctx) }()
	near := httptest.NewServer(plane.Handler())
	s.line = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.cut.Load() {
			panic(http.ErrAbortHandler)
		}
		s.mu.Lock()
		s.calls[r.URL.Path]++
		s.mu.Unlock()
		if f := s.between.Load(); f != nil && (*f)(w, r) {
			return
		}
		plane.Handler().ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		for _, server := range []*httptest.Server{s.line, near} {
			server.CloseClientConnections()
			server.Close()
		}
	})
	if s.client, err = client.New(near.URL, root); err != nil {
		t.Fatal(err)
	}
	s.token = s.newToken("mirror", nil).Secret
	return s
}

// cutOff breaks the line, with all that is on it.
func (s *site) cutOff() {
	s.cut.Store(true)
	s.line.CloseClientConnections()
}

func (s *site) mend() { s.cut.Store(false) }

func (s *site) newToken(name string, zone *string) api.TokenCreated {
	s.t.Helper()
	token, err := s.client.CreateToken(s.t.Context(), api.TokenCreate{Name: name, Roles: []string{api.RoleDaemon}, ZoneID: zone})
	if err != nil {
		s.t.Fatal(err)
	}
	return token
}

// governed is a zone with a set.
type governed struct {
	s             *site
	id, set, rule string
	versions      int
}

func (s *site) zone(name string) *governed {
	s.t.Helper()
	z, err := s.client.CreateZone(s.t.Context(), api.ZoneCreate{Name: name})
	if err != nil {
		s.t.Fatal(err)
	}
	set, err := s.client.CreatePolicySet(s.t.Context(), z.ID, api.PolicySetCreate{Name: "set"})
	if err != nil {
		s.t.Fatal(err)
	}
	return &governed{s: s, id: z.ID, set: set.ID}
}

// publish makes a version whose decisions say its number.
func (g *governed) publish() api.PolicySetVersion {
	g.s.t.Helper()
	g.versions++
	content := fmt.Sprintf(`package caracal.authz

default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": [{"reason": "version %d"}]}

result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": [{"reason": "version %d"}]} if {
	"read" in input.context.requested_scopes
}
`, g.versions, g.versions)
	var version string
	if g.rule == "" {
		p, err := g.s.client.CreatePolicy(g.s.t.Context(), g.id, api.PolicyCreate{Name: "rule", Content: content})
		if err != nil {
			g.s.t.Fatal(err)
		}
		g.rule, version = p.ID, p.VersionID
	} else {
		v, err := g.s.client.AddPolicyVersion(g.s.t.Context(), g.id, g.rule, api.PolicyVersionCreate{Content: content})
		if err != nil {
			g.s.t.Fatal(err)
		}
		version = v.ID
	}
	v, err := g.s.client.AddSetVersion(g.s.t.Context(), g.id, g.set, version)
	if err != nil {
		g.s.t.Fatal(err)
	}
	return v
}

// activate publishes a version and activates it.
func (g *governed) activate() api.PolicySetVersion {
	g.s.t.Helper()
	v := g.publish()
	if _, err := g.s.client.Activate(g.s.t.Context(), g.id, g.set, api.ActivateRequest{VersionID: v.ID}); err != nil {
		g.s.t.Fatal(err)
	}
	return v
}

// relay is a running mirror.
type relay struct {
	t      *testing.T
	cfg    mirror.Config
	m      *mirror.Mirror
	url    string
	reader *metric.ManualReader
	stop   func()
}

// logs are written where TEST_LOG is set.
func logs() *slog.Logger {
	if os.Getenv("TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil))
}

// mirror starts a mirror of its own directory.
func (s *site) mirror(change func(*mirror.Config)) *relay {
	s.t.Helper()
	cfg := mirror.Config{
		AdminURLs: []string{s.line.URL}, Token: s.token, TrustRoot: s.keys.Roots[0], StateDir: filepath.Join(s.t.TempDir(), "mirror"),
		WatchWait: 2 * time.Second, RetryMin: time.Millisecond, RetryMax: 50 * time.Millisecond, GrantRecheck: 50 * time.Millisecond,
		BundleTimeout: 5 * time.Second, Logger: logs(),
	}
	if change != nil {
		change(&cfg)
	}
	return startMirror(s.t, cfg)
}

func startMirror(t *testing.T, cfg mirror.Config) *relay {
	t.Helper()
	r := &relay{t: t, cfg: cfg, reader: metric.NewManualReader()}
	cfg.MeterProvider = metric.NewMeterProvider(metric.WithReader(r.reader))
	var err error
	if r.m, err = mirror.New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.m.Run(ctx) }()
	server := httptest.NewServer(r.m.Handler())
	r.url = server.URL
	r.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run does not end")
		}
		server.CloseClientConnections()
		server.Close()
	})
	t.Cleanup(r.stop)
	return r
}

// restart stops the mirror and starts another one over its directory.
func (r *relay) restart() *relay {
	r.t.Helper()
	r.stop()
	return startMirror(r.t, r.cfg)
}

// call asks the mirror and gives status and body.
func (r *relay) call(method, path, token string, body any, header ...string) (int, http.Header, []byte) {
	r.t.Helper()
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			r.t.Fatal(err)
		}
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, bytes.NewReader(data))
	if err != nil {
		r.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, answer
}

// watch asks for every pointer, without waiting, and gives the status and the
// sequence of each zone.
func (r *relay) watch(token string) (int, map[string]int64) {
	r.t.Helper()
	status, _, body := r.call("POST", "/v1/pointers/watch", token, bundle.WatchRequest{Zones: bundle.AllZones()})
	sequences := map[string]int64{}
	if status == http.StatusOK {
		var answer bundle.WatchResponse
		if err := json.Unmarshal(body, &answer); err != nil {
			r.t.Fatal(err)
		}
		for _, p := range answer.Pointers {
			sequences[p.ZoneID] = p.Sequence
		}
	}
	return status, sequences
}

// measured reads the sum of a metric over its attributes; 0 where it was never used.
func (r *relay) measured(name string) int64 {
	r.t.Helper()
	var all metricdata.ResourceMetrics
	if err := r.reader.Collect(context.Background(), &all); err != nil {
		r.t.Fatal(err)
	}
	total := int64(0)
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name != name {
				continue
			}
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, point := range data.DataPoints {
					total += point.Value
				}
			case metricdata.Gauge[int64]:
				for _, point := range data.DataPoints {
					total += point.Value
				}
			}
		}
	}
	return total
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("never happened: %s", what)
		}
	}
}

// node is a running daemon.
type node struct {
	t    *testing.T
	cfg  daemon.Config
	d    *daemon.Daemon
	stop func()
}

// daemon starts a daemon that knows of no control plane but the mirror.
func (s *site) daemon(r *relay, token string, change func(*daemon.Config)) *node {
	s.t.Helper()
	cfg := daemon.Config{
		AdminURLs: []string{r.url}, Token: token, TrustRoot: s.keys.Roots[0], StateDir: filepath.Join(s.t.TempDir(), "daemon"),
		DecideAddr: "127.0.0.1:0", Name: "node", WatchWait: 2 * time.Second, Heartbeat: 50 * time.Millisecond,
		RetryMin: time.Millisecond, RetryMax: 50 * time.Millisecond, DrainTimeout: 10 * time.Millisecond, Logger: logs(),
	}
	if change != nil {
		change(&cfg)
	}
	return startDaemon(s.t, cfg)
}

func startDaemon(t *testing.T, cfg daemon.Config) *node {
	t.Helper()
	d, err := daemon.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	n := &node{t: t, cfg: cfg, d: d}
	n.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("the daemon does not end")
		}
	})
	t.Cleanup(n.stop)
	select {
	case <-d.Ready():
	case <-time.After(patience):
		t.Fatal("the daemon does not become ready")
	}
	return n
}

// decide asks for a decision in a zone; it gives the version and the decision's id.
func (n *node) decide(zone string) (version, id string) {
	n.t.Helper()
	input := fmt.Sprintf(`{"schema_version":"2026-05-20","principal":{"type":"agent","id":"a","zone_id":%q},
		"resource":{"type":"t","id":"r","identifier":"urn:r","scopes":["read"]},"action":{"id":"x"},"session":null,"delegation_edge":null,
		"context":{"actor_claims":{},"challenge_resolved":false,"requested_scopes":["read"]}}`, zone)
	resp, err := http.Post("http://"+n.d.Addr().String()+"/v1/decide", "application/json", bytes.NewReader([]byte(input)))
	if err != nil {
		n.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		Decision           string  `json:"decision"`
		DecisionID         string  `json:"decision_id"`
		PolicySetVersionID *string `json:"policy_set_version_id"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
		n.t.Fatalf("decide: %d %v", resp.StatusCode, err)
	}
	if answer.PolicySetVersionID == nil || answer.Decision != "allow" {
		return "", answer.DecisionID
	}
	return *answer.PolicySetVersionID, answer.DecisionID
}

// decidesBy waits until the daemon decides by a version.
func (n *node) decidesBy(zone, version string) {
	n.t.Helper()
	eventually(n.t, "the daemon decides by the version", func() bool {
		got, _ := n.decide(zone)
		return got == version
	})
}

// events gives how often the control plane's audit has each decision of a zone.
func (s *site) events(zone string) map[string]int {
	s.t.Helper()
	found := map[string]int{}
	at := client.Page{}
	for {
		page, err := s.client.Audit(s.t.Context(), zone, client.AuditQuery{}, at)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, e := range page.Items {
			found[e.ID]++
		}
		if page.NextCursor == nil {
			return found
		}
		at.Cursor = *page.NextCursor
	}
}
