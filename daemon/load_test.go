package daemon_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/daemon"
)

// TestFollow: activations, another one of the same version, a deactivation.
func TestFollow(t *testing.T) {
	p, n, v1 := one(t, nil)
	v2 := p.publish("z1", 2, "")
	p.activate("z1", &v2)
	p.loaded("z1", 2)
	if got := n.decide(inputOf("z1", "read", "")); got.tag() != "v2" || *got.PolicySetVersionID != v2.id {
		t.Fatalf("got %+v", got)
	}
	same := v2
	same.id = "version-z1-again" // another version of the very bytes
	p.activate("z1", &same)
	p.loaded("z1", 3)
	if got := n.decide(inputOf("z1", "read", "")); got.tag() != "v2" || *got.PolicySetVersionID != same.id {
		t.Fatalf("got %+v", got)
	}
	p.activate("z1", &v1) // a rollback is a new sequence
	p.loaded("z1", 4)
	if got := n.decide(inputOf("z1", "read", "")); got.tag() != "v1" || *got.PolicySetVersionID != v1.id {
		t.Fatalf("got %+v", got)
	}
	p.activate("z1", nil)
	p.loaded("z1", 5)
	if got := n.decide(inputOf("z1", "read", "")); got.Decision != "deny" || got.reason() != "no_active_policy_set" || got.PolicySetVersionID != nil {
		t.Fatalf("got %+v", got)
	}
	// A zone that is new is served where all are.
	w := p.publish("z2", 1, "")
	p.activate("z2", &w)
	p.loaded("z2", 0)
	if got := n.decide(inputOf("z2", "read", "")); got.Decision != "allow" {
		t.Fatalf("got %+v", got)
	}
}

// TestBad: whatever is wrong with what a zone's pointer names or how it is
// signed, the receipt says so, the last good version goes on serving, the other
// zones go on too, and the next good pointer is loaded.
func TestBad(t *testing.T) {
	stranger := newKey(t)
	for _, test := range []struct {
		name string
		says string
		// offer makes the bad pointer the current one.
		offer func(p *plane, v1, v2 version)
	}{
		{"wrong pointer key", "signature", func(p *plane, _, v2 version) {
			ptr := p.pointer("z1", &v2)
			p.offer(ptr, p.signed(ptr, &v2, stranger))
		}},
		{"wrong bundle key", "signature", func(p *plane, _, v2 version) {
			v2.envelope, _ = bundle.SignStatement(v2.packed.Statement, stranger)
			p.activate("z1", &v2)
		}},
		{"bundle key signs the pointer", "signature", func(p *plane, _, v2 version) {
			ptr := p.pointer("z1", &v2)
			p.offer(ptr, p.signed(ptr, &v2, p.trust.bundles))
		}},
		{"no bundle signature", "", func(p *plane, _, v2 version) {
			v2.envelope = nil
			p.activate("z1", &v2)
		}},
		{"another bundle's signature", "hash", func(p *plane, v1, v2 version) {
			v2.envelope = v1.envelope
			p.activate("z1", &v2)
		}},
		{"another zone's pointer", "zone", func(p *plane, _, v2 version) {
			ptr := p.pointer("z1", &v2)
			ptr.ZoneID = "z9"
			sp := p.signed(ptr, &v2)
			ptr.ZoneID, sp.ZoneID = "z1", "z1"
			p.offer(ptr, sp)
		}},
		{"another zone's bundle", "zone", func(p *plane, _, v2 version) {
			foreign := p.publish("z9", 2, "")
			foreign.set = v2.set
			p.activate("z1", &foreign)
		}},
		{"another set's bundle", "set", func(p *plane, _, v2 version) {
			v2.set = "set-other"
			p.activate("z1", &v2)
		}},
		{"expired", "expired", func(p *plane, _, v2 version) {
			ptr := p.pointer("z1", &v2)
			ptr.IssuedAt, ptr.ExpiresAt = ptr.IssuedAt.Add(-2*time.Hour), ptr.IssuedAt.Add(-time.Hour)
			p.offer(ptr, p.signed(ptr, &v2))
		}},
		{"tampered bytes", "SHA-256", func(p *plane, _, v2 version) {
			data := slices.Clone(v2.packed.Data)
			data[len(data)/2] ^= 1
			p.mu.Lock()
			p.bundles[v2.packed.BundleSHA256] = data
			p.mu.Unlock()
			p.activate("z1", &v2)
		}},
		{"longer bytes", "bytes", func(p *plane, _, v2 version) {
			p.mu.Lock()
			p.bundles[v2.packed.BundleSHA256] = append(slices.Clone(v2.packed.Data), 0)
			p.mu.Unlock()
			p.activate("z1", &v2)
		}},
		{"does not compile", "compiling", func(p *plane, _, _ version) {
			broken := p.publish("z1", 2, "package caracal.authz\n\nresult := undefined_function(1)\n")
			p.activate("z1", &broken)
		}},
		{"forbidden built-in", "compiling", func(p *plane, _, _ version) {
			broken := p.publish("z1", 2, "package caracal.authz\n\nresult := http.send({\"method\":\"get\",\"url\":\"http://127.0.0.1:1\"})\n")
			p.activate("z1", &broken)
		}},
		{"settings that cannot be honoured", "settings", func(p *plane, _, v2 version) {
			ptr := p.pointer("z1", &v2)
			ptr.Settings.AuditMask = []string{"no-slash"}
			p.offer(ptr, p.signed(ptr, &v2))
		}},
		{"garbage", "", func(p *plane, _, v2 version) {
			ptr := p.pointer("z1", &v2)
			sp := p.signed(ptr, &v2)
			sp.Pointer = []byte(`{"payload":"AAAA"}`)
			p.offer(ptr, sp)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, n, v1 := one(t, nil)
			v2 := p.publish("z1", 2, "")
			test.offer(p, v1, v2)
			r := p.failed("z1", 2)
			if r.Detail == "" || !strings.Contains(r.Detail, test.says) || r.ServingSequence != 1 || r.ServingVersionID == nil || *r.ServingVersionID != v1.id {
				t.Fatalf("receipt %+v", r)
			}
			if got := n.decide(inputOf("z1", "read", "")); got.Decision != "allow" || got.tag() != "v1" || *got.PolicySetVersionID != v1.id {
				t.Fatalf("got %+v", got)
			}
			if st := n.status("z1"); st.Sequence != 1 || st.Detail == "" || !st.Stale {
				t.Fatalf("status %+v", st)
			}
			e2 := p.publish("empty", 1, "")
			p.activate("empty", &e2)
			p.loaded("empty", 1)
			v3 := p.publish("z1", 3, "")
			p.activate("z1", &v3)
			p.loaded("z1", 3)
			if got := n.decide(inputOf("z1", "read", "")); got.tag() != "v3" {
				t.Fatalf("got %+v", got)
			}
			if st := n.status("z1"); st.Sequence != 3 || st.Detail != "" || st.Stale {
				t.Fatalf("status %+v", st)
			}
		})
	}
}

