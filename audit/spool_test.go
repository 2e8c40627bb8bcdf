package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/caracalai/caracald/audit"
)

func testRecord(i int) *audit.Record {
	return &audit.Record{
		ID: fmt.Sprintf("id-%d", i), EventType: audit.EventDecision, ZoneID: "zone", RequestID: fmt.Sprint(i),
		Decision: "deny", EvaluationStatus: "complete", Sequence: 7,
		Input:      []byte(`{"principal":{"zone_id":"zone"}}`),
		OccurredAt: time.Unix(1700000000, int64(i)).UTC(),
	}
}

// openSpool opens a spool that the test closes at its end.
func openSpool(t testing.TB, o audit.SpoolOptions) *audit.Spool {
	t.Helper()
	s, err := audit.OpenSpool(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return s
}

// patience is how long a test waits for what has to come.
const patience = time.Minute

func appendRecords(t testing.TB, s *audit.Spool, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := s.Append(testRecord(i)); err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
	}
}

func closeSpool(t testing.TB, s *audit.Spool) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// readAll takes and acknowledges batches until the spool is empty. It checks
// that each follows the one before it, in offsets and in the chain, except over
// the holes that it returns.
func readAll(t testing.TB, s *audit.Spool, maxRecords int) (records []audit.Record, holes uint64) {
	t.Helper()
	var last *audit.Batch
	for s.Stats().Depth > 0 {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		b, err := s.Next(ctx, maxRecords, 0)
		cancel()
		if err != nil {
			t.Fatalf("at %+v: %v", s.Stats(), err)
		}
		if err := b.Verify(); err != nil {
			t.Fatal(err)
		}
		if b.Epoch != s.Epoch() || len(b.Records) == 0 {
			t.Fatalf("batch of epoch %s, %d records", b.Epoch, len(b.Records))
		}
		acked := s.Stats().AckedOffset
		if b.First < acked {
			t.Fatalf("batch from %d, acknowledged was %d", b.First, acked)
		}
		holes += b.First - acked
		if last != nil && b.First == last.Next() && b.PrevHash != last.Hash {
			t.Fatalf("the chain breaks at %d", b.First)
		}
		last = &b
		records = append(records, b.Records...)
		if err := s.Ack(b.Next()); err != nil {
			t.Fatal(err)
		}
	}
	return records, holes
}

func requestIDs(records []audit.Record) []string {
	var ids []string
	for _, r := range records {
		ids = append(ids, r.RequestID)
	}
	return ids
}

var durabilities = map[string]audit.Durability{"SyncGroup": audit.SyncGroup, "SyncEach": audit.SyncEach, "SyncNone": audit.SyncNone}

func TestAppendersTogether(t *testing.T) {
	for name, durability := range durabilities {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openSpool(t, audit.SpoolOptions{Dir: dir, Durability: durability, SegmentBytes: 4 << 10})
			const appenders, each = 16, 25
			var wg sync.WaitGroup
			for a := range appenders {
				wg.Go(func() {
					for i := range each {
						if err := s.Append(testRecord(a*each + i)); err != nil {
							t.Error(err)
						}
					}
				})
			}
			var records []audit.Record
			for len(records) < appenders*each/2 { // some leave while others come
				b, err := s.Next(t.Context(), 7, 0)
				if err != nil {
					t.Fatal(err)
				}
				records = append(records, b.Records...)
				if err := s.Ack(b.Next()); err != nil {
					t.Fatal(err)
				}
			}
			wg.Wait()
			closeSpool(t, s)

			s = openSpool(t, audit.SpoolOptions{Dir: dir, Durability: durability})
			if st := s.Stats(); st.NextOffset != appenders*each || st.AckedOffset != uint64(len(records)) {
				t.Fatalf("%+v after %d records, %d of them acknowledged", st, appenders*each, len(records))
			}
			rest, holes := readAll(t, s, 10)
			records = append(records, rest...)
			if holes != 0 {
				t.Errorf("%d offsets are missing", holes)
			}
			// Each appender's records are in its own order, and every one once.
			next := make(map[int]int)
			for _, r := range records {
				var i int
				if _, err := fmt.Sscan(r.RequestID, &i); err != nil {
					t.Fatal(err)
				}
				if i%each != next[i/each] {
					t.Fatalf("record %d of appender %d comes where %d should", i%each, i/each, next[i/each])
				}
				next[i/each]++
			}
			if len(records) != appenders*each {
				t.Errorf("%d records, want %d", len(records), appenders*each)
			}
		})
	}
}

