package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/caracalai/caracald/admin/api"
	adminclient "github.com/caracalai/caracald/admin/client"
)

const patience = time.Minute

// processes runs the commands of this repository as people do.
type processes struct {
	t   *testing.T
	bin string
	dir string
}

func build(t *testing.T) *processes {
	t.Helper()
	// A socket's path must be short.
	dir, err := os.MkdirTemp("", "sts")
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	p := &processes{t, filepath.Join(dir, "bin"), dir}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", p.bin+"/", "../../cmd/caracal", ".", "./idp")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	return p
}

// start starts a command and gives what kills it, without asking it.
func (p *processes) start(name string, args ...string) (kill func()) {
	p.t.Helper()
	cmd := exec.Command(filepath.Join(p.bin, name), args...)
	log, err := os.OpenFile(filepath.Join(p.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	check(p.t, err)
	cmd.Stdout, cmd.Stderr = log, log
	check(p.t, cmd.Start())
	check(p.t, log.Close())
	kill = sync.OnceFunc(func() {
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			p.t.Error(err)
		}
		_ = cmd.Wait() // it was killed, which is an error
	})
	p.t.Cleanup(func() {
		kill()
		if p.t.Failed() {
			data, err := os.ReadFile(log.Name())
			p.t.Logf("%s: %v\n%s", name, err, data)
		}
	})
	return kill
}

// dev starts caracal dev, and gives a client of its control plane, its zone and what kills it.
func (p *processes) dev() (*adminclient.Client, string, func()) {
	p.t.Helper()
	env := filepath.Join(p.dir, "data", "env")
	if err := os.Remove(env); err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.t.Fatal(err)
	}
	kill := p.start("caracal", "dev", "--data-dir", filepath.Join(p.dir, "data"), "--admin-addr", "127.0.0.1:0", "--decide-addr", "127.0.0.1:0")
	set := map[string]string{}
	p.eventually("caracal dev to be ready", func() bool {
		f, err := os.Open(env)
		if err != nil {
			return false
		}
		defer func() { _ = f.Close() }()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			name, value, _ := strings.Cut(strings.TrimPrefix(lines.Text(), "export "), "=")
			set[name] = value
		}
		return set["CARACAL_DECIDE_URL"] != ""
	})
	c, err := adminclient.New(set["CARACAL_API_URL"], set["CARACAL_ADMIN_TOKEN"])
	check(p.t, err)
	return c, set["CARACAL_ZONE_ID"], kill
}

func (p *processes) eventually(what string, holds func() bool) {
	p.t.Helper()
	end := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-end:
			p.t.Fatalf("waited too long for %s", what)
		}
	}
}

// presents gives a token of the stand-in for an identity provider.
func (p *processes) presents(args ...string) string {
	p.t.Helper()
	out, err := exec.Command(filepath.Join(p.bin, "idp"), append([]string{"--dir", filepath.Join(p.dir, "idp")}, args...)...).Output()
	check(p.t, err)
	return strings.TrimSpace(string(out))
}

