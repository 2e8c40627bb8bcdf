// Package typescript_test proves the TypeScript client: its dist is what its
// sources compile to, its tests pass against a real daemon, and the package
// works as npm packs it.
package typescript_test

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caracalai/caracald/daemon"
	"github.com/caracalai/caracald/daemon/client/clienttest"
	"github.com/caracalai/caracald/internal/provision"
)

// files reads a directory.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, path))
		all[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// The committed dist is what the sources compile to, without a warning.
func TestDistIsCurrent(t *testing.T) {
	provision.Node(t)
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "tsconfig.json"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(dir, "src"), os.DirFS("src")); err != nil {
		t.Fatal(err)
	}
	provision.Run(t, dir, nil, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	provision.Run(t, dir, nil, "npm", "run", "build")
	want, got := files(t, filepath.Join(dir, "dist")), files(t, "dist")
	for name, content := range want {
		if got[name] != content {
			t.Errorf("dist/%s is not what src compiles to: run npm ci && npm run build", name)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("dist/%s has no source", name)
		}
	}
}

const (
	token  = "a-token-of-the-typescript-tests"
	grants = `package caracal.authz

default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": [{"reason": "not_granted"}]}

result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []} if {
	input.context.requested_scopes == ["read"]
}
`
)

// start runs a daemon and gives the environment that says where it is.
func start(t *testing.T) []string {
	t.Helper()
	rig := clienttest.Start(t, func(cfg *daemon.Config) { cfg.DecideTokens = []string{token} })
	version := rig.Activate(map[string]string{"grants": grants})
	var one sync.Mutex
	act := func(f func()) http.HandlerFunc {
		return func(http.ResponseWriter, *http.Request) {
			one.Lock()
			defer one.Unlock()
			f()
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /stop", act(rig.StopDaemon))
	mux.HandleFunc("POST /start", act(rig.StartDaemon))
	mux.HandleFunc("POST /restart", act(func() {
		rig.StopDaemon()
		rig.StartDaemon()
	}))
	mux.HandleFunc("POST /recorded", func(w http.ResponseWriter, r *http.Request) {
		if err := json.NewEncoder(w).Encode(rig.Recorded(r.URL.Query().Get("request"), 1)); err != nil {
			t.Error(err)
		}
	})
	control := httptest.NewServer(mux)
	t.Cleanup(control.Close)
	return []string{
		"DECIDE_URL=" + rig.URL, "DECIDE_SOCKET=" + rig.Socket, "DECIDE_ZONE=" + rig.Zone, "DECIDE_TOKEN=" + token, "DECIDE_CONTROL=" + control.URL,
		"DECIDE_VERSION=" + version.ID, "DECIDE_BUNDLE=" + version.BundleSHA256,
	}
}

func TestNode(t *testing.T) {
	provision.Node(t)
	env := start(t)
	for _, name := range []string{"daemon", "hostile"} {
		out := provision.Run(t, ".", env, "node", "--test", filepath.Join("test", name+".test.mjs"))
		if !strings.Contains(out, "# fail 0") || strings.Contains(out, "# pass 0") || !strings.Contains(out, "# skipped 0") {
			t.Errorf("%s", out)
		}
	}
}

// The package works as it is packed, without what it was built by.
func TestPacked(t *testing.T) {
	provision.Node(t)
	env := start(t)
	dir := t.TempDir()
	packed := strings.TrimSpace(provision.Run(t, ".", nil, "npm", "pack", "--silent", "--pack-destination", dir))
	if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"type":"module","private":true}`), 0o644); err != nil {
		t.Fatal(err)
	}
	provision.Run(t, dir, nil, "npm", "install", "--offline", "--no-audit", "--no-fund", "./"+packed)
	const script = `import { DecideClient } from "@caracalai/decide";
const client = new DecideClient({ url: process.env.DECIDE_URL, token: process.env.DECIDE_TOKEN, timeoutMs: 10000 });
const decision = await client.decide({
  principal: { type: "agent", id: "a", zone_id: process.env.DECIDE_ZONE },
  resource: { type: "service", id: "r", identifier: "urn:r", scopes: [] },
  action: { id: "token:exchange" },
  context: { actor_claims: {}, challenge_resolved: false, requested_scopes: ["read"] },
});
console.log(decision.allowed, decision.bundle_sha256 === process.env.DECIDE_BUNDLE);
client.close();
`
	if err := os.WriteFile(filepath.Join(dir, "ask.mjs"), []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := provision.Run(t, dir, env, "node", "ask.mjs"); out != "true true\n" {
		t.Errorf("it prints %s", out)
	}
}