// TestRollback: an older sequence, and another version under the same one, are
// refused even though they are well signed. Once they are offered no more, all
// is well again.
func TestRollback(t *testing.T) {
	p, n, v1 := one(t, nil)
	v2, v3 := p.publish("z1", 2, ""), p.publish("z1", 3, "")
	old, oldSigned := p.issued["z1"], p.pointers["z1"]
	ptr := p.activate("z1", &v2)
	now := p.pointers["z1"]
	p.loaded("z1", 2)
	// An admin side that ignores what is held.
	var stale atomic.Pointer[bundle.SignedPointer]
	stale.Store(&oldSigned)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if sp := stale.Load(); sp != nil && r.URL.Path == "/v1/pointers/watch" {
			writeJSON(w, bundle.WatchResponse{Pointers: []bundle.SignedPointer{*sp}})
			return
		}
		p.server.Config.Handler.ServeHTTP(w, r)
	}))
	defer front.Close()
	n.stop()
	cfg := n.cfg
	cfg.AdminURLs = []string{front.URL}
	n = start(t, cfg)
	if r := p.failed("z1", old.Sequence); !strings.Contains(r.Detail, "after sequence 2") || r.ServingSequence != 2 {
		t.Fatalf("receipt %+v", r)
	}
	if got := n.decide(inputOf("z1", "read", "")); got.tag() != "v2" {
		t.Fatalf("got %+v", got)
	}
	// The same sequence with another version.
	twin := ptr
	twin.IssuedAt = twin.IssuedAt.Add(time.Second)
	twin.PolicySetVersionID, twin.ManifestSHA256, twin.BundleSHA256, twin.BundleSize = &v3.id, v3.packed.ManifestSHA256, v3.packed.BundleSHA256, int64(len(v3.packed.Data))
	sp := p.signed(twin, &v3)
	stale.Store(&sp)
	p.failed("z1", 2)
	if got := n.decide(inputOf("z1", "read", "")); got.tag() != "v2" {
		t.Fatalf("got %+v", got)
	}
	stale.Store(nil)
	p.offer(ptr, now)
	p.loaded("z1", 2)
	_ = v1
}