func TestNextUntilAcknowledged(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, audit.SpoolOptions{Dir: dir})
	appendRecords(t, s, 0, 5)
	for range 2 {
		b, err := s.Next(t.Context(), 3, 0)
		if err != nil {
			t.Fatal(err)
		}
		if b.First != 0 || fmt.Sprint(requestIDs(b.Records)) != "[0 1 2]" {
			t.Fatalf("batch from %d: %v", b.First, requestIDs(b.Records))
		}
	}
	for _, c := range []struct{ ack, first uint64 }{{1, 1}, {0, 1}, {1, 1}, {4, 4}} {
		if err := s.Ack(c.ack); err != nil {
			t.Fatal(err)
		}
		b, err := s.Next(t.Context(), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if b.First != c.first || b.Next() != 5 {
			t.Fatalf("after Ack(%d) a batch of [%d, %d), want [%d, 5)", c.ack, b.First, b.Next(), c.first)
		}
		if err := b.Verify(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Ack(6); !errors.Is(err, audit.ErrLimit) {
		t.Errorf("acknowledging what is not there: %v, want ErrLimit", err)
	}
	closeSpool(t, s)
	s = openSpool(t, audit.SpoolOptions{Dir: dir})
	if b, err := s.Next(t.Context(), 0, 0); err != nil || b.First != 4 || len(b.Records) != 1 {
		t.Errorf("after opening again: %d records from %d, %v, want 1 from 4", len(b.Records), b.First, err)
	}
}

func TestNextLimits(t *testing.T) {
	s := openSpool(t, audit.SpoolOptions{Dir: t.TempDir()})
	appendRecords(t, s, 0, 10)
	data, err := audit.AppendRecord(nil, testRecord(0))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ records, bytes, want int }{
		{1, 0, 1}, {4, 0, 4}, {100, 0, 10}, {0, 1, 1}, {0, 3 * len(data), 3}, {0, 3*len(data) - 1, 2}, {2, 3 * len(data), 2},
	} {
		b, err := s.Next(t.Context(), c.records, c.bytes)
		if err != nil {
			t.Fatal(err)
		}
		if len(b.Records) != c.want {
			t.Errorf("Next(%d records, %d bytes): %d records, want %d", c.records, c.bytes, len(b.Records), c.want)
		}
	}
}

func TestNextWaits(t *testing.T) {
	s := openSpool(t, audit.SpoolOptions{Dir: t.TempDir()})
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error)
	go func() {
		_, err := s.Next(ctx, 0, 0)
		got <- err
	}()
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Errorf("after cancelling: %v", err)
	}

	go func() {
		b, err := s.Next(t.Context(), 0, 0)
		if err == nil && b.Records[0].RequestID != "5" {
			err = fmt.Errorf("got record %s", b.Records[0].RequestID)
		}
		got <- err
	}()
	appendRecords(t, s, 5, 6)
	if err := <-got; err != nil {
		t.Error(err)
	}
	if err := s.Ack(1); err != nil {
		t.Fatal(err)
	}

	go func() {
		_, err := s.Next(t.Context(), 0, 0)
		got <- err
	}()
	closeSpool(t, s)
	if err := <-got; !errors.Is(err, audit.ErrClosed) {
		t.Errorf("after closing: %v", err)
	}
}

func TestClosed(t *testing.T) {
	s := openSpool(t, audit.SpoolOptions{Dir: t.TempDir(), Durability: audit.SyncNone})
	appendRecords(t, s, 0, 1)
	closeSpool(t, s)
	closeSpool(t, s)
	if err := s.Append(testRecord(1)); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("Append: %v", err)
	}
	if _, err := s.Next(t.Context(), 0, 0); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("Next: %v", err)
	}
	if err := s.Ack(1); !errors.Is(err, audit.ErrClosed) {
		t.Errorf("Ack: %v", err)
	}
	s.NoteGap("zone", 1, "late") // does no harm
}

