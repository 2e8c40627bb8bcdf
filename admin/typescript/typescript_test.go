// Package typescript_test runs the checks and tests of the TypeScript client with Node.
package typescript_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	// oldestNode is the oldest major version of Node that the client runs on.
	oldestNode = 20
	// patience bounds each step.
	patience = 5 * time.Minute
)

// The generated files are current, everything type-checks, and the client's
// tests pass against a real control plane and daemon.
func TestClient(t *testing.T) {
	needNode(t)
	run(t, nil, "npm", "ci", "--no-audit", "--no-fund", "--prefer-offline")
	neverCached(t)
	run(t, nil, "npm", "run", "check")
	caracal := filepath.Join(t.TempDir(), "caracal")
	run(t, nil, "go", "build", "-o", caracal, "../../cmd/caracal")
	run(t, []string{"CARACAL_BIN=" + caracal}, "npm", "test")
}

// run runs a command here, and shows what it said where it fails.
func run(t *testing.T, env []string, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // lets npm end what it started
	cmd.WaitDelay = 10 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// needNode finds Node and npm, and on a Debian machine of our own installs them.
func needNode(t *testing.T) {
	t.Helper()
	found := node(t)
	if found == nil {
		return
	}
	if _, err := exec.LookPath("apt-get"); err == nil && os.Geteuid() == 0 {
		apt := []string{"DEBIAN_FRONTEND=noninteractive"}
		run(t, apt, "apt-get", "update")
		run(t, apt, "apt-get", "install", "--yes", "--no-install-recommends", "nodejs", "npm")
		found = node(t)
	}
	if found != nil {
		t.Fatalf("the TypeScript client is tested with Node %d or newer, and npm: %v", oldestNode, found)
	}
}

// node says what is missing, nil where nothing is.
func node(t *testing.T) error {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "node", "--version").Output()
	if err != nil {
		return err
	}
	version := strings.TrimSpace(string(out))
	major, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	if n, err := strconv.Atoi(major); err != nil || n < oldestNode {
		return fmt.Errorf("node is %s", version)
	}
	_, err = exec.LookPath("npm")
	return err
}

// neverCached keeps go test from giving a kept result: it sees that Go files
// change, but not the client's. It keeps no result that depends on a file which
// was written just now.
func neverCached(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		stamp := filepath.Join("node_modules", ".tested")
		if err := os.WriteFile(stamp, nil, 0o644); err != nil {
			t.Error(err)
		}
		if _, err := os.ReadFile(stamp); err != nil {
			t.Error(err)
		}
	})
}
