package audit_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"github.com/caracalai/caracald/audit"
)

// frameCodecs counts the frames of each codec in the segments of a directory.
func frameCodecs(t testing.TB, dir string) map[byte]int {
	t.Helper()
	codecs := map[byte]int{}
	for _, name := range segmentFiles(t, dir) {
		data := read(t, name)
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
			switch rapid.IntRange(0, 6).Draw(rt, "step") {
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
			case 3: // enough that are alike that a batch is shorter with its primer
				r := drawRecord(rt)
				for range rapid.IntRange(20, 60).Draw(rt, "alike") {
					r.ID = uuid.NewString()
					want = append(want, *r)
					if err := s.Append(r); err != nil {
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
	t.Logf("%d frames were primed and %d were not, batches of each version: %v", primed, plain, versions)
}

// readSome takes a batch, perhaps cuts it, sends it and gives what arrives.
func readSome(t *rapid.T, s *audit.Spool, versions map[int]int) []audit.Record {
	var b audit.EncodedBatch
	if err := s.NextEncoded(t.Context(), &b, rapid.IntRange(0, 100).Draw(t, "records"), rapid.IntRange(0, 200_000).Draw(t, "bytes")); err != nil {
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
		for _, id := range numbers(frame) { // what came before it depends on nothing of it
			if !slices.Contains(ids, id) {
				t.Fatalf("byte %d, of frame %d: %v", at, frame, ids)
			}
		}
		closeSpool(t, s)
	}
}

// primedBatch is the vector's batch, and what it has uncompressed.
func primedBatch(t testing.TB) (data, payload []byte, h audit.BatchHeader) {
	t.Helper()
	var v spoolVectors
	readVectors(t, "spool-primed.json", &v)
	data = unhex(t, v.Batch)
	h, err := audit.DecodeBatchHeader(data)
	if err != nil || h.Version != 2 {
		t.Fatalf("a batch of version %d, %v", h.Version, err)
	}
	z, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if payload, err = z.DecodeAll(data[120+len(h.DaemonID):], nil); err != nil {
		t.Fatal(err)
	}
	return data, payload, h
}

// TestPrimedForged: what somebody makes of a batch who means it is refused, before
// anything of a size that it only claims is made.
func TestPrimedForged(t *testing.T) {
	data, payload, h := primedBatch(t)
	n := int(binary.BigEndian.Uint32(payload))
	primer, records := payload[4:4+n], payload[4+n:]
	join := func(n uint32, primer []byte, records ...byte) []byte {
		return append(append(binary.BigEndian.AppendUint32(nil, n), primer...), records...)
	}
	whole := uint32(n)
	own := func(s string) []byte { return append(append([]byte{byte(len(s))}, s...), 0) }
	var copies []byte // of all of the primer, over and over
	for at := range 100_000 {
		copies = binary.AppendVarint(binary.AppendUvarint(append(copies, 0), uint64(n)), -int64(min(at, 1)*n))
	}
	for _, c := range []struct {
		name        string
		count, size int
		payload     []byte
		want        error
	}{
		{"nothing", h.Count, h.Uncompressed, payload, nil},
		{"one record fewer", h.Count - 1, h.Uncompressed, payload, audit.ErrFormat},
		{"one record more", h.Count + 1, h.Uncompressed, payload, audit.ErrFormat},
		{"a byte fewer", h.Count, h.Uncompressed - 1, payload, audit.ErrFormat},
		{"a byte more", h.Count, h.Uncompressed + 1, payload, audit.ErrFormat},
		{"empty", 1, 100, nil, audit.ErrFormat},
		{"no primer", 1, 6, join(0, nil, own("a")...), audit.ErrFormat},
		{"a primer that is not there", 1, 100, join(1000, primer[:10]), audit.ErrFormat},
		{"a primer that is too long", 1, 5, join(61441, make([]byte, 61441), own("a")...), audit.ErrFormat},
		{"a shorter primer", h.Count, h.Uncompressed, join(20, primer[:20], records...), audit.ErrFormat},
		{"another primer", h.Count, h.Uncompressed, join(whole, make([]byte, n), records...), audit.ErrChain},
		{"an empty record", 1, 4, join(whole, primer, 0, 0), audit.ErrFormat},
		{"no end", 1, 5, join(whole, primer, 1, 'a'), audit.ErrFormat},
		{"own bytes that are not there", 1, 100, join(whole, primer, 99, 'a'), audit.ErrFormat},
		{"a length of more than 64 bits", 1, 100, join(whole, primer, bytes.Repeat([]byte{0xff}, 11)...), audit.ErrFormat},
		{"a length of 64 bits", 1, 100, join(whole, primer, append(bytes.Repeat([]byte{0xff}, 9), 1)...), audit.ErrFormat},
		{"before the primer", 1, 14, join(whole, primer, 0, 10, 1, 0, 0), audit.ErrFormat},
		{"behind the primer", 1, 14, join(whole, primer, append(binary.AppendVarint([]byte{0, 10}, int64(n)), 0, 0)...), audit.ErrFormat},
		{"a place of 64 bits", 1, 14, join(whole, primer, append(binary.AppendVarint([]byte{0, 10}, -1<<62), 0, 0)...), audit.ErrFormat},
		{"more than it says", 1, 1000, join(whole, primer, copies...), audit.ErrLimit},
		{"more than a record may have", 1, 20 << 20, join(whole, primer, copies...), audit.ErrFormat},
		{"more than is allowed", 1, 33 << 20, join(whole, primer, copies...), audit.ErrLimit},
	} {
		b, err := audit.DecodeBatch(forge(t, data, c.count, c.size, c.payload), audit.BatchLimits{})
		if !errors.Is(err, c.want) || err == nil && len(b.Records) != h.Count {
			t.Errorf("%s: %d records, %v, want %v", c.name, len(b.Records), err, c.want)
		}
	}
}

// FuzzPrimedBatch: whatever stands in a batch with a primer, reading it ends with the
// records or an error of its kind.
func FuzzPrimedBatch(f *testing.F) {
	data, payload, h := primedBatch(f)
	f.Add(payload, h.Count, h.Uncompressed)
	f.Add(payload[:len(payload)-1], h.Count, h.Uncompressed)
	f.Fuzz(func(t *testing.T, payload []byte, count, size int) {
		if count < 1 || count > 1<<16 || size < 0 || size > 1<<20 {
			return
		}
		b, err := audit.DecodeBatch(forge(t, data, count, size, payload), audit.BatchLimits{MaxUncompressed: 1 << 20})
		switch {
		case err == nil && len(b.Records) != count:
			t.Fatalf("%d records of %d", len(b.Records), count)
		case err != nil && !errors.Is(err, audit.ErrFormat) && !errors.Is(err, audit.ErrLimit) && !errors.Is(err, audit.ErrChain):
			t.Fatalf("an error of no kind: %v", err)
		}
	})
}
