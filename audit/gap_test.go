package audit_test

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/caracalai/caracald/audit"
)

// gapsOf sums the gap records by zone and reason.
func gapsOf(t testing.TB, records []audit.Record) map[string]uint64 {
	t.Helper()
	gaps := make(map[string]uint64)
	for _, r := range records {
		if r.EventType != audit.EventGap {
			continue
		}
		var m struct {
			Count  uint64 `json:"count"`
			Reason string `json:"reason"`
		}
		if err := json.Unmarshal(r.Metadata, &m); err != nil {
			t.Fatal(err)
		}
		if u, err := uuid.Parse(r.ID); err != nil || u.Version() != 7 || r.OccurredAt.IsZero() {
			t.Errorf("a gap without an id or a time: %+v", r)
		}
		gaps[r.ZoneID+" "+m.Reason] += m.Count
	}
	return gaps
}

func TestGaps(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, audit.SpoolOptions{Dir: dir, MaxBytes: 8 << 10})
	n := 0
	for s.Append(testRecord(n)) == nil {
		n++
	}
	// Fill the rest, so that not even a gap fits.
	for size := 1024; size > 0; size /= 2 {
		_ = s.Append(&audit.Record{RequestID: "filler", Input: make([]byte, size)})
	}
	const quote = "says \"no\"\n"
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			s.NoteGap("one", 1, "full")
			s.NoteGap("two", 2, "full")
			s.NoteGap("one", 3, quote)
			s.NoteGap("one", 0, "nothing")
		})
	}
	wg.Wait()
	want := map[string]uint64{"one full": 10, "two full": 20, "one " + quote: 30}
	if st := s.Stats(); st.Gaps != 60 || st.PendingGaps != 60 {
		t.Fatalf("%+v, want 60 gaps, none with a record", st)
	}

	// They outlive a clean end, and as much as a file can, an unclean one: the
	// directory is copied as it lies while the spool is open.
	crashed := t.TempDir()
	copyDir(t, dir, crashed)
	closeSpool(t, s)
	for name, dir := range map[string]string{"closed": dir, "crashed": crashed} {
		s := openSpool(t, audit.SpoolOptions{Dir: dir, MaxBytes: 8 << 10})
		if st := s.Stats(); st.PendingGaps != 60 {
			t.Fatalf("%s: %+v, want 60 gaps that wait", name, st)
		}
		var records []audit.Record
		for gaps := map[string]uint64{}; len(gaps) < len(want); gaps = gapsOf(t, records) {
			b, err := s.Next(t.Context(), 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			records = append(records, b.Records...)
			if err := s.Ack(b.Next()); err != nil {
				t.Fatal(err)
			}
		}
		if got := gapsOf(t, records); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: gaps %v, want %v", name, got, want)
		}
		// Settled for good.
		closeSpool(t, s)
		s = openSpool(t, audit.SpoolOptions{Dir: dir})
		if st := s.Stats(); st.PendingGaps != 0 {
			t.Errorf("%s: %d gaps wait again", name, st.PendingGaps)
		}
	}
}

func copyDir(t testing.TB, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

func TestManyGaps(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, audit.SpoolOptions{Dir: dir, MaxBytes: 1}) // no room for anything
	const zones = 1000
	for z := range zones {
		s.NoteGap(fmt.Sprintf("zone-%d-%0200d", z, z), 1, fmt.Sprintf("a reason of its own %0100d", z))
	}
	s.NoteGap("\xff", 1, "\xff")
	closeSpool(t, s)
	s = openSpool(t, audit.SpoolOptions{Dir: dir})
	var total uint64
	for total < zones+1 {
		b, err := s.Next(t.Context(), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range gapsOf(t, b.Records) {
			total += n
		}
		if err := s.Ack(b.Next()); err != nil {
			t.Fatal(err)
		}
	}
	if total != zones+1 {
		t.Errorf("%d records are counted as lost, want %d", total, zones+1)
	}
}
