package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/postgres"
	"github.com/caracalai/caracald/admin/store/postgres/pgtest"
	"github.com/caracalai/caracald/admin/store/sqlite"
)

// What is measured here is the store alone, without HTTP, policies and
// signatures, on both backends in one run, so that the two can be compared. All
// that is counted is durable: PostgreSQL is a cluster of the benchmark's own
// with its default settings, in a temporary directory as SQLite's files are.

// backends opens a new store of each kind.
func backends(b *testing.B, measure func(b *testing.B, s store.Store)) {
	b.Run("sqlite", func(b *testing.B) {
		s, err := sqlite.Open(b.Context(), b.TempDir(), sqlite.Options{})
		if err != nil {
			b.Fatal(err)
		}
		defer closing(b, s)
		measure(b, s)
	})
	b.Run("postgres", func(b *testing.B) {
		d, err := pgtest.Own(b).Database(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		s, err := postgres.Open(b.Context(), d.URL, postgres.Options{OwnerURL: d.OwnerURL})
		if err != nil {
			b.Fatal(err)
		}
		defer closing(b, s)
		measure(b, s)
	})
}

func closing(b *testing.B, s store.Store) {
	if err := s.Close(); err != nil {
		b.Error(err)
	}
}

// together divides b.N calls among callers, and reports how many were made in a
// second, each of which counts for so many.
func together(b *testing.B, callers, each int, unit string, call func(caller int) error) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var failed [64]error
	var all sync.WaitGroup
	b.ResetTimer()
	for caller := range callers {
		all.Go(func() {
			for left.Add(-1) >= 0 && failed[caller] == nil {
				failed[caller] = call(caller)
			}
		})
	}
	all.Wait()
	b.StopTimer()
	if err := errors.Join(failed[:]...); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N*each)/b.Elapsed().Seconds(), unit)
}

var benchStart = time.Date(2026, 5, 20, 12, 0, 0, 0, time.UTC)

// BenchmarkActivate moves pointers with what an activation by the API reads and
// writes: the version, the zone, the pointer, the activation, the admin audit.
func BenchmarkActivate(b *testing.B) {
	backends(b, func(b *testing.B, s store.Store) {
		const many = 256
		zones := make([]benchZone, many)
		for i := range zones {
			zones[i] = newBenchZone(b, s, i)
		}
		for _, n := range []int{1, many} {
			for _, callers := range []int{1, 8} {
				b.Run(fmt.Sprintf("zones=%d/callers=%d", n, callers), func(b *testing.B) {
					var turn atomic.Int64
					together(b, callers, 1, "activations/s", func(int) error {
						return zones[int(turn.Add(1))%n].activate(b.Context(), s)
					})
				})
			}
		}
	})
}

type benchZone struct{ id, set, version string }

func newBenchZone(b *testing.B, s store.Store, n int) benchZone {
	b.Helper()
	id := func(kind string) string { return kind + strconv.Itoa(n) }
	z := benchZone{id("zone"), id("set"), id("version")}
	err := s.Update(b.Context(), func(tx store.Tx) error {
		return errors.Join(
			tx.InsertZone(b.Context(), store.Zone{ID: z.id, Name: z.id, Slug: z.id, CreatedAt: benchStart, UpdatedAt: benchStart}),
			tx.InsertPolicy(b.Context(), store.Policy{ID: id("policy"), ZoneID: z.id, Name: "policy"}, store.PolicyVersion{ID: id("content")}),
			tx.InsertPolicySet(b.Context(), store.PolicySet{ID: z.set, ZoneID: z.id, Name: "set"}),
			tx.InsertSetVersion(b.Context(), store.SetVersion{ID: z.version, PolicySetID: z.set, ZoneID: z.id, Version: 1, ManifestSHA256: "m", BundleSHA256: id("bundle")},
				[]string{id("content")}, store.Bundle{SHA256: id("bundle"), Data: []byte("bundle")}),
			tx.MovePointer(b.Context(), store.Pointer{ZoneID: z.id, IssuedAt: benchStart, ExpiresAt: benchStart}, store.Activation{ID: uuid.NewString(), ZoneID: z.id}),
		)
	})
	if err != nil {
		b.Fatal(err)
	}
	return z
}

func (z benchZone) activate(ctx context.Context, s store.Store) error {
	return s.Update(ctx, func(tx store.Tx) error {
		v, err := tx.SetVersion(ctx, z.id, z.set, z.version)
		if err != nil {
			return err
		}
		if _, err := tx.Zone(ctx, z.id); err != nil {
			return err
		}
		p, err := tx.Pointer(ctx, z.id)
		if err != nil {
			return err
		}
		a := store.Activation{ID: uuid.Must(uuid.NewV7()).String(), ZoneID: z.id, PreviousVersionID: p.VersionID, PolicySetID: &z.set, VersionID: &z.version,
			ManifestSHA256: v.ManifestSHA256, BundleSHA256: v.BundleSHA256, ActorID: "bench", ActorName: "bench", CreatedAt: p.Since.Add(time.Microsecond)}
		p.Sequence++
		p.PolicySetID, p.VersionID, p.ManifestSHA256, p.BundleSHA256, p.Since = a.PolicySetID, a.VersionID, a.ManifestSHA256, a.BundleSHA256, a.CreatedAt
		p.Envelope = json.RawMessage(fmt.Sprintf(`{"payload":%q}`, fmt.Sprintf("%0800d", p.Sequence)))
		a.Sequence = p.Sequence
		if err := tx.MovePointer(ctx, p, a); err != nil {
			return err
		}
		_, err = tx.AppendAdminEvent(ctx, store.AdminEvent{ID: uuid.NewString(), ZoneID: z.id, ActorID: "bench", ActorName: "bench",
			Action: "policy_set.activate", EntityID: z.version, StatusCode: 202, Payload: json.RawMessage(`{"sequence":1}`), OccurredAt: a.CreatedAt})
		return err
	})
}

