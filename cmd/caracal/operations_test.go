package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/client"
	"github.com/caracalai/caracald/admin/store/postgres/pgtest"
	"github.com/caracalai/caracald/internal/provision"
)

// manual plays the shell blocks of docs/operations.md that have a name, with
// the paths of a test in the place of the page's.
type manual struct {
	t      *testing.T
	blocks map[string]string
	dir    string // where blocks run
	bin    string // has caracal
	env    []string
	paths  *strings.Replacer
}

func newManual(t *testing.T, p *plant) *manual {
	t.Helper()
	m := &manual{t: t, blocks: map[string]string{}, dir: t.TempDir(), bin: t.TempDir()}
	for _, b := range fence.FindAllStringSubmatch(pages(t)[filepath.Join(docsDir, "operations.md")], -1) {
		if name := strings.TrimSpace(b[2]); b[1] == "sh" && name != "" {
			m.blocks[name] = b[3]
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(m.bin, "caracal")); err != nil {
		t.Fatal(err)
	}
	m.env = append(os.Environ(), asCaracal+"=1", "PATH="+m.bin+":"+os.Getenv("PATH"))
	backup := t.TempDir()
	old := filepath.Join(m.dir, "admin")
	if p != nil {
		m.env = append(m.env, "CARACAL_API_URL="+p.adminURL, "CARACAL_ADMIN_TOKEN="+p.token, "CARACAL_ZONE_ID="+p.zone)
		old = filepath.Join(p.dir, "admin")
	}
	m.paths = strings.NewReplacer("/var/lib/caracal-restored", filepath.Join(m.dir, "restored"), "/var/lib/caracal", old, "/backup", backup, " production ", " set ")
	return m
}

// play runs a block as it stands on the page, and gives what it says.
func (m *manual) play(name string, env ...string) string {
	m.t.Helper()
	block := m.blocks[name]
	if block == "" {
		m.t.Fatalf("docs/operations.md has no block %s", name)
	}
	delete(m.blocks, name)
	cmd := exec.CommandContext(m.t.Context(), "bash", "-euo", "pipefail", "-c", m.paths.Replace(block))
	cmd.Dir, cmd.Env = m.dir, append(m.env, env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		m.t.Fatalf("the block %s: %v\n%s\n%s", name, err, m.paths.Replace(block), out)
	}
	return string(out)
}

// activate publishes a version and waits until the daemon decides by it.
func (p *plant) activate(policy *string, n int) api.PolicySetVersion {
	p.t.Helper()
	v, err := p.publish(p.t.Context(), policy, n)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.client.Activate(p.t.Context(), p.zone, p.set, api.ActivateRequest{VersionID: v.ID}); err != nil {
		p.t.Fatal(err)
	}
	p.waitDecides(v.ID)
	return v
}

func (p *plant) waitDecides(version string) {
	p.t.Helper()
	p.eventually("the daemon decides by version "+version, func() bool {
		answer, err := p.ask(p.t.Context(), http.DefaultClient, "read")
		return err == nil && answer.Decision == "allow" && answer.PolicySetVersionID != nil && *answer.PolicySetVersionID == version
	})
}

func (p *plant) sequence() int64 {
	p.t.Helper()
	active, err := p.client.Active(p.t.Context(), p.zone)
	if err != nil {
		p.t.Fatal(err)
	}
	return active.Sequence
}

// served is the sequence that the daemon serves, -1 where it does not say.
func (p *plant) served() int64 {
	p.t.Helper()
	resp, err := http.Get(p.decide + "/v1/zones/" + p.zone + "/status")
	if err != nil {
		return -1
	}
	status := struct{ Sequence int64 }{-1}
	err = json.NewDecoder(resp.Body).Decode(&status)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return -1
	}
	return status.Sequence
}

// TestOperationsSQLite backs a running store up, goes on, loses it, restores it,
// and brings the daemon, which has seen more than the back-up, back to it.
func TestOperationsSQLite(t *testing.T) {
	provision.Ensure(t, "SQLite's command line", func() error {
		_, err := exec.LookPath("sqlite3")
		return err
	}, "sqlite3")
	p := newPlant(t)
	m := newManual(t, p)
	policy := ""
	saved := p.activate(&policy, 1)
	if said := m.play("sqlite-backup"); strings.TrimSpace(said) != "ok" {
		t.Errorf("the check of the back-up says %q", said)
	}
	lost := p.activate(&policy, 2)
	seen := p.sequence()
	p.admin.stop()
	m.play("sqlite-restore")
	p.adminArgs = []string{"--data-dir", filepath.Join(m.dir, "restored")}
	p.admin.start()
	if active, err := p.client.Active(t.Context(), p.zone); err != nil || active.PolicySetVersionID == nil || *active.PolicySetVersionID != saved.ID {
		t.Fatalf("the restored store has %+v active: %v", active, err)
	}
	p.waitDecides(lost.ID) // it does not go back
	p.eventually("the daemon reports what it serves", func() bool {
		daemons, err := p.client.Daemons(t.Context(), p.zone, client.Page{})
		return err == nil && len(daemons.Items) == 1 && len(daemons.Items[0].Zones) == 1 && daemons.Items[0].Zones[0].ServingSequence == seen
	})
	if said := m.play("catch-up"); !strings.Contains(said, "would be raised") || p.sequence() <= seen {
		t.Errorf("the sequence is %d after\n%s", p.sequence(), said)
	}
	p.waitDecides(saved.ID)
}

