package audit_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/caracalai/caracald/audit"
)

// frameCodecs counts the frames of each codec in the segments of a directory.
func frameCodecs(t testing.TB, dir string) map[byte]int {
	t.Helper()
	codecs := map[byte]int{}
	for _, name := range segmentFiles(t, dir) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for at := 68; at+96 <= len(data) && string(data[at:at+4]) == "cfr1"; {
			codecs[data[at+8]]++
			at += 96 + int(binary.BigEndian.Uint32(data[at+4:]))
		}
	}
	return codecs
}

// primedSegment is what a spool with primed frames appends after records 0 to 2 of the
// vector, in the place of a segment of that name.
func primedSegment(t testing.TB, name string, plain []byte) []byte {
	t.Helper()
	dir := t.TempDir()
	writeSpoolVector(t, dir, "spool.json")
	if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), plain[:68], 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := audit.OpenSpool(audit.SpoolOptions{Dir: dir, Durability: audit.SyncEach})
	if err != nil {
		t.Fatal(err)
	}
	appendRecords(t, s, 3, 6)
	closeSpool(t, s)
	if frameCodecs(t, dir)[3] == 0 {
		t.Fatal("no frame is primed")
	}
	return read(t, filepath.Join(dir, filepath.Base(name)))
}

// drawRecord makes a record that resembles some others.
func drawRecord(t *rapid.T) *audit.Record {
	r := testRecord(rapid.IntRange(0, 9).Draw(t, "record"))
	r.ID = uuid.NewString()
	r.ZoneID = rapid.SampledFrom([]string{"", "a", strings.Repeat("z", 100)}).Draw(t, "zone")
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0:
		r.Input = nil
	case 1: // shares nothing with others
		r.Input = rapid.SliceOfN(rapid.Byte(), 0, 3000).Draw(t, "bytes")
	case 2: // much longer than any primer
		r.Input = bytes.Repeat([]byte(r.ID), rapid.IntRange(1, 3000).Draw(t, "times"))
	default:
		part := strings.Repeat(`{"a claim":["that many","inputs have"]},`, rapid.IntRange(0, 40).Draw(t, "claims"))
		r.Input = []byte(part + r.ID + part[:rapid.IntRange(0, len(part)).Draw(t, "cut")])
	}
	if len(r.Input) == 0 {
		r.Input = nil
	}
	return r
}

// TestPrimed: whatever records are, in whatever groups they come and however they are
// read, cut, sent, reopened and acknowledged, they are those that were appended.
func TestPrimed(t *testing.T) {
	primed, plain := 0, 0
	versions := map[int]int{}
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		o := audit.WithSyncPause(audit.SpoolOptions{
			Dir: dir, SegmentBytes: rapid.Int64Range(500, 100_000).Draw(rt, "segment"), PackDelay: -1,
			Durability: audit.SyncNone,
		}, time.Nanosecond)
		if rapid.Bool().Draw(rt, "pack") {
			o.PackDelay = time.Microsecond
		}
		s, err := audit.OpenSpool(o)
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		var want []audit.Record
		next := 0 // of want to be acknowledged
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			switch rapid.IntRange(0, 5).Draw(rt, "step") {
			case 0:
				if err := s.Close(); err != nil {
					rt.Fatal(err)
				}
				for codec, n := range frameCodecs(t, dir) {
					if codec == 3 {
						primed += n
					} else {
						plain += n
					}
				}
				if s, err = audit.OpenSpool(o); err != nil {
					rt.Fatal(err)
				}
			case 1, 2:
				for next < len(want) {
					got := readSome(rt, s, versions)
					if len(got) == 0 || len(got) > len(want)-next || !reflect.DeepEqual(got, want[next:next+len(got)]) {
						rt.Fatalf("%d records from %d are not those that were appended", len(got), next)
					}
					n := rapid.IntRange(1, len(got)).Draw(rt, "acknowledged")
					next += n
					if err := s.Ack(uint64(next)); err != nil {
						rt.Fatal(err)
					}
				}
			default:
				var group []audit.Appending
				for range rapid.IntRange(1, 20).Draw(rt, "group") {
					r := drawRecord(rt)
					want = append(want, *r)
					group = append(group, s.Start(r))
				}
				for _, a := range group {
					if err := a.Wait(); err != nil {
						rt.Fatal(err)
					}
				}
			}
		}
	})
	if primed == 0 || plain == 0 || versions[1] == 0 || versions[2] == 0 {
		t.Errorf("%d frames were primed and %d were not, batches of each version: %v", primed, plain, versions)
	}
}

