package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin/api"
)

// halfway is a line to a control plane that can stop bundles in the middle.
type halfway struct {
	*httptest.Server
	// stopping tells that bundles are stopped; stopped has a value for each that is.
	stopping atomic.Bool
	stopped  chan struct{}
}

func newHalfway(t *testing.T, to string) *halfway {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ErrorLog = log.New(io.Discard, "", 0) // a line that breaks is what is tested
	h := &halfway{stopped: make(chan struct{}, 100)}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.stopping.Load() || !strings.HasPrefix(r.URL.Path, "/v1/bundles/") {
			proxy.ServeHTTP(w, r)
			return
		}
		whole := httptest.NewRecorder()
		proxy.ServeHTTP(whole, r)
		w.Header().Set("Content-Length", whole.Header().Get("Content-Length"))
		_, _ = w.Write(whole.Body.Bytes()[:whole.Body.Len()/2])
		_ = http.NewResponseController(w).Flush()
		h.stopped <- struct{}{}
		<-r.Context().Done()
	}))
	t.Cleanup(func() {
		h.CloseClientConnections()
		h.Close()
	})
	return h
}

// TestMirrorKilled kills a mirror while it caches bundles, in the middle of a
// transfer and at any moment, while versions are activated: what it keeps has its
// hash, it goes on where it was, and a daemon behind it decides by the newest
// version.
func TestMirrorKilled(t *testing.T) {
	p := newPlant(t)
	p.daemon.stop()
	line := newHalfway(t, p.adminURL)
	addr, err := freeAddr()
	if err != nil {
		t.Fatal(err)
	}
	token, err := p.client.CreateToken(t.Context(), api.TokenCreate{Name: "mirror", Roles: []string{api.RoleDaemon}})
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(p.dir, "mirror")
	m := &process{t: t, name: "caracal mirror", log: &tail{}, make: func() *exec.Cmd {
		cmd := exec.Command(self, "mirror", "--mirror-addr", addr, "--admin-url", line.URL, "--trust-root", filepath.Join(p.dir, "root.json"), "--state-dir", state)
		cmd.Env = append(os.Environ(), asCaracal+"=1", "CARACAL_MIRROR_TOKEN="+token.Secret)
		return cmd
	}}
	m.start()
	t.Cleanup(m.kill)
	p.adminURL = "http://" + addr // as the daemon has it from now on
	p.daemon.start()
	p.waitReady()

	policy, last := "", ""
	activate := func(n int) {
		t.Helper()
		v, err := p.publish(t.Context(), &policy, n)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.client.Activate(t.Context(), p.zone, p.set, api.ActivateRequest{VersionID: v.ID}); err != nil {
			t.Fatal(err)
		}
		last = v.ID
	}
	rounds := 8
	if testing.Short() {
		rounds = 3
	}
	for n := range rounds {
		if n%2 == 0 {
			line.stopping.Store(true)
			activate(n)
			select {
			case <-line.stopped:
			case <-time.After(patience):
				t.Fatalf("the mirror never asked for the bundle:\n%s", m.log.data)
			}
			m.kill()
			line.stopping.Store(false)
		} else {
			activate(n)
			time.Sleep(time.Duration(n*5) * time.Millisecond) // whatever it is doing then
			m.kill()
		}
		checkCache(t, state)
		m.start()
	}
	decides := func(what string) {
		t.Helper()
		p.eventually(what, func() bool {
			a, err := p.ask(t.Context(), http.DefaultClient, "read")
			return err == nil && a.PolicySetVersionID != nil && *a.PolicySetVersionID == last
		})
	}
	decides("the daemon decides by the newest version")
	checkCache(t, state)

	// The control plane goes away, and mirror and daemon start again without it; the
	// daemon with nothing but its audit of before.
	p.admin.stop()
	m.kill()
	p.daemon.kill()
	for _, dir := range []string{"zones", "bundles", "trust"} {
		if err := os.RemoveAll(filepath.Join(p.dir, "daemon", dir)); err != nil {
			t.Fatal(err)
		}
	}
	m.start()
	p.daemon.start()
	p.waitReady()
	decides("the daemon decides by what the mirror kept")
	a, err := p.ask(t.Context(), http.DefaultClient, "read")
	if err != nil {
		t.Fatal(err)
	}
	p.admin.start()
	p.eventually("the audit of that time has come in", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := p.client.Zone(ctx, p.zone); err != nil {
			return false
		}
		events, _ := p.events()
		_, ok := events[a.DecisionID]
		return ok
	})
	p.daemon.stop()
	m.stop()
}

// checkCache wants every bundle that a mirror keeps to have its hash.
func checkCache(t *testing.T, state string) {
	t.Helper()
	files, err := os.ReadDir(filepath.Join(state, "bundles"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasPrefix(f.Name(), ".tmp-") {
			continue // swept at the start
		}
		data, err := os.ReadFile(filepath.Join(state, "bundles", f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != f.Name() {
			t.Errorf("the mirror keeps %s, which has not that hash", f.Name())
		}
	}
}
