package main

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store/postgres/pgtest"
)

// caracal runs a command line and gives its exit code and what it says.
func caracal(t *testing.T, args ...string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	code := run(t.Context(), args, strings.NewReader(""), &out, &out)
	return code, out.String()
}

// TestPostgres runs a control plane on PostgreSQL with a daemon, through an
// activation, a decision and its audit; then copies the store to SQLite and goes
// on there, without the daemon seeing a difference.
func TestPostgres(t *testing.T) {
	d, err := pgtest.Own(t).Database(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := newPlant(t, "--store", d.URL, "--store-owner", d.OwnerURL, "--store-poll", "100ms")
	policy := ""
	activate := func(n int) {
		t.Helper()
		v, err := p.publish(t.Context(), &policy, n)
		if err != nil {
			t.Fatal(err)
		}
		a, err := p.client.Activate(t.Context(), p.zone, p.set, api.ActivateRequest{VersionID: v.ID})
		if err != nil {
			t.Fatal(err)
		}
		if want := int64(n); a.Sequence != want {
			t.Fatalf("the activation has sequence %d, want %d", a.Sequence, want)
		}
		p.eventually("the daemon decides by the version", func() bool {
			answer, err := p.ask(t.Context(), http.DefaultClient, "read")
			return err == nil && answer.Decision == "allow" && answer.PolicySetVersionID != nil && *answer.PolicySetVersionID == v.ID
		})
	}
	activate(1)
	p.eventually("the decision is in the audit", func() bool {
		events, _ := p.events()
		for _, e := range events {
			if e.Decision == "allow" {
				return true
			}
		}
		return false
	})
	if _, err := os.Stat(filepath.Join(p.dir, "admin", "control.db")); err == nil {
		t.Error("there is a SQLite store too")
	}
	p.admin.stop()

	moved := filepath.Join(p.dir, "moved")
	if code, said := caracal(t, "admin", "copy", "--from", d.URL, "--to", moved); code != exitDone || !strings.Contains(said, "counts and hashes agree") {
		t.Fatalf("copying ends with %d: %s", code, said)
	}
	if code, said := caracal(t, "admin", "copy", "--from", d.URL, "--to", moved); code != exitFailed || !strings.Contains(said, "not empty") {
		t.Errorf("copying again ends with %d: %s", code, said)
	}
	p.adminArgs = []string{"--data-dir", moved}
	p.admin.start()
	activate(2)
}

func TestStoreSettings(t *testing.T) {
	for _, c := range []struct {
		want string
		args []string
	}{
		{"store", []string{"--store", "mysql://x"}},
		{"store-owner", []string{"--store-owner", "postgres://x"}},
		{"store-poll", []string{"--store-poll", "0s"}},
	} {
		code, said := caracal(t, append([]string{"admin", "--data-dir", t.TempDir()}, c.args...)...)
		if code != exitUsage || !strings.Contains(said, c.want) {
			t.Errorf("%v ends with %d: %s", c.args, code, said)
		}
	}
	for _, args := range [][]string{{}, {"--from", t.TempDir(), "--to", "x"}, {"--from", "x"}} {
		if code, said := caracal(t, append([]string{"admin", "copy"}, args...)...); code != exitUsage {
			t.Errorf("copy %v ends with %d: %s", args, code, said)
		}
	}
	if code, said := caracal(t, "admin", "--print-config", "--store", "postgres://u:hunter2@h/d"); code != exitDone || strings.Contains(said, "hunter2") {
		t.Errorf("the settings show a password (%d): %s", code, said)
	}
}