// readSome takes a batch, perhaps cuts it, sends it and gives what arrives.
func readSome(t *rapid.T, s *audit.Spool, versions map[int]int) []audit.Record {
	var b audit.EncodedBatch
	if err := s.NextEncoded(t.Context(), &b, rapid.IntRange(0, 30).Draw(t, "records"), rapid.IntRange(0, 20_000).Draw(t, "bytes")); err != nil {
		t.Fatal(err)
	}
	if rapid.Bool().Draw(t, "cut") {
		if err := b.Cut(rapid.IntRange(1, b.Count).Draw(t, "to")); err != nil {
			t.Fatal(err)
		}
	}
	decoded, err := b.Decode()
	if err != nil {
		t.Fatal(err)
	}
	if !b.Oldest().Equal(decoded.Records[0].OccurredAt) {
		t.Fatalf("the oldest is of %v", b.Oldest())
	}
	data, err := b.Append(nil, "d")
	if err != nil {
		t.Fatal(err)
	}
	sent, err := audit.DecodeBatch(data, audit.BatchLimits{}) // which verifies the chain
	if err != nil {
		t.Fatal(err)
	}
	h, err := audit.DecodeBatchHeader(data)
	if err != nil || h.Uncompressed != b.Size() || sent.First != b.First || !reflect.DeepEqual(sent.Records, decoded.Records) {
		t.Fatalf("sent are %+v, %v", h, err)
	}
	versions[h.Version]++
	return sent.Records
}

// TestPrimedDamage damages each byte of a segment with primed frames: what depends on
// it is counted as lost, and all else is there.
func TestPrimedDamage(t *testing.T) {
	const n = 6
	built := buildSpoolWith(t, n, audit.SpoolOptions{})
	name := lastSegment(t, built.dir)
	content := read(t, name)
	if got := frameCodecs(t, built.dir); got[1] == 0 || got[3] < 3 {
		t.Fatalf("frames of each codec: %v", got)
	}
	var all []string
	for i := range n {
		all = append(all, fmt.Sprint(i))
	}
	for at := 68; at < len(content); at++ {
		dir := built.copy(t)
		damaged := bytes.Clone(content)
		damaged[at] ^= 1 << (at % 8)
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		s, log := logged(t, dir)
		appendRecords(t, s, 100, 101)
		got, holes := readAll(t, s, 0)
		ids := slices.DeleteFunc(requestIDs(got), func(id string) bool { return id == "" || id == "100" })
		frame, _ := slices.BinarySearch(built.ends, int64(at)+1)
		lost := uint64(n - len(ids))
		torn := uint64(0) // what is lost at the very end is a torn tail
		if end := s.Stats().NextOffset; end < n+1 {
			torn = n + 1 - end
		}
		if lost == 0 || holes+torn != lost || slices.Contains(ids, fmt.Sprint(frame)) || log.Len() == 0 {
			t.Fatalf("byte %d, of frame %d: %v, %d missing: %s", at, frame, ids, holes, log)
		}
		for _, id := range all[:frame] { // what came before it depends on nothing of it
			if !slices.Contains(ids, id) {
				t.Fatalf("byte %d, of frame %d: %v", at, frame, ids)
			}
		}
		closeSpool(t, s)
	}
}
