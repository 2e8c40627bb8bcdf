package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/caracalai/caracald/bench/loader"
	"github.com/caracalai/caracald/bench/server"
	"github.com/caracalai/caracald/bench/workload"
)

// Peers over HTTP.
const (
	peerCeiling   = "ceiling (bare fasthttp)"
	peerCaracald  = "caracald"
	peerCached    = "caracald, cache on"
	peerFsync     = "caracald, fsync before each answer"
	peerUnaudited = "caracald, audit off"
	peerUnix      = "caracald, Unix socket"
	peerBatch     = "caracald, batches of 50"
	peerEngine    = "fasthttp over our engine, no record"
	peerNetHTTP   = "net/http over OPA"
	peerOPA       = "opa run --server"
	peerCerbos    = "cerbos server"
)

const (
	decidePath = "/v1/decide"
	batchPath  = "/v1/decide/batch"
	opaPath    = "/v1/data/caracal/authz/result"
	cerbosPath = "/api/check/resources"

	batchInputs = 50
	cacheBytes  = 256 << 20
)

// asked is a server that is measured.
type asked struct {
	name    string
	process *server.Process
	target  loader.Target
	// daemon is how a daemon was set up, and empty of all others.
	daemon server.Daemon
}

// fleet is a set of servers, which it ends together.
type fleet struct{ running []*server.Process }

func (f *fleet) add(p *server.Process) { f.running = append(f.running, p) }

// stop ends the servers, daemons before their control plane.
func (f *fleet) stop() error {
	var errs []error
	for i := len(f.running) - 1; i >= 0; i-- {
		errs = append(errs, f.running[i].Stop())
	}
	f.running = nil
	return errors.Join(errs...)
}

// admin starts a control plane on some of the processors.
func (b *bench) admin(ctx context.Context, f *fleet, name string, batches server.Batches, on []int) (*server.Control, error) {
	dir, err := b.directory(name)
	if err != nil {
		return nil, err
	}
	c, err := server.StartAdmin(ctx, server.Admin{Dir: dir, Batches: batches}, on)
	if err == nil {
		f.add(c.Process)
	}
	return c, err
}

// daemon starts a daemon of a control plane, and gives its directory too.
func (b *bench) daemon(ctx context.Context, f *fleet, c *server.Control, name string, d server.Daemon, zones ...*server.Zone) (*server.Process, string, error) {
	dir, err := b.directory(name)
	if err != nil {
		return nil, "", err
	}
	d.Dir = dir
	p, err := c.StartDaemon(ctx, d, b.split.Servers, zones...)
	if err == nil {
		f.add(p)
	}
	return p, dir, err
}

// servers starts all that are compared with each other.
func (b *bench) servers(ctx context.Context, f *fleet) ([]asked, error) {
	control, err := b.admin(ctx, f, "http-admin", server.BatchesDiscarded, b.split.Others)
	if err != nil {
		return nil, err
	}
	w := workload.Find("A")
	zone, err := control.NewActiveZone(ctx, "http", w)
	if err != nil {
		return nil, err
	}
	var all []asked
	add := func(name string, p *server.Process, t loader.Target, d server.Daemon) {
		if t.Network == "" {
			t.Addr = p.Ready.Addr
		}
		t.Workload, t.Zones = w, []string{zone.ID}
		all = append(all, asked{name, p, t, d})
	}
	one := loader.Target{Path: decidePath}
	for i, s := range []struct {
		name, role string
		daemon     server.Daemon
		target     loader.Target
	}{
		{peerCeiling, server.RoleCeiling, server.Daemon{}, loader.Target{Path: decidePath, Blind: true}},
		{peerCaracald, server.RoleCaracald, server.Daemon{Socket: filepath.Join(b.dir, "decide.sock")}, one},
		{peerCached, server.RoleCaracald, server.Daemon{Cache: cacheBytes}, one},
		{peerOPA, server.RoleOPA, server.Daemon{}, loader.Target{Path: opaPath, Wrapped: true}},
		{peerUnaudited, server.RoleCaracald, server.Daemon{Unaudited: true}, one},
		{peerFsync, server.RoleCaracald, server.Daemon{Fsync: true}, one},
		{peerNetHTTP, server.RoleNetHTTP, server.Daemon{}, one},
		{peerEngine, server.RoleEngine, server.Daemon{}, one},
		{peerCerbos, server.RoleCerbos, server.Daemon{}, loader.Target{Path: cerbosPath, Cerbos: true}},
	} {
		if s.role == server.RoleCerbos && b.cerbos == "" {
			continue
		}
		name := fmt.Sprintf("http-%d", i)
		if s.role == server.RoleCaracald {
			p, _, err := b.daemon(ctx, f, control, name, s.daemon, zone)
			if err != nil {
				return nil, err
			}
			add(s.name, p, s.target, s.daemon)
			if s.daemon.Socket != "" {
				add(peerUnix, p, loader.Target{Network: "unix", Addr: p.Ready.Socket, Path: decidePath}, s.daemon)
				add(peerBatch, p, loader.Target{Path: batchPath, Batch: batchInputs}, s.daemon)
			}
			continue
		}
		dir, err := b.directory(name)
		if err != nil {
			return nil, err
		}
		var config any = server.Policy{Workload: w.Name, Dir: dir}
		if s.role == server.RoleCerbos {
			binary, err := filepath.Abs(b.cerbos)
			if err != nil {
				return nil, err
			}
			config = server.Cerbos{Policy: server.Policy{Workload: w.Name, Dir: dir}, Binary: binary}
		}
		p, err := server.Start(ctx, s.role, config, b.split.Servers)
		if err != nil {
			return nil, err
		}
		f.add(p)
		add(s.name, p, s.target, s.daemon)
	}
	return all, nil
}

