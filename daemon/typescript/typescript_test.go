// Package typescript_test proves the TypeScript client: its dist is what its
// sources compile to, its tests pass against a real daemon, and the package
// works as npm packs it.
package typescript_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caracalai/caracald/daemon"
	"github.com/caracalai/caracald/daemon/client/clienttest"
)

// run runs a command in a directory and gives what it prints.
func run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, &errs)
	}
	return string(out)
}

var major = regexp.MustCompile(`^v(\d+)\.`)

// needNode makes sure of node 20 or newer, and of npm: those of the PATH, or else
// Debian's, which root can install.
var needNode = sync.OnceValue(func() string {
	if why := lackOfNode(); why == "" {
		return ""
	}
	if _, err := exec.LookPath("apt-get"); err != nil || os.Getuid() != 0 {
		return lackOfNode() + "; install Node.js 20 or newer, with npm"
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	for _, args := range [][]string{{"update"}, {"install", "-y", "nodejs", "npm"}} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "apt-get " + strings.Join(args, " ") + ": " + err.Error() + "\n" + string(out)
		}
	}
	return lackOfNode()
})

func lackOfNode() string {
	for _, name := range []string{"node", "npm"} {
		if _, err := exec.LookPath(name); err != nil {
			return "there is no " + name
		}
	}
	out, err := exec.Command("node", "--version").Output()
	if err != nil {
		return "node --version: " + err.Error()
	}
	found := major.FindSubmatch(out)
	if found == nil {
		return "node --version says " + string(out)
	}
	if n, err := strconv.Atoi(string(found[1])); err != nil || n < 20 {
		return "node is " + strings.TrimSpace(string(out)) + ", older than 20"
	}
	return ""
}

func node(t *testing.T) {
	t.Helper()
	if why := needNode(); why != "" {
		t.Fatal(why)
	}
}

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
	node(t)
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
	run(t, dir, nil, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	run(t, dir, nil, "npm", "run", "build")
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
	node(t)
	env := start(t)
	for _, name := range []string{"daemon", "hostile"} {
		out := run(t, ".", env, "node", "--test", filepath.Join("test", name+".test.mjs"))
		if !strings.Contains(out, "# fail 0") || strings.Contains(out, "# pass 0") || !strings.Contains(out, "# skipped 0") {
			t.Errorf("%s", out)
		}
	}
}

// The package works as it is packed, without what it was built by.
func TestPacked(t *testing.T) {
	node(t)
	env := start(t)
	dir := t.TempDir()
	packed := strings.TrimSpace(run(t, ".", nil, "npm", "pack", "--silent", "--pack-destination", dir))
	if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"type":"module","private":true}`), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, dir, nil, "npm", "install", "--offline", "--no-audit", "--no-fund", "./"+packed)
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
	if out := run(t, dir, env, "node", "ask.mjs"); out != "true true\n" {
		t.Errorf("it prints %s", out)
	}
}
