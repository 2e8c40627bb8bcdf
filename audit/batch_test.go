package audit_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"reflect"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"github.com/caracalai/caracald/audit"
)

const testEpoch = "0193a6c0-7b1e-7c3a-9f00-00000000000e"

func encodeBatch(t testing.TB, daemon string, b audit.Batch) []byte {
	t.Helper()
	data, err := audit.EncodeBatch(nil, daemon, b)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func testBatch(records int) audit.Batch {
	b := audit.Batch{Epoch: testEpoch, First: 1000, PrevHash: [32]byte{1, 2, 3}}
	for i := range records {
		b.Records = append(b.Records, *testRecord(i))
	}
	return b
}

func TestBatchRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := audit.Batch{
			Epoch:   testEpoch,
			First:   rapid.Uint64Range(0, 1<<63).Draw(t, "first"),
			Records: rapid.SliceOfN(anyRecord(), 1, 20).Draw(t, "records"),
		}
		copy(want.PrevHash[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "prev"))
		daemon := rapid.StringN(1, -1, 128).Draw(t, "daemon")
		data, err := audit.EncodeBatch([]byte("before"), daemon, want)
		if err != nil {
			t.Fatal(err)
		}
		data, ok := bytes.CutPrefix(data, []byte("before"))
		if !ok {
			t.Fatal("what was in dst before has changed")
		}
		got, err := audit.DecodeBatch(data, audit.BatchLimits{})
		if err != nil {
			t.Fatal(err)
		}
		if got.DaemonID != daemon || got.Epoch != want.Epoch || got.First != want.First || got.PrevHash != want.PrevHash ||
			!reflect.DeepEqual(got.Records, want.Records) || got.Next() != want.First+uint64(len(want.Records)) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		hash := want.PrevHash
		for i := range want.Records {
			record, err := audit.AppendRecord(nil, &want.Records[i])
			if err != nil {
				t.Fatal(err)
			}
			hash = audit.ChainHash(hash, want.First+uint64(i), record)
		}
		if got.Hash != hash {
			t.Fatalf("hash %x, want %x", got.Hash, hash)
		}
		h, err := audit.DecodeBatchHeader(data)
		if err != nil || h.DaemonID != daemon || h.Epoch != want.Epoch || h.First != want.First || h.Count != len(want.Records) || h.Hash != hash || h.PrevHash != want.PrevHash {
			t.Fatalf("header %+v, %v", h, err)
		}
		// A decoded batch can be sent on.
		again, err := audit.EncodeBatch(nil, daemon, got.Batch)
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("encoded again it differs: %v", err)
		}
	})
}

func TestBatchDamaged(t *testing.T) {
	data := encodeBatch(t, "daemon", testBatch(3))
	whole, err := audit.DecodeBatch(data, audit.BatchLimits{})
	if err != nil {
		t.Fatal(err)
	}
	for at := range data {
		for bit := range 8 {
			damaged := bytes.Clone(data)
			damaged[at] ^= 1 << bit
			// The compressed form has bits that mean nothing.
			if b, err := audit.DecodeBatch(damaged, audit.BatchLimits{}); err == nil && !reflect.DeepEqual(b, whole) {
				t.Fatalf("bit %d of byte %d changed, and decoded as %+v", bit, at, b)
			}
		}
	}
	for n := range data {
		if _, err := audit.DecodeBatch(data[:n], audit.BatchLimits{}); !errors.Is(err, audit.ErrFormat) {
			t.Fatalf("the first %d bytes: %v, want ErrFormat", n, err)
		}
	}
	if _, err := audit.DecodeBatch(append(data, 0), audit.BatchLimits{}); !errors.Is(err, audit.ErrFormat) {
		t.Errorf("a byte more: %v, want ErrFormat", err)
	}
}

