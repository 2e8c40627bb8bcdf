package mirror_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "gocloud.dev/blob/fileblob"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/daemon"
	"github.com/caracalai/caracald/distribution"
	"github.com/caracalai/caracald/mirror"
)

// TestRelay: through a mirror alone a daemon follows activations and new zones,
// its receipts and its audit reach the control plane, and one fetch of a bundle
// is enough for all daemons.
func TestRelay(t *testing.T) {
	s := newSite(t)
	z := s.zone("one")
	v := z.activate()
	r := s.mirror(nil)
	token := s.newToken("node", nil).Secret
	nodes := []*node{s.daemon(r, token, nil), s.daemon(r, token, nil), s.daemon(r, token, nil)}
	var decisions []string
	for range 3 {
		for _, n := range nodes {
			n.decidesBy(z.id, v.ID)
			_, id := n.decide(z.id)
			decisions = append(decisions, id)
		}
		// It knows a daemon by its receipts, which need not all be there when
		// those that are say "loaded".
		eventually(t, "the control plane knows that all daemons have loaded it", func() bool {
			st, err := s.client.ActivationStatus(t.Context(), z.id, z.set, v.ID, "")
			return err == nil && st.Daemons.Loaded == len(nodes)
		})
		v = z.activate()
	}
	for _, n := range nodes {
		n.decidesBy(z.id, v.ID)
	}
	late := s.zone("late") // of which nobody was told when the daemons began to wait
	w := late.activate()
	for _, n := range nodes {
		n.decidesBy(late.id, w.ID)
	}
	eventually(t, "all audit has come in", func() bool {
		events := s.events(z.id)
		return !slices.ContainsFunc(decisions, func(id string) bool { return events[id] == 0 })
	})
	for id, times := range s.events(z.id) {
		if times != 1 {
			t.Errorf("decision %s is in the audit %d times", id, times)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for path, times := range s.calls {
		if strings.HasPrefix(path, "/v1/bundles/") && times != 1 {
			t.Errorf("%s was asked for %d times", path, times)
		}
	}
}

// TestCutOff: a mirror that is cut off serves what it has, after a restart too, to
// daemons that start anew as well; the audit of that time comes in once, later.
func TestCutOff(t *testing.T) {
	s := newSite(t)
	z := s.zone("one")
	v := z.activate()
	r := s.mirror(nil)
	token := s.newToken("node", nil).Secret
	n := s.daemon(r, token, nil)
	n.decidesBy(z.id, v.ID)
	n.stop()

	s.cutOff()
	r = r.restart()
	if status, _, body := r.call("GET", "/readyz", "", nil); status != http.StatusOK || !strings.Contains(string(body), `"connected":false`) {
		t.Fatalf("readyz: %d %s", status, body)
	}
	state := filepath.Join(t.TempDir(), "fresh")
	n = s.daemon(r, token, func(c *daemon.Config) { c.StateDir = state })
	var decisions []string
	for range 20 {
		version, id := n.decide(z.id)
		if version != v.ID {
			t.Fatalf("decided by %q", version)
		}
		decisions = append(decisions, id)
	}
	// A token of which it was never told cannot be judged.
	if status, _ := r.watch(s.newToken("stranger", nil).Secret); status != http.StatusServiceUnavailable {
		t.Errorf("an unknown token was answered %d", status)
	}
	for _, path := range []string{"/v1/receipts", "/v1/audit/batches"} {
		if status, _, body := r.call("POST", path, token, map[string]any{}); status != http.StatusServiceUnavailable || !bytes.Contains(body, []byte("control_plane_unreachable")) {
			t.Errorf("%s was answered %d %s", path, status, body)
		}
	}
	w := z.activate() // of which the site cannot know yet
	if version, _ := n.decide(z.id); version != v.ID {
		t.Errorf("decided by %q", version)
	}
	s.mend()
	n.decidesBy(z.id, w.ID)
	eventually(t, "the audit of the time without a line has come in", func() bool {
		events := s.events(z.id)
		return !slices.ContainsFunc(decisions, func(id string) bool { return events[id] == 0 })
	})
	for id, times := range s.events(z.id) {
		if times != 1 {
			t.Errorf("decision %s is in the audit %d times", id, times)
		}
	}
}

// TestTokens: a mirror tells a token what the control plane would, and no more.
func TestTokens(t *testing.T) {
	s := newSite(t)
	one, two := s.zone("one"), s.zone("two")
	a, b := one.activate(), two.activate()
	old := two.publish() // that no pointer names
	r := s.mirror(func(c *mirror.Config) { c.GrantTTL = time.Hour })
	every, bound := s.newToken("every", nil), s.newToken("bound", &one.id)
	eventually(t, "the mirror has both zones", func() bool {
		_, all := r.watch(every.Secret)
		return len(all) == 2
	})
	if status, got := r.watch(bound.Secret); status != http.StatusOK || len(got) != 1 || got[one.id] != 1 {
		t.Errorf("the token of zone one is told %d %v", status, got)
	}
	for _, test := range []struct {
		method, path, token string
		body                any
		status              int
		code                string
	}{
		{"POST", "/v1/pointers/watch", "", bundle.WatchRequest{Zones: bundle.AllZones()}, 401, "unauthorized"},
		{"POST", "/v1/pointers/watch", "no-such-token-at-all", bundle.WatchRequest{Zones: bundle.AllZones()}, 401, "unauthorized"},
		{"POST", "/v1/pointers/watch", bound.Secret, map[string]any{"zones": map[string]int{two.id: -1}}, 403, "forbidden"},
		{"POST", "/v1/pointers/watch", bound.Secret, map[string]any{"zones": map[string]int{"no-such-zone": -1}}, 404, "zone_not_found"},
		{"POST", "/v1/pointers/watch", bound.Secret, map[string]any{"zones": map[string]int{}}, 400, "invalid_body"},
		{"POST", "/v1/pointers/watch", bound.Secret, map[string]any{"zones": "*", "wait_seconds": 61}, 400, "invalid_body"},
		{"POST", "/v1/pointers/watch", bound.Secret, map[string]any{"zones": "*", "more": 1}, 400, "invalid_body"},
		{"GET", "/v1/pointers/watch", bound.Secret, nil, 405, "method_not_allowed"},
		{"GET", "/v1/bundles/" + a.BundleSHA256, bound.Secret, nil, 200, ""},
		{"GET", "/v1/bundles/" + b.BundleSHA256, every.Secret, nil, 200, ""},
		{"GET", "/v1/bundles/" + b.BundleSHA256, bound.Secret, nil, 403, "forbidden"},
		{"GET", "/v1/bundles/" + old.BundleSHA256, bound.Secret, nil, 403, "forbidden"},
		{"GET", "/v1/bundles/" + old.BundleSHA256, every.Secret, nil, 200, ""},
		{"GET", "/v1/bundles/" + bundle.SHA256Hex(nil), every.Secret, nil, 404, "bundle_not_found"},
		{"GET", "/v1/bundles/ABC", every.Secret, nil, 400, "invalid_bundle_sha256"},
		{"GET", "/v1/bundles/" + a.BundleSHA256, "", nil, 401, "unauthorized"},
		{"GET", "/v1/trust", bound.Secret, nil, 200, ""},
		{"GET", "/v1/trust", "", nil, 401, "unauthorized"},
		{"POST", "/v1/receipts", "", map[string]any{}, 401, "unauthorized"},
		{"POST", "/v1/receipts", bound.Secret, map[string]any{"daemon_id": "d", "name": "", "version": "", "zones": []any{}}, 204, ""},
		{"POST", "/v1/receipts", bound.Secret, map[string]any{"daemon_id": "!"}, 400, "invalid_body"},
		{"POST", "/v1/audit/batches", bound.Secret, map[string]any{}, 400, "invalid_batch"},
		{"POST", "/v1/audit/batches", "", nil, 401, "unauthorized"},
		{"GET", "/v1/zones", root, nil, 404, "not_found"}, // no more of the API than daemons use
		{"GET", "/healthz", "", nil, 200, ""},
		{"GET", "/readyz", "", nil, 200, ""},
		{"GET", "/metrics", "", nil, 404, "not_found"},
	} {
		status, _, body := r.call(test.method, test.path, test.token, test.body)
		var e api.Error
		if status >= 400 {
			if err := json.Unmarshal(body, &e); err != nil || e.Description == "" {
				t.Errorf("%s %s: the error is %s", test.method, test.path, body)
			}
		}
		if status != test.status || e.Code != test.code {
			t.Errorf("%s %s: %d %s, want %d %s", test.method, test.path, status, body, test.status, test.code)
		}
	}
	// What is revoked is refused, by the watch and after a restart without a line too.
	if err := s.client.RevokeToken(t.Context(), bound.ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the revoked token is refused", func() bool {
		status, _ := r.watch(bound.Secret)
		return status == http.StatusUnauthorized
	})
	s.cutOff()
	r = r.restart()
	if status, _ := r.watch(bound.Secret); status == http.StatusOK {
		t.Error("the revoked token is accepted again")
	}
	if status, got := r.watch(every.Secret); status != http.StatusOK || len(got) != 2 {
		t.Errorf("the other token is told %d %v", status, got)
	}
}

// TestGrantsEnd: a token is accepted for as long as is set while the control plane
// cannot be asked, and no longer.
func TestGrantsEnd(t *testing.T) {
	s := newSite(t)
	z := s.zone("one")
	z.activate()
	ahead := time.Duration(0)
	r := s.mirror(func(c *mirror.Config) { c.GrantTTL = time.Hour })
	token := s.newToken("node", nil).Secret
	eventually(t, "the mirror has the zone", func() bool {
		_, all := r.watch(token)
		return len(all) == 1
	})
	s.cutOff()
	for _, test := range []struct {
		ahead  time.Duration
		status int
	}{{0, 200}, {59 * time.Minute, 200}, {61 * time.Minute, 503}, {0, 200}} {
		ahead = test.ahead
		r.stop()
		cfg := r.cfg
		cfg.Now = func() time.Time { return time.Now().Add(ahead) }
		again := startMirror(t, cfg)
		if status, _ := again.watch(token); status != test.status {
			t.Errorf("after %v: %d, want %d", test.ahead, status, test.status)
		}
		again.stop()
	}
}

// TestRanges: a part of a bundle can be asked for, and what is kept need not be
// sent again.
func TestRanges(t *testing.T) {
	s := newSite(t)
	v := s.zone("one").activate()
	r := s.mirror(nil)
	path := "/v1/bundles/" + v.BundleSHA256
	eventually(t, "the bundle is cached", func() bool { return r.measured("caracal.mirror.cache_bundles") == 1 })
	_, header, whole := r.call("GET", path, root, nil)
	if bundle.SHA256Hex(whole) != v.BundleSHA256 || header.Get("ETag") != `"`+v.BundleSHA256+`"` || !strings.Contains(header.Get("Cache-Control"), "immutable") {
		t.Fatalf("%d bytes with %v", len(whole), header)
	}
	if status, header, part := r.call("GET", path, root, nil, "Range", "bytes=10-19"); status != http.StatusPartialContent || !bytes.Equal(part, whole[10:20]) {
		t.Errorf("%d %v %x", status, header, part)
	}
	if status, _, _ := r.call("GET", path, root, nil, "If-None-Match", header.Get("ETag")); status != http.StatusNotModified {
		t.Errorf("what is held was sent again: %d", status)
	}
}

// TestDamage: bad bytes on the mirror's disk are never served: what is damaged is
// fetched again, and refused where it cannot be.
func TestDamage(t *testing.T) {
	s := newSite(t)
	z := s.zone("one")
	v := z.activate()
	r := s.mirror(nil)
	path := "/v1/bundles/" + v.BundleSHA256
	file := filepath.Join(r.cfg.StateDir, "bundles", v.BundleSHA256)
	damage := func() {
		t.Helper()
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2] ^= 1
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the bundle is cached", func() bool { return r.measured("caracal.mirror.cache_bundles") == 1 })
	damage()
	if status, _, got := r.call("GET", path, root, nil); status != http.StatusOK || bundle.SHA256Hex(got) != v.BundleSHA256 {
		t.Fatalf("%d, %d bytes", status, len(got))
	}
	if r.measured("caracal.mirror.bundles_damaged") != 1 {
		t.Error("the damage is not counted")
	}
	damage()
	s.cutOff()
	if status, _, body := r.call("GET", path, root, nil); status != http.StatusServiceUnavailable {
		t.Fatalf("%d %s", status, body)
	}
	// The rest of the directory, with the mirror stopped.
	r.stop()
	for _, name := range []string{filepath.Join("zones", z.id+".json"), "grants.json", "trust.json"} {
		for what, bad := range map[string]string{"garbage": "garbage", "nothing": "", "other JSON": `{"zone_id":"` + z.id + `","pointer":{},"grants":{"x":{}},"roots":[{}]}`} {
			s.mend()
			if err := os.WriteFile(filepath.Join(r.cfg.StateDir, name), []byte(bad), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(r.cfg.StateDir, "bundles", ".tmp-123"), []byte("half"), 0o600); err != nil {
				t.Fatal(err)
			}
			again := startMirror(t, r.cfg)
			eventually(t, name+" with "+what+" is got over", func() bool {
				status, all := again.watch(root)
				return status == http.StatusOK && all[z.id] == 1
			})
			eventually(t, "the bundle is there again", func() bool {
				status, _, got := again.call("GET", path, root, nil)
				return status == http.StatusOK && bundle.SHA256Hex(got) == v.BundleSHA256
			})
			again.stop()
			if left, _ := filepath.Glob(filepath.Join(r.cfg.StateDir, "bundles", ".tmp-*")); len(left) > 0 {
				t.Errorf("%v is left", left)
			}
		}
	}
}

// TestForged: what a control plane that is not the pinned one sends is not relayed,
// whoever it is that answers on the line.
func TestForged(t *testing.T) {
	s := newSite(t)
	z := s.zone("one")
	v := z.activate()
	r := s.mirror(nil)
	eventually(t, "the pointer is relayed", func() bool {
		_, all := r.watch(root)
		return all[z.id] == 1
	})
	stranger, err := bundle.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	forged, err := bundle.SignPointer(bundle.Pointer{ZoneID: z.id, Sequence: 1 << 40, IssuedAt: now, ExpiresAt: now.Add(time.Hour)}, stranger)
	if err != nil {
		t.Fatal(err)
	}
	forge := func(w http.ResponseWriter, req *http.Request) bool {
		if req.URL.Path != "/v1/pointers/watch" || req.Header.Get("Authorization") != "Bearer "+s.token {
			return false
		}
		_ = json.NewEncoder(w).Encode(bundle.WatchResponse{Pointers: []bundle.SignedPointer{{ZoneID: z.id, Sequence: 1 << 40, Pointer: forged}}})
		return true
	}
	s.between.Store(&forge)
	eventually(t, "the forged pointer is refused", func() bool { return r.measured("caracal.mirror.pointers_refused") > 1 })
	if _, all := r.watch(root); all[z.id] != 1 {
		t.Errorf("relayed: %v", all)
	}
	s.between.Store(nil)
	w := z.activate()
	eventually(t, "the next good pointer is relayed", func() bool {
		_, all := r.watch(root)
		return all[z.id] == 2
	})
	_, _ = v, w
}

// TestBoundedCache: the cache stays within its bytes, and daemons get every bundle
// all the same.
func TestBoundedCache(t *testing.T) {
	s := newSite(t)
	zones := []*governed{s.zone("one"), s.zone("two"), s.zone("three")}
	first := zones[0].activate()
	most := first.BundleSize*2 + first.BundleSize/2 // room for two of about that size
	r := s.mirror(func(c *mirror.Config) { c.CacheBytes = most })
	for range 3 {
		for _, z := range zones {
			v := z.activate()
			eventually(t, "the bundle can be had", func() bool {
				status, _, got := r.call("GET", "/v1/bundles/"+v.BundleSHA256, root, nil)
				return status == http.StatusOK && bundle.SHA256Hex(got) == v.BundleSHA256
			})
			if size := r.measured("caracal.mirror.cache_size"); size > most {
				t.Fatalf("the cache has %d bytes of %d", size, most)
			}
		}
	}
	files, err := os.ReadDir(filepath.Join(r.cfg.StateDir, "bundles"))
	if err != nil || len(files) == 0 || len(files) > 2 {
		t.Errorf("%d files: %v", len(files), err)
	}
}

// TestHangingBundle: a bundle that does not come does not keep other zones from
// moving, and its pointer is relayed after a while all the same, so that daemons
// with another source go on.
func TestHangingBundle(t *testing.T) {
	s := newSite(t)
	slow, quick := s.zone("slow"), s.zone("quick")
	dir := t.TempDir()
	store, err := distribution.OpenStore(t.Context(), "file://"+dir)
	if err != nil {
		t.Fatal(err)
	}
	r := s.mirror(func(c *mirror.Config) { c.BundleTimeout = 200 * time.Millisecond })
	token := s.newToken("node", nil).Secret
	n := s.daemon(r, token, func(c *daemon.Config) { c.BundleSources = []distribution.Source{store} })
	v := slow.publish()
	data, err := s.client.Bundle(t.Context(), v.BundleSHA256)
	if err != nil {
		t.Fatal(err)
	}
	hang := func(_ http.ResponseWriter, req *http.Request) bool {
		if req.URL.Path == "/v1/bundles/"+v.BundleSHA256 {
			<-req.Context().Done()
			return true
		}
		return false
	}
	s.between.Store(&hang)
	if _, err := store.Publish(t.Context(), v.BundleSHA256, data); err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.Activate(t.Context(), slow.id, slow.set, api.ActivateRequest{VersionID: v.ID}); err != nil {
		t.Fatal(err)
	}
	w := quick.activate()
	n.decidesBy(quick.id, w.ID)
	n.decidesBy(slow.id, v.ID)
	s.between.Store(nil)
	eventually(t, "the bundle is cached once it comes", func() bool { return r.measured("caracal.mirror.cache_bundles") == 2 })
}

// TestChain: a mirror may follow another one.
func TestChain(t *testing.T) {
	s := newSite(t)
	z := s.zone("one")
	v := z.activate()
	first := s.mirror(nil)
	second := s.mirror(func(c *mirror.Config) { c.AdminURLs = []string{first.url} })
	n := s.daemon(second, s.newToken("node", nil).Secret, nil)
	n.decidesBy(z.id, v.ID)
	v = z.activate()
	n.decidesBy(z.id, v.ID)
	if st, err := s.client.WaitLoaded(t.Context(), z.id, z.set, v.ID, "", nil); err != nil || st.Daemons.Loaded != 1 {
		t.Fatalf("%+v: %v", st, err)
	}
}

// TestManyWait: no more daemons wait than may, and those that are too many are told.
func TestManyWait(t *testing.T) {
	s := newSite(t)
	z := s.zone("one")
	z.activate()
	r := s.mirror(func(c *mirror.Config) { c.MaxWatchers = 1 })
	eventually(t, "the mirror has the zone", func() bool {
		_, all := r.watch(root)
		return all[z.id] == 1
	})
	held := bundle.WatchRequest{Zones: bundle.AllZones(), Have: map[string]bundle.Held{z.id: {Sequence: 1}}, WaitSeconds: 60}
	waited := make(chan int, 1)
	go func() {
		status, _, _ := r.call("POST", "/v1/pointers/watch", root, held)
		waited <- status
	}()
	eventually(t, "one waits", func() bool { return r.measured("caracal.mirror.watchers") == 1 })
	if status, header, body := r.call("POST", "/v1/pointers/watch", root, held); status != http.StatusServiceUnavailable || !bytes.Contains(body, []byte("too_many_watchers")) || header.Get("Retry-After") == "" {
		t.Errorf("the second was answered %d %s", status, body)
	}
	z.activate()
	select {
	case status := <-waited:
		if status != http.StatusOK {
			t.Errorf("the one that waited was answered %d", status)
		}
	case <-time.After(patience):
		t.Error("the one that waited was not woken")
	}
}
