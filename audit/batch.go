package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"sync"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"
)

// The layout of a batch on the wire; docs/formats/batch.md has the table.
const (
	batchMagic = "caracbat"
	// batchZstd: the records are compressed, each after its length. batchPrimed: a
	// primer is, and the records as they are in a primed frame. It is the version, so
	// that an older receiver knows that it has to wait, and the codec.
	batchZstd        = 1
	batchPrimed      = 2
	batchHeaderBytes = 120
	// maxDaemonID is how many bytes a daemon id may have.
	maxDaemonID = 128
)

// BatchHeader is what stands before the compressed records.
type BatchHeader struct {
	// Version of the format: 1, or 2 where records are sent without what they share
	// with a primer.
	Version  int
	DaemonID string
	Epoch    string
	First    uint64
	Count    int
	// PrevHash is the chain's hash before the first record, Hash after the last.
	PrevHash, Hash [32]byte
	// Uncompressed and Compressed are the payload's sizes in bytes.
	Uncompressed, Compressed int
}

// DecodedBatch is a batch and the daemon that says it is its own. Whether it
// is, the caller's authentication tells.
type DecodedBatch struct {
	DaemonID string
	Batch
}

// BatchLimits bounds what DecodeBatch takes. A zero field has its default.
type BatchLimits struct {
	// MaxCompressed bounds the whole encoded batch, MaxUncompressed its
	// decompressed records, in bytes.
	MaxCompressed, MaxUncompressed int
	MaxRecords                     int
}

// DefaultBatchLimits admits every batch that Next makes with its own defaults,
// and one record of MaxRecordBytes.
func DefaultBatchLimits() BatchLimits {
	return BatchLimits{MaxCompressed: 32 << 20, MaxUncompressed: 32 << 20, MaxRecords: 1 << 16}
}

func (l BatchLimits) withDefaults() BatchLimits {
	d := DefaultBatchLimits()
	if l.MaxCompressed <= 0 {
		l.MaxCompressed = d.MaxCompressed
	}
	if l.MaxUncompressed <= 0 {
		l.MaxUncompressed = d.MaxUncompressed
	}
	if l.MaxRecords <= 0 {
		l.MaxRecords = d.MaxRecords
	}
	return l
}

var decompressor = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecodeAllCapLimit(true))
})

// EncodeBatch appends a batch to dst as it goes over the wire. ErrChain: the
// records do not lead to b.Hash; a batch put together by hand may leave Hash
// zero and gets the right one. ErrFormat: the epoch is no UUID, or the daemon id
// is empty, over 128 bytes or not UTF-8. ErrLimit: no records, or too large.
func EncodeBatch(dst []byte, daemonID string, b Batch) ([]byte, error) {
	out, err := encodeBatch(dst, daemonID, b)
	if err != nil {
		return dst, fmt.Errorf("encoding an audit batch: %w", err)
	}
	return out, nil
}

func encodeBatch(dst []byte, daemonID string, b Batch) ([]byte, error) {
	epoch, err := parseEpoch(b.Epoch)
	if err != nil {
		return nil, err
	}
	if !validDaemonID(daemonID) {
		return nil, fmt.Errorf("daemon id: %w", ErrFormat)
	}
	records, err := b.encoded()
	if err != nil {
		return nil, err
	}
	if len(records) == 0 || len(records) > math.MaxInt32 {
		return nil, fmt.Errorf("%d records: %w", len(records), ErrLimit)
	}
	c := chain{offset: b.First, hash: b.PrevHash}
	var payload []byte
	for _, r := range records {
		payload = appendPlain(payload, r)
		c.add(r)
	}
	if b.Hash != ([32]byte{}) && b.Hash != c.hash {
		return nil, fmt.Errorf("%w: the records do not lead to the batch's hash", ErrChain)
	}
	return appendBatch(dst, daemonID, epoch, EncodedBatch{First: b.First, Count: len(records), PrevHash: b.PrevHash, Hash: c.hash, payload: payload, size: len(payload)})
}

// Append appends the batch to dst as it goes over the wire. ErrFormat: the daemon id
// is empty, over 128 bytes or not UTF-8. ErrLimit: no records, or too large.
func (b *EncodedBatch) Append(dst []byte, daemonID string) ([]byte, error) {
	epoch, err := parseEpoch(b.Epoch)
	if err == nil && !validDaemonID(daemonID) {
		err = fmt.Errorf("daemon id: %w", ErrFormat)
	}
	if err == nil && b.Count == 0 {
		err = fmt.Errorf("no records: %w", ErrLimit)
	}
	var out []byte
	if err == nil {
		out, err = appendBatch(dst, daemonID, epoch, *b)
	}
	if err != nil {
		return dst, fmt.Errorf("encoding an audit batch: %w", err)
	}
	return out, nil
}

