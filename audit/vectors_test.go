package audit_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caracalai/caracald/audit"
)

// update writes the vectors of the encoders again: go test ./audit -update.
// What decoders must accept from older writers changes with it, so the
// difference belongs under a reader's eyes.
var update = flag.Bool("update", false, "write the test vectors in testdata anew")

// vectorRecord is a record as the vectors spell it: names as in
// docs/formats/record.md, JSON fields as the text they carry.
type vectorRecord struct {
	ID                  string `json:"id,omitempty"`
	EventType           string `json:"event_type,omitempty"`
	ZoneID              string `json:"zone_id,omitempty"`
	RequestID           string `json:"request_id,omitempty"`
	Decision            string `json:"decision,omitempty"`
	EvaluationStatus    string `json:"evaluation_status,omitempty"`
	PolicySetID         string `json:"policy_set_id,omitempty"`
	PolicySetVersionID  string `json:"policy_set_version_id,omitempty"`
	ManifestSHA256      string `json:"manifest_sha256,omitempty"`
	BundleSHA256        string `json:"bundle_sha256,omitempty"`
	Sequence            int64  `json:"sequence,omitempty"`
	DeterminingPolicies string `json:"determining_policies,omitempty"`
	Diagnostics         string `json:"diagnostics,omitempty"`
	Metadata            string `json:"metadata,omitempty"`
	Input               string `json:"input,omitempty"`
	OccurredAt          string `json:"occurred_at,omitempty"`
}

func (v vectorRecord) record(t *testing.T) audit.Record {
	t.Helper()
	raw := func(s string) json.RawMessage {
		if s == "" {
			return nil
		}
		return json.RawMessage(s)
	}
	r := audit.Record{
		ID: v.ID, EventType: v.EventType, ZoneID: v.ZoneID, RequestID: v.RequestID, Decision: v.Decision,
		EvaluationStatus: v.EvaluationStatus, PolicySetID: v.PolicySetID, PolicySetVersionID: v.PolicySetVersionID,
		ManifestSHA256: v.ManifestSHA256, BundleSHA256: v.BundleSHA256, Sequence: v.Sequence,
		DeterminingPolicies: raw(v.DeterminingPolicies), Diagnostics: raw(v.Diagnostics), Metadata: raw(v.Metadata), Input: raw(v.Input),
	}
	if v.OccurredAt != "" {
		at, err := time.Parse(time.RFC3339Nano, v.OccurredAt)
		if err != nil {
			t.Fatal(err)
		}
		r.OccurredAt = at.UTC()
	}
	return r
}

// recordVectors is testdata/record.json.
type recordVectors struct {
	Valid []struct {
		Name   string       `json:"name"`
		Record vectorRecord `json:"record"`
		CBOR   string       `json:"cbor_hex"`
	} `json:"valid"`
	Invalid []struct {
		Name string `json:"name"`
		CBOR string `json:"cbor_hex"`
	} `json:"invalid"`
}

func TestRecordVectors(t *testing.T) {
	var v recordVectors
	readVectors(t, "record.json", &v)
	if len(v.Valid) < 3 || len(v.Invalid) < 3 {
		t.Fatalf("only %d and %d vectors", len(v.Valid), len(v.Invalid))
	}
	for i := range v.Valid {
		c := &v.Valid[i]
		want := c.Record.record(t)
		data, err := audit.AppendRecord(nil, &want)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		if *update {
			c.CBOR = hex.EncodeToString(data)
		}
		if got := hex.EncodeToString(data); got != c.CBOR {
			t.Errorf("%s: encoded as %s, want %s", c.Name, got, c.CBOR)
		}
		if got, err := audit.DecodeRecord(unhex(t, c.CBOR)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: decoded as %+v, %v, want %+v", c.Name, got, err, want)
		}
	}
	for _, c := range v.Invalid {
		if r, err := audit.DecodeRecord(unhex(t, c.CBOR)); !errors.Is(err, audit.ErrFormat) {
			t.Errorf("%s: %+v, %v, want ErrFormat", c.Name, r, err)
		}
	}
	writeVectors(t, "record.json", v)
}