// TestRestored: a store that was restored is behind what the daemon has seen.
// Its pointer is refused, also when it is renewed; issued anew beyond that, it
// is loaded, with the older version that it names, and survives a restart.
func TestRestored(t *testing.T) {
	p, n, v1 := one(t, nil)
	v2 := p.publish("z1", 2, "")
	restored := p.issued["z1"]
	nine := p.activate("z1", &v2)
	nine.Sequence, nine.IssuedAt = 9, nine.IssuedAt.Add(time.Second)
	p.offer(nine, p.signed(nine, &v2))
	p.loaded("z1", 9)
	restored.Sequence, restored.IssuedAt = 9, nine.IssuedAt.Add(time.Second) // after some activations by hand, too few
	p.offer(restored, p.signed(restored, &v1))
	if r := p.failed("z1", 9); r.ServingSequence != 9 || r.ServingVersionID == nil || *r.ServingVersionID != v2.id {
		t.Fatalf("receipt %+v", r)
	}
	raised := restored
	raised.Sequence, raised.IssuedAt = 10, restored.IssuedAt.Add(time.Second)
	p.offer(raised, p.signed(raised, &v1))
	p.loaded("z1", 10)
	if got := n.decide(inputOf("z1", "read", "")); got.tag() != "v1" {
		t.Fatalf("got %+v", got)
	}
	n.stop()
	n = start(t, n.cfg)
	if got := n.decide(inputOf("z1", "read", "")); got.tag() != "v1" {
		t.Fatalf("got %+v", got)
	}
}

// TestTransient: what may go away by itself is tried again.
func TestTransient(t *testing.T) {
	p, n, _ := one(t, nil)
	p.misbehave(func(r *http.Request) int {
		if strings.HasPrefix(r.URL.Path, "/v1/bundles/") {
			return http.StatusBadGateway
		}
		return 0
	})
	v2 := p.publish("z1", 2, "")
	p.activate("z1", &v2)
	if r := p.failed("z1", 2); !strings.Contains(r.Detail, "502") {
		t.Fatalf("receipt %+v", r)
	}
	p.misbehave(nil)
	p.loaded("z1", 2)
	if got := n.decide(inputOf("z1", "read", "")); got.tag() != "v2" {
		t.Fatalf("got %+v", got)
	}
}

// TestRenewal: a pointer that is signed anew takes its settings and expiry along,
// keeps the sequence and the time of loading.
func TestRenewal(t *testing.T) {
	p, n, v1 := one(t, nil)
	before := n.status("z1")
	renewed := p.renew("z1", &v1, func(ptr *bundle.Pointer) {
		ptr.ExpiresAt = ptr.ExpiresAt.Add(time.Hour)
		ptr.Settings.AuditMask = []string{"/principal/id"}
	})
	p.wait("the renewed pointer's settings", func() bool {
		p.mu.Unlock()
		defer p.mu.Lock()
		return p.record(n.decide(inputOf("z1", "read", "")).DecisionID).Metadata != nil && n.status("z1").ExpiresAt.Equal(renewed.ExpiresAt)
	})
	after := n.status("z1")
	if after.Sequence != 1 || !after.LoadedAt.Equal(*before.LoadedAt) {
		t.Fatalf("before %+v, after %+v", before, after)
	}
	got := n.decide(inputOf("z1", "read", ""))
	if r := p.record(got.DecisionID); got.Decision != "allow" || !strings.Contains(string(r.Metadata), `"masked":["/principal/id"]`) {
		t.Fatalf("record %+v", r)
	}
}

// TestSeveralAdmins: an address that is down is passed over, and one that goes
// down later too.
func TestSeveralAdmins(t *testing.T) {
	p, other := newPlane(t), (*plane)(nil)
	other = newPlaneOf(t, p.trust)
	gone := httptest.NewServer(nil)
	gone.Close()
	v1 := p.publish("z1", 1, "")
	p.activate("z1", &v1)
	cfg := configOf(t, p)
	cfg.AdminURLs = []string{gone.URL, p.server.URL + "/", other.server.URL}
	n := startReady(t, cfg)
	p.loaded("z1", 0)
	got := n.decide(inputOf("z1", "read", ""))
	p.record(got.DecisionID)
	// The other has what this one had, and goes on alone.
	other.publish("z1", 1, "")
	other.offer(p.issued["z1"], p.pointers["z1"])
	v2 := other.publish("z1", 2, "")
	p.misbehave(func(*http.Request) int { return http.StatusInternalServerError })
	other.activate("z1", &v2)
	other.loaded("z1", 1)
	if got := n.decide(inputOf("z1", "read", "")); got.tag() != "v2" {
		t.Fatalf("got %+v", got)
	}
}

