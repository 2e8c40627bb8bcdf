package postgres_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/postgres"
	"github.com/caracalai/caracald/admin/store/postgres/pgtest"
)

// wakes waits for a signal.
func wakes(t *testing.T, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(30 * time.Second):
		t.Fatal("no signal came")
	}
}

func drain(c <-chan struct{}) {
	select {
	case <-c:
	default:
	}
}

// TestRaces has two replicas move one pointer to the same sequence at once.
func TestRaces(t *testing.T) {
	d := pgtest.Shared(t)
	replicas := []*postgres.Store{open(t, d, never), open(t, d, never)}
	fill(t, replicas[0])
	for sequence := int64(2); sequence < 22; sequence++ {
		errs := make([]error, len(replicas))
		var all sync.WaitGroup
		for i, s := range replicas {
			all.Go(func() {
				p := store.Pointer{ZoneID: "z1", Sequence: sequence, IssuedAt: start, ExpiresAt: start, Since: start}
				errs[i] = s.Update(t.Context(), func(tx store.Tx) error {
					return tx.MovePointer(t.Context(), p, store.Activation{ID: uuid.NewString(), ZoneID: "z1", Sequence: sequence})
				})
			})
		}
		all.Wait()
		if errs[0] != nil {
			errs[0], errs[1] = errs[1], errs[0]
		}
		if errs[0] != nil || !errors.Is(errs[1], store.ErrChanged) {
			t.Fatalf("at %d the two are told %v and %v", sequence, errs[0], errs[1])
		}
	}
}

