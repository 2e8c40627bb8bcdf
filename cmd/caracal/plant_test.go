package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/client"
)

// plant is a control plane and a daemon as processes of their own, over
// directories that outlive them.
type plant struct {
	t                *testing.T
	dir              string
	daemonBinary     string
	adminURL, decide string
	token            string
	client           *client.Client
	zone, set        string
	admin, daemon    *process
	// adminArgs and daemonArgs are added to the command lines.
	adminArgs, daemonArgs []string
}

// process is a child that can be killed and started again.
type process struct {
	t    *testing.T
	name string
	make func() *exec.Cmd
	cmd  *exec.Cmd
	log  *tail
}

// tail keeps the end of a log.
type tail struct {
	mu   sync.Mutex
	data []byte
}

func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.data = append(l.data, p...)
	if more := len(l.data) - 64<<10; more > 0 {
		l.data = l.data[more:]
	}
	return len(p), nil
}

func (p *process) start() {
	p.cmd = p.make()
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Errorf("starting %s: %v", p.name, err)
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

// stop ends the process the way an operator does, and wants a clean exit.
func (p *process) stop() {
	if p.cmd == nil {
		return
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		p.t.Errorf("stopping %s: %v", p.name, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			p.t.Errorf("%s ended with %v:\n%s", p.name, err, p.log.data)
		}
	case <-time.After(patience):
		p.t.Errorf("%s does not end", p.name)
		_ = p.cmd.Process.Kill()
	}
	p.cmd = nil
}

func newPlant(t *testing.T, adminArgs ...string) *plant {
	t.Helper()
	return newPlantOf(t, adminArgs, nil)
}

func newPlantOf(t *testing.T, adminArgs, daemonArgs []string) *plant {
	t.Helper()
	p := &plant{t: t, dir: t.TempDir(), token: "bootstrap-secret-of-tests", adminArgs: adminArgs, daemonArgs: daemonArgs}
	p.daemonBinary = filepath.Join(t.TempDir(), "caracald")
	if out, err := exec.Command("go", "build", "-o", p.daemonBinary, "../caracald").CombinedOutput(); err != nil {
		t.Fatalf("building caracald: %v\n%s", err, out)
	}
	adminAddr, err := freeAddr()
	if err != nil {
		t.Fatal(err)
	}
	decideAddr, err := freeAddr()
	if err != nil {
		t.Fatal(err)
	}
	p.adminURL, p.decide = "http://"+adminAddr, "http://"+decideAddr
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p.admin = p.controlPlane(self, adminAddr)
	p.admin.start()
	t.Cleanup(p.admin.kill)
	if p.client, err = client.New(p.adminURL, p.token, client.WithRetries(40, 20*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	zone, err := p.client.CreateZone(t.Context(), api.ZoneCreate{Name: "kills"})
	if err != nil {
		t.Fatalf("%v\n%s", err, p.admin.log.data)
	}
	p.zone = zone.ID
	set, err := p.client.CreatePolicySet(t.Context(), p.zone, api.PolicySetCreate{Name: "set"})
	if err != nil {
		t.Fatal(err)
	}
	p.set = set.ID
	token, err := p.client.CreateToken(t.Context(), api.TokenCreate{Name: "daemon", Roles: []string{api.RoleDaemon}, ZoneID: &p.zone})
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
	p.daemon = &process{t: t, name: "caracald", log: &tail{}, make: func() *exec.Cmd {
		cmd := exec.Command(p.daemonBinary, "--admin-url", p.adminURL, "--zone", p.zone, "--trust-root", root,
			"--state-dir", filepath.Join(p.dir, "daemon"), "--decide-addr", decideAddr)
		cmd.Args = append(cmd.Args, p.daemonArgs...)
		cmd.Env = append(os.Environ(), "CARACALD_TOKEN="+token.Secret)
		return cmd
	}}
	p.daemon.start()
	t.Cleanup(p.daemon.kill)
	p.waitReady()
	return p
}

// controlPlane is a control plane that is not started yet.
func (p *plant) controlPlane(self, addr string) *process {
	return &process{t: p.t, name: "caracal admin", log: &tail{}, make: func() *exec.Cmd {
		cmd := exec.Command(self, "admin", "--admin-addr", addr, "--data-dir", filepath.Join(p.dir, "admin"), "--maintenance-interval", "200ms")
		cmd.Args = append(cmd.Args, p.adminArgs...)
		cmd.Env = append(os.Environ(), asCaracal+"=1", "CARACAL_ADMIN_TOKEN="+p.token)
		return cmd
	}}
}

// waitReady waits until the daemon is ready.
func (p *plant) waitReady() {
	p.t.Helper()
	p.eventually("the daemon is ready", func() bool {
		resp, err := http.Get(p.decide + "/readyz")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

func (p *plant) eventually(what string, holds func() bool) {
	p.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-late:
			p.t.Fatalf("never happened: %s\n-- admin\n%s\n-- daemon\n%s", what, p.admin.log.data, p.daemon.log.data)
		}
	}
}

// publish makes a set version of its own: no two have the same policy.
func (p *plant) publish(ctx context.Context, policyID *string, n int) (api.PolicySetVersion, error) {
	content := fmt.Sprintf(`package caracal.authz

default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": [{"reason": "number %d"}]}

result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": [{"reason": "number %d"}]} if {
	"read" in input.context.requested_scopes
}
`, n, n)
	var version string
	if *policyID == "" {
		created, err := p.client.CreatePolicy(ctx, p.zone, api.PolicyCreate{Name: "policy", Content: content})
		if err != nil {
			return api.PolicySetVersion{}, err
		}
		*policyID, version = created.ID, created.VersionID
	} else {
		v, err := p.client.AddPolicyVersion(ctx, p.zone, *policyID, api.PolicyVersionCreate{Content: content})
		if err != nil {
			return api.PolicySetVersion{}, err
		}
		version = v.ID
	}
	return p.client.AddSetVersion(ctx, p.zone, p.set, version)
}

func (p *plant) input(scope string) []byte {
	return fmt.Appendf(nil, `{"schema_version":"2026-05-20","principal":{"type":"agent","id":"a","zone_id":%q},
		"resource":{"type":"t","id":"r","identifier":"urn:r","scopes":["read","write"]},"action":{"id":"x"},"session":null,"delegation_edge":null,
		"context":{"actor_claims":{},"challenge_resolved":false,"requested_scopes":[%q]}}`, p.zone, scope)
}

// asked is one answered decision.
type asked struct {
	decision
	scope string
}

// ask asks the daemon once. A nil error means that it answered a decision.
func (p *plant) ask(ctx context.Context, h *http.Client, scope string) (asked, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.decide+"/v1/decide", bytes.NewReader(p.input(scope)))
	if err != nil {
		return asked{}, err
	}
	resp, err := h.Do(req)
	if err != nil {
		return asked{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return asked{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return asked{}, fmt.Errorf("%w: %d %s", errRefused, resp.StatusCode, data)
	}
	a := asked{scope: scope}
	return a, json.Unmarshal(data, &a.decision)
}

// errRefused is an answer that is no decision.
var errRefused = errors.New("refused")

// events reads the whole audit of the zone, by decision id.
func (p *plant) events() (map[string]api.Event, int64) {
	p.t.Helper()
	body, err := p.client.Export(p.t.Context(), p.zone, client.AuditQuery{}, "ndjson")
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = body.Close() }()
	byID := map[string]api.Event{}
	var gaps int64
	d := json.NewDecoder(body)
	for {
		var e api.Event
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			return byID, gaps
		} else if err != nil {
			p.t.Fatal(err)
		}
		if e.EventType == "audit_gap" {
			var m struct{ Count int64 }
			if err := json.Unmarshal(e.MetadataJSON, &m); err != nil {
				p.t.Fatal(err)
			}
			gaps += m.Count
			continue
		}
		if _, twice := byID[e.ID]; twice {
			p.t.Errorf("the audit has decision %s twice", e.ID)
		}
		byID[e.ID] = e
	}
}

// checkAnswers compares answers with the audit and with what was activated.
// Each of the lists is what one caller got, in order.
func (p *plant) checkAnswers(lists [][]asked, sequences map[string]int64) {
	p.t.Helper()
	total := 0
	var missing int64
	events, gaps := map[string]api.Event{}, int64(0)
	p.eventually("all audit is shipped", func() bool {
		events, gaps = p.events()
		missing = 0
		for _, list := range lists {
			for _, a := range list {
				if _, ok := events[a.DecisionID]; !ok {
					missing++
				}
			}
		}
		return missing <= gaps
	})
	for caller, list := range lists {
		last := int64(-1)
		for _, a := range list {
			total++
			version := ""
			if a.PolicySetVersionID != nil {
				version = *a.PolicySetVersionID
			}
			sequence, active := sequences[version]
			if !active {
				p.t.Errorf("caller %d was answered by version %q, which was never active", caller, version)
			}
			if sequence < last {
				p.t.Errorf("caller %d was answered by sequence %d after %d", caller, sequence, last)
			}
			last = sequence
			want := "deny"
			if a.scope == "read" && version != "" {
				want = "allow"
			}
			if a.Decision != want {
				p.t.Errorf("caller %d was answered %s for %s by version %q", caller, a.Decision, a.scope, version)
			}
			e, ok := events[a.DecisionID]
			if !ok {
				continue // counted above
			}
			if e.PolicySetVersionID != version || e.Decision != a.Decision || e.RequestID != a.RequestID ||
				(version != "" && (e.BundleSHA256 != *a.BundleSHA256 || e.ManifestSHA != *a.ManifestSHA256)) {
				p.t.Errorf("the record of decision %s is of another: %+v", a.DecisionID, e)
			}
		}
	}
	p.t.Logf("%d answers, %d events, %d counted as gaps", total, len(events), gaps)
	if total == 0 {
		p.t.Error("nothing was answered")
	}
}

// history maps each version that was ever active to its sequence, and checks
// that sequences have neither gaps nor duplicates.
func (p *plant) history() map[string]int64 {
	p.t.Helper()
	list, err := collect(client.All(p.t.Context(), func(ctx context.Context, at client.Page) (api.Page[api.Activation], error) {
		return p.client.Activations(ctx, p.zone, at)
	}))
	if err != nil {
		p.t.Fatal(err)
	}
	sequences := map[string]int64{}
	for i, a := range list {
		if want := int64(len(list) - 1 - i); a.Sequence != want {
			p.t.Errorf("activation %d from the newest has sequence %d, want %d", i, a.Sequence, want)
		}
		version := ""
		if a.VersionID != nil {
			version = *a.VersionID
		}
		if other, twice := sequences[version]; twice && !strings.HasPrefix(a.Reason, "again") {
			p.t.Errorf("version %q was activated as %d and %d", version, other, a.Sequence)
		}
		sequences[version] = a.Sequence
	}
	return sequences
}
