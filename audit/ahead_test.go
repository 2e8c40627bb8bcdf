package audit_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caracalai/caracald/audit"
)

// aheadBytes is the size of segments that are written ahead in these tests.
const aheadBytes = 32 << 10

// appendAhead appends until a segment is in use that was written ahead, and returns
// how many records there are and the segment.
func appendAhead(t *testing.T, s *audit.Spool, dir string) (records int, segment string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		appendRecords(t, s, records, records+1)
		records++
		names := segmentFiles(t, dir)
		segment = names[len(names)-1]
		info, err := os.Stat(segment)
		if err != nil {
			t.Fatal(err)
		}
		if len(names) > 1 && info.Size() == aheadBytes && bytes.HasSuffix(read(t, segment), make([]byte, 1000)) {
			return records, segment
		}
	}
	t.Fatalf("no segment was written ahead for %d records", records)
	return 0, ""
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func numbers(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprint(i))
	}
	return list
}

// TestWrittenAhead: a segment that has zeros behind its records is read and
// recovered as any other, and is cut at its end when it is left.
func TestWrittenAhead(t *testing.T) {
	dir := t.TempDir()
	o := audit.SpoolOptions{Dir: dir, SegmentBytes: aheadBytes, PackDelay: -1}
	s, err := audit.OpenSpool(o)
	if err != nil {
		t.Fatal(err)
	}
	n, segment := appendAhead(t, s, dir)

	killed := t.TempDir() // as a kill would leave it
	copyDir(t, dir, killed)
	var log bytes.Buffer
	o.Dir, o.Logger = killed, slog.New(slog.NewTextHandler(&log, nil))
	again := openSpool(t, o)
	appendRecords(t, again, n, n+2)
	if got, holes := readAll(t, again, 0); !slices.Equal(requestIDs(got), numbers(n+2)) || holes != 0 {
		t.Errorf("after a kill: %v, %d missing", requestIDs(got), holes)
	}
	if log.Len() > 0 {
		t.Errorf("zeros are no damage: %s", &log)
	}

	for ; slices.Max(segmentFiles(t, dir)) == segment; n++ { // to the end of it
		appendRecords(t, s, n, n+1)
	}
	closeSpool(t, s)
	var size int64
	for _, name := range segmentFiles(t, dir) {
		size += int64(len(read(t, name)))
	}
	if got := s.Stats().Bytes; got != size {
		t.Errorf("segments have %d bytes, %d were written", size, got)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*.tmp")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	o.Dir = dir
	s = openSpool(t, o)
	if got, holes := readAll(t, s, 0); !slices.Equal(requestIDs(got), numbers(n)) || holes != 0 {
		t.Errorf("after a restart: %v, %d missing", requestIDs(got), holes)
	}
}

// TestTornAhead tears the last frame of a segment at every byte, with the zeros that
// were there before behind it, as power cuts do.
func TestTornAhead(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, audit.SpoolOptions{Dir: dir, SegmentBytes: aheadBytes, PackDelay: -1})
	n, segment := appendAhead(t, s, dir)
	before := len(bytes.TrimRight(read(t, segment), "\x00"))
	appendRecords(t, s, n, n+1)
	content := read(t, segment)
	end := len(bytes.TrimRight(content, "\x00"))
	if end == before || len(content) != aheadBytes {
		t.Fatalf("the record did not go into the zeros: %d to %d bytes of %d", before, end, len(content))
	}
	for at := before + 1; at < end; at++ {
		torn := t.TempDir()
		copyDir(t, dir, torn)
		bad := append(content[:at:at], make([]byte, len(content)-at)...)
		if err := os.WriteFile(filepath.Join(torn, filepath.Base(segment)), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		s, log := logged(t, torn)
		if st := s.Stats(); st.NextOffset != uint64(n) || st.Failed != nil {
			t.Fatalf("torn at byte %d: %+v, want %d records", at, st, n)
		}
		if !strings.Contains(log.String(), "torn") {
			t.Fatalf("torn at byte %d: logged %q", at, log)
		}
		closeSpool(t, s)
	}
}

// TestAheadTooLate: a file that is being filled with zeros does not become a segment,
// however many segments begin meanwhile.
func TestAheadTooLate(t *testing.T) {
	dir := t.TempDir()
	var segments atomic.Int64
	faults := &audit.Faults{Write: func(string) error {
		if bytes.Contains(debug.Stack(), []byte("makeSpare")) {
			for till := segments.Load() + 2; segments.Load() < till; {
				runtime.Gosched()
			}
		}
		return nil
	}}
	o := audit.SpoolOptions{Dir: dir, SegmentBytes: 4 << 10, PackDelay: -1}
	s := openSpool(t, audit.WithFaults(o, faults, quickRetry))
	const enough = 1 << 40 // for whatever waits
	defer segments.Store(enough)
	n := 0
	for count := 0; count < 40; n++ {
		appendRecords(t, s, n, n+1)
		count = len(segmentFiles(t, dir))
		segments.Store(int64(count))
	}
	segments.Store(enough)
	copied := t.TempDir()
	copyDir(t, dir, copied)
	for _, s := range []*audit.Spool{s, openSpool(t, audit.SpoolOptions{Dir: copied, PackDelay: -1})} {
		if got, holes := readAll(t, s, 0); !slices.Equal(requestIDs(got), numbers(n)) || holes != 0 {
			t.Errorf("%d records of %d, %d missing", len(got), n, holes)
		}
	}
}

// TestAheadHasAName: no file that is written ahead has the name of one before, which may
// have been taken and not renamed yet.
func TestAheadHasAName(t *testing.T) {
	for name, durability := range map[string]audit.Durability{"SyncGroup": audit.SyncGroup, "SyncNone": audit.SyncNone} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var names []string
			faults := &audit.Faults{Maps: true, Create: func(name string) error {
				if filepath.Ext(name) == ".tmp" && strings.HasPrefix(filepath.Base(name), "next") {
					mu.Lock()
					defer mu.Unlock()
					if slices.Contains(names, name) {
						t.Errorf("%s is made again", name)
					}
					names = append(names, name)
				}
				return nil
			}}
			made := func() int {
				mu.Lock()
				defer mu.Unlock()
				return len(names)
			}
			s := openSpool(t, audit.WithFaults(audit.SpoolOptions{Dir: t.TempDir(), SegmentBytes: aheadBytes, Durability: durability, PackDelay: -1}, faults, quickRetry))
			n := 0
			for deadline := time.Now().Add(time.Minute); made() < 3; n++ {
				if time.Now().After(deadline) {
					t.Fatalf("%d files were written ahead for %d records", made(), n)
				}
				appendRecords(t, s, n, n+1)
			}
			if got, holes := readAll(t, s, 0); !slices.Equal(requestIDs(got), numbers(n)) || holes != 0 {
				t.Errorf("%d records of %d, %d missing", len(got), n, holes)
			}
		})
	}
}

