package audit_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"pgregory.net/rapid"

	"github.com/caracalai/caracald/audit"
)

// anyRecord draws a record, JSON fields included: those are opaque bytes here.
func anyRecord() *rapid.Generator[audit.Record] {
	return rapid.Custom(func(t *rapid.T) audit.Record {
		text := func(name string) string { return rapid.String().Draw(t, name) }
		raw := func(name string) json.RawMessage {
			b := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, name)
			if len(b) == 0 {
				return nil
			}
			return b
		}
		r := audit.Record{
			ID: text("id"), EventType: text("event"), ZoneID: text("zone"), RequestID: text("request"),
			Decision: text("decision"), EvaluationStatus: text("status"), PolicySetID: text("set"),
			PolicySetVersionID: text("version"), ManifestSHA256: text("manifest"), BundleSHA256: text("bundle"),
			Sequence:            rapid.Int64().Draw(t, "sequence"),
			DeterminingPolicies: raw("policies"), Diagnostics: raw("diagnostics"), Metadata: raw("metadata"), Input: raw("input"),
		}
		if rapid.Bool().Draw(t, "has time") {
			r.OccurredAt = time.Unix(rapid.Int64Range(-1<<40, 1<<40).Draw(t, "seconds"), rapid.Int64Range(0, 999999999).Draw(t, "nanoseconds")).UTC()
		}
		return r
	})
}

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := anyRecord().Draw(t, "record")
		prefix := rapid.SliceOf(rapid.Byte()).Draw(t, "prefix")
		data, err := audit.AppendRecord(bytes.Clone(prefix), &want)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(data, prefix) {
			t.Fatal("what was in dst before has changed")
		}
		got, err := audit.DecodeRecord(data[len(prefix):])
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	})
}

// The encoding is the library's deterministic one of the same map.
func TestRecordEncoding(t *testing.T) {
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		r := anyRecord().Draw(t, "record")
		if rapid.Bool().Draw(t, "long") {
			r.Input = bytes.Repeat([]byte("x"), rapid.SampledFrom([]int{23, 24, 255, 256, 65535, 65536}).Draw(t, "bytes"))
		}
		m := map[int]any{}
		for i, text := range []string{r.ID, r.EventType, r.ZoneID, r.RequestID, r.Decision, r.EvaluationStatus, r.PolicySetID, r.PolicySetVersionID, r.ManifestSHA256, r.BundleSHA256} {
			if text != "" {
				m[1+i] = text
			}
		}
		if r.Sequence != 0 {
			m[11] = r.Sequence
		}
		for i, document := range []json.RawMessage{r.DeterminingPolicies, r.Diagnostics, r.Metadata, r.Input} {
			if len(document) > 0 {
				m[12+i] = []byte(document)
			}
		}
		if !r.OccurredAt.IsZero() {
			m[16] = []int64{r.OccurredAt.Unix(), int64(r.OccurredAt.Nanosecond())}
		}
		want, err := mode.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := audit.AppendRecord(nil, &r)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("got %x, want %x", got, want)
		}
	})
}

func TestRecordTimeIsUTC(t *testing.T) {
	at := time.Date(2026, 5, 20, 12, 0, 0, 5, time.FixedZone("east", 3*3600))
	data, err := audit.AppendRecord(nil, &audit.Record{OccurredAt: at})
	if err != nil {
		t.Fatal(err)
	}
	got, err := audit.DecodeRecord(data)
	if err != nil {
		t.Fatal(err)
	}
	if !got.OccurredAt.Equal(at) || got.OccurredAt.Location() != time.UTC {
		t.Errorf("got %v, want the instant %v in UTC", got.OccurredAt, at)
	}
}

func TestDecodeRecordRefuses(t *testing.T) {
	for _, c := range []struct{ name, hex string }{
		{"nothing", ""},
		{"no map", "01"},
		{"cut short", "a10163"},
		{"trailing byte", "a1016161" + "00"},
		{"duplicate key", "a2" + "016161" + "016162"},
		{"unknown key", "a1" + "18c8" + "6161"},
		{"text key", "a1" + "6131" + "6161"},
		{"keys out of order", "a2" + "026161" + "016161"},
		{"wrong type", "a1" + "01" + "05"},
		{"bytes for text", "a1" + "01" + "4161"},
		{"text for bytes", "a1" + "0f" + "627b7d"},
		{"invalid UTF-8", "a1" + "01" + "61ff"},
		{"empty field present", "a1" + "01" + "60"},
		{"indefinite map", "bf" + "016161" + "ff"},
		{"indefinite text", "a1" + "01" + "7f6161ff"},
		{"long form of a length", "a1" + "01" + "780161"},
		{"long form of a key", "a1" + "1801" + "6161"},
		{"float sequence", "a1" + "0b" + "f93c00"},
		{"tag", "a1" + "10" + "c11a655b9d00"},
		{"time without nanoseconds", "a1" + "10" + "811a655b9d00"},
		{"a second of nanoseconds", "a1" + "10" + "82011a3b9aca00"},
		{"negative nanoseconds", "a1" + "10" + "820120"},
		{"null", "f6"},
		{"null field", "a1" + "01" + "f6"},
		{"deep nesting", "a1" + "10" + "8181818181818101"},
	} {
		data, err := hex.DecodeString(c.hex)
		if err != nil {
			t.Fatal(err)
		}
		if r, err := audit.DecodeRecord(data); !errors.Is(err, audit.ErrFormat) {
			t.Errorf("%s: %+v, %v, want ErrFormat", c.name, r, err)
		}
	}
}

func TestRecordLimits(t *testing.T) {
	huge := audit.Record{Input: make([]byte, audit.MaxRecordBytes+1)}
	dst := []byte("kept")
	if got, err := audit.AppendRecord(dst, &huge); !errors.Is(err, audit.ErrLimit) || string(got) != "kept" {
		t.Errorf("got %d bytes, %v, want the 4 of dst and ErrLimit", len(got), err)
	}
	if _, err := audit.DecodeRecord(make([]byte, audit.MaxRecordBytes+1)); !errors.Is(err, audit.ErrLimit) {
		t.Errorf("decoding: %v, want ErrLimit", err)
	}
	if got, err := audit.AppendRecord(dst, &audit.Record{RequestID: "\xff"}); !errors.Is(err, audit.ErrFormat) || string(got) != "kept" {
		t.Errorf("invalid UTF-8: got %d bytes, %v, want the 4 of dst and ErrFormat", len(got), err)
	}
}

func FuzzDecodeRecord(f *testing.F) {
	for _, r := range []*audit.Record{{}, testRecord(1), benchRecord()} {
		data, err := audit.AppendRecord(nil, r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := audit.DecodeRecord(data)
		if err != nil {
			if !errors.Is(err, audit.ErrFormat) && !errors.Is(err, audit.ErrLimit) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		again, err := audit.AppendRecord(nil, &r)
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%x was accepted but is encoded as %x, %v", data, again, err)
		}
	})
}
