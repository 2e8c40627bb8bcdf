package audit_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caracalai/caracald/audit"
)

// builtSpool is a closed spool with one frame for each record.
type builtSpool struct {
	dir string
	// ends are where the frames end in the last segment, after its header.
	ends []int64
}

// buildSpool appends records one by one, each to a plain frame of its own.
func buildSpool(t testing.TB, records int, segmentBytes int64) builtSpool {
	t.Helper()
	return buildSpoolWith(t, records, audit.Unprimed(audit.SpoolOptions{SegmentBytes: segmentBytes}))
}

// buildSpoolWith appends records one by one, each to a frame of its own.
func buildSpoolWith(t testing.TB, records int, o audit.SpoolOptions) builtSpool {
	t.Helper()
	b := builtSpool{dir: t.TempDir()}
	o.Dir, o.Durability = b.dir, audit.SyncEach
	s, err := audit.OpenSpool(o)
	if err != nil {
		t.Fatal(err)
	}
	last := ""
	var before int64 // bytes of the segments before the last
	for i := range records {
		had := s.Stats().Bytes
		appendRecords(t, s, i, i+1)
		if names := segmentFiles(t, b.dir); names[len(names)-1] != last {
			if last != "" {
				before = had
			}
			last, b.ends = names[len(names)-1], nil
		}
		b.ends = append(b.ends, s.Stats().Bytes-before)
	}
	closeSpool(t, s)
	return b
}

// copy gives a copy of the directory to damage.
func (b builtSpool) copy(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	copyDir(t, b.dir, dir)
	return dir
}

func lastSegment(t testing.TB, dir string) string {
	t.Helper()
	names := segmentFiles(t, dir)
	return names[len(names)-1]
}

// logged opens a spool and returns what it logs. What is read is not waited for:
// some tests open hundreds.
func logged(t testing.TB, dir string) (*audit.Spool, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	o := audit.SpoolOptions{Dir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil)), Durability: audit.SyncNone}
	s, err := audit.OpenSpool(audit.WithSyncPause(o, time.Nanosecond))
	if err != nil {
		t.Fatal(err)
	}
	return s, &log
}

func TestTornAtEveryByte(t *testing.T) {
	const records = 2
	built := buildSpool(t, records, 0)
	name := filepath.Base(lastSegment(t, built.dir))
	whole := func(size int64) int {
		n := 0
		for n < len(built.ends) && built.ends[n] <= size {
			n++
		}
		return n
	}
	for size := built.ends[records-1]; size >= 0; size-- {
		dir := built.copy(t)
		if err := os.Truncate(filepath.Join(dir, name), size); err != nil {
			t.Fatal(err)
		}
		s, log := logged(t, dir)
		want := whole(size)
		if st := s.Stats(); st.NextOffset != uint64(want) || st.Failed != nil {
			t.Fatalf("cut at byte %d: %+v, want %d records", size, st, want)
		}
		torn := size > 68 && !slices.Contains(built.ends, size)
		if torn != strings.Contains(log.String(), "torn") {
			t.Fatalf("cut at byte %d: torn is %v, logged %q", size, torn, log)
		}
		// It goes on from there, and the next run finds nothing to mend.
		appendRecords(t, s, 100, 102)
		closeSpool(t, s)
		s, log = logged(t, dir)
		if log.Len() > 0 {
			t.Fatalf("cut at byte %d: the second run logs %s", size, log)
		}
		got, holes := readAll(t, s, 0)
		closeSpool(t, s)
		wantIDs := append([]string{"0", "1"}[:want:want], "100", "101")
		if !slices.Equal(requestIDs(got), wantIDs) || holes != 0 {
			t.Fatalf("cut at byte %d: %v and %d missing, want %v", size, requestIDs(got), holes, wantIDs)
		}
	}
}

