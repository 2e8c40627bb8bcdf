package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caracalai/caracald/bench/pinning"
	"github.com/caracalai/caracald/bench/report"
	"github.com/caracalai/caracald/bench/server"
)

// Servers under test are kept on processors of theirs, and the control plane on
// those of the loader.
func TestServersArePinned(t *testing.T) {
	var may unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		t.Fatal(err)
	}
	if may.Count() < 2 {
		t.Skip("there is only one processor")
	}
	var two []int
	for n := 0; len(two) < 2; n++ {
		if may.IsSet(n) {
			two = append(two, n)
		}
	}
	b := &bench{options: options{quick: true, tiny: true, seed: 1}, report: report.New("x", true), log: io.Discard, dir: t.TempDir(), pace: 1,
		split: pinning.Split{Servers: two[:1], Others: two[1:]}}
	var f fleet
	_, err := b.servers(t.Context(), &f)
	if err != nil {
		t.Error(errors.Join(err, f.stop()))
		return
	}
	roles := map[string]int{}
	for role, lists := range servers(t) {
		want := fmt.Sprint(two[0])
		if role == server.RoleAdmin {
			want = fmt.Sprint(two[1])
		}
		for _, got := range lists {
			roles[role]++
			if got != want {
				t.Errorf("a server %q may use the processors %s, want %s", role, got, want)
			}
		}
	}
	for _, role := range []string{server.RoleAdmin, server.RoleCaracald, server.RoleCeiling, server.RoleOPA} {
		if roles[role] == 0 {
			t.Errorf("no server %q was found among %v", role, roles)
		}
	}
	if err := f.stop(); err != nil {
		t.Error(err)
	}
}

// servers are the processors that the servers of this process may use, by their roles.
func servers(t *testing.T) map[string][]string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	for _, dir := range all {
		status, err := os.ReadFile(filepath.Join(dir, "status"))
		command, alsoErr := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || alsoErr != nil { // it has ended
			continue
		}
		of := map[string]string{}
		for line := range strings.Lines(string(status)) {
			name, value, _ := strings.Cut(line, ":")
			of[name] = strings.TrimSpace(value)
		}
		if words := strings.Split(string(command), "\x00"); of["PPid"] == fmt.Sprint(os.Getpid()) && len(words) > 2 {
			found[words[2]] = append(found[words[2]], of["Cpus_allowed_list"])
		}
	}
	return found
}
