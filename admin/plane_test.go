package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/caracalai/caracald/admin"
	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/sqlite"
	"github.com/caracalai/caracald/bundle"
)

// root is the bootstrap token of every plane.
const root = "bootstrap-secret-of-tests"

// patience bounds how long a test waits for what must happen.
const patience = 30 * time.Second

// plane is a control plane over a real store and a real server.
type plane struct {
	t      testing.TB
	store  store.Store
	keys   admin.Keys
	server *admin.Server
	url    string
	client *http.Client
	reader *metric.ManualReader
	// ahead is how far the plane's clock is ahead of the real one.
	ahead *atomic.Int64
	// stop ends Run and waits for it.
	stop func()
}

// newPlane starts a control plane; change may alter its configuration.
func newPlane(t testing.TB, change func(*admin.Config)) *plane {
	t.Helper()
	dir := t.TempDir()
	empty, err := emptyStore()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, empty); err != nil {
		t.Fatal(err)
	}
	st, err := sqlite.Open(t.Context(), dir, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return newPlaneOn(t, st, change)
}

// emptyStore is the files of a store in which nothing is. They are made once,
// because reading the migrations takes long under the race detector.
var emptyStore = sync.OnceValues(func() (fs.FS, error) {
	dir, err := os.MkdirTemp("", "empty-store")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	st, err := sqlite.Open(context.Background(), dir, sqlite.Options{})
	if err != nil {
		return nil, err
	}
	if err := st.Close(); err != nil {
		return nil, err
	}
	files := fstest.MapFS{}
	return files, fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		files[name] = &fstest.MapFile{Data: data, Mode: 0o600}
		return err
	})
})

// newPlaneOn starts a control plane on a store, which is closed with the test.
func newPlaneOn(t testing.TB, st store.Store, change func(*admin.Config)) *plane {
	t.Helper()
	p := &plane{t: t, store: st, reader: metric.NewManualReader(), ahead: new(atomic.Int64), stop: func() {}}
	t.Cleanup(func() { _ = st.Close() })
	var err error
	if p.keys, err = admin.LoadOrCreateKeys(t.Context(), st, time.Now()); err != nil {
		t.Fatal(err)
	}
	cfg := admin.Config{
		Store: st, Keys: p.keys, BootstrapToken: root,
		MeterProvider: metric.NewMeterProvider(metric.WithReader(p.reader)),
		Now:           func() time.Time { return time.Now().Add(time.Duration(p.ahead.Load())) },
	}
	if change != nil {
		change(&cfg)
	}
	if p.server, err = admin.New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(p.server.Handler())
	t.Cleanup(web.Close)
	p.url = web.URL
	p.client = &http.Client{Transport: &conforming{t, &http.Transport{MaxIdleConnsPerHost: 1000}}}
	t.Cleanup(p.client.CloseIdleConnections)
	return p
}

// in is the plane for a part of a test.
func (p *plane) in(t testing.TB) *plane {
	part := *p
	part.t = t
	return &part
}

// run starts the background work.
func (p *plane) run() *plane {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.server.Run(ctx) }()
	stopped := false
	p.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				p.t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			p.t.Error("Run does not end")
		}
	}
	p.t.Cleanup(p.stop)
	return p
}

// answer is what a call was answered.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// try makes a call. body may be nil, bytes, or anything that JSON can hold.
func (p *plane) try(ctx context.Context, method, path, token string, body any, header ...string) (answer, error) {
	var reader io.Reader
	switch body := body.(type) {
	case nil:
	case []byte:
		reader = bytes.NewReader(body)
	default:
		data, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		reader = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, p.url+path, reader)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, data}, err
}

// call makes a call that must reach the server.
func (p *plane) call(method, path, token string, body any, header ...string) answer {
	p.t.Helper()
	a, err := p.try(p.t.Context(), method, path, token, body, header...)
	if err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// must makes a call that must be answered so, and gives its JSON.
func must[T any](p *plane, status int, method, path, token string, body any) T {
	p.t.Helper()
	var out T
	a := p.call(method, path, token, body)
	if a.status != status {
		p.t.Fatalf("%s %s: %d %s, want %d", method, path, a.status, a.body, status)
	}
	if len(a.body) > 0 {
		if err := json.Unmarshal(a.body, &out); err != nil {
			p.t.Fatalf("%s %s: %v: %s", method, path, err, a.body)
		}
	}
	return out
}

// refused asserts the status and code of an error.
func (p *plane) refused(a answer, status int, code string) api.Error {
	p.t.Helper()
	var e api.Error
	if err := json.Unmarshal(a.body, &e); err != nil || a.status != status || e.Code != code || e.Description == "" {
		p.t.Fatalf("answered %d %s, want %d %s", a.status, a.body, status, code)
	}
	return e
}

func (p *plane) zone(name string) string {
	p.t.Helper()
	return must[api.Zone](p, 201, "POST", "/v1/zones", root, api.ZoneCreate{Name: name}).ID
}

// eventually waits until something holds.
func (p *plane) eventually(what string, holds func() bool) {
	p.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-late:
			p.t.Fatalf("never happened: %s", what)
		}
	}
}

// measured reads the sum of a metric over its attributes; 0 where it was never used.
func (p *plane) measured(name string) int64 {
	p.t.Helper()
	var all metricdata.ResourceMetrics
	if err := p.reader.Collect(context.Background(), &all); err != nil {
		p.t.Fatal(err)
	}
	total := int64(0)
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name != name {
				continue
			}
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, point := range data.DataPoints {
					total += point.Value
				}
			case metricdata.Gauge[int64]:
				for _, point := range data.DataPoints {
					total += point.Value
				}
			}
		}
	}
	return total
}

// watchers waits until so many long polls are open.
func (p *plane) watchers(n int64) {
	p.t.Helper()
	p.eventually(fmt.Sprintf("%d watchers", n), func() bool { return p.measured("caracal.admin.watchers") == n })
}

// pointers reads a watch's answer and verifies each pointer in it.
func (p *plane) pointers(a answer) []bundle.Pointer {
	p.t.Helper()
	if a.status != 200 {
		p.t.Fatalf("watch: %d %s", a.status, a.body)
	}
	var resp bundle.WatchResponse
	if err := json.Unmarshal(a.body, &resp); err != nil {
		p.t.Fatal(err)
	}
	trust, err := bundle.LoadTrust(p.keys.Roots[0])
	if err != nil {
		p.t.Fatal(err)
	}
	out := make([]bundle.Pointer, len(resp.Pointers))
	for i, signed := range resp.Pointers {
		out[i], err = trust.VerifyPointer(signed.Pointer, time.Now().Add(time.Duration(p.ahead.Load())))
		if err != nil {
			p.t.Fatal(err)
		}
		if out[i].ZoneID != signed.ZoneID || out[i].Sequence != signed.Sequence {
			p.t.Fatalf("the envelope says %+v, its cover %+v", out[i], signed)
		}
		if (out[i].BundleSHA256 == "") != (signed.Bundle == nil || string(signed.Bundle) == "null") {
			p.t.Fatalf("pointer %+v has the bundle's signature %s", out[i], signed.Bundle)
		}
		if out[i].BundleSHA256 != "" {
			s, err := trust.VerifyStatement(signed.Bundle)
			if err != nil {
				p.t.Fatal(err)
			}
			if s.BundleSHA256 != out[i].BundleSHA256 || s.ManifestSHA256 != out[i].ManifestSHA256 {
				p.t.Fatalf("pointer %+v has the signature of %+v", out[i], s)
			}
		}
	}
	return out
}
