package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/caracalai/caracald/audit/queue/natstest"
	"github.com/caracalai/caracald/bundle"
)

// patience bounds how long a test waits for what must happen.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	natstest.Main()
	if os.Getenv(asCaracal) != "" {
		main()
		return
	}
	testscript.Main(m, map[string]func(){"caracal": main})
}

// asCaracal is the variable that makes this test binary caracal itself.
const asCaracal = "CARACAL_TEST_AS_CARACAL"

// TestScripts runs the scripts in testdata/script. Beside testscript's own
// commands they have
//
//	dev DIR         start caracal dev with its data in DIR, set CARACAL_... once it is ready
//	code N ARG...   run caracal, which must end with the exit code N
//	field NAME PATH set NAME to what PATH (a.b.0) leads to in the JSON of stdout
//	eventually CMD  run caracal again and again until it succeeds
//	demobundle      write demo.bundle, demo.bundle.sig and root.json
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			root, err := filepath.Abs("../..")
			if err != nil {
				return err
			}
			env.Setenv("ROOT", root)
			// For scripts that run go.
			out, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE").Output()
			if err != nil {
				return err
			}
			dirs := strings.Fields(string(out))
			env.Setenv("GOCACHE", dirs[0])
			env.Setenv("GOMODCACHE", dirs[1])
			env.Setenv("EXAMPLES", filepath.Join(root, "examples"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"dev": devCommand, "code": codeCommand, "field": fieldCommand, "eventually": eventuallyCommand, "demobundle": demoBundle,
		},
	})
}

// freeAddr gives a loopback address that nobody listens on right now.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func devCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: dev DIR")
	}
	dir := ts.MkAbs(args[0])
	env := filepath.Join(dir, "env")
	if err := os.Remove(env); err != nil && !errors.Is(err, fs.ErrNotExist) {
		ts.Fatalf("%v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	var out, errs bytes.Buffer
	go func() {
		ended <- run(ctx, []string{"dev", "--data-dir", dir, "--admin-addr", "127.0.0.1:0", "--decide-addr", "127.0.0.1:0"}, strings.NewReader(""), &out, &errs)
	}()
	ts.Defer(func() {
		cancel()
		select {
		case code := <-ended:
			if code != exitDone {
				ts.Logf("caracal dev ended with %d: %s", code, errs.String())
			}
		case <-time.After(patience):
			ts.Logf("caracal dev does not end")
		}
	})
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for {
		if data, err := os.ReadFile(env); err == nil {
			for line := range strings.Lines(string(data)) {
				name, value, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
				ts.Setenv(name, value)
			}
			return
		}
		select {
		case code := <-ended:
			ended <- code
			ts.Fatalf("caracal dev ended with %d: %s", code, errs.String())
		case <-late:
			ts.Fatalf("caracal dev is not ready")
		case <-tick.C:
		}
	}
}

func codeCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: code N CMD...")
	}
	err := ts.Exec("caracal", args[1:]...)
	got := "0"
	if err != nil {
		var exit interface{ ExitCode() int }
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = fmt.Sprint(exit.ExitCode())
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

func fieldCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: field NAME PATH")
	}
	var v any
	if err := json.Unmarshal([]byte(ts.ReadFile("stdout")), &v); err != nil {
		ts.Fatalf("stdout is not JSON: %v", err)
	}
	for part := range strings.SplitSeq(args[1], ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[part]
		case []any:
			var i int
			if _, err := fmt.Sscan(part, &i); err != nil || i >= len(at) {
				ts.Fatalf("there is no %s in %s", part, args[1])
			}
			v = at[i]
		default:
			ts.Fatalf("there is no %s in %s", part, args[1])
		}
	}
	if v == nil {
		ts.Fatalf("%s is null", args[1])
	}
	ts.Setenv(args[0], fmt.Sprint(v))
}

func eventuallyCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: eventually CMD...")
	}
	deadline := time.Now().Add(patience)
	for {
		err := ts.Exec("caracal", args...)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("never succeeds: caracal %s: %v", strings.Join(args, " "), err)
		}
	}
}

func demoBundle(ts *testscript.TestScript, _ bool, _ []string) {
	check := func(err error) {
		if err != nil {
			ts.Fatalf("%v", err)
		}
	}
	key, err := bundle.GenerateKey()
	check(err)
	role := bundle.Role{Threshold: 1, Keys: []bundle.PublicKey{key.Public()}}
	root, err := bundle.SignRoot(bundle.Root{Version: 1, Expires: time.Now().Add(time.Hour), Root: role, Bundles: role, Pointers: role}, key)
	check(err)
	content, err := os.ReadFile(filepath.Join(ts.Getenv("EXAMPLES"), "payments", "policies", "payments.rego"))
	check(err)
	packed, err := bundle.Pack(&bundle.Manifest{ZoneID: "zone-1", PolicySetID: "set-1", Version: 1, SchemaVersion: "2026-05-20", Policies: []bundle.ManifestPolicy{
		{PolicyID: "policy-1", PolicyVersionID: "version-1", Name: "payments", ContentSHA256: bundle.SHA256Hex(content)},
	}}, []bundle.Module{{PolicyVersionID: "version-1", Content: content}})
	check(err)
	env, err := bundle.SignStatement(packed.Statement, key)
	check(err)
	check(os.WriteFile(ts.MkAbs("demo.bundle"), packed.Data, 0o644))
	check(os.WriteFile(ts.MkAbs("demo.bundle.sig"), env, 0o644))
	check(os.WriteFile(ts.MkAbs("root.json"), root, 0o644))
}
