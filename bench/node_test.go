package bench

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/daemon"
	"github.com/caracalai/caracald/policy"
)

// node runs a daemon that serves the policies in the zone "zone", and gives its
// address. Its admin side hands out one pointer and takes every batch.
func node(b *testing.B, mods []policy.Module, durability audit.Durability, cacheBytes int64) string {
	b.Helper()
	check := func(err error) {
		if err != nil {
			b.Helper()
			b.Fatal(err)
		}
	}
	key, err := bundle.GenerateKey()
	check(err)
	role := bundle.Role{Threshold: 1, Keys: []bundle.PublicKey{key.Public()}}
	root, err := bundle.SignRoot(bundle.Root{Version: 1, Expires: time.Now().Add(time.Hour), Root: role, Bundles: role, Pointers: role}, key)
	check(err)
	m := &bundle.Manifest{ZoneID: "zone", PolicySetID: "set", Version: 1, SchemaVersion: policy.SchemaVersion}
	var contents []bundle.Module
	for i, mod := range mods {
		id := string(rune('a' + i))
		m.Policies = append(m.Policies, bundle.ManifestPolicy{PolicyID: id, PolicyVersionID: id, Name: mod.Name, ContentSHA256: bundle.SHA256Hex([]byte(mod.Content))})
		contents = append(contents, bundle.Module{PolicyVersionID: id, Content: []byte(mod.Content)})
	}
	packed, err := bundle.Pack(m, contents)
	check(err)
	statement, err := bundle.SignStatement(packed.Statement, key)
	check(err)
	set, version := "set", "version"
	now := time.Now().UTC()
	pointer, err := bundle.SignPointer(bundle.Pointer{ZoneID: "zone", Sequence: 1, PolicySetID: &set, PolicySetVersionID: &version,
		ManifestSHA256: packed.ManifestSHA256, BundleSHA256: packed.BundleSHA256, BundleSize: int64(len(packed.Data)),
		IssuedAt: now, ExpiresAt: now.Add(time.Hour)}, key)
	check(err)

	var once sync.Once
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/pointers/watch", func(w http.ResponseWriter, r *http.Request) {
		// Until its body is read, a request does not tell that its caller left.
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		first := false
		once.Do(func() { first = true })
		if !first {
			<-r.Context().Done()
			return
		}
		answer(w, bundle.WatchResponse{Pointers: []bundle.SignedPointer{{ZoneID: "zone", Sequence: 1, Pointer: pointer, Bundle: statement}}})
	})
	mux.HandleFunc("GET /v1/bundles/{hash}", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(packed.Data) })
	mux.HandleFunc("POST /v1/receipts", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("POST /v1/audit/batches", func(w http.ResponseWriter, r *http.Request) {
		batch, err := readBatch(r)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		answer(w, map[string]uint64{"next_offset": batch.Next()})
	})
	plane := httptest.NewServer(mux)
	b.Cleanup(plane.Close)

	d, err := daemon.New(daemon.Config{
		AdminURLs: []string{plane.URL}, Token: "token", Zones: []string{"zone"}, TrustRoot: root, StateDir: b.TempDir(),
		DecideAddr: "127.0.0.1:0", SpoolDurability: durability, CacheBytes: cacheBytes, DrainTimeout: time.Millisecond,
	})
	check(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		plane.CloseClientConnections()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	<-d.Ready()
	return "http://" + d.Addr().String()
}

func readBatch(r *http.Request) (audit.DecodedBatch, error) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return audit.DecodedBatch{}, err
	}
	return audit.DecodeBatch(data, audit.DefaultBatchLimits())
}
