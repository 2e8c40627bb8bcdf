package audit

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
)

// MaxRecordBytes is the size of the largest encoded record.
const MaxRecordBytes = 16 << 20

// wireRecord is the CBOR map of docs/formats/record.md. Empty fields are left
// out, so a field that was never set costs nothing.
type wireRecord struct {
	ID                  string  `cbor:"1,keyasint,omitempty"`
	EventType           string  `cbor:"2,keyasint,omitempty"`
	ZoneID              string  `cbor:"3,keyasint,omitempty"`
	RequestID           string  `cbor:"4,keyasint,omitempty"`
	Decision            string  `cbor:"5,keyasint,omitempty"`
	EvaluationStatus    string  `cbor:"6,keyasint,omitempty"`
	PolicySetID         string  `cbor:"7,keyasint,omitempty"`
	PolicySetVersionID  string  `cbor:"8,keyasint,omitempty"`
	ManifestSHA256      string  `cbor:"9,keyasint,omitempty"`
	BundleSHA256        string  `cbor:"10,keyasint,omitempty"`
	Sequence            int64   `cbor:"11,keyasint,omitempty"`
	DeterminingPolicies []byte  `cbor:"12,keyasint,omitempty"`
	Diagnostics         []byte  `cbor:"13,keyasint,omitempty"`
	Metadata            []byte  `cbor:"14,keyasint,omitempty"`
	Input               []byte  `cbor:"15,keyasint,omitempty"`
	OccurredAt          []int64 `cbor:"16,keyasint,omitempty"`
}

var (
	recordEncoding = mustEncoding(cbor.CoreDetEncOptions().UserBufferEncMode())
	recordDecoding = mustEncoding(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:   4,
		MaxArrayElements:  16,
		MaxMapPairs:       32,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		UTF8:              cbor.UTF8RejectInvalid,
	}.DecMode())
)

// mustEncoding turns a mistake in the constant options above into a failure at
// start, where every test sees it.
func mustEncoding[M any](mode M, err error) M {
	if err != nil {
		panic(err)
	}
	return mode
}

// encoder is what one AppendRecord needs; pooled so that encoding allocates
// nothing but the growth of dst.
type encoder struct {
	wire wireRecord
	time [2]int64
	buf  bytes.Buffer
}

var encoders = sync.Pool{New: func() any { return new(encoder) }}

// AppendRecord appends the deterministic CBOR encoding of r to dst. The JSON
// fields are carried byte for byte and not looked into; text that is not UTF-8
// is ErrFormat, and a record over MaxRecordBytes is ErrLimit. On an error dst
// is returned as it was.
func AppendRecord(dst []byte, r *Record) ([]byte, error) {
	e := encoders.Get().(*encoder)
	defer encoders.Put(e)
	e.wire = wireRecord{
		ID: r.ID, EventType: r.EventType, ZoneID: r.ZoneID, RequestID: r.RequestID,
		Decision: r.Decision, EvaluationStatus: r.EvaluationStatus,
		PolicySetID: r.PolicySetID, PolicySetVersionID: r.PolicySetVersionID,
		ManifestSHA256: r.ManifestSHA256, BundleSHA256: r.BundleSHA256, Sequence: r.Sequence,
		DeterminingPolicies: r.DeterminingPolicies, Diagnostics: r.Diagnostics,
		Metadata: r.Metadata, Input: r.Input,
	}
	if name := e.wire.invalidText(); name != "" {
		return dst, fmt.Errorf("encoding an audit record: %s is not UTF-8: %w", name, ErrFormat)
	}
	if !r.OccurredAt.IsZero() {
		e.time = [2]int64{r.OccurredAt.Unix(), int64(r.OccurredAt.Nanosecond())}
		e.wire.OccurredAt = e.time[:]
	}
	e.buf = *bytes.NewBuffer(dst)
	err := recordEncoding.MarshalToBuffer(&e.wire, &e.buf)
	out := e.buf.Bytes()
	e.wire, e.buf = wireRecord{}, bytes.Buffer{} // keep nothing of the caller's alive
	if err != nil {
		return dst, fmt.Errorf("encoding an audit record: %w", err)
	}
	if n := len(out) - len(dst); n > MaxRecordBytes {
		return dst, fmt.Errorf("encoding an audit record of %d bytes: %w", n, ErrLimit)
	}
	return out, nil
}

func (w *wireRecord) invalidText() string {
	for _, f := range [...]struct{ name, value string }{
		{"ID", w.ID}, {"EventType", w.EventType}, {"ZoneID", w.ZoneID}, {"RequestID", w.RequestID},
		{"Decision", w.Decision}, {"EvaluationStatus", w.EvaluationStatus},
		{"PolicySetID", w.PolicySetID}, {"PolicySetVersionID", w.PolicySetVersionID},
		{"ManifestSHA256", w.ManifestSHA256}, {"BundleSHA256", w.BundleSHA256},
	} {
		if !utf8.ValidString(f.value) {
			return f.name
		}
	}
	return ""
}

// DecodeRecord is the inverse of AppendRecord. It accepts exactly the bytes
// that AppendRecord writes: a duplicate or unknown key, a wrong type, text that
// is not UTF-8, trailing bytes or any other than the deterministic encoding is
// ErrFormat; more than MaxRecordBytes is ErrLimit. The record shares no memory
// with data.
func DecodeRecord(data []byte) (Record, error) {
	if len(data) > MaxRecordBytes {
		return Record{}, fmt.Errorf("decoding an audit record of %d bytes: %w", len(data), ErrLimit)
	}
	var w wireRecord
	if err := recordDecoding.Unmarshal(data, &w); err != nil {
		return Record{}, fmt.Errorf("decoding an audit record: %w: %s", ErrFormat, strings.TrimPrefix(err.Error(), "cbor: "))
	}
	r := Record{
		ID: w.ID, EventType: w.EventType, ZoneID: w.ZoneID, RequestID: w.RequestID,
		Decision: w.Decision, EvaluationStatus: w.EvaluationStatus,
		PolicySetID: w.PolicySetID, PolicySetVersionID: w.PolicySetVersionID,
		ManifestSHA256: w.ManifestSHA256, BundleSHA256: w.BundleSHA256, Sequence: w.Sequence,
		DeterminingPolicies: w.DeterminingPolicies, Diagnostics: w.Diagnostics,
		Metadata: w.Metadata, Input: w.Input,
	}
	if w.OccurredAt != nil {
		if len(w.OccurredAt) != 2 || w.OccurredAt[1] < 0 || w.OccurredAt[1] >= int64(time.Second) {
			return Record{}, fmt.Errorf("decoding an audit record: occurred_at: %w", ErrFormat)
		}
		r.OccurredAt = time.Unix(w.OccurredAt[0], w.OccurredAt[1]).UTC()
	}
	// The chain is over these bytes, so one record must have one encoding.
	e := decoded.Get().(*[]byte)
	defer decoded.Put(e)
	again, err := AppendRecord((*e)[:0], &r)
	*e = again
	if err != nil {
		return Record{}, fmt.Errorf("decoding an audit record: %w", err)
	}
	if !bytes.Equal(again, data) {
		return Record{}, fmt.Errorf("decoding an audit record: not the deterministic encoding: %w", ErrFormat)
	}
	return r, nil
}

var decoded = sync.Pool{New: func() any { return new([]byte) }}