// TestEveryByteDamaged changes bytes of a spool, in its first segment and its
// last: each byte of every header, and some of each payload.
func TestEveryByteDamaged(t *testing.T) {
	const records, header = 5, 68
	built := buildSpool(t, records, 400)
	names := segmentFiles(t, built.dir)
	if len(names) != 3 || len(built.ends) != 1 {
		t.Fatalf("%d segments and %d frames in the last: this test counts on 2 + 2 + 1 records", len(names), len(built.ends))
	}
	for which, name := range []string{names[0], names[2]} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		frame := (len(content) - header) / (2 - which)
		for at := range content {
			if payload := (at-header)%frame > 110; payload && at%20 != 0 {
				continue // one checksum covers them all
			}
			dir := built.copy(t)
			damaged := bytes.Clone(content)
			damaged[at] ^= 1 << (at % 8)
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			s, log := logged(t, dir)
			if log.Len() == 0 {
				t.Fatalf("byte %d of %s: nothing is logged", at, name)
			}
			appendRecords(t, s, 100, 101)
			got, holes := readAll(t, s, 0)
			want := []string{"0", "1", "2", "3", "4", "100"}
			lost := uint64(0)
			if at >= header { // in the header everything is still found
				victim := (at - header) / frame
				if which == 1 {
					victim = 4 // a torn tail, for all that can be seen
				} else {
					lost = 1
				}
				want = slices.Delete(want, victim, victim+1)
			}
			var ids []string
			for _, r := range got {
				if r.EventType != audit.EventGap {
					ids = append(ids, r.RequestID)
				}
			}
			if !slices.Equal(ids, want) || holes != lost {
				t.Fatalf("byte %d of %s: %v and %d missing, want %v and %d", at, name, ids, holes, want, lost)
			}
			got = untilGap(t, s, got, lost)
			if n := gapsOf(t, got)[" damaged"]; n != lost {
				t.Fatalf("byte %d of %s: a gap of %d, want %d", at, name, n, lost)
			}
			closeSpool(t, s)
		}
	}
}

// untilGap reads on until a gap record says how many are lost: what is missing becomes
// one after the records that were there.
func untilGap(t testing.TB, s *audit.Spool, got []audit.Record, lost uint64) []audit.Record {
	t.Helper()
	for lost > 0 && gapsOf(t, got)[" damaged"] < lost {
		b, err := s.Next(t.Context(), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, b.Records...)
		if err := s.Ack(b.Next()); err != nil {
			t.Fatal(err)
		}
	}
	return got
}

func TestMissingSegment(t *testing.T) {
	built := buildSpool(t, 5, 400)
	for i, want := range [][]string{{"2", "3", "4"}, {"0", "1", "4"}} {
		dir := built.copy(t)
		if err := os.Remove(segmentFiles(t, dir)[i]); err != nil {
			t.Fatal(err)
		}
		s, _ := logged(t, dir)
		if st := s.Stats(); st.NextOffset != 5 {
			t.Errorf("%+v, want 5 offsets", st)
		}
		b, err := s.Next(t.Context(), 2, 0)
		if err != nil {
			t.Fatal(err)
		}
		ids := requestIDs(b.Records)
		if err := s.Ack(b.Next()); err != nil {
			t.Fatal(err)
		}
		for !slices.Contains(ids, "4") {
			b, err := s.Next(t.Context(), 2, 0)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, requestIDs(b.Records)...)
			if err := s.Ack(b.Next()); err != nil {
				t.Fatal(err)
			}
		}
		if ids = slices.DeleteFunc(ids, func(id string) bool { return id == "" }); !slices.Equal(ids, want) {
			t.Errorf("without segment %d: %v, want %v", i, ids, want)
		}
		if st := s.Stats(); st.Gaps != 2 {
			t.Errorf("without segment %d: %d records are counted as lost, want 2", i, st.Gaps)
		}
		closeSpool(t, s)
	}
}

func TestAcknowledgementLost(t *testing.T) {
	built := buildSpool(t, 3, 0)
	s, _ := logged(t, built.dir)
	epoch := s.Epoch()
	if err := s.Ack(2); err != nil {
		t.Fatal(err)
	}
	closeSpool(t, s)
	for name, damage := range map[string]func(name string) error{
		"removed":   os.Remove,
		"cut short": func(name string) error { return os.Truncate(name, 20) },
		"too long":  func(name string) error { return os.Truncate(name, 40) },
		"changed":   func(name string) error { return os.WriteFile(name, make([]byte, 36), 0o600) },
	} {
		dir := built.copy(t)
		if err := damage(filepath.Join(dir, "acked")); err != nil {
			t.Fatal(err)
		}
		s, _ := logged(t, dir)
		if st := s.Stats(); st.AckedOffset != 0 || st.Epoch != epoch {
			t.Errorf("%s: %+v, want everything again in the same epoch", name, st)
		}
		if got, _ := readAll(t, s, 0); len(got) != 3 {
			t.Errorf("%s: %d records", name, len(got))
		}
		closeSpool(t, s)
	}
}

