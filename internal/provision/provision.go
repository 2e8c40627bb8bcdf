// Package provision finds the programs that tests run (Node, Chromium,
// PostgreSQL) and installs Debian's package where one is missing and the machine
// lets it. Only tests import it.
package provision

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds each command.
const patience = 10 * time.Minute

// Ensure makes sure that found gives no error: where it does, packages are
// installed with apt-get, as root on a Debian machine, and found is asked again.
// The test fails, saying what is needed, where that does not help.
func Ensure(t testing.TB, what string, found func() error, packages ...string) {
	t.Helper()
	err := found()
	if err == nil {
		return
	}
	if _, missing := exec.LookPath("apt-get"); missing != nil || os.Geteuid() != 0 {
		t.Fatalf("the tests need %s: %v; install it (on Debian: apt-get install %s)", what, err, strings.Join(packages, " "))
	}
	if failed := install(t, packages); failed != nil {
		t.Fatalf("the tests need %s: %v; installing it: %v", what, err, failed)
	}
	if err := found(); err != nil {
		t.Fatalf("the tests need %s, and %s did not bring it: %v", what, strings.Join(packages, " "), err)
	}
}

var updated = sync.OnceValue(func() error { return aptGet(context.Background(), "update") })

func install(t testing.TB, packages []string) error {
	if err := updated(); err != nil {
		return err
	}
	return aptGet(t.Context(), append([]string{"install", "--yes", "--no-install-recommends"}, packages...)...)
}

// aptGet waits for others that install, too: packages of tests run side by side.
func aptGet(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"-o", "DPkg::Lock::Timeout=600"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// oldestNode is the oldest major version of Node that the TypeScript parts take.
const oldestNode = 20

// Node makes sure of Node and npm.
func Node(t testing.TB) {
	t.Helper()
	Ensure(t, fmt.Sprintf("Node %d or newer, and npm", oldestNode), func() error {
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
	}, "nodejs", "npm")
}

// Run runs a command in a directory ("" for the test's own) with further
// variables, and gives what it prints. The test fails where the command does.
func Run(t testing.TB, dir string, env []string, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // lets npm end what it started
	cmd.WaitDelay = 10 * time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), errors.Join(err, ctx.Err()), &out, &errs)
	}
	return out.String()
}

// NeverCached keeps go test from giving a kept result: it sees that Go files
// change, but not others. It keeps no result that depends on a file which was
// written just now; stamp is that file.
func NeverCached(t testing.TB, stamp string) {
	t.Helper()
	t.Cleanup(func() {
		if err := os.WriteFile(stamp, nil, 0o644); err != nil {
			t.Error(err)
		}
		if _, err := os.ReadFile(stamp); err != nil {
			t.Error(err)
		}
	})
}
