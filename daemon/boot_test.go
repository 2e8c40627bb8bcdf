package daemon_test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/daemon"
)

// down makes an admin side that is away.
func down(*http.Request) int { return http.StatusServiceUnavailable }

func TestBootWithoutAdmin(t *testing.T) {
	for name, zones := range map[string][]string{"all": nil, "configured": {"z1", "empty"}} {
		t.Run(name, func(t *testing.T) {
			p, n, _ := one(t, func(c *daemon.Config) { c.Zones = zones })
			v2 := p.publish("z1", 2, "")
			p.activate("z1", &v2)
			p.loaded("z1", 2)
			id := n.d.ID()
			n.stop()
			p.misbehave(down)
			n = startReady(t, n.cfg)
			if n.d.ID() != id {
				t.Errorf("the daemon's id changed from %s to %s", id, n.d.ID())
			}
			if got := n.decide(inputOf("z1", "read", "")); got.Decision != "allow" || got.tag() != "v2" {
				t.Fatalf("got %+v", got)
			}
			if got := n.decide(inputOf("empty", "read", "")); got.reason() != "no_active_policy_set" {
				t.Fatalf("got %+v", got)
			}
			p.misbehave(nil)
			v3 := p.publish("z1", 3, "")
			p.activate("z1", &v3)
			p.loaded("z1", 3)
		})
	}
}

// TestBundlesAreCleaned: the state directory keeps the bundles it needs, no others.
func TestBundlesAreCleaned(t *testing.T) {
	p, n, _ := one(t, nil)
	for i := range 5 {
		v := p.publish("z1", i+2, "")
		p.activate("z1", &v)
		p.loaded("z1", int64(i+2))
	}
	want := p.issued["z1"].BundleSHA256
	end := time.After(patience)
	for {
		entries, err := os.ReadDir(filepath.Join(n.cfg.StateDir, "bundles"))
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 1 && entries[0].Name() == want {
			return
		}
		select {
		case <-end:
			t.Fatalf("the state directory has %v, want %s", entries, want)
		case <-time.After(time.Millisecond):
		}
	}
}

// TestCorruptState: damage to any file of the state directory is noticed, what
// is damaged is not used, and comes anew from the admin side.
func TestCorruptState(t *testing.T) {
	flip := func(data []byte) []byte {
		data = bytes.Clone(data)
		data[len(data)/2] ^= 0x01
		return data
	}
	for _, test := range []struct {
		name, file string
		damage     func([]byte) []byte
		serves     bool // though the admin side is away
	}{
		{"pointer flipped", "zones/z1.json", flip, false},
		{"pointer empty", "zones/z1.json", func([]byte) []byte { return nil }, false},
		{"pointer cut", "zones/z1.json", func(d []byte) []byte { return d[:len(d)/3] }, false},
		{"sequence raised", "zones/z1.json", func(d []byte) []byte { return bytes.Replace(d, []byte(`"seen":1`), []byte(`"seen":9`), 1) }, false},
		{"bundle flipped", "bundles/*", flip, false},
		{"bundle empty", "bundles/*", func([]byte) []byte { return nil }, false},
		{"daemon id", "daemon-id", flip, true},
		{"mask key", "mask-key", func(d []byte) []byte { return d[1:] }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, n, _ := one(t, nil)
			n.stop()
			found, err := filepath.Glob(filepath.Join(n.cfg.StateDir, test.file))
			if err != nil || len(found) != 1 {
				t.Fatal(found, err)
			}
			before, err := os.ReadFile(found[0])
			if err != nil {
				t.Fatal(err)
			}
			after := test.damage(before)
			if test.file == "daemon-id" {
				after = []byte("not an id")
			}
			if bytes.Equal(before, after) {
				t.Fatal("nothing was damaged")
			}
			if err := os.WriteFile(found[0], after, 0o600); err != nil {
				t.Fatal(err)
			}
			p.misbehave(down)
			n = start(t, n.cfg)
			got := n.decide(inputOf("z1", "read", ""))
			if test.serves != (got.Decision == "allow") {
				t.Fatalf("got %+v", got)
			}
			if !test.serves && got.reason() != "zone_not_loaded" {
				t.Fatalf("got %+v", got)
			}
			if st := parse[daemon.Status](t, n.call("GET", "/v1/zones/z1/status", nil).body); test.serves != (st.Detail == "") {
				t.Errorf("the status says %+v", st)
			}
			if aside, err := os.ReadFile(found[0] + ".corrupt"); err != nil || !bytes.Equal(aside, after) {
				t.Fatalf("the damaged file is not set aside: %v", err)
			}
			p.misbehave(nil)
			n.ready()
			if got := n.decide(inputOf("z1", "read", "")); got.Decision != "allow" {
				t.Fatalf("got %+v", got)
			}
		})
	}
}

// TestForgedState: a sound file with a pointer by somebody else is not used, and
// a pointer put back to an older one does not bring the sequence back down while
// the admin side says otherwise.
func TestForgedState(t *testing.T) {
	p, n, _ := one(t, nil)
	n.stop()
	q := newPlane(t) // signs with other keys
	v := q.publish("z1", 1, "")
	q.activate("z1", nil)
	q.activate("z1", &v)
	other := configOf(t, q)
	m := startReady(t, other)
	m.stop()
	for _, dir := range []string{"zones", "bundles"} {
		if err := os.RemoveAll(filepath.Join(n.cfg.StateDir, dir)); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(other.StateDir, dir), filepath.Join(n.cfg.StateDir, dir)); err != nil {
			t.Fatal(err)
		}
	}
	p.misbehave(down)
	n = start(t, n.cfg)
	if got := n.decide(inputOf("z1", "read", "")); got.Decision != "deny" || got.reason() != "zone_not_loaded" {
		t.Fatalf("got %+v", got)
	}
	p.misbehave(nil)
	n.ready()
	if got := n.decide(inputOf("z1", "read", "")); got.Decision != "allow" {
		t.Fatalf("got %+v", got)
	}
}