func appendBatch(dst []byte, daemonID string, epoch uuid.UUID, b EncodedBatch) ([]byte, error) {
	if b.size > math.MaxInt32 {
		return nil, fmt.Errorf("%d bytes of records: %w", b.size, ErrLimit)
	}
	start := len(dst)
	dst = slices.Grow(dst, batchHeaderBytes+len(daemonID)+b.size/8) // what it mostly becomes, or more
	dst = append(dst, make([]byte, batchHeaderBytes)...)
	dst = append(dst, daemonID...)
	body := len(dst)
	version, parts := byte(batchZstd), [][]byte{b.payload}
	switch n := len(b.primer); {
	case n == 0:
	case n+len(b.payload) < b.size:
		version, parts = batchPrimed, [][]byte{binary.BigEndian.AppendUint32(nil, uint32(n)), b.primer, b.payload}
	default: // so few that the primer is not worth it
		plain, err := b.plain()
		if err != nil {
			return nil, err
		}
		parts[0] = plain
	}
	dst, err := compress(compressors, dst, b.rest, parts...)
	if err != nil {
		return nil, fmt.Errorf("compressing: %w", err)
	}
	h := dst[start:]
	copy(h, batchMagic)
	h[8], h[9] = version, version
	binary.BigEndian.PutUint32(h[12:], uint32(len(daemonID)))
	copy(h[16:], epoch[:])
	binary.BigEndian.PutUint64(h[32:], b.First)
	copy(h[40:], b.PrevHash[:])
	copy(h[72:], b.Hash[:])
	binary.BigEndian.PutUint32(h[104:], uint32(b.Count))
	binary.BigEndian.PutUint32(h[108:], uint32(b.size))
	binary.BigEndian.PutUint32(h[112:], uint32(len(dst)-body))
	binary.BigEndian.PutUint32(h[116:], headerChecksum(h))
	return dst, nil
}

// headerChecksum covers the fixed header and the daemon id.
func headerChecksum(h []byte) uint32 {
	crc := crc32.Checksum(h[:116], castagnoli)
	n := binary.BigEndian.Uint32(h[12:])
	return crc32.Update(crc, castagnoli, h[batchHeaderBytes:batchHeaderBytes+n])
}

func validDaemonID(id string) bool {
	return id != "" && len(id) <= maxDaemonID && utf8.ValidString(id)
}

func parseEpoch(s string) (uuid.UUID, error) {
	// Only the canonical text: the package accepts other spellings too.
	u, err := uuid.Parse(s)
	if err != nil || u.String() != s || u == uuid.Nil {
		return uuid.Nil, fmt.Errorf("epoch %q is not a UUID: %w", s, ErrFormat)
	}
	return u, nil
}

// DecodeBatchHeader reads the header alone, without looking at the records:
// what an endpoint needs to tell a batch that it has from one that is new.
// ErrFormat.
func DecodeBatchHeader(data []byte) (BatchHeader, error) {
	h, _, err := parseBatchHeader(data)
	if err != nil {
		return BatchHeader{}, fmt.Errorf("decoding an audit batch: %w", err)
	}
	return h, nil
}

func parseBatchHeader(data []byte) (BatchHeader, []byte, error) {
	if len(data) < batchHeaderBytes || string(data[:8]) != batchMagic {
		return BatchHeader{}, nil, fmt.Errorf("not a batch: %w", ErrFormat)
	}
	if data[8] > batchPrimed {
		return BatchHeader{}, nil, fmt.Errorf("version %d: %w", data[8], ErrVersion)
	}
	if data[8] < batchZstd || data[9] != data[8] || data[10]|data[11] != 0 {
		return BatchHeader{}, nil, fmt.Errorf("version %d, codec %d: %w", data[8], data[9], ErrFormat)
	}
	n := binary.BigEndian.Uint32(data[12:])
	if n > maxDaemonID || batchHeaderBytes+int(n) > len(data) {
		return BatchHeader{}, nil, fmt.Errorf("daemon id of %d bytes: %w", n, ErrFormat)
	}
	if binary.BigEndian.Uint32(data[116:]) != headerChecksum(data) {
		return BatchHeader{}, nil, fmt.Errorf("header checksum: %w", ErrFormat)
	}
	h := BatchHeader{
		Version:      int(data[8]),
		DaemonID:     string(data[batchHeaderBytes:][:n]),
		Epoch:        uuid.UUID(data[16:32]).String(),
		First:        binary.BigEndian.Uint64(data[32:]),
		Count:        int(binary.BigEndian.Uint32(data[104:])),
		Uncompressed: int(binary.BigEndian.Uint32(data[108:])),
		Compressed:   int(binary.BigEndian.Uint32(data[112:])),
	}
	copy(h.PrevHash[:], data[40:])
	copy(h.Hash[:], data[72:])
	body := data[batchHeaderBytes+n:]
	switch {
	case !validDaemonID(h.DaemonID):
		return h, nil, fmt.Errorf("daemon id: %w", ErrFormat)
	case uuid.UUID(data[16:32]) == uuid.Nil:
		return h, nil, fmt.Errorf("epoch is zero: %w", ErrFormat)
	case h.Count < 1 || h.First+uint64(h.Count) < h.First:
		return h, nil, fmt.Errorf("%d records from offset %d: %w", h.Count, h.First, ErrFormat)
	case h.Compressed != len(body):
		return h, nil, fmt.Errorf("%d bytes of records where the header tells of %d: %w", len(body), h.Compressed, ErrFormat)
	}
	return h, body, nil
}