// TestOperationsPostgres dumps the database of a running control plane, restores
// it into an empty one, and goes on there.
func TestOperationsPostgres(t *testing.T) {
	cluster := pgtest.Own(t)
	d, err := cluster.Database(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	into, err := cluster.Database(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := newPlant(t, "--store", d.URL, "--store-owner", d.OwnerURL, "--store-poll", "100ms")
	m := newManual(t, p)
	m.env = append(m.env, "PATH="+m.bin+":"+cluster.Bin()+":"+os.Getenv("PATH"))
	policy := ""
	saved := p.activate(&policy, 1)
	m.play("postgres-backup", "CARACAL_BACKUP_URL="+d.SuperURL)
	p.admin.stop()
	// The other database has roles of its own; an operator restores with the same ones.
	m.play("postgres-restore", "CARACAL_RESTORE_URL="+into.SuperURL)
	same := func(url string) string {
		return strings.Replace(url, "/"+databaseOf(t, d.URL)+"?", "/"+databaseOf(t, into.URL)+"?", 1)
	}
	p.adminArgs = []string{"--store", same(d.URL), "--store-owner", same(d.OwnerURL), "--store-poll", "100ms"}
	p.admin.start()
	if active, err := p.client.Active(t.Context(), p.zone); err != nil || active.PolicySetVersionID == nil || *active.PolicySetVersionID != saved.ID {
		t.Fatalf("the restored store has %+v active: %v", active, err)
	}
	before := p.sequence()
	code, said := caracal(t, "admin", "raise-sequence", "--store", same(d.URL), "--store-owner", same(d.OwnerURL), "--zone", p.zone, "--above", "50", "--reason", "restored")
	if code != exitDone || p.sequence() != 51 || before >= 51 {
		t.Fatalf("from %d to %d: %d %s", before, p.sequence(), code, said)
	}
	code, said = caracal(t, "admin", "rotate-keys", "--store", same(d.URL), "--store-owner", same(d.OwnerURL), "--pointers", "--bundles", "--reason", "restored")
	if code != exitDone {
		t.Fatalf("rotating ends with %d: %s", code, said)
	}
	p.eventually("the daemon serves the raised sequence", func() bool { return p.served() == 51 })
	p.activate(&policy, 2)
}

func databaseOf(t *testing.T, url string) string {
	t.Helper()
	_, rest, ok := strings.Cut(strings.TrimPrefix(url, "postgres://"), "/")
	name, _, _ := strings.Cut(rest, "?")
	if !ok || name == "" {
		t.Fatalf("%s names no database", url)
	}
	return name
}

// TestOperationsKeys runs a control plane on keys in files, and rotates them
// under a daemon that is pinned to the first root.
func TestOperationsKeys(t *testing.T) {
	m := newManual(t, nil)
	m.play("keys")
	in := func(name string) string { return filepath.Join(m.dir, name) }
	p := newPlant(t, "--bundle-key", in("bundles.pem"), "--pointer-key", in("pointers.pem"), "--trust-root", in("root-1.json"))
	if pinned, err := os.ReadFile(filepath.Join(p.dir, "root.json")); err != nil {
		t.Fatal(err)
	} else if made, err := os.ReadFile(in("root-1.json")); err != nil || !bytes.Equal(bytes.TrimSpace(pinned), bytes.TrimSpace(made)) {
		t.Fatalf("the daemon is not pinned to the root that was made (%v)", err)
	}
	m.env = append(m.env, "CARACAL_API_URL="+p.adminURL, "CARACAL_ADMIN_TOKEN="+p.token, "CARACAL_ZONE_ID="+p.zone)
	policy := ""
	first := p.activate(&policy, 1)
	m.play("rotate")
	p.admin.stop()
	p.adminArgs = []string{"--bundle-key", in("bundles-2.pem"), "--pointer-key", in("pointers-2.pem"), "--trust-root", in("root-1.json") + "," + in("root-2.json")}
	p.admin.start()
	before := p.sequence()
	m.play("rotated")
	p.eventually("the daemon serves the pointer of the new key", func() bool { return p.served() == before+1 })
	p.waitDecides(first.ID) // of the old bundles key, which still counts
	p.activate(&policy, 2)  // of the new one
}

// TestOperationsStoredKeys rotates keys that the store keeps under a running
// control plane and a daemon that is pinned to the first root.
func TestOperationsStoredKeys(t *testing.T) {
	p := newPlant(t)
	m := newManual(t, p)
	policy := ""
	first := p.activate(&policy, 1)
	m.play("rotate-stored")
	p.activate(&policy, 2) // signed by the new keys, without any restart
	if _, err := p.client.Activate(t.Context(), p.zone, p.set, api.ActivateRequest{VersionID: first.ID}); err != nil {
		t.Fatal(err)
	}
	p.waitDecides(first.ID) // a bundle of the old key, which still counts
	p.daemon.stop()
	p.daemon.start()
	p.waitDecides(first.ID)
}
