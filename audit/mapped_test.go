package audit_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caracalai/caracald/audit"
)

// mappedOptions are of a spool whose segments come to lie in memory soon.
func mappedOptions(dir string) audit.SpoolOptions {
	return audit.WithSyncPause(audit.SpoolOptions{Dir: dir, SegmentBytes: 16 << 10, PackDelay: -1, Durability: audit.SyncNone}, time.Nanosecond)
}

// inMemory tells whether a file is mapped by this process.
func inMemory(t *testing.T, name string) bool {
	t.Helper()
	return strings.Contains(string(read(t, "/proc/self/maps")), name)
}

// appendMapped appends until the last segment lies in memory, and returns how many
// records there are.
func appendMapped(t *testing.T, s *audit.Spool, dir string, from int) int {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("segments lie in memory on Linux only")
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); from++ {
		appendRecords(t, s, from, from+1)
		if inMemory(t, slices.Max(segmentFiles(t, dir))) {
			return from + 1
		}
	}
	t.Fatal("no segment lies in memory")
	return 0
}

// TestMapped: segments that lie in memory are read, recovered after a kill and used
// again as those that are written.
func TestMapped(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, mappedOptions(dir))
	n := appendMapped(t, s, dir, 0)
	seen := map[string]bool{}
	acked, again := 0, false
	for round := 0; round < 40 || !again; round++ {
		if round > 10_000 {
			t.Fatal("no file became a segment again")
		}
		appendRecords(t, s, n, n+50)
		n += 50
		if round%3 > 0 {
			for s.Stats().Depth > 20 {
				b, err := s.Next(t.Context(), 30, 0)
				if err != nil {
					t.Fatal(err)
				}
				if want := numbers(n)[acked : acked+len(b.Records)]; !slices.Equal(requestIDs(b.Records), want) {
					t.Fatalf("read %v, want %v", requestIDs(b.Records), want)
				}
				acked += len(b.Records)
				if err := s.Ack(b.Next()); err != nil {
					t.Fatal(err)
				}
			}
		}
		last := slices.Max(segmentFiles(t, dir))
		if info, err := os.Stat(last); err == nil && inMemory(t, last) {
			key := fmt.Sprintf("%+v", info.Sys()) // which has the inode
			key = key[strings.Index(key, "Ino:"):][:20]
			again = again || seen[key] && !seen[last]
			seen[key], seen[last] = true, true
		}

		if round%8 == 0 { // as a kill would leave it
			killed := t.TempDir()
			copyDir(t, dir, killed)
			var log bytes.Buffer
			o := mappedOptions(killed)
			o.Logger = slog.New(slog.NewTextHandler(&log, nil))
			after := openSpool(t, o)
			appendRecords(t, after, n, n+2)
			if got, holes := readAll(t, after, 0); !slices.Equal(requestIDs(got), numbers(n + 2)[acked:]) || holes != 0 || log.Len() > 0 {
				t.Fatalf("after a kill: %d records of %d, %d missing: %s", len(got), n+2-acked, holes, &log)
			}
		}
	}
	closeSpool(t, s)
	if left, err := filepath.Glob(filepath.Join(dir, "*.tmp")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	s = openSpool(t, mappedOptions(dir))
	if got, holes := readAll(t, s, 0); !slices.Equal(requestIDs(got), numbers(n)[acked:]) || holes != 0 {
		t.Errorf("after a restart: %d records of %d, %d missing", len(got), n-acked, holes)
	}
}

// TestMappedIsCutOff: a file that somebody cuts off while it lies in memory is a disk
// that fails, and does not end the process.
func TestMappedIsCutOff(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, audit.WithFaults(mappedOptions(dir), &audit.Faults{Maps: true}, quickRetry))
	n := appendMapped(t, s, dir, 0)
	if err := os.Truncate(slices.Max(segmentFiles(t, dir)), 0); err != nil {
		t.Fatal(err)
	}
	if err := s.Append(testRecord(n)); !errors.Is(err, audit.ErrSpoolFailed) {
		t.Fatalf("writing to it: %v", err)
	}
	kept := false
	for deadline := time.Now().Add(patience); !kept && time.Now().Before(deadline); {
		kept = s.Append(testRecord(n)) == nil
	}
	if !kept {
		t.Fatal("nothing is kept any more")
	}
	// What was in it is lost, and is known to be. Who reads it is told first that it is
	// not to be had.
	if _, err := s.Next(t.Context(), 0, 0); err != nil && !errors.Is(err, audit.ErrSpoolFailed) {
		t.Fatal(err)
	}
	got, holes := readAll(t, s, 0)
	got = untilGap(t, s, got, holes)
	ids := requestIDs(got)
	if holes == 0 || !slices.Contains(ids, fmt.Sprint(n)) || len(ids)+int(holes) < n {
		t.Errorf("%d records are left, %d missing, of %d", len(ids), holes, n+1)
	}
}

// TestMachineForgets: records that were left to the operating system and handed out are
// missing after a crash of the machine. Their offsets are not used again, and they
// are counted.
func TestMachineForgets(t *testing.T) {
	dir := t.TempDir()
	o := audit.WithSyncPause(audit.SpoolOptions{Dir: dir, Durability: audit.SyncNone}, time.Nanosecond)
	s := openSpool(t, o)
	appendRecords(t, s, 0, 3)
	size := s.Stats().Bytes
	appendRecords(t, s, 3, 10)
	if b, err := s.Next(t.Context(), 0, 0); err != nil || b.Next() != 10 {
		t.Fatalf("%d records, %v", len(b.Records), err)
	}
	if err := s.Ack(1); err != nil {
		t.Fatal(err)
	}
	o.Dir = t.TempDir()
	copyDir(t, dir, o.Dir)
	if err := os.Truncate(slices.Max(segmentFiles(t, o.Dir)), size); err != nil {
		t.Fatal(err)
	}
	after := openSpool(t, o)
	if st := after.Stats(); st.NextOffset != 10 || st.AckedOffset != 1 || st.Epoch != s.Epoch() {
		t.Fatalf("%+v, want the offsets from 10 on", st)
	}
	appendRecords(t, after, 10, 12)
	got, holes := readAll(t, after, 0)
	ids := slices.DeleteFunc(requestIDs(got), func(id string) bool { return id == "" })
	if want := []string{"1", "2", "10", "11"}; !slices.Equal(ids, want) || holes != 7 {
		t.Errorf("%v and %d missing, want %v and 7", ids, holes, want)
	}
	untilGap(t, after, got, holes)
}