func TestEpoch(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, audit.SpoolOptions{Dir: dir})
	epoch := s.Epoch()
	if u, err := uuid.Parse(epoch); err != nil || u.Version() != 7 {
		t.Errorf("epoch %q is no UUIDv7", epoch)
	}
	closeSpool(t, s)
	s = openSpool(t, audit.SpoolOptions{Dir: dir})
	if s.Epoch() != epoch {
		t.Error("the epoch has changed in the same directory")
	}
	if other := openSpool(t, audit.SpoolOptions{Dir: t.TempDir()}); other.Epoch() == epoch {
		t.Error("two directories have one epoch")
	}
}

func TestOptionsRefused(t *testing.T) {
	for name, o := range map[string]audit.SpoolOptions{
		"no directory":       {},
		"negative size":      {Dir: t.TempDir(), MaxBytes: -1},
		"negative segments":  {Dir: t.TempDir(), SegmentBytes: -1},
		"unknown durability": {Dir: t.TempDir(), Durability: 9},
		"directory is a file": func() audit.SpoolOptions {
			name := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(name, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return audit.SpoolOptions{Dir: name}
		}(),
	} {
		if s, err := audit.OpenSpool(o); err == nil {
			t.Errorf("%s: opened", name)
			_ = s.Close()
		}
	}
}

func segmentFiles(t testing.TB, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(names)
	return names
}

// writtenBytes is how long all segments are without what was written ahead in the last:
// zeros, of which a record may end in one.
func writtenBytes(t testing.TB, dir string) (size int64) {
	t.Helper()
	names := segmentFiles(t, dir)
	for i, name := range names {
		data := read(t, name)
		if i == len(names)-1 {
			data = bytes.TrimRight(data, "\x00")
		}
		size += int64(len(data))
	}
	return size
}

func TestSegmentsAreRemoved(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, audit.SpoolOptions{Dir: dir, SegmentBytes: 1000})
	appendRecords(t, s, 0, 50)
	before := len(segmentFiles(t, dir))
	if before < 5 {
		t.Fatalf("only %d segments", before)
	}
	if err := s.Ack(25); err != nil {
		t.Fatal(err)
	}
	after := segmentFiles(t, dir)
	if len(after) >= before {
		t.Errorf("%d of %d segments are left after half was acknowledged", len(after), before)
	}
	if got, size := s.Stats().Bytes, writtenBytes(t, dir); got != size && got != size+1 {
		t.Errorf("Stats tells of %d bytes, the files have %d", got, size)
	}
	if records, holes := readAll(t, s, 0); len(records) != 25 || records[0].RequestID != "25" || holes != 0 {
		t.Errorf("%d records are left, from %s, %d missing", len(records), records[0].RequestID, holes)
	}
	if n := len(segmentFiles(t, dir)); n != 1 {
		t.Errorf("%d segments are left of an empty spool", n)
	}
}

func TestFull(t *testing.T) {
	for _, segment := range []int64{0, 512} {
		dir := t.TempDir()
		s := openSpool(t, audit.SpoolOptions{Dir: dir, MaxBytes: 8 << 10, SegmentBytes: segment})
		var err error
		n := 0
		for ; err == nil && n < 1000; n++ {
			err = s.Append(testRecord(n))
		}
		if !errors.Is(err, audit.ErrSpoolFull) {
			t.Fatalf("after %d records: %v", n, err)
		}
		if st := s.Stats(); st.Bytes > st.MaxBytes || st.Bytes < st.MaxBytes/2 {
			t.Errorf("full at %+v", st)
		}
		records, _ := readAll(t, s, 0)
		if len(records) != n-1 {
			t.Errorf("%d records, want the %d that were taken", len(records), n-1)
		}
		// Everything was delivered, so there is room again, over and over: only
		// the last segment, a quarter at most, may still take some.
		for range 5 {
			for i := range n / 2 {
				if err := s.Append(testRecord(i)); err != nil {
					t.Fatalf("record %d of %d after making room: %v, %+v", i, n, err, s.Stats())
				}
			}
			readAll(t, s, 0)
		}
		if err := s.Append(&audit.Record{Input: make([]byte, 9<<10)}); !errors.Is(err, audit.ErrSpoolFull) {
			t.Errorf("a record larger than the spool: %v", err)
		}
	}
}