// The daemon is killed while tokens are asked for. No token is minted after, and
// each that was minted before has its decision in the audit once the daemon is
// back: it was on the disk before the STS was answered.
func TestDaemonKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds three commands")
	}
	p := build(t)
	admin, zone, kill := p.dev()
	activate(t, admin, zone)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	addr := l.Addr().String()
	check(t, l.Close())
	base := "http://" + addr
	agent := p.presents("--audience", base)
	p.start("sts", "--listen", addr, "--zone", zone, "--decide-socket", filepath.Join(p.dir, "data", "decide.sock"), "--subject-jwks", filepath.Join(p.dir, "idp", "jwks.json"), "--decide-timeout", "20s")
	p.eventually("the STS", func() bool {
		resp, err := http.Get(base + "/readyz")
		return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
	s := &scene{t: t, url: base}
	ask := func(more ...string) (reply, error) { return s.try(s.asks(agent, "payments:read", more...)) }

	var mintedBefore atomic.Int64
	var mu sync.Mutex
	tokens := map[string]string{} // decision by request
	done := make(chan struct{})
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				r, err := ask()
				switch {
				case err != nil:
					t.Error(err)
					return
				case r.status == http.StatusOK:
					mu.Lock()
					tokens[r.header.Get("X-Request-Id")] = decisionOf(t, r.AccessToken)
					mu.Unlock()
					mintedBefore.Add(1)
				case r.status != http.StatusServiceUnavailable || r.Code != temporarilyUnavailable:
					t.Errorf("%d %s", r.status, r.text)
				}
			}
		})
	}
	p.eventually("tokens", func() bool { return mintedBefore.Load() >= 50 })
	kill()
	for range 10 {
		if r, err := ask(); err != nil || r.status != http.StatusServiceUnavailable || r.Code != temporarilyUnavailable {
			t.Errorf("without a daemon: %d %s, %v", r.status, r.text, err)
		}
	}
	close(done)
	work.Wait()

	admin, _, _ = p.dev()
	p.eventually("a token again", func() bool {
		r, err := ask()
		return err == nil && r.status == http.StatusOK
	})
	for request, decision := range tokens {
		p.eventually("the record of request "+request, func() bool {
			events, err := admin.AuditByRequest(t.Context(), zone, request)
			for _, e := range events {
				if e.ID == decision && e.Decision == "allow" {
					return true
				}
			}
			if err != nil && !errors.Is(err, adminclient.ErrNotFound) {
				t.Fatal(err)
			}
			return false
		})
	}
	t.Logf("%d tokens before the kill, each with its record", len(tokens))
}

func decisionOf(t *testing.T, token string) string {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Error(err)
		return ""
	}
	m := &minted{}
	if err := parsed.UnsafeClaimsWithoutVerification(m); err != nil || len(m.Decisions) != 1 {
		t.Errorf("%+v, %v", m, err)
		return ""
	}
	return m.Decisions[0].DecisionID
}

// activate makes the payments example's policies govern a zone.
func activate(t *testing.T, admin *adminclient.Client, zone string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var ids []string
	for name, content := range payments(t) {
		made, err := admin.CreatePolicy(ctx, zone, api.PolicyCreate{Name: name, Content: content})
		check(t, err)
		ids = append(ids, made.VersionID)
	}
	set, err := admin.CreatePolicySet(ctx, zone, api.PolicySetCreate{Name: "payments"})
	check(t, err)
	version, err := admin.AddSetVersion(ctx, zone, set.ID, ids...)
	check(t, err)
	done, err := admin.Activate(ctx, zone, set.ID, api.ActivateRequest{VersionID: version.ID})
	check(t, err)
	_, err = admin.WaitLoaded(ctx, zone, set.ID, version.ID, done.OutboxID, nil)
	check(t, err)
}

// Wrong settings end the command with their reason, and start nothing.
func TestSettings(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		check(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	private, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: newKey(t), KeyID: "1"}}})
	check(t, err)
	public, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: newKey(t).Public(), KeyID: "1"}}})
	check(t, err)
	keys := write("jwks.json", string(public))
	base := func(more ...string) []string {
		return append([]string{"--listen", "127.0.0.1:0", "--zone", "z", "--subject-jwks", keys}, more...)
	}
	t.Setenv("CARACAL_ZONE_ID", "")
	for name, args := range map[string][]string{
		"no zone":      {"--subject-jwks", keys},
		"no keys":      {"--zone", "z"},
		"missing keys": {"--zone", "z", "--subject-jwks", filepath.Join(dir, "none")},
		"empty keys":   {"--zone", "z", "--subject-jwks", write("empty.json", `{"keys":[]}`)},
		"private keys": {"--zone", "z", "--subject-jwks", write("private.json", string(private))},
		"daemon":       base("--decide-url", "ftp://h"),
		"resources":    base("--resources", write("resources.json", "{")),
		"key":          base("--key", write("key.pem", "x")),
		"lifetime":     base("--lifetime", "1ms"),
		"address":      base("--listen", "256.0.0.1:x"),
		"flag":         base("--nope"),
	} {
		if err := run(t.Context(), args, &strings.Builder{}); err == nil {
			t.Errorf("%s: it ran", name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := run(ctx, base(), &strings.Builder{}); err != nil {
		t.Errorf("good settings: %v", err)
	}
}
