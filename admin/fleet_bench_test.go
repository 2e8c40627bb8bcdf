package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin"
	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/sqlite"
	"github.com/caracalai/caracald/bundle"
)

// A fleet of ten thousand daemons, each of ten of a thousand zones.
const (
	benchDaemons = 10_000
	benchZones   = 1_000
	benchEach    = 10
)

// benchFleet is a control plane that knows the fleet, with a hundred daemons
// behind in each of ten zones, and the reports of all.
func benchFleet(b *testing.B) (*admin.Server, [][]byte) {
	b.Helper()
	ctx := b.Context()
	st, err := sqlite.Open(ctx, b.TempDir(), sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = st.Close() })
	keys, err := admin.LoadOrCreateKeys(ctx, st, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	update := func(f func(tx store.Tx) error) {
		if err := st.Update(ctx, f); err != nil {
			b.Fatal(err)
		}
	}
	zone := func(i int) string { return fmt.Sprintf("z%04d", i%benchZones) }
	now := time.Now().UTC().Truncate(time.Microsecond)
	update(func(tx store.Tx) error {
		for i := range benchZones {
			id := zone(i)
			if err := tx.InsertZone(ctx, store.Zone{ID: id, Name: id, Slug: id, CreatedAt: now, UpdatedAt: now}); err != nil {
				return err
			}
			for sequence := range int64(2) {
				p := store.Pointer{ZoneID: id, Sequence: sequence, IssuedAt: now, ExpiresAt: now.Add(time.Hour), Since: now}
				if err := tx.MovePointer(ctx, p, store.Activation{ID: newID(), ZoneID: id, Sequence: sequence, CreatedAt: now}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	server := runControl(b, admin.Config{Store: st, Keys: keys, BootstrapToken: root, HeartbeatTimeout: time.Hour})
	bodies, reports := make([][]byte, benchDaemons), make([]bundle.ReceiptReport, benchDaemons)
	for i := range bodies {
		r := bundle.ReceiptReport{
			DaemonID: fmt.Sprintf("daemon-%05d", i), Name: fmt.Sprintf("sts-node-%05d", i), Version: "1.0.0", Complete: true,
			Labels: map[string]string{"region": fmt.Sprint("r", i%8), "rack": fmt.Sprint(i % 64)}, Status: well(),
		}
		for z := range benchEach {
			sequence := int64(1)
			if z == 0 && i%100 == 0 {
				sequence = 0
			}
			r.Zones = append(r.Zones, bundle.Receipt{ZoneID: zone(i*benchEach + z), State: bundle.ReceiptLoaded, Sequence: sequence, LoadedAt: now, ServingSequence: sequence})
		}
		if bodies[i], err = json.Marshal(r); err != nil {
			b.Fatal(err)
		}
		reports[i] = r
	}
	update(func(tx store.Tx) error {
		for _, r := range reports {
			d := store.Daemon{ID: r.DaemonID, Name: r.Name, Version: r.Version, Labels: r.Labels, LastSeenAt: now}
			if err := tx.PutDaemon(ctx, d); err != nil {
				return err
			}
			for _, z := range r.Zones {
				receipt := store.Receipt{DaemonID: r.DaemonID, ZoneID: z.ZoneID, State: z.State, Sequence: z.Sequence, LoadedAt: z.LoadedAt, ServingSequence: z.ServingSequence, ReportedAt: now}
				if err := tx.PutReceipt(ctx, receipt); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return server, bodies
}

func benchCall(b *testing.B, s *admin.Server, method, path string, body []byte, status int) []byte {
	req := httptest.NewRequest(method, path, strings.NewReader(string(body)))
	req.Header.Set("Authorization", "Bearer "+root)
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, req)
	if rec.Code != status {
		b.Errorf("%s %s: %d %s", method, path, rec.Code, rec.Body)
	}
	return rec.Body.Bytes()
}

func inParallel(n, callers int, f func(int)) {
	var next atomic.Int64
	done := make(chan struct{})
	for range callers {
		go func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
			done <- struct{}{}
		}()
	}
	for range callers {
		<-done
	}
}

// BenchmarkReport is a daemon's report of ten zones, from 64 callers at once:
// the first that this control plane gets from it, and heartbeats that follow.
func BenchmarkReport(b *testing.B) {
	s, bodies := benchFleet(b)
	for _, name := range []string{"first", "heartbeat"} {
		b.Run(name, func(b *testing.B) {
			inParallel(b.N, 64, func(i int) { benchCall(b, s, "POST", "/v1/receipts", bodies[i%len(bodies)], 204) })
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reports/s")
		})
	}
}

// BenchmarkDaemons asks for lists of a fleet.
func BenchmarkDaemons(b *testing.B) {
	s, _ := benchFleet(b)
	for _, c := range []struct{ name, path string }{
		{"page", "/v1/daemons?limit=200"},
		{"page-of-50", "/v1/daemons?limit=50"},
		{"lagging", "/v1/daemons?state=lagging&limit=200"},
		{"failing-none", "/v1/daemons?state=failing&limit=200"},
		{"label", "/v1/daemons?label=region%3Dr3&limit=200"},
		{"search-none", "/v1/daemons?q=nobody&limit=200"},
		{"zone", "/v1/zones/z0000/daemons?limit=200"},
		{"fleet", "/v1/fleet"},
		{"one", "/v1/daemons/daemon-05000"},
	} {
		b.Run(c.name, func(b *testing.B) {
			size := 0
			for b.Loop() {
				size = len(benchCall(b, s, "GET", c.path, nil, 200))
			}
			b.ReportMetric(float64(size), "answer-B")
		})
	}
}

// runControl runs a control plane until the benchmark ends.
func runControl(b *testing.B, cfg admin.Config) *admin.Server {
	b.Helper()
	server, err := admin.New(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	background, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(background) }()
	b.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	return server
}