// BenchmarkAppend stores batches of audit events, as daemons ship them, each
// caller those of a daemon of its own: of one zone, or each of another.
func BenchmarkAppend(b *testing.B) {
	backends(b, func(b *testing.B, s store.Store) {
		for _, size := range []int{1, 100, 1000} {
			for _, n := range []struct{ callers, zones int }{{1, 1}, {8, 1}, {8, 8}} {
				b.Run(fmt.Sprintf("batch=%d/callers=%d/zones=%d", size, n.callers, n.zones), func(b *testing.B) {
					daemons := make([]benchDaemon, n.callers)
					for i := range daemons {
						daemons[i] = benchDaemon{id: "daemon" + strconv.Itoa(i), epoch: uuid.NewString(), zone: benchAuditZone + strconv.Itoa(i%n.zones)}
					}
					together(b, n.callers, size, "events/s", func(caller int) error { return daemons[caller].ship(b.Context(), s, size) })
				})
			}
		}
	})
}

const benchAuditZone = "018f0000-0000-7000-8000-00000000000"

// benchDaemon ships events of a zone.
type benchDaemon struct {
	id, epoch, zone string
	next            int
}

// ship stores a batch of inputs of some hundred bytes and request ids in no order.
func (d *benchDaemon) ship(ctx context.Context, s store.Store, size int) error {
	batch := store.EventBatch{DaemonID: d.id, Epoch: d.epoch, First: uint64(d.next), At: benchStart, Events: make([]store.Event, size)}
	for i := range batch.Events {
		decision := "allow"
		if i%20 == 0 {
			decision = "deny"
		}
		batch.Events[i] = store.Event{
			ID: uuid.Must(uuid.NewV7()).String(), ZoneID: d.zone, EventType: "decision", RequestID: uuid.NewString(),
			Decision: decision, EvaluationStatus: "complete", PolicySetID: "018f0000-0000-7000-8000-000000000001",
			PolicySetVersionID: "018f0000-0000-7000-8000-000000000002", ManifestSHA256: fmt.Sprintf("%064d", 1), BundleSHA256: fmt.Sprintf("%064d", 2),
			DeterminingPolicies: json.RawMessage(`[{"policy":"resource-grants","policy_id":"018f0000-0000-7000-8000-000000000003"}]`),
			Diagnostics:         json.RawMessage(`[]`), Metadata: json.RawMessage(`{"cache":"hit"}`),
			Input:      json.RawMessage(fmt.Sprintf(`{"schema_version":"2026-05-20","principal":{"type":"agent","id":"agent-%d"},"context":{"requested_scopes":["payments:read"],"pad":%q}}`, i, fmt.Sprintf("%0200d", i))),
			OccurredAt: benchStart.Add(time.Duration(d.next+i) * time.Millisecond),
		}
	}
	result, err := s.Events().Append(ctx, batch)
	if err == nil && result.Accepted != size {
		err = fmt.Errorf("%d of %d events were stored", result.Accepted, size)
	}
	d.next += size
	return err
}

// BenchmarkQuery reads pages of 200 events of a zone that has many: 200,000
// unless CARACALD_BENCH_EVENTS says otherwise.
func BenchmarkQuery(b *testing.B) {
	events := 200_000
	if text := os.Getenv("CARACALD_BENCH_EVENTS"); text != "" {
		var err error
		if events, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	backends(b, func(b *testing.B, s store.Store) {
		d := benchDaemon{id: "daemon", epoch: "epoch", zone: benchAuditZone}
		for d.next < events {
			if err := d.ship(b.Context(), s, 1000); err != nil {
				b.Fatal(err)
			}
		}
		middle := store.Cursor{At: benchStart.Add(time.Duration(events/2) * time.Millisecond), ID: "z"}
		for _, q := range []struct {
			name  string
			query store.EventQuery
		}{
			{"newest", store.EventQuery{}}, {"middle", store.EventQuery{After: middle}}, {"denied", store.EventQuery{Decision: "deny"}},
		} {
			b.Run(q.name, func(b *testing.B) {
				q.query.ZoneID, q.query.Limit = benchAuditZone, 200
				read := func() {
					if list, err := s.Events().Query(b.Context(), q.query); err != nil || len(list) != q.query.Limit {
						b.Fatalf("%d events: %v", len(list), err)
					}
				}
				for range 10 { // what was stored a moment ago is on its way to the disk, and plans are made
					read()
				}
				for b.Loop() {
					read()
				}
			})
		}
	})
}
