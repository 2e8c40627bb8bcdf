// Package clienttest runs a real control plane and a real daemon for tests of
// what asks for decisions: nothing about a decision is imitated.
package clienttest

import (
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin"
	"github.com/caracalai/caracald/admin/api"
	adminclient "github.com/caracalai/caracald/admin/client"
	"github.com/caracalai/caracald/admin/store/sqlite"
	"github.com/caracalai/caracald/daemon"
)

const (
	bootstrapToken = "the-bootstrap-token-of-these-tests"
	// patience bounds how long a test waits for what must happen.
	patience = 30 * time.Second
)

// Rig is a control plane, and a daemon that serves its one zone, on loopback.
type Rig struct {
	t testing.TB
	// Admin calls the control plane, with all rights.
	Admin *adminclient.Client
	// Zone is the id of the zone.
	Zone string
	// URL and Socket are where the daemon answers; both stay through StopDaemon
	// and StartDaemon.
	URL, Socket string

	set  api.PolicySet
	cfg  daemon.Config
	stop func()
}

// Start runs a control plane and a daemon until the test ends, with a zone in
// which nothing is active. change, where not nil, may change the daemon's
// configuration before it starts.
func Start(t testing.TB, change func(*daemon.Config)) *Rig {
	t.Helper()
	ctx := context.Background()
	st, err := sqlite.Open(ctx, t.TempDir(), sqlite.Options{})
	check(t, err)
	t.Cleanup(func() { check(t, st.Close()) })
	keys, err := admin.LoadOrCreateKeys(ctx, st, time.Now())
	check(t, err)
	server, err := admin.New(ctx, admin.Config{Store: st, Keys: keys, BootstrapToken: bootstrapToken})
	check(t, err)
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- server.Run(running) }()
	web := httptest.NewServer(server.Handler())
	t.Cleanup(func() {
		cancel()
		check(t, <-ended)
		web.CloseClientConnections()
		web.Close()
	})

	r := &Rig{t: t}
	r.Admin, err = adminclient.New(web.URL, bootstrapToken)
	check(t, err)
	zone, err := r.Admin.CreateZone(ctx, api.ZoneCreate{Name: "test"})
	check(t, err)
	r.Zone = zone.ID
	r.set, err = r.Admin.CreatePolicySet(ctx, r.Zone, api.PolicySetCreate{Name: "test"})
	check(t, err)
	token, err := r.Admin.CreateToken(ctx, api.TokenCreate{Name: "daemon", Roles: []string{api.RoleDaemon}})
	check(t, err)

	// The path of a socket has room for about a hundred bytes, which a test's
	// own directory may use up.
	sockets, err := os.MkdirTemp("", "caracal")
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(sockets)) })
	r.Socket = filepath.Join(sockets, "decide.sock")
	r.cfg = daemon.Config{
		AdminURLs: []string{web.URL}, Token: token.Secret, TrustRoot: keys.Roots[0], StateDir: filepath.Join(t.TempDir(), "state"),
		DecideAddr: "127.0.0.1:0", DecideSocket: r.Socket, Name: "test", CacheBytes: 1 << 20,
		WatchWait: time.Second, Heartbeat: 50 * time.Millisecond, RetryMin: time.Millisecond, RetryMax: 50 * time.Millisecond, DrainTimeout: time.Second, ShipInterval: 20 * time.Millisecond,
	}
	if change != nil {
		change(&r.cfg)
	}
	r.StartDaemon()
	t.Cleanup(r.StopDaemon)
	return r
}

// StartDaemon starts the daemon that was stopped, where it was, and waits until
// it is ready.
func (r *Rig) StartDaemon() {
	r.t.Helper()
	d, err := daemon.New(r.cfg)
	check(r.t, err)
	r.cfg.DecideAddr = d.Addr().String()
	r.URL = "http://" + r.cfg.DecideAddr
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	r.stop = func() {
		cancel()
		select {
		case err := <-ended:
			check(r.t, err)
		case <-time.After(patience):
			r.t.Error("the daemon does not end")
		}
	}
	select {
	case <-d.Ready():
	case <-time.After(patience):
		r.t.Fatal("the daemon does not become ready")
	}
}

// StopDaemon stops the daemon and waits until it has ended.
func (r *Rig) StopDaemon() {
	r.t.Helper()
	if r.stop != nil {
		r.stop()
		r.stop = nil
	}
}

// Activate publishes policies, by name and in any order, as a new version, makes
// it govern the zone, and waits until the daemon has loaded it.
func (r *Rig) Activate(policies map[string]string) api.PolicySetVersion {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var ids []string
	for name, content := range policies {
		ids = append(ids, r.publish(ctx, name, content))
	}
	version, err := r.Admin.AddSetVersion(ctx, r.Zone, r.set.ID, ids...)
	check(r.t, err)
	done, err := r.Admin.Activate(ctx, r.Zone, r.set.ID, api.ActivateRequest{VersionID: version.ID})
	check(r.t, err)
	_, err = r.Admin.WaitLoaded(ctx, r.Zone, r.set.ID, version.ID, done.OutboxID, nil)
	check(r.t, err)
	return version
}

// publish gives the id of a policy's new version.
func (r *Rig) publish(ctx context.Context, name, content string) string {
	r.t.Helper()
	policies := func(ctx context.Context, at adminclient.Page) (api.Page[api.Policy], error) {
		return r.Admin.Policies(ctx, r.Zone, at)
	}
	for p, err := range adminclient.All(ctx, policies) {
		check(r.t, err)
		if p.Name == name {
			v, err := r.Admin.AddPolicyVersion(ctx, r.Zone, p.ID, api.PolicyVersionCreate{Content: content})
			check(r.t, err)
			return v.ID
		}
	}
	p, err := r.Admin.CreatePolicy(ctx, r.Zone, api.PolicyCreate{Name: name, Content: content})
	check(r.t, err)
	return p.VersionID
}

// Recorded waits until the audit has n records of a request, and gives them. The
// daemon ships its records a moment after it has answered.
func (r *Rig) Recorded(request string, n int) []api.Event {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		events, err := r.Admin.AuditByRequest(ctx, r.Zone, request)
		if err == nil && len(events) >= n {
			return events
		}
		select {
		case <-ctx.Done():
			r.t.Fatalf("the audit has %d records of request %s, not %d: %v", len(events), request, n, err)
		case <-tick.C:
		}
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