// forge puts another payload behind a batch's header and mends the sizes and
// the checksum, as somebody would who means it.
func forge(t testing.TB, data []byte, count, uncompressed int, payload []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	body := z.EncodeAll(payload, nil)
	id := int(binary.BigEndian.Uint32(data[12:]))
	out := append(bytes.Clone(data[:120+id]), body...)
	binary.BigEndian.PutUint32(out[104:], uint32(count))
	binary.BigEndian.PutUint32(out[108:], uint32(uncompressed))
	binary.BigEndian.PutUint32(out[112:], uint32(len(body)))
	table := crc32.MakeTable(crc32.Castagnoli)
	binary.BigEndian.PutUint32(out[116:], crc32.Update(crc32.Checksum(out[:116], table), table, out[120:120+id]))
	return out
}

func TestBatchForged(t *testing.T) {
	batch := testBatch(2)
	data := encodeBatch(t, "daemon", batch)
	var payload []byte
	for i := range batch.Records {
		r, err := audit.AppendRecord(nil, &batch.Records[i])
		if err != nil {
			t.Fatal(err)
		}
		payload = append(binary.BigEndian.AppendUint32(payload, uint32(len(r))), r...)
	}
	n := len(payload)
	if _, err := audit.DecodeBatch(forge(t, data, 2, n, payload), audit.BatchLimits{}); err != nil {
		t.Fatalf("forged to be what it was: %v", err)
	}
	swapped := append(bytes.Clone(payload[n/2:]), payload[:n/2]...)
	bomb := make([]byte, 40<<20)
	for _, c := range []struct {
		name string
		data []byte
		want error
	}{
		{"records swapped", forge(t, data, 2, n, swapped), audit.ErrChain},
		{"last record dropped", forge(t, data, 1, n/2, payload[:n/2]), audit.ErrChain},
		{"count too small", forge(t, data, 1, n, payload), audit.ErrFormat},
		{"count too large", forge(t, data, 3, n, payload), audit.ErrFormat},
		{"count is zero", forge(t, data, 0, n, payload), audit.ErrFormat},
		{"count without bytes", forge(t, data, 1<<16, n, payload), audit.ErrFormat},
		{"too many records", forge(t, data, 1<<16+1, n, payload), audit.ErrLimit},
		{"size too small", forge(t, data, 2, n-1, payload), audit.ErrLimit},
		{"size too large", forge(t, data, 2, n+1, payload), audit.ErrFormat},
		{"bomb that hides", forge(t, data, 2, n, bomb), audit.ErrLimit},
		{"bomb that says so", forge(t, data, 2, len(bomb), bomb), audit.ErrLimit},
		{"record beyond the end", forge(t, data, 2, n, append([]byte{0, 1, 0, 0}, payload[4:]...)), audit.ErrFormat},
		{"empty record", forge(t, data, 2, n, make([]byte, n)), audit.ErrFormat},
	} {
		if b, err := audit.DecodeBatch(c.data, audit.BatchLimits{}); !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v, want %v", c.name, b, err, c.want)
		}
	}

	// Bytes that chain well but are no record.
	nonsense := []byte{0, 0, 0, 3, 1, 2, 3}
	forged := forge(t, data, 1, len(nonsense), nonsense)
	hash := audit.ChainHash(batch.PrevHash, batch.First, nonsense[4:])
	copy(forged[72:], hash[:])
	forged = forge(t, forged, 1, len(nonsense), nonsense)
	if b, err := audit.DecodeBatch(forged, audit.BatchLimits{}); !errors.Is(err, audit.ErrFormat) {
		t.Errorf("no record: %+v, %v, want ErrFormat", b, err)
	}
}