// TestNoRoomAhead: where nothing can be written ahead, records are kept as without.
func TestNoRoomAhead(t *testing.T) {
	for name, faults := range map[string]func(refused *atomic.Int64) *audit.Faults{
		"writing fails": func(refused *atomic.Int64) *audit.Faults {
			return &audit.Faults{Write: func(name string) error {
				if strings.Contains(name, "next-") {
					refused.Add(1)
					return syscall.ENOSPC
				}
				return nil
			}}
		},
		"little room is left": func(refused *atomic.Int64) *audit.Faults {
			return &audit.Faults{
				Free: func() int64 { refused.Add(1); return 8*aheadBytes - 1 },
				Create: func(name string) error {
					if strings.Contains(name, "next-") {
						t.Error("the last room was written ahead")
					}
					return nil
				},
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var refused atomic.Int64
			s := openSpool(t, audit.WithFaults(audit.SpoolOptions{Dir: t.TempDir(), SegmentBytes: aheadBytes, PackDelay: -1}, faults(&refused), quickRetry))
			n := 0
			for deadline := time.Now().Add(time.Minute); refused.Load() < 2 && time.Now().Before(deadline); n++ {
				appendRecords(t, s, n, n+1)
			}
			if refused.Load() < 2 {
				t.Fatal("writing ahead was not tried again with the next segment")
			}
			if got, holes := readAll(t, s, 0); !slices.Equal(requestIDs(got), numbers(n)) || holes != 0 {
				t.Errorf("%v, %d missing", requestIDs(got), holes)
			}
		})
	}
}