func TestSpoolBehindAcknowledgement(t *testing.T) {
	built := buildSpool(t, 5, 400)
	s, _ := logged(t, built.dir)
	epoch := s.Epoch()
	if err := s.Ack(3); err != nil { // the segment of 2 and 3 stays
		t.Fatal(err)
	}
	closeSpool(t, s)
	names := segmentFiles(t, built.dir)
	if err := os.Remove(names[len(names)-1]); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(names[0], 68); err != nil {
		t.Fatal(err)
	}
	s, log := logged(t, built.dir)
	if st := s.Stats(); st.Epoch == epoch || st.NextOffset != 0 || st.AckedOffset != 0 {
		t.Errorf("%+v: offsets of epoch %s would be used twice", st, epoch)
	}
	if !strings.Contains(log.String(), "new epoch") {
		t.Errorf("logged %q", log)
	}
	appendRecords(t, s, 7, 8)
	closeSpool(t, s)
	s, _ = logged(t, built.dir)
	if got, holes := readAll(t, s, 0); len(got) != 1 || got[0].RequestID != "7" || holes != 0 {
		t.Errorf("%v, %d missing", requestIDs(got), holes)
	}
	closeSpool(t, s)
}

// TestContradiction joins whole frames of two spools: every checksum is right
// and the chain is not.
func TestContradiction(t *testing.T) {
	one := buildSpool(t, 3, 0)
	ours, err := os.ReadFile(lastSegment(t, one.dir))
	if err != nil {
		t.Fatal(err)
	}
	// Another record at offset 0 makes every later hash another.
	other := t.TempDir()
	s, err := audit.OpenSpool(audit.Unprimed(audit.SpoolOptions{Dir: other, Durability: audit.SyncEach}))
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{9, 1, 2} { // equal lengths, so the frames fit
		appendRecords(t, s, i, i+1)
	}
	closeSpool(t, s)
	theirs, err := os.ReadFile(lastSegment(t, other))
	if err != nil {
		t.Fatal(err)
	}
	if len(theirs) != len(ours) {
		t.Fatal("the two segments differ in length")
	}
	forged := append(bytes.Clone(ours[:one.ends[0]]), theirs[one.ends[0]:]...)
	if err := os.WriteFile(lastSegment(t, one.dir), forged, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := audit.OpenSpool(audit.SpoolOptions{Dir: one.dir}); !errors.Is(err, audit.ErrChain) {
		t.Errorf("opened %v, %v, want ErrChain", s, err)
	}
	// The directory is free again.
	if err := os.WriteFile(lastSegment(t, one.dir), ours, 0o600); err != nil {
		t.Fatal(err)
	}
	openSpool(t, audit.SpoolOptions{Dir: one.dir})
}

func TestForeignSegment(t *testing.T) {
	one, two := buildSpool(t, 2, 0), buildSpool(t, 5, 400)
	names := segmentFiles(t, two.dir)
	foreign := filepath.Join(one.dir, filepath.Base(names[len(names)-1]))
	data, err := os.ReadFile(names[len(names)-1])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(foreign, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s, log := logged(t, one.dir)
	if got, holes := readAll(t, s, 0); len(got) != 2 || holes != 0 {
		t.Errorf("%v, %d missing", requestIDs(got), holes)
	}
	closeSpool(t, s)
	if !strings.Contains(log.String(), "another epoch") {
		t.Errorf("logged %q", log)
	}
	if kept, err := os.ReadFile(foreign + ".foreign"); err != nil || !bytes.Equal(kept, data) {
		t.Errorf("the foreign segment was not kept: %v", err)
	}
}

func TestLeftoversAreRemoved(t *testing.T) {
	built := buildSpool(t, 1, 0)
	temp := filepath.Join(built.dir, "acked.tmp")
	if err := os.WriteFile(temp, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	openSpool(t, audit.SpoolOptions{Dir: built.dir})
	if _, err := os.Stat(temp); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", temp, err)
	}
}

// FuzzSpoolFrame opens a spool whose last segment is anything.
func FuzzSpoolFrame(f *testing.F) {
	// Built on the vector, so that every process that fuzzes has the same epoch.
	built := builtSpool{dir: f.TempDir()}
	writeSpoolVector(f, built.dir, "spool.json")
	s, err := audit.OpenSpool(audit.Unprimed(audit.SpoolOptions{Dir: built.dir, Durability: audit.SyncEach, SegmentBytes: 400}))
	if err != nil {
		f.Fatal(err)
	}
	appendRecords(f, s, 3, 5)
	closeSpool(f, s)
	names := segmentFiles(f, built.dir)
	if len(names) != 2 {
		f.Fatalf("%d segments", len(names))
	}
	last, err := os.ReadFile(names[1])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(last)
	f.Add(last[:len(last)-1])
	f.Add(append(bytes.Clone(last), last[68:]...))
	f.Add([]byte{})
	f.Add(primedSegment(f, names[1], last))
	f.Fuzz(func(t *testing.T, segment []byte) {
		dir := built.copy(t)
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(names[1])), segment, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := audit.OpenSpool(audit.SpoolOptions{Dir: dir, Durability: audit.SyncNone})
		if err != nil {
			if !errors.Is(err, audit.ErrChain) && !errors.Is(err, audit.ErrSpoolFailed) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		next := s.Stats().NextOffset
		if err := s.Append(testRecord(77)); err != nil {
			t.Fatal(err)
		}
		closeSpool(t, s)
		s, err = audit.OpenSpool(audit.SpoolOptions{Dir: dir, Durability: audit.SyncNone})
		if err != nil {
			t.Fatalf("what was mended does not open: %v", err)
		}
		defer closeSpool(t, s)
		if got := s.Stats().NextOffset; got != next+1 {
			t.Fatalf("ends at %d, want %d", got, next+1)
		}
		for s.Stats().AckedOffset <= next {
			b, err := s.Next(t.Context(), 0, 0)
			if errors.Is(err, audit.ErrFormat) {
				return // a sound frame around what is no record
			}
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range b.Records {
				if b.First+uint64(i) == next && r.RequestID != "77" {
					t.Fatalf("offset %d holds %+v", next, r)
				}
			}
			if err := s.Ack(b.Next()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestForgedFrames changes the header of a frame between two others and mends
// its checksums, as no accident does.
func TestForgedFrames(t *testing.T) {
	built := buildSpool(t, 3, 0)
	name := filepath.Base(lastSegment(t, built.dir))
	content, err := os.ReadFile(filepath.Join(built.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	for _, c := range []struct {
		name   string
		change func(frame []byte)
		// chain: the spool does not open. Otherwise the frame is passed over.
		chain bool
	}{
		{"nothing", func([]byte) {}, false},
		{"another hash before", func(f []byte) { f[24]++ }, true},
		{"another hash after", func(f []byte) { f[56]++ }, true},
		{"another record", func(f []byte) { f[len(f)-1]++ }, true},
		{"unknown codec", func(f []byte) { f[8] = 9 }, false},
		{"reserved byte", func(f []byte) { f[10] = 1 }, false},
		{"no records", func(f []byte) { binary.BigEndian.PutUint32(f[12:], 0) }, false},
		{"more records", func(f []byte) { binary.BigEndian.PutUint32(f[12:], 2) }, false},
		{"very many records", func(f []byte) { binary.BigEndian.PutUint32(f[12:], 1<<32-1) }, false},
		{"huge payload", func(f []byte) { binary.BigEndian.PutUint32(f[4:], 1<<32-1) }, false},
		{"shorter payload", func(f []byte) { binary.BigEndian.PutUint32(f[4:], 20) }, false},
		{"an offset before", func(f []byte) { binary.BigEndian.PutUint64(f[16:], 0) }, true},
		{"the last offset", func(f []byte) { binary.BigEndian.PutUint64(f[16:], 1<<64-1) }, false},
		{"longer record", func(f []byte) { f[96] = 1 }, false},
		{"empty record", func(f []byte) { clear(f[96:]) }, false},
	} {
		forged := bytes.Clone(content)
		frame := forged[built.ends[0]:built.ends[1]]
		c.change(frame)
		payload := frame[96:]
		if n := int(binary.BigEndian.Uint32(frame[4:])); n < len(payload) {
			payload = payload[:n]
		}
		binary.BigEndian.PutUint32(frame[88:], crc32.Checksum(payload, table))
		binary.BigEndian.PutUint32(frame[92:], crc32.Checksum(frame[:92], table))
		dir := built.copy(t)
		if err := os.WriteFile(filepath.Join(dir, name), forged, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := audit.OpenSpool(audit.SpoolOptions{Dir: dir})
		if c.chain {
			if !errors.Is(err, audit.ErrChain) {
				t.Errorf("%s: %v, want ErrChain", c.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		want, lost := []string{"0", "2"}, uint64(1)
		if c.name == "nothing" {
			want, lost = []string{"0", "1", "2"}, 0
		}
		b, err := s.Next(t.Context(), 0, 0)
		ids := requestIDs(b.Records)
		for err == nil && !slices.Contains(ids, "2") {
			if err = s.Ack(b.Next()); err == nil {
				b, err = s.Next(t.Context(), 0, 0)
				ids = append(ids, requestIDs(b.Records)...)
			}
		}
		if err == nil {
			err = s.Ack(b.Next())
		}
		if st := s.Stats(); err != nil || !slices.Equal(ids, want) || st.Gaps != lost {
			t.Errorf("%s: %v, %d lost, %v, want %v, %d lost", c.name, ids, st.Gaps, err, want, lost)
		}
		closeSpool(t, s)
	}
}
