package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caracalai/caracald/audit"
)

// TestCut: what is left of a batch is a batch of its own, and the next one
// continues it.
func TestCut(t *testing.T) {
	s := openSpool(t, audit.SpoolOptions{Dir: t.TempDir()})
	appendRecords(t, s, 0, 10)
	var whole audit.EncodedBatch
	if err := s.NextEncoded(t.Context(), &whole, 0, 0); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{-1, 0, 1, 4, 9, 10, 11} {
		var b audit.EncodedBatch
		if err := s.NextEncoded(t.Context(), &b, 0, 0); err != nil {
			t.Fatal(err)
		}
		if err := b.Cut(n); err != nil {
			t.Fatal(err)
		}
		if want := min(max(n, 1), 10); b.Count != want || b.First != 0 || b.After != 0 || b.PrevHash != whole.PrevHash {
			t.Errorf("cut to %d: %d records from %d", n, b.Count, b.First)
		}
		data, err := b.Append(nil, "d1")
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := audit.DecodeBatch(data, audit.BatchLimits{}) // which verifies the chain
		if err != nil || len(decoded.Records) != b.Count {
			t.Errorf("cut to %d: %d records, %v", n, len(decoded.Records), err)
		}
		if n == 4 {
			first, err := whole.Decode()
			if err != nil || !b.Oldest().Equal(first.Records[0].OccurredAt) {
				t.Errorf("the oldest is of %v, %v", b.Oldest(), err)
			}
		}
	}
	if err := s.Ack(4); err != nil {
		t.Fatal(err)
	}
	var rest audit.EncodedBatch
	if err := s.NextEncoded(t.Context(), &rest, 0, 0); err != nil {
		t.Fatal(err)
	}
	if rest.First != 4 || rest.After != 4 || rest.Hash != whole.Hash {
		t.Errorf("the rest begins at %d after %d", rest.First, rest.After)
	}
}

func TestNewerVersionIsToldApart(t *testing.T) {
	s := openSpool(t, audit.SpoolOptions{Dir: t.TempDir()})
	appendRecords(t, s, 0, 1)
	var b audit.EncodedBatch
	if err := s.NextEncoded(t.Context(), &b, 0, 0); err != nil {
		t.Fatal(err)
	}
	data, err := b.Append(nil, "d1")
	if err != nil {
		t.Fatal(err)
	}
	for version, newer := range map[byte]bool{0: false, 2: false, 3: true, 255: true} {
		data[8] = version
		_, err := audit.DecodeBatch(data, audit.BatchLimits{})
		if !errors.Is(err, audit.ErrFormat) || errors.Is(err, audit.ErrVersion) != newer {
			t.Errorf("version %d: %v", version, err)
		}
	}
}

// TestLine: whatever a record holds, it is one line of sound JSON that says the
// same.
func TestLine(t *testing.T) {
	documents := []json.RawMessage{nil, json.RawMessage("{}"), json.RawMessage("[1,\n 2]"), json.RawMessage("no json"), json.RawMessage("\xff\x00"),
		json.RawMessage(`{"a":1.50,"a":"<&>\u2028"}`), json.RawMessage(`"` + "a\u2028b" + `"`)}
	rapid.Check(t, func(t *rapid.T) {
		document := rapid.SampledFrom(documents)
		r := audit.Record{
			ID: rapid.String().Draw(t, "id"), ZoneID: rapid.String().Draw(t, "zone"), RequestID: rapid.String().Draw(t, "request"),
			Metadata: document.Draw(t, "metadata"), Input: document.Draw(t, "input"), Diagnostics: document.Draw(t, "diagnostics"),
			OccurredAt: time.Unix(rapid.Int64Range(-1<<40, 1<<40).Draw(t, "seconds"), 0),
		}
		at := audit.Place{DaemonID: "d", Epoch: "e", Offset: rapid.Uint64().Draw(t, "offset")}
		line, err := audit.AppendLine([]byte("before"), at, &r)
		if err != nil {
			t.Fatal(err)
		}
		line, ok := bytes.CutPrefix(line, []byte("before"))
		if !ok || bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' {
			t.Fatalf("%q is not one line", line)
		}
		var got struct {
			audit.Place
			ID          string
			ZoneID      string          `json:"zone_id"`
			RequestID   string          `json:"request_id"`
			PolicyInput json.RawMessage `json:"policy_input"`
		}
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if got.Place != at || got.ID != r.ID || got.ZoneID != r.ZoneID || got.RequestID != r.RequestID {
			t.Fatalf("%q says %+v, the record is %+v", line, got, r)
		}
		if json.Valid(r.Input) {
			var want bytes.Buffer
			if err := json.Compact(&want, r.Input); err != nil {
				t.Fatal(err)
			}
			if string(got.PolicyInput) != want.String() {
				t.Fatalf("the input is %s, want %s", got.PolicyInput, want.String())
			}
		}
	})
}