// batchVectors is testdata/batch.json.
type batchVectors struct {
	Valid []struct {
		Name     string         `json:"name"`
		DaemonID string         `json:"daemon_id"`
		Epoch    string         `json:"epoch"`
		First    uint64         `json:"first"`
		PrevHash string         `json:"prev_hash"`
		Hash     string         `json:"hash"`
		Records  []vectorRecord `json:"records"`
		Batch    string         `json:"batch_hex"`
	} `json:"valid"`
}

func TestBatchVectors(t *testing.T) {
	var v batchVectors
	readVectors(t, "batch.json", &v)
	if len(v.Valid) < 2 {
		t.Fatalf("only %d vectors", len(v.Valid))
	}
	for i := range v.Valid {
		c := &v.Valid[i]
		want := audit.Batch{Epoch: c.Epoch, First: c.First, PrevHash: [32]byte(unhex(t, c.PrevHash))}
		for _, r := range c.Records {
			want.Records = append(want.Records, r.record(t))
		}
		if *update {
			data, err := audit.EncodeBatch(nil, c.DaemonID, want)
			if err != nil {
				t.Fatal(err)
			}
			h, err := audit.DecodeBatchHeader(data)
			if err != nil {
				t.Fatal(err)
			}
			c.Batch, c.Hash = hex.EncodeToString(data), hex.EncodeToString(h.Hash[:])
		}
		// Compressors may differ in the bytes they choose, so only reading is compared.
		got, err := audit.DecodeBatch(unhex(t, c.Batch), audit.BatchLimits{})
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		if got.DaemonID != c.DaemonID || got.Epoch != want.Epoch || got.First != want.First || got.PrevHash != want.PrevHash ||
			hex.EncodeToString(got.Hash[:]) != c.Hash || !reflect.DeepEqual(got.Records, want.Records) {
			t.Errorf("%s: decoded as %+v", c.Name, got)
		}
	}
	writeVectors(t, "batch.json", v)
}

// spoolVectors is testdata/spool.json, with plain frames, and spool-primed.json, with
// primed ones: the files of a spool directory, and the batch that is sent from it.
type spoolVectors struct {
	Files       map[string]string `json:"files_hex"`
	Epoch       string            `json:"epoch"`
	AckedOffset uint64            `json:"acked_offset"`
	NextOffset  uint64            `json:"next_offset"`
	Hash        string            `json:"hash"`
	Records     []vectorRecord    `json:"unacknowledged"`
	Batch       string            `json:"batch_hex,omitempty"`
}

// ofFormat are the options with which each vector's spool is written.
var ofFormat = map[string]audit.SpoolOptions{
	"spool.json":        audit.Unprimed(audit.SpoolOptions{}),
	"spool-primed.json": {},
}

func TestSpoolVectors(t *testing.T) {
	for name, o := range ofFormat {
		t.Run(name, func(t *testing.T) {
			if *update {
				writeVectors(t, name, newSpoolVector(t, o))
			}
			testSpoolVector(t, name)
		})
	}
}

func testSpoolVector(t *testing.T, name string) {
	dir := t.TempDir()
	v := writeSpoolVector(t, dir, name)
	s := openSpool(t, audit.SpoolOptions{Dir: dir})
	if st := s.Stats(); st.Epoch != v.Epoch || st.AckedOffset != v.AckedOffset || st.NextOffset != v.NextOffset {
		t.Fatalf("%+v, want %s, %d, %d", st, v.Epoch, v.AckedOffset, v.NextOffset)
	}
	b, err := s.Next(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Records) != len(v.Records) || hex.EncodeToString(b.Hash[:]) != v.Hash {
		t.Fatalf("%d records, hash %x, want %d, %s", len(b.Records), b.Hash, len(v.Records), v.Hash)
	}
	sent, err := audit.DecodeBatch(unhex(t, v.Batch), audit.BatchLimits{})
	if err != nil || len(sent.Records) != len(v.Records) || sent.Hash != b.Hash {
		t.Fatalf("a batch of %d records, %v", len(sent.Records), err)
	}
	for i, r := range v.Records {
		if want := r.record(t); !reflect.DeepEqual(b.Records[i], want) || !reflect.DeepEqual(sent.Records[i], want) {
			t.Errorf("record %d: %+v, sent as %+v, want %+v", i, b.Records[i], sent.Records[i], want)
		}
	}
}