// agree asks all the same, so that none is measured that decides otherwise, lets
// them answer for a while, and then waits until they have shipped that.
func (b *bench) agree(ctx context.Context, servers []asked) error {
	for _, s := range servers {
		n := b.count(100, 2000) / max(1, s.target.Batch)
		if err := loader.Check(ctx, s.target, b.seed, n); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if _, err := b.load(ctx, s, loader.Load{Seed: b.seed, Connections: connections, Duration: b.pick(100*time.Millisecond, time.Second)}); err != nil {
			return err
		}
	}
	for _, s := range servers {
		if _, _, err := b.shipped(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// load loads a server. A wrong decision is an error; other failures are noted,
// and are in the result.
func (b *bench) load(ctx context.Context, s asked, l loader.Load) (*loader.Result, error) {
	r, err := loader.Run(ctx, s.target, l)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", s.name, err)
	case errors.Is(r.Failure, loader.ErrWrong):
		return nil, fmt.Errorf("%s: %w", s.name, r.Failure)
	case r.Answered == 0:
		return nil, fmt.Errorf("%s: nothing was answered: %w", s.name, r.Failure)
	case r.Failed > 0:
		b.report.Note(fmt.Sprintf("Of %s, %d of %d requests failed: %v.", s.name, r.Failed, r.Failed+r.Answered, r.Failure))
	}
	return r, nil
}

// ships tells whether a server has records to ship.
func (s asked) ships() bool { return s.process.Name == server.RoleCaracald && !s.daemon.Unaudited }

const (
	// shipDeadline bounds the wait for records that are not shipped yet.
	shipDeadline = 20 * time.Second
	// shipLeft is how many a quick run leaves: those that do not fill a batch wait a
	// second for others, and take some milliseconds while the next server is measured.
	shipLeft = 1024
)

// shipped waits until a daemon has shipped its records, all of them in a full run, so that what one
// server has left to do is not done while the next is measured. It tells how
// many there were and how long it took.
func (b *bench) shipped(ctx context.Context, s asked) (waiting float64, took time.Duration, err error) {
	if !s.ships() {
		return 0, 0, nil
	}
	left := 0.0
	if b.quick {
		left = shipLeft
	}
	start := time.Now()
	for first := true; ; first = false {
		m, err := server.Metrics(ctx, s.process.Ready.Addr)
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", s.name, err)
		}
		depth := m["caracal_daemon_spool_depth"]
		if first {
			waiting = depth
		}
		took = time.Since(start)
		switch {
		case depth <= left:
			return waiting, took, nil
		case took > shipDeadline:
			return 0, 0, fmt.Errorf("%s: %.0f records are not shipped after %v", s.name, depth, shipDeadline)
		case ctx.Err() != nil:
			return 0, 0, ctx.Err()
		}
		time.Sleep(50 * time.Millisecond) // asking costs the daemon something too
	}
}

// directory makes a directory that is removed with the run.
func (b *bench) directory(name string) (string, error) {
	dir := filepath.Join(b.dir, name)
	return dir, os.MkdirAll(dir, 0o700)
}