func TestBatchLimits(t *testing.T) {
	data := encodeBatch(t, "daemon", testBatch(10))
	h, err := audit.DecodeBatchHeader(data)
	if err != nil {
		t.Fatal(err)
	}
	exact := audit.BatchLimits{MaxCompressed: len(data), MaxUncompressed: h.Uncompressed, MaxRecords: 10}
	if _, err := audit.DecodeBatch(data, exact); err != nil {
		t.Errorf("exactly at the limits: %v", err)
	}
	for name, lim := range map[string]audit.BatchLimits{
		"compressed":   {MaxCompressed: len(data) - 1},
		"uncompressed": {MaxUncompressed: h.Uncompressed - 1},
		"records":      {MaxRecords: 9},
	} {
		if _, err := audit.DecodeBatch(data, lim); !errors.Is(err, audit.ErrLimit) {
			t.Errorf("%s one too many: %v, want ErrLimit", name, err)
		}
	}
	largest := audit.Batch{Epoch: testEpoch, Records: []audit.Record{{Input: bytes.Repeat([]byte("0123456789abcdef"), audit.MaxRecordBytes/16-1)}}}
	if b, err := audit.DecodeBatch(encodeBatch(t, "daemon", largest), audit.BatchLimits{}); err != nil || len(b.Records) != 1 {
		t.Errorf("the largest record: %v", err)
	}
}

func TestEncodeBatchRefuses(t *testing.T) {
	wrongHash := testBatch(1)
	wrongHash.Hash[0] = 1
	noEpoch := testBatch(1)
	noEpoch.Epoch = ""
	oddEpoch := testBatch(1)
	oddEpoch.Epoch = "urn:uuid:" + testEpoch
	for _, c := range []struct {
		name, daemon string
		batch        audit.Batch
		want         error
	}{
		{"no daemon", "", testBatch(1), audit.ErrFormat},
		{"long daemon", strings.Repeat("d", 129), testBatch(1), audit.ErrFormat},
		{"daemon not UTF-8", "\xff", testBatch(1), audit.ErrFormat},
		{"no epoch", "d", noEpoch, audit.ErrFormat},
		{"epoch spelled otherwise", "d", oddEpoch, audit.ErrFormat},
		{"no records", "d", testBatch(0), audit.ErrLimit},
		{"wrong hash", "d", wrongHash, audit.ErrChain},
	} {
		dst := []byte("kept")
		if got, err := audit.EncodeBatch(dst, c.daemon, c.batch); !errors.Is(err, c.want) || string(got) != "kept" {
			t.Errorf("%s: %d bytes, %v, want %v", c.name, len(got), err, c.want)
		}
	}
}

func TestVerifyBatch(t *testing.T) {
	s := openSpool(t, audit.SpoolOptions{Dir: t.TempDir()})
	appendRecords(t, s, 0, 3)
	b, err := s.Next(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Verify(); err != nil {
		t.Error(err)
	}
	b.PrevHash[31]++
	if err := b.Verify(); !errors.Is(err, audit.ErrChain) {
		t.Errorf("from another hash: %v, want ErrChain", err)
	}
	b.PrevHash[31]--
	b.First++
	if err := b.Verify(); !errors.Is(err, audit.ErrChain) {
		t.Errorf("from another offset: %v, want ErrChain", err)
	}
}

func FuzzDecodeBatch(f *testing.F) {
	f.Add(encodeBatch(f, "daemon", testBatch(2)))
	f.Add(encodeBatch(f, "d", audit.Batch{Epoch: testEpoch, Records: make([]audit.Record, 3)}))
	f.Add([]byte("caracbat"))
	var v spoolVectors
	readVectors(f, "spool-primed.json", &v)
	f.Add(unhex(f, v.Batch))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := audit.DecodeBatch(data, audit.BatchLimits{MaxUncompressed: 1 << 20})
		if err != nil {
			if !errors.Is(err, audit.ErrFormat) && !errors.Is(err, audit.ErrLimit) && !errors.Is(err, audit.ErrChain) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		again, err := audit.EncodeBatch(nil, b.DaemonID, b.Batch)
		if err != nil {
			t.Fatal(err)
		}
		same, err := audit.DecodeBatch(again, audit.BatchLimits{MaxUncompressed: 1 << 20})
		if err != nil || !reflect.DeepEqual(same, b) {
			t.Fatalf("got %+v again as %+v, %v", b, same, err)
		}
	})
}