// writeSpoolVector makes a directory what the vector of a name says.
func writeSpoolVector(t testing.TB, dir, name string) (v spoolVectors) {
	t.Helper()
	readVectors(t, name, &v)
	for name, data := range v.Files {
		if err := os.WriteFile(filepath.Join(dir, name), unhex(t, data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

// newSpoolVector makes a spool of three records, the first acknowledged.
func newSpoolVector(t *testing.T, o audit.SpoolOptions) spoolVectors {
	records := []vectorRecord{
		{ID: "one", EventType: "decision", ZoneID: "payments", Decision: "allow", Sequence: 1, OccurredAt: "2026-05-20T12:00:00Z"},
		{ID: "two", EventType: "decision", ZoneID: "payments", Decision: "deny", Sequence: 1, Input: `{"a":1}`, OccurredAt: "2026-05-20T12:00:00.5Z"},
		{ID: "three", EventType: "audit_gap", ZoneID: "payments", Metadata: `{"count":3,"reason":"full"}`, OccurredAt: "2026-05-20T12:00:01Z"},
	}
	for i := range records {
		records[i].Diagnostics = `["a text that all of these records have in common, as records mostly have: who asks, what for and by which policies it was decided differ less than one would think, and the names of all members never do"]`
	}
	dir := t.TempDir()
	o.Dir = dir
	s, err := audit.OpenSpool(o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range records {
		r := records[i].record(t)
		if err := s.Append(&r); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Ack(1); err != nil {
		t.Fatal(err)
	}
	var encoded audit.EncodedBatch
	if err := s.NextEncoded(t.Context(), &encoded, 0, 0); err != nil {
		t.Fatal(err)
	}
	b, err := encoded.Decode()
	if err != nil {
		t.Fatal(err)
	}
	batch, err := encoded.Append(nil, "daemon-1")
	if err != nil {
		t.Fatal(err)
	}
	v := spoolVectors{
		Batch: hex.EncodeToString(batch),
		Files: map[string]string{}, Epoch: s.Epoch(), AckedOffset: 1, NextOffset: 3,
		Hash: hex.EncodeToString(b.Hash[:]), Records: records[1:],
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"00000000000000000000.seg", "acked"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		v.Files[name] = hex.EncodeToString(data)
	}
	return v
}

// maskVectors is testdata/mask.json.
type maskVectors struct {
	Key   string `json:"key_hex"`
	Cases []struct {
		Input    string   `json:"input"`
		Pointers []string `json:"pointers"`
		Masked   string   `json:"masked"`
		Found    []string `json:"found"`
	} `json:"cases"`
}

func TestMaskVectors(t *testing.T) {
	var v maskVectors
	readVectors(t, "mask.json", &v)
	if len(v.Cases) < 3 {
		t.Fatalf("only %d vectors", len(v.Cases))
	}
	for i := range v.Cases {
		c := &v.Cases[i]
		masked, found, err := audit.Mask(json.RawMessage(c.Input), c.Pointers, unhex(t, v.Key))
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			c.Masked, c.Found = string(masked), found
		}
		if string(masked) != c.Masked || strings.Join(found, " ") != strings.Join(c.Found, " ") {
			t.Errorf("%s: %s, %q, want %s, %q", c.Input, masked, found, c.Masked, c.Found)
		}
	}
	writeVectors(t, "mask.json", v)
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readVectors(t testing.TB, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func writeVectors(t *testing.T, name string, v any) {
	t.Helper()
	if !*update {
		return
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("testdata", name), b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