// TestSequenceOverRestart: the sequence that was served is remembered.
func TestSequenceOverRestart(t *testing.T) {
	p, n, v1 := one(t, nil)
	old, oldSigned := p.issued["z1"], p.pointers["z1"]
	v2 := p.publish("z1", 2, "")
	p.activate("z1", &v2)
	p.loaded("z1", 2)
	n.stop()
	// The bundle is gone, so that nothing can be served; the sequence still counts.
	if err := os.RemoveAll(filepath.Join(n.cfg.StateDir, "bundles")); err != nil {
		t.Fatal(err)
	}
	now, nowSigned := p.issued["z1"], p.pointers["z1"]
	p.offer(old, oldSigned)
	n = start(t, n.cfg)
	if r := p.failed("z1", 1); r.ServingSequence != -1 || !strings.Contains(r.Detail, "after sequence 2") {
		t.Fatalf("receipt %+v", r)
	}
	if got := n.decide(inputOf("z1", "read", "")); got.reason() != "zone_not_loaded" {
		t.Fatalf("got %+v", got)
	}
	p.offer(now, nowSigned)
	p.loaded("z1", 2)
	if got := n.decide(inputOf("z1", "read", "")); got.tag() != "v2" {
		t.Fatalf("got %+v", got)
	}
	_ = v1
}

// TestTrust: keys are rotated by the chain of roots, over restarts too, and a
// root that was left behind does not come back.
func TestTrust(t *testing.T) {
	p, n, _ := one(t, nil)
	before := *p.trust
	p.mu.Lock()
	p.trust.pointers, p.trust.bundles = newKey(t), newKey(t)
	p.trust.issue(t, p.trust.root)
	p.mu.Unlock()
	p.activate("empty", nil) // everything is signed anew
	p.loaded("empty", 1)
	v2 := p.publish("z1", 2, "")
	p.activate("z1", &v2)
	p.loaded("z1", 2)
	// The keys from before the rotation do not count any more.
	v3 := p.publish("z1", 3, "")
	ptr := p.pointer("z1", &v3)
	p.offer(ptr, p.signed(ptr, &v3, before.pointers))
	if r := p.failed("z1", 3); !strings.Contains(r.Detail, "signature") {
		t.Fatalf("receipt %+v", r)
	}
	n.stop()
	p.misbehave(down)
	n = startReady(t, n.cfg) // from the first root again, by the kept rotation
	if got := n.decide(inputOf("z1", "read", "")); got.tag() != "v2" {
		t.Fatalf("got %+v", got)
	}
	n.stop()
	// Without the rotation nothing is believed until it is fetched.
	kept, err := filepath.Glob(filepath.Join(n.cfg.StateDir, "trust", "*2.json"))
	if err != nil || len(kept) != 1 {
		t.Fatal(kept, err)
	}
	if err := os.WriteFile(kept[0], []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	n = start(t, n.cfg)
	if got := n.decide(inputOf("z1", "read", "")); got.reason() != "zone_not_loaded" {
		t.Fatalf("got %+v", got)
	}
	p.misbehave(nil)
	n.ready()
	if got := n.decide(inputOf("z1", "read", "")); got.tag() != "v2" {
		t.Fatalf("got %+v", got)
	}
}

// TestTrustChain: a root that the one before did not sign is not followed.
func TestTrustChain(t *testing.T) {
	p, n, _ := one(t, nil)
	thief := newKey(t)
	p.mu.Lock()
	p.trust.root, p.trust.pointers = thief, thief
	p.trust.issue(t, thief)
	p.mu.Unlock()
	v2 := p.publish("z1", 2, "")
	p.activate("z1", &v2)
	p.failed("z1", 2)
	if got := n.decide(inputOf("z1", "read", "")); got.tag() != "v1" {
		t.Fatalf("got %+v", got)
	}
}

// TestTrustByHash: a root that is pinned by its hash is fetched, kept and used
// without the admin side; another one is not taken.
func TestTrustByHash(t *testing.T) {
	p, n, _ := one(t, func(c *daemon.Config) {
		c.TrustRootSHA256 = bundle.SHA256Hex(c.TrustRoot)
		c.TrustRoot = nil
	})
	n.stop()
	p.misbehave(down)
	n = startReady(t, n.cfg)
	if got := n.decide(inputOf("z1", "read", "")); got.Decision != "allow" {
		t.Fatalf("got %+v", got)
	}
	p.misbehave(nil)
	cfg := configOf(t, p)
	cfg.TrustRoot, cfg.TrustRootSHA256 = nil, strings.Repeat("0", 64)
	m := start(t, cfg)
	asked := make(chan struct{}, 100)
	p.misbehave(func(r *http.Request) int {
		if r.URL.Path == "/v1/trust" {
			select {
			case asked <- struct{}{}:
			default:
			}
		}
		return 0
	})
	for range 2 { // the second time, the first answer was looked at
		select {
		case <-asked:
		case <-time.After(patience):
			t.Fatal("the roots are not asked for")
		}
	}
	if got := m.decide(inputOf("z1", "read", "")); got.Decision != "deny" || got.reason() != "zone_not_loaded" {
		t.Fatalf("got %+v", got)
	}
}
