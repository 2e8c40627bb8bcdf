package transfer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/postgres"
	"github.com/caracalai/caracald/admin/store/postgres/pgtest"
	"github.com/caracalai/caracald/admin/store/relational"
	"github.com/caracalai/caracald/admin/store/sqlite"
	"github.com/caracalai/caracald/admin/store/transfer"
	"github.com/caracalai/caracald/bundle"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var start = time.Date(2026, 5, 20, 12, 0, 0, 0, time.UTC)

// onSQLite and onPostgres open a store at a new place, again and again the same one.
func onSQLite(t *testing.T) func() transfer.Store {
	dir := filepath.Join(t.TempDir(), "store")
	return func() transfer.Store {
		s, err := sqlite.Open(t.Context(), dir, sqlite.Options{})
		return kept(t, s, err)
	}
}

func onPostgres(t *testing.T) func() transfer.Store {
	d := pgtest.Shared(t)
	return func() transfer.Store {
		s, err := postgres.Open(t.Context(), d.URL, postgres.Options{OwnerURL: d.OwnerURL})
		return kept(t, s, err)
	}
}

func kept(t *testing.T, s transfer.Store, err error) transfer.Store {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// events is how many of them fill stores: more than one chunk.
const events = 1300

// fill puts rows into every table, archived ones, empty values and several months among them.
func fill(t *testing.T, s store.Store) {
	t.Helper()
	ctx := t.Context()
	used := start.Add(time.Minute)
	for n := range 3 {
		id := func(kind string) string { return fmt.Sprint(kind, n) }
		content := "package caracal.authz # " + id("")
		hash := bundle.SHA256Hex([]byte(content))
		manifest := fmt.Appendf(nil, `{"policies":[{"policy_version_id":"%s","content_sha256":"%s"}]}`, id("pv"), hash)
		packed := []byte(id("bundle"))
		set, version, zone := id("s"), id("sv"), id("z")
		err := s.Update(ctx, func(tx store.Tx) error {
			err := errors.Join(
				tx.InsertZone(ctx, store.Zone{ID: zone, Name: zone, Slug: zone, CreatedAt: start, UpdatedAt: start}),
				tx.InsertPolicy(ctx, store.Policy{ID: id("p"), ZoneID: zone, Name: "policy"}, store.PolicyVersion{ID: id("pv"), Content: content, ContentSHA256: hash}),
				tx.InsertPolicySet(ctx, store.PolicySet{ID: set, ZoneID: zone, Name: "set"}),
				tx.InsertSetVersion(ctx, store.SetVersion{
					ID: version, PolicySetID: set, ZoneID: zone, Version: 1, Manifest: manifest, ManifestSHA256: bundle.SHA256Hex(manifest),
					BundleSHA256: bundle.SHA256Hex(packed), BundleSize: int64(len(packed)),
				}, []string{id("pv")}, store.Bundle{SHA256: bundle.SHA256Hex(packed), Data: packed}),
				tx.MovePointer(ctx, store.Pointer{ZoneID: zone, IssuedAt: start, ExpiresAt: start}, store.Activation{ID: id("a"), ZoneID: zone}),
				tx.InsertToken(ctx, store.Token{ID: id("t"), Name: "token", Hash: []byte(id("hash")), Roles: []string{"admin"}, CreatedAt: start, LastUsedAt: &used}),
				tx.PutDaemon(ctx, store.Daemon{ID: id("d"), Name: "daemon", Labels: map[string]string{"a": "b"}, LastSeenAt: start}),
				tx.PutReceipt(ctx, store.Receipt{DaemonID: id("d"), ZoneID: zone, State: "loaded", Sequence: 5, ReportedAt: start}),
				tx.PutIdempotent(ctx, store.IdempotentAnswer{ActorID: "me", Key: id("k"), StatusCode: 200, CreatedAt: start}),
				tx.Spend(ctx, id("spent"), start),
				tx.PutSecret(ctx, id("secret"), []byte{0, byte(n), 255}),
			)
			for sequence := range int64(5) {
				err = errors.Join(err, tx.MovePointer(ctx, store.Pointer{
					ZoneID: zone, Sequence: sequence + 1, PolicySetID: &set, VersionID: &version, IssuedAt: start, ExpiresAt: start,
					ManifestSHA256: bundle.SHA256Hex(manifest), BundleSHA256: bundle.SHA256Hex(packed), BundleSize: int64(len(packed)),
				}, store.Activation{ID: fmt.Sprint(id("b"), sequence), ZoneID: zone, Sequence: sequence + 1, PolicySetID: &set, VersionID: &version,
					ManifestSHA256: bundle.SHA256Hex(manifest), BundleSHA256: bundle.SHA256Hex(packed)}))
				_, aerr := tx.AppendAdminEvent(ctx, store.AdminEvent{ID: fmt.Sprint(id("e"), sequence), Payload: json.RawMessage(`{"a":1}`), OccurredAt: start})
				err = errors.Join(err, aerr)
			}
			if n == 1 { // as after a restore
				const far = 1 << 40
				err = errors.Join(err, tx.RaisePointer(ctx, store.Pointer{
					ZoneID: zone, Sequence: far, PolicySetID: &set, VersionID: &version, IssuedAt: start.Add(time.Second), ExpiresAt: start,
					ManifestSHA256: bundle.SHA256Hex(manifest), BundleSHA256: bundle.SHA256Hex(packed), BundleSize: int64(len(packed)),
				}, store.Activation{ID: id("c"), ZoneID: zone, Sequence: far, PolicySetID: &set, VersionID: &version, PreviousVersionID: &version,
					ManifestSHA256: bundle.SHA256Hex(manifest), BundleSHA256: bundle.SHA256Hex(packed)}))
			}
			if n == 2 {
				err = errors.Join(err, tx.ArchivePolicy(ctx, zone, id("p"), start), tx.ArchiveZone(ctx, zone, start))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		b := store.EventBatch{DaemonID: id("d"), Epoch: "e", At: start, Hash: [32]byte{byte(n)}}
		for i := range events / 3 {
			b.Events = append(b.Events, store.Event{ID: fmt.Sprint(id("ev"), i), ZoneID: zone, RequestID: fmt.Sprint(i), Input: json.RawMessage(`{"x": 1.0}`),
				OccurredAt: start.AddDate(0, -i%4, 0)})
		}
		if _, err := s.Events().Append(ctx, b); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCopy copies there, and back, and there again.
func TestCopy(t *testing.T) {
	first := onSQLite(t)()
	fill(t, first)
	stores := []transfer.Store{first, onPostgres(t)(), onPostgres(t)(), onSQLite(t)()}
	for i, to := range stores[1:] {
		var last, of int64
		c, err := transfer.Copy(t.Context(), stores[i], to, func(rows, total int64) {
			if rows < last {
				t.Errorf("progress goes back from %d to %d", last, rows)
			}
			last, of = rows, total
		})
		if err != nil {
			t.Fatalf("copy %d: %v", i, err)
		}
		if c.Rows < events || c.Earlier != 0 || last != of || of != 2*c.Rows {
			t.Errorf("copy %d: %+v at %d of %d", i, c, last, of)
		}
	}
	// A copy goes on where its source was.
	for i, s := range stores {
		ctx := t.Context()
		err := s.Update(ctx, func(tx store.Tx) error {
			e, err := tx.AppendAdminEvent(ctx, store.AdminEvent{ID: "next", OccurredAt: start})
			if e.ChainSeq != 16 {
				t.Errorf("store %d: the next admin event is %d", i, e.ChainSeq)
			}
			p, perr := tx.Pointer(ctx, "z0")
			p.Sequence++
			return errors.Join(err, perr, tx.MovePointer(ctx, p, store.Activation{ID: "next", ZoneID: "z0", Sequence: p.Sequence, VersionID: p.VersionID}))
		})
		if err != nil {
			t.Errorf("store %d: %v", i, err)
		}
		before, err := s.Events().LastSeq(ctx, "z2")
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range []store.EventBatch{
			{DaemonID: "d1", Epoch: "e", First: events / 3, PrevHash: [32]byte{1}, Events: []store.Event{{ID: "more", ZoneID: "z2", OccurredAt: start}}},
			{DaemonID: "new", Epoch: "e", Events: []store.Event{{ID: "new", ZoneID: "z2", OccurredAt: start}}},
		} {
			if r, err := s.Events().Append(ctx, b); err != nil || r.Accepted != 1 {
				t.Errorf("store %d: %+v, %v", i, r, err)
			}
		}
		if list, err := s.Events().Since(ctx, "z2", before, 0); err != nil || len(list) != 2 {
			t.Errorf("store %d: %d events are after %d: %v", i, len(list), before, err)
		}
		if wrong, err := s.Check(ctx); err != nil || len(wrong) > 0 {
			t.Errorf("store %d: %q is wrong: %v", i, wrong, err)
		}
	}
}

// broken fails a copy at one of its writes.
type broken struct {
	transfer.Store
	left int
}

var errBroken = errors.New("cut off")

func (b *broken) WriteRows(ctx context.Context, audit bool, f func(relational.Session) error) error {
	if b.left--; b.left < 0 {
		return errBroken
	}
	return b.Store.WriteRows(ctx, audit, f)
}

// TestResumed cuts a copy off at every write, and opens the destination anew each time.
func TestResumed(t *testing.T) {
	from := onSQLite(t)()
	fill(t, from)
	for name, place := range map[string]func(*testing.T) func() transfer.Store{"sqlite": onSQLite, "postgres": onPostgres} {
		t.Run(name, func(t *testing.T) {
			open := place(t)
			for cuts := 0; ; cuts++ {
				to := open()
				c, err := transfer.Copy(t.Context(), from, &broken{to, 1}, func(int64, int64) {})
				if cerr := to.Close(); cerr != nil {
					t.Fatal(cerr)
				}
				if err == nil {
					if cuts < 10 || c.Earlier < events {
						t.Errorf("after %d cuts %+v", cuts, c)
					}
					return
				}
				if !errors.Is(err, errBroken) || cuts > 100 {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestRefused(t *testing.T) {
	a, b := onSQLite(t)(), onSQLite(t)()
	fill(t, a)
	fill(t, b)
	copyTo := func(from, to transfer.Store) error {
		_, err := transfer.Copy(t.Context(), from, to, func(int64, int64) {})
		return err
	}
	if err := copyTo(a, b); !errors.Is(err, transfer.ErrForeign) {
		t.Errorf("into a store of its own: %v", err)
	}
	if err := copyTo(a, a); !errors.Is(err, transfer.ErrForeign) {
		t.Errorf("into itself: %v", err)
	}
	to := onPostgres(t)()
	if err := copyTo(a, to); err != nil {
		t.Fatal(err)
	}
	if err := copyTo(a, to); !errors.Is(err, transfer.ErrForeign) {
		t.Errorf("a second time: %v", err)
	}
	other := onSQLite(t)()
	if err := other.Update(t.Context(), func(tx store.Tx) error { return tx.PutSecret(t.Context(), "key", []byte("x")) }); err != nil {
		t.Fatal(err)
	}
	if err := copyTo(other, to); !errors.Is(err, transfer.ErrForeign) {
		t.Errorf("of another store: %v", err)
	}
}

// TestDiffers changes the source behind an interrupted copy.
func TestDiffers(t *testing.T) {
	from, to := onSQLite(t)(), onPostgres(t)()
	fill(t, from)
	if _, err := transfer.Copy(t.Context(), from, &broken{to, 16}, func(int64, int64) {}); !errors.Is(err, errBroken) {
		t.Fatal(err)
	}
	err := from.Update(t.Context(), func(tx store.Tx) error { return tx.RevokeToken(t.Context(), "t1", start) })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := transfer.Copy(t.Context(), from, to, func(int64, int64) {}); !errors.Is(err, transfer.ErrDiffers) {
		t.Errorf("a copy that is not the same: %v", err)
	}
}