// DecodeBatch reads what EncodeBatch wrote and verifies that the records lead
// from PrevHash to Hash. Whether PrevHash continues the batch before it, only
// the caller can tell. ErrLimit: over a limit, found before anything of that
// size is allocated. ErrFormat: malformed, also a record within. ErrChain.
func DecodeBatch(data []byte, lim BatchLimits) (DecodedBatch, error) {
	b, err := decodeBatch(data, lim.withDefaults())
	if err != nil {
		return DecodedBatch{}, fmt.Errorf("decoding an audit batch: %w", err)
	}
	return b, nil
}

func decodeBatch(data []byte, lim BatchLimits) (DecodedBatch, error) {
	if len(data) > lim.MaxCompressed {
		return DecodedBatch{}, fmt.Errorf("%d bytes: %w", len(data), ErrLimit)
	}
	h, body, err := parseBatchHeader(data)
	if err != nil {
		return DecodedBatch{}, err
	}
	if h.Uncompressed > lim.MaxUncompressed || h.Count > lim.MaxRecords {
		return DecodedBatch{}, fmt.Errorf("%d records of %d bytes: %w", h.Count, h.Uncompressed, ErrLimit)
	}
	if h.Uncompressed < h.Count*(recordPrefixBytes+1) {
		return DecodedBatch{}, fmt.Errorf("%d bytes cannot hold %d records: %w", h.Uncompressed, h.Count, ErrFormat)
	}
	var payload []byte
	if h.Version == batchPrimed {
		payload, err = decompressPrimed(body, h.Count, h.Uncompressed)
	} else {
		payload, err = decompress(body, h.Uncompressed)
	}
	if err != nil {
		return DecodedBatch{}, err
	}
	raw, err := splitRecords(nil, payload, h.Count)
	if err != nil {
		return DecodedBatch{}, err
	}
	if err := VerifyChain(h.PrevHash, h.First, raw, h.Hash); err != nil {
		return DecodedBatch{}, err
	}
	out := DecodedBatch{DaemonID: h.DaemonID, Batch: Batch{
		Epoch: h.Epoch, First: h.First, PrevHash: h.PrevHash, Hash: h.Hash,
		Records: make([]Record, h.Count), raw: raw,
	}}
	for i := range raw {
		if out.Records[i], err = DecodeRecord(raw[i]); err != nil {
			return DecodedBatch{}, fmt.Errorf("offset %d: %w", h.First+uint64(i), err)
		}
	}
	return out, nil
}

// decompressPrimed returns count records, each after its length, size bytes in all, or
// an error. What is compressed is no longer than that and a primer, so the limit
// of it bounds both.
func decompressPrimed(body []byte, count, size int) ([]byte, error) {
	room := recordPrefixBytes + primerMost + size + literalOverhead*count
	var h zstd.Header
	if err := h.Decode(body); err == nil && h.HasFCS {
		room = int(min(uint64(room), h.FrameContentSize))
	}
	data, err := decompressWithin(body, room)
	if err != nil {
		return nil, err
	}
	if len(data) < recordPrefixBytes {
		return nil, fmt.Errorf("%w: no primer", ErrFormat)
	}
	n := binary.BigEndian.Uint32(data)
	if data = data[recordPrefixBytes:]; n == 0 || n > primerMost || int(n) > len(data) {
		return nil, fmt.Errorf("%w: a primer of %d bytes", ErrFormat, n)
	}
	return expandAll(make([]byte, 0, size), data[n:], data[:n], count, size)
}

// decompress returns exactly size bytes or an error.
func decompress(body []byte, size int) ([]byte, error) {
	payload, err := decompressWithin(body, size)
	if err != nil {
		return nil, err
	}
	if len(payload) != size {
		return nil, fmt.Errorf("%d bytes of records where the header tells of %d: %w", len(payload), size, ErrFormat)
	}
	return payload, nil
}

// decompressWithin returns no more than size bytes, or an error.
func decompressWithin(body []byte, size int) ([]byte, error) {
	z, err := decompressor()
	if err != nil {
		return nil, fmt.Errorf("making a decompressor: %w", err)
	}
	payload, err := z.DecodeAll(body, make([]byte, 0, size))
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
		return nil, fmt.Errorf("the records are larger than the header tells: %w", ErrLimit)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: decompressing: %w", ErrFormat, err)
	}
	return payload, nil
}