// TestMoveWaitsForTheZone holds a zone's row: its pointer does not move meanwhile.
func TestMoveWaitsForTheZone(t *testing.T) {
	d := pgtest.Shared(t)
	s := open(t, d, never)
	fill(t, s)
	db := connect(t, d.OwnerURL)
	held, err := db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := held.Exec(t.Context(), `SELECT 1 FROM zones WHERE id = 'z1' FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	moved := make(chan error, 1)
	go func() {
		_, err := activate(t.Context(), s, "z1")
		moved <- err
	}()
	watcher := connect(t, d.SuperURL)
	late := time.Now().Add(30 * time.Second)
	for waiting := 0; waiting == 0; {
		err := watcher.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waiting)
		if err != nil || time.Now().After(late) {
			t.Fatalf("nobody waits for the row: %v", err)
		}
	}
	select {
	case err := <-moved:
		t.Fatalf("the pointer moved under the lock: %v", err)
	default:
	}
	if err := held.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-moved; err != nil {
		t.Fatal(err)
	}
}

// TestLostNotification writes what no notification tells of: the poll does.
func TestLostNotification(t *testing.T) {
	d := pgtest.Shared(t)
	s := open(t, d, 20*time.Millisecond)
	fill(t, s)
	silent := connect(t, d.SuperURL)
	for _, statement := range []string{ // whoever writes so, tells nobody
		`CREATE OR REPLACE FUNCTION pointer_written() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN UPDATE counters SET value = value + 1 WHERE name = 'pointer_writes'; RETURN NULL; END $$`,
	} {
		if _, err := silent.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		for quiet := false; !quiet; { // until all that was told before is heard
			select {
			case <-s.Changes():
			case <-time.After(200 * time.Millisecond):
				quiet = true
			}
		}
		if _, err := silent.Exec(t.Context(), `UPDATE pointers SET issued_at = issued_at + 1`); err != nil {
			t.Fatal(err)
		}
		wakes(t, s.Changes())
	}
	drain(s.Events().Added())
	if _, err := silent.Exec(t.Context(), `UPDATE zone_sizes SET last_seq = last_seq + 1`); err != nil {
		t.Fatal(err)
	}
	wakes(t, s.Events().Added())
}

// partitions are the months that have one.
func partitions(t *testing.T, db *pgx.Conn) map[string]bool {
	t.Helper()
	rows, err := db.Query(t.Context(), `SELECT relname::TEXT FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = 'events'::regclass AND c.relkind = 'r'`)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, name := range list {
		all[name] = true
	}
	return all
}

// TestPartitions stores events of several months and removes them by age.
func TestPartitions(t *testing.T) {
	d := pgtest.Shared(t)
	s := open(t, d, never)
	db := connect(t, d.SuperURL)
	now := time.Now().UTC()
	month := func(ago int) time.Time {
		return time.Date(now.Year(), now.Month()-time.Month(ago), 1, 12, 0, 0, 0, time.UTC)
	}
	name := func(ago int) string { return "events_" + month(ago).Format("2006_01") }
	for _, ahead := range []int{0, -1} {
		if !partitions(t, db)[name(ahead)] {
			t.Errorf("%s is not made ahead: %v", name(ahead), partitions(t, db))
		}
	}
	at := []time.Time{month(3), month(3).Add(time.Hour), month(2), month(1), month(0), {}, time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC)}
	store1 := func(zone, epoch string, times ...time.Time) {
		t.Helper()
		b := store.EventBatch{DaemonID: "d", Epoch: epoch, At: now}
		for _, when := range times {
			b.Events = append(b.Events, store.Event{ID: uuid.NewString(), ZoneID: zone, OccurredAt: when})
		}
		if r, err := s.Events().Append(t.Context(), b); err != nil || r.Accepted != len(times) {
			t.Fatal(r, err)
		}
	}
	store1("a", "1", at...)
	store1("b", "2", month(2), month(0))
	for ago := range 4 {
		if !partitions(t, db)[name(ago)] {
			t.Errorf("%s is missing: %v", name(ago), partitions(t, db))
		}
	}
	trim := func(zone string, before time.Time, want int64) {
		t.Helper()
		if n, err := s.Events().Trim(t.Context(), zone, before, 0); err != nil || n != want {
			t.Errorf("%d events of zone %s went, want %d: %v", n, zone, want, err)
		}
	}
	trim("a", month(3).Add(time.Minute), 2) // the impossible one and one of a month that stays
	trim("a", month(1), 2)
	if have := partitions(t, db); have[name(3)] || !have[name(2)] {
		t.Errorf("after the trim there are %v", have)
	}
	trim("b", month(1), 1)
	if have := partitions(t, db); have[name(2)] || !have[name(1)] {
		t.Errorf("after the last zone's trim there are %v", have)
	}
	store1("a", "3", month(3)) // what comes late has its place again
	trim("a", month(2), 1)
	left, err := s.Events().Query(t.Context(), store.EventQuery{ZoneID: "a"})
	if err != nil || len(left) != 3 {
		t.Errorf("%d events are left: %v", len(left), err)
	}
	if wrong, err := s.Check(t.Context()); err != nil || len(wrong) > 0 {
		t.Errorf("%q is wrong: %v", wrong, err)
	}
}

// TestTexts stores what PostgreSQL cannot keep as it is, and long request ids.
func TestTexts(t *testing.T) {
	s := open(t, pgtest.Shared(t), never)
	long := string(make([]byte, 5000)) + "end"
	for _, id := range []string{"nul\x00nul", "bad\xff", long} {
		_, err := s.Events().Append(t.Context(), store.EventBatch{DaemonID: "d", Epoch: uuid.NewString(), At: start, Events: []store.Event{
			{ID: "e" + id[:3], ZoneID: "z", EventType: "x\x00", RequestID: id, OccurredAt: start},
		}})
		if err != nil {
			t.Fatal(err)
		}
		if list, err := s.Events().ByRequest(t.Context(), "z", id); err != nil || len(list) != 1 {
			t.Errorf("%d events are found again: %v", len(list), err)
		}
	}
	err := s.Update(t.Context(), func(tx store.Tx) error {
		_, err := tx.AppendAdminEvent(t.Context(), store.AdminEvent{ID: "1", ActorName: "a\x00b", OccurredAt: start})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if wrong, err := s.Check(t.Context()); err != nil || len(wrong) > 0 {
		t.Errorf("%q is wrong: %v", wrong, err)
	}
}

func TestCannotOpen(t *testing.T) {
	d := pgtest.Shared(t)
	for name, c := range map[string]struct{ url, owner string }{
		"no URL":           {"postgres://%zz", ""},
		"nobody listens":   {"postgres://x@127.0.0.1:1/x?connect_timeout=2", ""},
		"not the owner":    {d.URL, ""},
		"owner's URL":      {d.URL, "postgres://%zz"},
		"unknown database": {d.URL + "&dbname=nowhere", ""},
	} {
		if s, err := postgres.Open(t.Context(), c.url, postgres.Options{OwnerURL: c.owner}); err == nil {
			t.Errorf("%s: it opens: %v", name, s.Close())
		}
	}
	open(t, d, never)
	s, err := postgres.Open(t.Context(), d.URL, postgres.Options{}) // once it is migrated the owner need not be told
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