// TestBadAdmin: one address serves other bytes under a bundle's hash; the next has the right ones.
func TestBadAdmin(t *testing.T) {
	p := newPlane(t)
	other := newPlaneOf(t, p.trust)
	v1 := p.publish("z1", 1, "")
	p.bundles[v1.packed.BundleSHA256] = []byte("not the bundle")
	p.activate("z1", &v1)
	other.publish("z1", 1, "")
	other.offer(p.issued["z1"], p.pointers["z1"])
	cfg := configOf(t, p)
	cfg.AdminURLs = []string{p.server.URL, other.server.URL}
	n := startReady(t, cfg)
	if got := n.decide(inputOf("z1", "read", "")); got.Decision != "allow" {
		t.Fatalf("got %+v", got)
	}
}

// TestReadyNeedsEveryZone: a zone that cannot be loaded keeps the daemon from
// being ready, whether it is configured or came with all.
func TestReadyNeedsEveryZone(t *testing.T) {
	for name, zones := range map[string][]string{"all": nil, "configured": {"good", "bad"}} {
		t.Run(name, func(t *testing.T) {
			p := newPlane(t)
			p.activate("good", nil)
			bad := p.publish("bad", 1, "package caracal.authz\n\nresult := nope(1)\n")
			p.activate("bad", &bad)
			cfg := configOf(t, p)
			cfg.Zones = zones
			n := start(t, cfg)
			p.failed("bad", 0)
			p.loaded("good", 0)
			if r := n.call("GET", "/readyz", nil); r.status != 503 {
				t.Fatalf("readyz: %d", r.status)
			}
			if st := n.status("bad"); st.Loaded || st.Detail == "" {
				t.Fatalf("status %+v", st)
			}
			p.activate("bad", nil)
			n.ready()
		})
	}
}

// TestToken: a token that the admin side does not take is not fatal.
func TestToken(t *testing.T) {
	p := newPlane(t)
	p.activate("z1", nil)
	p.misbehave(func(*http.Request) int { return http.StatusForbidden })
	n := start(t, configOf(t, p))
	if r := n.call("GET", "/healthz", nil); r.status != 200 {
		t.Fatalf("healthz: %d", r.status)
	}
	p.misbehave(nil)
	n.ready()
}

// TestOneAtATime: a state directory has one daemon.
func TestOneAtATime(t *testing.T) {
	_, n, _ := one(t, nil)
	if _, err := daemon.New(n.cfg); err == nil || !strings.Contains(err.Error(), "spool") {
		t.Fatalf("a second daemon took the directory: %v", err)
	}
}

// Garbage is collected sooner while many zones are loaded, from the admin side or
// from what is kept, and not after.
func TestManyZonesLeaveLittleGarbage(t *testing.T) {
	const zones, usual, thrifty = 8, 100, 25
	before := debug.SetGCPercent(usual)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	p := newPlane(t)
	for i := range zones {
		zone := fmt.Sprint("z", i)
		v := p.publish(zone, 1, "")
		p.activate(zone, &v)
	}
	asked, release := make(chan struct{}, zones), make(chan struct{})
	p.misbehave(func(r *http.Request) int {
		if strings.HasPrefix(r.URL.Path, "/v1/bundles/") {
			asked <- struct{}{}
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
		return 0
	})
	cfg := configOf(t, p)
	n := start(t, cfg)
	for i := range zones {
		select {
		case <-asked:
		case <-time.After(patience):
			t.Fatalf("%d zones are loaded at once", i)
		}
	}
	if got := daemon.Garbage(); got != thrifty {
		t.Errorf("while zones are loaded there may be %d%% of garbage", got)
	}
	close(release)
	n.ready()
	// A load is counted for a little longer than it takes to be ready.
	p.wait("as much garbage as before", func() bool { return daemon.Garbage() == usual })
	n.stop()

	var least atomic.Uint64
	least.Store(usual)
	cfg.Now = func() time.Time { // what loads a zone looks at the clock
		least.Store(min(least.Load(), daemon.Garbage()))
		return time.Now()
	}
	startReady(t, cfg)
	if got := least.Load(); got != thrifty {
		t.Errorf("while kept zones are loaded there may be %d%% of garbage", got)
	}
	p.wait("as much garbage as before", func() bool { return daemon.Garbage() == usual })
}
