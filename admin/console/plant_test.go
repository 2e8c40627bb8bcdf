package console_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/client"
	"github.com/caracalai/caracald/internal/provision"
)

// binaries are where caracal and caracald were built to.
var binaries struct {
	once sync.Once
	dir  string
}

// TestMain ends what all tests share.
func TestMain(m *testing.M) {
	code := m.Run()
	if chromium.end != nil {
		chromium.end()
	}
	if binaries.dir != "" {
		_ = os.RemoveAll(binaries.dir) // a temporary directory
	}
	os.Exit(code)
}

// binary gives the path of caracal or caracald, as they are built for people.
func binary(t *testing.T, name string) string {
	t.Helper()
	binaries.once.Do(func() {
		dir, err := os.MkdirTemp("", "caracal-console-")
		if err != nil {
			t.Fatal(err)
		}
		binaries.dir = dir
		provision.Run(t, filepath.Join("..", ".."), []string{"CGO_ENABLED=0"}, "go", "build", "-o", dir+"/", "./cmd/caracal", "./cmd/caracald")
	})
	return filepath.Join(binaries.dir, name)
}

// plant is a control plane and a daemon, each a process of its own.
type plant struct {
	t             *testing.T
	dir           string
	api, decide   string // URLs
	token, zone   string
	client        *client.Client
	admin, daemon *process
}

// process is a child that can be ended and started again.
type process struct {
	t    *testing.T
	make func() *exec.Cmd
	cmd  *exec.Cmd
	log  logbook
}

// logbook keeps what a process writes; it may be read while the process runs.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (p *process) start() {
	p.t.Helper()
	p.cmd = p.make()
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
}

// kill ends the process the way a power cut does.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.cmd.Wait()
	p.cmd = nil
}

// newPlant starts both over an empty store with one zone.
func newPlant(t *testing.T) *plant {
	t.Helper()
	p := &plant{t: t, dir: t.TempDir(), token: "bootstrap-secret-of-browser-tests"}
	addrs := [2]string{}
	for i := range addrs {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addrs[i] = l.Addr().String()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	p.api, p.decide = "http://"+addrs[0], "http://"+addrs[1]
	caracal, caracald := binary(t, "caracal"), binary(t, "caracald")
	p.admin = &process{t: t, make: func() *exec.Cmd {
		cmd := exec.Command(caracal, "admin", "--admin-addr", addrs[0], "--data-dir", filepath.Join(p.dir, "admin"))
		cmd.Env = append(os.Environ(), "CARACAL_ADMIN_TOKEN="+p.token)
		return cmd
	}}
	p.admin.start()
	t.Cleanup(p.admin.kill)
	p.waitReady(p.api)
	var err error
	if p.client, err = client.New(p.api, p.token); err != nil {
		t.Fatal(err)
	}
	zone, err := p.client.CreateZone(t.Context(), api.ZoneCreate{Name: "payments"})
	if err != nil {
		t.Fatal(err)
	}
	p.zone = zone.ID
	token, err := p.client.CreateToken(t.Context(), api.TokenCreate{Name: "sts-node-1", Roles: []string{api.RoleDaemon}})
	if err != nil {
		t.Fatal(err)
	}
	trust, err := p.client.Trust(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(p.dir, "root.json")
	if err := os.WriteFile(root, trust.Roots[0], 0o600); err != nil {
		t.Fatal(err)
	}
	p.daemon = &process{t: t, make: func() *exec.Cmd {
		cmd := exec.Command(caracald, "--admin-url", p.api, "--trust-root", root, "--state-dir", filepath.Join(p.dir, "daemon"),
			"--decide-addr", addrs[1], "--name", "sts-node-1", "--zone", p.zone)
		cmd.Env = append(os.Environ(), "CARACALD_TOKEN="+token.Secret)
		return cmd
	}}
	p.daemon.start()
	t.Cleanup(func() {
		p.daemon.kill()
		if t.Failed() {
			t.Logf("the control plane's log:\n%s\nthe daemon's log:\n%s", &p.admin.log, &p.daemon.log)
		}
	})
	p.waitReady(p.decide)
	return p
}

func (p *plant) waitReady(base string) {
	p.t.Helper()
	if !within(func() bool {
		resp, err := http.Get(base + "/readyz")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}) {
		p.t.Fatalf("%s is not ready", base)
	}
}

// link is what `caracal web --print` prints.
func (p *plant) link() string {
	p.t.Helper()
	return strings.TrimSpace(p.caracal("web", "--print"))
}

// caracal runs a command of the CLI, and gives what it prints.
func (p *plant) caracal(args ...string) string {
	p.t.Helper()
	return provision.Run(p.t, p.dir, []string{"CARACAL_API_URL=" + p.api, "CARACAL_ADMIN_TOKEN=" + p.token, "CARACAL_ZONE_ID=" + p.zone, "CARACAL_DECIDE_URL=" + p.decide}, binary(p.t, "caracal"), args...)
}

// policies are the zone's, newest first.
func (p *plant) policies() []api.Policy {
	p.t.Helper()
	list, err := p.client.Policies(p.t.Context(), p.zone, client.Page{})
	if err != nil {
		p.t.Fatal(err)
	}
	return list.Items
}

// publish makes a policy, a set of the same name, and a version of it.
func (p *plant) publish(name, content string) (api.PolicySet, api.PolicySetVersion) {
	p.t.Helper()
	policy, err := p.client.CreatePolicy(p.t.Context(), p.zone, api.PolicyCreate{Name: name, Content: content})
	if err != nil {
		p.t.Fatal(err)
	}
	set, err := p.client.CreatePolicySet(p.t.Context(), p.zone, api.PolicySetCreate{Name: name})
	if err != nil {
		p.t.Fatal(err)
	}
	version, err := p.client.AddSetVersion(p.t.Context(), p.zone, set.ID, policy.VersionID)
	if err != nil {
		p.t.Fatal(err)
	}
	return set, version
}

// activate publishes, activates, and waits until the daemon decides by it.
func (p *plant) activate(name, content string) (api.PolicySet, api.PolicySetVersion) {
	p.t.Helper()
	set, version := p.publish(name, content)
	p.caracal("policy-set", "activate", name, version.ID, "--wait", patience.String())
	return set, version
}

// answer is a decision of the daemon, as far as tests read it.
type answer struct {
	Decision           string  `json:"decision"`
	RequestID          string  `json:"request_id"`
	PolicySetVersionID *string `json:"policy_set_version_id"`
}

// ask asks the daemon whether an agent may get a scope.
func (p *plant) ask(requestID, scope string) answer {
	p.t.Helper()
	body := fmt.Appendf(nil, `{"schema_version":"2026-05-20","principal":{"type":"agent","id":"agent-reconciler","zone_id":%q,"labels":["role:operator"]},
		"resource":{"type":"service","id":"res-ledger","identifier":"urn:payments:ledger","scopes":["payments:read","payments:refund"]},
		"action":{"id":"token:exchange"},"session":null,"delegation_edge":null,
		"context":{"actor_claims":{},"challenge_resolved":false,"requested_scopes":[%q]}}`, p.zone, scope)
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.decide+"/v1/decide", bytes.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("X-Request-Id", requestID)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		p.t.Fatalf("the daemon answers %d %s (%v)", resp.StatusCode, data, err)
	}
	var a answer
	if err := json.Unmarshal(data, &a); err != nil {
		p.t.Fatal(err)
	}
	return a
}
