package audit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
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

var recordDecoding = mustEncoding(cbor.DecOptions{
	DupMapKey:         cbor.DupMapKeyEnforcedAPF,
	MaxNestedLevels:   4,
	MaxArrayElements:  16,
	MaxMapPairs:       32,
	IndefLength:       cbor.IndefLengthForbidden,
	TagsMd:            cbor.TagsForbidden,
	ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	UTF8:              cbor.UTF8RejectInvalid,
}.DecMode())

// mustEncoding turns a mistake in the constant options above into a failure at
// start, where every test sees it.
func mustEncoding[M any](mode M, err error) M {
	if err != nil {
		panic(err)
	}
	return mode
}

// AppendRecord appends the deterministic CBOR encoding of r to dst. The JSON
// fields are carried byte for byte and not looked into; text that is not UTF-8
// is ErrFormat, and a record over MaxRecordBytes is ErrLimit. On an error dst
// is returned as it was.
func AppendRecord(dst []byte, r *Record) ([]byte, error) {
	texts := [...]struct{ name, value string }{
		{"ID", r.ID}, {"EventType", r.EventType}, {"ZoneID", r.ZoneID}, {"RequestID", r.RequestID},
		{"Decision", r.Decision}, {"EvaluationStatus", r.EvaluationStatus},
		{"PolicySetID", r.PolicySetID}, {"PolicySetVersionID", r.PolicySetVersionID},
		{"ManifestSHA256", r.ManifestSHA256}, {"BundleSHA256", r.BundleSHA256},
	}
	documents := [...][]byte{r.DeterminingPolicies, r.Diagnostics, r.Metadata, r.Input}
	fields, size := 0, 0
	for i := range texts {
		if texts[i].value == "" {
			continue
		}
		if !utf8.ValidString(texts[i].value) {
			return dst, fmt.Errorf("encoding an audit record: %s is not UTF-8: %w", texts[i].name, ErrFormat)
		}
		fields++
		size += len(texts[i].value)
	}
	for _, d := range documents {
		if len(d) > 0 {
			fields++
			size += len(d)
		}
	}
	if r.Sequence != 0 {
		fields++
	}
	if !r.OccurredAt.IsZero() {
		fields++
	}
	if size > MaxRecordBytes {
		return dst, fmt.Errorf("encoding an audit record of %d bytes: %w", size, ErrLimit)
	}
	start := len(dst)
	b := appendHead(slices.Grow(dst, size+4*len(texts)+64), cborMap, uint64(fields))
	for i := range texts {
		if text := texts[i].value; text != "" {
			b = appendHead(append(b, byte(keyID+i)), cborText, uint64(len(text)))
			b = append(b, text...)
		}
	}
	if r.Sequence != 0 {
		b = appendInt(append(b, keySequence), r.Sequence)
	}
	for i, d := range documents {
		if len(d) > 0 {
			b = appendHead(append(b, byte(keyDeterminingPolicies+i)), cborBytes, uint64(len(d)))
			b = append(b, d...)
		}
	}
	if !r.OccurredAt.IsZero() {
		b = appendHead(append(b, keyOccurredAt), cborArray, 2)
		b = appendInt(b, r.OccurredAt.Unix())
		b = appendInt(b, int64(r.OccurredAt.Nanosecond()))
	}
	if n := len(b) - start; n > MaxRecordBytes {
		return dst, fmt.Errorf("encoding an audit record of %d bytes: %w", n, ErrLimit)
	}
	return b, nil
}

// Keys of the map, all of which CBOR writes in one byte; those of texts and of
// documents follow each other.
const (
	keyID                  = 1
	keySequence            = 11
	keyDeterminingPolicies = 12
	keyOccurredAt          = 16
)

// Major types of CBOR, as they stand in the first byte of an item.
const (
	cborNegative = 1 << 5
	cborBytes    = 2 << 5
	cborText     = 3 << 5
	cborArray    = 4 << 5
	cborMap      = 5 << 5
)

// appendHead appends the head of an item in its shortest form.
func appendHead(b []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n <= math.MaxUint8:
		return append(b, major|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), n)
}

func appendInt(b []byte, n int64) []byte {
	if n < 0 {
		return appendHead(b, cborNegative, uint64(^n))
	}
	return appendHead(b, 0, uint64(n))
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
