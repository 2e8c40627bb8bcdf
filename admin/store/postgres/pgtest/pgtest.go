// Package pgtest runs a real PostgreSQL for tests: a cluster of its own, in a
// temporary directory, that listens on a Unix socket there and nowhere else. No
// cluster of the machine is touched.
//
// The programs are those on PATH or of Debian's packages; where there are none
// and the tests run as root they are installed with apt-get. Without PostgreSQL
// tests fail, unless CARACAL_TEST_NO_POSTGRES is set: then they are skipped.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// SkipVariable is the environment variable that lets tests be skipped.
const SkipVariable = "CARACAL_TEST_NO_POSTGRES"

// superuser is who the cluster is made by.
const superuser = "superuser"

// patience bounds how long a server may take to start or stop.
const patience = time.Minute

// Cluster is a PostgreSQL server.
type Cluster struct {
	bin, dir string
	as       *syscall.Credential
	options  []string
	server   *exec.Cmd
	ended    chan struct{}
	log      *os.File
	made     atomic.Int64
}

// Start makes a cluster and starts it. Options are settings of the server, such
// as "fsync=off".
func Start(ctx context.Context, options ...string) (c *Cluster, err error) {
	bin, err := programs(ctx)
	if err != nil {
		return nil, err
	}
	c = &Cluster{bin: bin, options: options}
	if c.dir, err = os.MkdirTemp("", "pg"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.remove())
		}
	}()
	if err := c.disguise(); err != nil {
		return nil, err
	}
	if c.log, err = os.Create(filepath.Join(c.dir, "log")); err != nil {
		return nil, err
	}
	init := c.command(ctx, "initdb", "--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username="+superuser, "-D", c.data())
	if out, err := init.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("making a PostgreSQL cluster: %w: %s", err, out)
	}
	return c, c.Restart(ctx)
}

// programs finds the directory of PostgreSQL's programs, and installs them where that is allowed.
func programs(ctx context.Context) (string, error) {
	if dir := find(); dir != "" {
		return dir, nil
	}
	var out []byte
	err := errors.New("not root")
	if os.Geteuid() == 0 {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
		defer cancel()
		install := exec.CommandContext(ctx, "sh", "-c", "apt-get update && apt-get install -y --no-install-recommends postgresql")
		install.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		out, err = install.CombinedOutput()
		if dir := find(); err == nil && dir != "" {
			return dir, nil
		}
	}
	return "", fmt.Errorf("PostgreSQL is neither on PATH nor in /usr/lib/postgresql and cannot be installed (%w); install Debian's package postgresql, or set %s=1 to skip these tests\n%s",
		err, SkipVariable, out)
}

func find() string {
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil && complete(filepath.Dir(path)) {
			return filepath.Dir(path)
		}
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return ""
	}
	for i := len(found) - 1; i >= 0; i-- {
		if complete(found[i]) {
			return found[i]
		}
	}
	return ""
}

func complete(dir string) bool {
	for _, name := range []string{"postgres", "initdb"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

// disguise makes the directory another user's where this one is root, whom PostgreSQL refuses to run as.
func (c *Cluster) disguise() error {
	if os.Geteuid() != 0 {
		return nil
	}
	var u *user.User
	var err error
	for _, name := range []string{"postgres", "nobody"} {
		if u, err = user.Lookup(name); err == nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("looking for a user to run PostgreSQL as: %w", err)
	}
	uid, uerr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gerr := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(uerr, gerr); err != nil {
		return fmt.Errorf("looking for a user to run PostgreSQL as: %w", err)
	}
	c.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(c.dir, int(uid), int(gid))
}

// Bin is the directory of PostgreSQL's programs, pg_dump and pg_restore among them.
func (c *Cluster) Bin() string { return c.bin }

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

func (c *Cluster) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, name), args...)
	cmd.Dir = c.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.as}
	return cmd
}

