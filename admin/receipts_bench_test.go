package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin"
	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/sqlite"
	"github.com/caracalai/caracald/bundle"
)

// countingStore counts the rows of daemons and receipts that are written.
type countingStore struct {
	store.Store
	rows atomic.Int64
}

type countingTx struct {
	store.Tx
	rows *atomic.Int64
}

func (s *countingStore) Update(ctx context.Context, f func(store.Tx) error) error {
	return s.Store.Update(ctx, func(tx store.Tx) error { return f(countingTx{tx, &s.rows}) })
}

func (t countingTx) PutDaemon(ctx context.Context, d store.Daemon) error {
	t.rows.Add(1)
	return t.Tx.PutDaemon(ctx, d)
}

func (t countingTx) PutReceipt(ctx context.Context, r store.Receipt) error {
	t.rows.Add(1)
	return t.Tx.PutReceipt(ctx, r)
}

func (t countingTx) SeeDaemons(ctx context.Context, seen []store.Seen) (int64, error) {
	t.rows.Add(int64(len(seen)))
	return t.Tx.SeeDaemons(ctx, seen)
}

// BenchmarkLargeReport is a report of one of 100 daemons of 500 zones each, from one
// caller: whole ones, as of a daemon that knows no revisions, and such as build on the
// one before; without a change, and with one zone that moved.
func BenchmarkLargeReport(b *testing.B) {
	const daemons, zones = 100, 500
	ctx := b.Context()
	files, err := sqlite.Open(ctx, b.TempDir(), sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = files.Close() })
	st := &countingStore{Store: files}
	keys, err := admin.LoadOrCreateKeys(ctx, st, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now().UTC()
	version, sum := newID(), strings.Repeat("0123456789abcdef", 4)
	all := make([]bundle.Receipt, zones)
	err = st.Update(ctx, func(tx store.Tx) error {
		for i := range all {
			id := newID()
			all[i] = bundle.Receipt{ZoneID: id, State: bundle.ReceiptLoaded, Sequence: 1, PolicySetVersionID: &version, ManifestSHA256: sum, BundleSHA256: sum, LoadedAt: now, ServingSequence: 1, ServingVersionID: &version}
			if err := tx.InsertZone(ctx, store.Zone{ID: id, Name: id, Slug: id, CreatedAt: now, UpdatedAt: now}); err != nil {
				return err
			}
			pointer := store.Pointer{ZoneID: id, Sequence: 0, IssuedAt: now, ExpiresAt: now.Add(time.Hour), Since: now}
			if err := tx.MovePointer(ctx, pointer, store.Activation{ID: newID(), ZoneID: id, CreatedAt: now}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	server := runControl(b, admin.Config{Store: st, Keys: keys, BootstrapToken: root, HeartbeatTimeout: time.Hour})
	send := func(r bundle.ReceiptReport) (revision string, size int) {
		body, err := json.Marshal(r)
		if err != nil {
			b.Fatal(err)
		}
		req := httptest.NewRequest(http.MethodPost, "/v1/receipts", strings.NewReader(string(body)))
		req.Header.Set("Authorization", "Bearer "+root)
		rec := httptest.NewRecorder()
		server.Handler().ServeHTTP(rec, req)
		if rec.Code != http.StatusNoContent {
			b.Fatalf("%d %s", rec.Code, rec.Body)
		}
		return rec.Header().Get(bundle.RevisionHeader), len(body)
	}
	reports, moved := make([]bundle.ReceiptReport, daemons), make([]int64, daemons)
	for i := range reports {
		reports[i] = bundle.ReceiptReport{DaemonID: fmt.Sprintf("daemon-%03d", i), Name: fmt.Sprintf("sts-node-%03d", i), Version: "1.0.0", Status: well(), Labels: map[string]string{"region": "eu"}}
	}
	whole := func(i int) bundle.ReceiptReport {
		r := reports[i]
		r.Zones, r.Complete = append([]bundle.Receipt(nil), all...), true
		r.Zones[0].Sequence += moved[i]
		return r
	}
	for _, kind := range []string{"whole", "changes"} {
		for _, step := range []int64{0, 1} {
			b.Run(fmt.Sprintf("%s/moved=%d", kind, step), func(b *testing.B) {
				bases := make([]string, daemons)
				for i := range reports {
					bases[i], _ = send(whole(i))
				}
				var size int
				rows := st.rows.Load()
				used := processorTime()
				b.ResetTimer()
				for n := range b.N {
					i := n % daemons
					moved[i] += step
					r := whole(i)
					if kind == "changes" {
						r.Base, r.Complete, r.Zones = bases[i], false, r.Zones[:step]
					}
					bases[i], size = send(r)
				}
				b.ReportMetric(float64((processorTime()-used).Microseconds())/float64(b.N), "cpu-µs/op")
				b.ReportMetric(float64(st.rows.Load()-rows)/float64(b.N), "rows/op")
				b.ReportMetric(float64(size), "report-B")
			})
		}
	}
}

func processorTime() time.Duration {
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
