package daemon_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	_ "gocloud.dev/blob/fileblob"

	"github.com/caracalai/caracald/daemon"
	"github.com/caracalai/caracald/distribution"
)

// sourceAt opens a bundle source.
func sourceAt(t *testing.T, url string) distribution.Source {
	t.Helper()
	s, err := distribution.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// outcomes reads how often sources were left how.
func outcomes(t *testing.T, reader *metric.ManualReader) map[string]int64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &all); err != nil {
		t.Fatal(err)
	}
	found := map[string]int64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name != "caracal.daemon.bundle_fetches" {
				continue
			}
			for _, point := range m.Data.(metricdata.Sum[int64]).DataPoints {
				outcome, _ := point.Attributes.Value("outcome")
				found[outcome.AsString()] += point.Value
			}
		}
	}
	return found
}

// TestBundleSources: bundles come from an object store or a web server as well, the
// admin side is asked only where these fail, and whatever they give that is not
// the bundle is counted and passed over.
func TestBundleSources(t *testing.T) {
	for _, test := range []struct {
		name string
		// prepare makes what is asked first of what is published.
		prepare func(t *testing.T, dir string, v version)
		outcome string
	}{
		{"good", func(*testing.T, string, version) {}, distribution.OutcomeFetched},
		{"missing", func(t *testing.T, dir string, v version) {
			if err := os.Remove(filepath.Join(dir, v.packed.BundleSHA256)); err != nil {
				t.Fatal(err)
			}
		}, distribution.OutcomeMissing},
		{"other bytes", func(t *testing.T, dir string, v version) {
			data := bytes.Clone(v.packed.Data)
			data[len(data)/2] ^= 1
			put(t, dir, v, data)
		}, distribution.OutcomeWrong},
		{"truncated", func(t *testing.T, dir string, v version) { put(t, dir, v, v.packed.Data[:20]) }, distribution.OutcomeWrong},
		{"too long", func(t *testing.T, dir string, v version) {
			put(t, dir, v, append(bytes.Clone(v.packed.Data), make([]byte, 1<<20)...))
		}, distribution.OutcomeWrong},
	} {
		for _, kind := range []string{"directory", "web server"} {
			t.Run(test.name+" in a "+kind, func(t *testing.T) {
				p := newPlane(t)
				var asked atomic.Int64
				p.misbehave(func(r *http.Request) int {
					if strings.HasPrefix(r.URL.Path, "/v1/bundles/") {
						asked.Add(1)
					}
					return 0
				})
				dir := t.TempDir()
				v := p.publish("z1", 1, "")
				put(t, dir, v, v.packed.Data)
				test.prepare(t, dir, v)
				p.activate("z1", &v)
				url := "file://" + dir
				if kind == "web server" {
					server := httptest.NewServer(http.FileServer(http.Dir(dir)))
					defer server.Close()
					url = server.URL
				}
				reader := metric.NewManualReader()
				cfg := configOf(t, p)
				cfg.MeterProvider = metric.NewMeterProvider(metric.WithReader(reader))
				cfg.BundleSources = []distribution.Source{sourceAt(t, url)}
				n := startReady(t, cfg)
				if got := n.decide(inputOf("z1", "read", "")); got.Decision != "allow" || got.tag() != "v1" {
					t.Fatalf("got %+v", got)
				}
				got, want := outcomes(t, reader), map[string]int64{distribution.OutcomeFetched: 1}
				want[test.outcome] = 1
				fromAdmin := int64(1)
				if test.outcome == distribution.OutcomeFetched {
					fromAdmin = 0
				}
				for outcome, times := range want {
					if got[outcome] != times {
						t.Errorf("outcomes %v, want %v", got, want)
					}
				}
				if asked.Load() != fromAdmin {
					t.Errorf("the admin side was asked for %d bundles, want %d", asked.Load(), fromAdmin)
				}
			})
		}
	}
}

// put writes an object of a directory, whatever is in it.
func put(t *testing.T, dir string, v version, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, v.packed.BundleSHA256), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestSourceOrder: the admin side is asked where it stands among the sources.
func TestSourceOrder(t *testing.T) {
	p := newPlane(t)
	v := p.publish("z1", 1, "")
	p.activate("z1", &v)
	unused := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the source after the admin side was asked") }))
	defer unused.Close()
	cfg := configOf(t, p)
	cfg.BundleSources = []distribution.Source{nil, sourceAt(t, unused.URL)}
	startReady(t, cfg)
}

// hanging is a source whose time is always up: it fails at once as one that hangs does
// at its deadline, so that its time can be longer than any other fetch takes.
type hanging struct {
	asked atomic.Int64
	first time.Duration // that it had when it was asked first
}

func (h *hanging) Name() string { return "hanging" }

func (h *hanging) Get(ctx context.Context, _ string, _ int64) ([]byte, error) {
	if deadline, ok := ctx.Deadline(); h.asked.Add(1) == 1 && ok {
		h.first = time.Until(deadline)
	}
	return nil, context.DeadlineExceeded
}

func (h *hanging) Close() error { return nil }

// TestHangingSource: a source that hangs does not hold up a load for longer than
// is set, nor more than one load.
func TestHangingSource(t *testing.T) {
	const most = distribution.DefaultTimeout - time.Second
	source := new(hanging)
	p, n, _ := one(t, func(c *daemon.Config) { c.BundleSources, c.BundleTimeout = []distribution.Source{source}, most })
	for number := 2; number < 6; number++ {
		v := p.publish("z1", number, "")
		p.activate("z1", &v)
		p.loaded("z1", int64(number))
		if got := n.decide(inputOf("z1", "read", "")); got.tag() != v.tag {
			t.Fatalf("got %+v", got)
		}
	}
	n.stop()
	if source.first <= 0 || source.first > most {
		t.Errorf("the source that hangs had %v", source.first)
	}
	if asked := source.asked.Load(); asked == 0 || asked >= 5 { // as often as something was loaded
		t.Errorf("the source that hangs was asked %d times", asked)
	}
}

// TestSourcesAlone: while neither the sources nor the admin side have a bundle the
// load is tried again, and succeeds once one of them has it.
func TestSourcesAlone(t *testing.T) {
	dir := t.TempDir()
	p, n, _ := one(t, func(c *daemon.Config) { c.BundleSources = []distribution.Source{sourceAt(t, "file://"+dir)} })
	v := p.publish("z1", 2, "")
	p.misbehave(func(r *http.Request) int {
		if strings.HasPrefix(r.URL.Path, "/v1/bundles/") {
			return http.StatusBadGateway
		}
		return 0
	})
	p.activate("z1", &v)
	if r := p.failed("z1", 2); !strings.Contains(r.Detail, "502") || !strings.Contains(r.Detail, "file://"+dir) {
		t.Fatalf("receipt %+v", r)
	}
	// Wrong bytes in one do not end it either, while another may still have it.
	put(t, dir, v, slices.Concat(v.packed.Data[1:], v.packed.Data[:1]))
	p.wait("the wrong bytes are reported", func() bool { return strings.Contains(p.receipts["z1"].Detail, "SHA-256") })
	put(t, dir, v, v.packed.Data)
	p.loaded("z1", 2)
	if got := n.decide(inputOf("z1", "read", "")); got.tag() != "v2" {
		t.Fatalf("got %+v", got)
	}
}