// Restart starts the server, which must not run, and waits until it answers.
// After a Kill it may take a moment until the processes of before are gone.
func (c *Cluster) Restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	args := []string{"-D", c.data(), "-k", c.dir, "-c", "listen_addresses=", "-c", "max_connections=200"}
	for _, o := range c.options {
		args = append(args, "-c", o)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if c.server == nil {
			server := c.command(context.Background(), "postgres", args...)
			server.Stdout, server.Stderr = c.log, c.log
			if err := server.Start(); err != nil {
				return fmt.Errorf("starting PostgreSQL: %w", err)
			}
			ended := make(chan struct{})
			go func() {
				_ = server.Wait() // how it ended is in its log
				close(ended)
			}()
			c.server, c.ended = server, ended
		}
		conn, err := pgx.Connect(ctx, c.url(superuser, "postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-ctx.Done():
			said, _ := os.ReadFile(c.log.Name())
			return fmt.Errorf("PostgreSQL does not start: %w\n%s", err, said[max(0, len(said)-2000):])
		case <-c.ended: // it refused to start
			c.server = nil
		case <-tick.C:
			continue
		}
		<-tick.C
	}
}

// Kill ends the server's first process by SIGKILL; the others notice and end.
func (c *Cluster) Kill() error { return c.end(syscall.SIGKILL) }

// Stop ends the server in an orderly way, and the connections with it.
func (c *Cluster) Stop() error { return c.end(syscall.SIGINT) }

func (c *Cluster) end(how syscall.Signal) error {
	if c.server == nil {
		return nil
	}
	if err := c.server.Process.Signal(how); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-c.ended:
	case <-time.After(patience):
		return errors.New("PostgreSQL does not end")
	}
	c.server = nil
	return nil
}

// Close stops the server and removes everything.
func (c *Cluster) Close() error { return errors.Join(c.Stop(), c.remove()) }

func (c *Cluster) remove() error {
	if c.log != nil {
		_ = c.log.Close() // everything of it goes
	}
	return os.RemoveAll(c.dir)
}

func (c *Cluster) url(role, database string) string {
	return (&url.URL{Scheme: "postgres", User: url.User(role), Path: "/" + database, RawQuery: url.Values{"host": {c.dir}}.Encode()}).String()
}

// Database is an empty database with two roles, as an operator sets them up.
type Database struct {
	// URL logs in as the role of the running store, OwnerURL as the owner, and
	// SuperURL as who may do everything.
	URL, OwnerURL, SuperURL string
}

// Database makes a database.
func (c *Cluster) Database(ctx context.Context) (d Database, err error) {
	conn, err := pgx.Connect(ctx, c.url(superuser, "postgres"))
	if err != nil {
		return d, fmt.Errorf("making a database: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	name := fmt.Sprint("test", c.made.Add(1))
	for _, statement := range []string{
		`CREATE ROLE ` + name + `_owner LOGIN`, `CREATE ROLE ` + name + `_store LOGIN`, `CREATE DATABASE ` + name + ` OWNER ` + name + `_owner`,
	} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return d, fmt.Errorf("making a database: %w", err)
		}
	}
	return Database{c.url(name+"_store", name), c.url(name+"_owner", name), c.url(superuser, name)}, nil
}

// shared is the cluster of Main.
var shared *Cluster

// Main runs the tests of a package with one cluster that Shared gives, and ends
// the process. Syncing to disk is off: these tests kill no machine.
func Main(m *testing.M) {
	code := func() int {
		if os.Getenv(SkipVariable) != "" {
			return m.Run()
		}
		var err error
		if shared, err = Start(context.Background(), "fsync=off", "full_page_writes=off"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		code := m.Run()
		if err := shared.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}()
	os.Exit(code)
}

// Shared is a new database of Main's cluster.
func Shared(t testing.TB) Database {
	t.Helper()
	Needed(t)
	d, err := shared.Database(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Needed skips the test where that was asked for.
func Needed(t testing.TB) {
	t.Helper()
	if os.Getenv(SkipVariable) != "" {
		t.Skip(SkipVariable + " is set")
	}
}

// Own is a cluster of the test's own, which it may kill. Whatever was
// acknowledged is on disk.
func Own(t testing.TB) *Cluster {
	t.Helper()
	Needed(t)
	c, err := Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// Exec runs a statement with the rights of a URL's role.
func Exec(ctx context.Context, url, statement string, args ...any) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	if _, err = conn.Exec(ctx, `SET search_path = caracal`); err == nil {
		_, err = conn.Exec(ctx, statement, args...)
	}
	return errors.Join(err, conn.Close(ctx))
}
