package audit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

// A frame is one group of records as it lies in a segment; docs/formats/spool.md
// has the table of its header.
const (
	frameHeaderBytes = 96
	// recordPrefixBytes is the length that stands before each record.
	recordPrefixBytes = 4
	// maxFramePayload bounds what a damaged length can make a reader allocate.
	maxFramePayload = MaxRecordBytes + 4<<20
	// codecPlain: the payload is the records, each after its length. codecZstd: it
	// is the length of that, and then that compressed. codecPrimed: it has what the
	// records do not share with the segment's primer.
	codecPlain  = 1
	codecZstd   = 2
	codecPrimed = 3
	// packedPrefixBytes is the length that stands before a compressed payload.
	packedPrefixBytes = 4
)

var (
	frameMagic = []byte("cfr1")
	// noFrame stands where the next frame will, in a file that is longer than what was
	// written to it. What follows may be frames of another segment, which the file was.
	noFrame    = []byte{0, 0, 0, 0}
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// errFrame tells that the bytes at a position are no whole frame.
var errFrame = errors.New("no whole frame")

// frameHeader is the fixed part of a frame.
type frameHeader struct {
	payload    int64
	codec      byte
	count      int
	first      uint64
	prev, hash [32]byte
	crc        uint32
}

// next is the offset after the frame's last record.
func (h *frameHeader) next() uint64 { return h.first + uint64(h.count) }

// bytes is the length of the whole frame.
func (h *frameHeader) bytes() int64 { return frameHeaderBytes + h.payload }

// frameBuilder gathers records into the bytes of one frame.
type frameBuilder struct {
	buf   []byte
	prev  [32]byte
	chain chain
	count int
}

// reset begins a frame at a position of the chain.
func (b *frameBuilder) reset(offset uint64, prev [32]byte) { b.begin(b.buf, offset, prev) }

// begin is reset with the room for the frame.
func (b *frameBuilder) begin(room []byte, offset uint64, prev [32]byte) {
	b.buf = append(room[:0], make([]byte, frameHeaderBytes)...)
	b.prev, b.count = prev, 0
	b.chain.offset, b.chain.hash = offset, prev
}

func (b *frameBuilder) add(record []byte) {
	b.buf = appendPlain(b.buf, record)
	b.chain.add(record)
	b.count++
}

// appendPlain appends a record as it stands in a plain frame.
func appendPlain(dst, record []byte) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(record))), record...)
}

// fill makes a frame of records in the room that is given, and returns it. by is the
// primer where it is to be a primed one, of plain bytes of records, else nil.
func (b *frameBuilder) fill(room []byte, offset uint64, prev [32]byte, gaps [][]byte, group []*pending, by *primer, plain int64) []byte {
	b.begin(room, offset, prev)
	if by == nil {
		for _, r := range gaps {
			b.add(r)
		}
		for _, p := range group {
			b.buf = appendPlain(b.buf, p.record())
			b.chain.addBehind(p.buf)
		}
		b.count += len(group)
		b.header(b.buf, codecPlain)
		return b.buf
	}
	b.buf = binary.BigEndian.AppendUint32(b.buf, uint32(len(by.text)))
	b.buf = binary.BigEndian.AppendUint32(b.buf, by.sum)
	b.buf = binary.BigEndian.AppendUint32(b.buf, uint32(plain))
	for _, r := range gaps {
		b.buf = appendLiteral(b.buf, r)
		b.chain.add(r)
	}
	for _, p := range group {
		b.buf = append(b.buf, p.primed...)
		b.chain.addBehind(p.buf)
	}
	b.count = len(gaps) + len(group)
	b.header(b.buf, codecPrimed)
	return b.buf
}

// header fills in the header of a frame.
func (b *frameBuilder) header(frame []byte, codec byte) {
	h, payload := frame[:frameHeaderBytes], frame[frameHeaderBytes:]
	copy(h, frameMagic)
	binary.BigEndian.PutUint32(h[4:], uint32(len(payload)))
	h[8] = codec
	binary.BigEndian.PutUint32(h[12:], uint32(b.count))
	binary.BigEndian.PutUint64(h[16:], b.chain.offset-uint64(b.count))
	copy(h[24:], b.prev[:])
	copy(h[56:], b.chain.hash[:])
	binary.BigEndian.PutUint32(h[88:], crc32.Checksum(payload, castagnoli))
	binary.BigEndian.PutUint32(h[92:], crc32.Checksum(h[:92], castagnoli))
}

// parseFrameHeader checks everything a header says about itself.
func parseFrameHeader(h []byte) (frameHeader, error) {
	if len(h) < frameHeaderBytes || !bytes.Equal(h[:4], frameMagic) ||
		binary.BigEndian.Uint32(h[92:]) != crc32.Checksum(h[:92], castagnoli) {
		return frameHeader{}, errFrame
	}
	f := frameHeader{
		payload: int64(binary.BigEndian.Uint32(h[4:])),
		codec:   h[8],
		count:   int(binary.BigEndian.Uint32(h[12:])),
		first:   binary.BigEndian.Uint64(h[16:]),
		crc:     binary.BigEndian.Uint32(h[88:]),
	}
	copy(f.prev[:], h[24:])
	copy(f.hash[:], h[56:])
	if f.codec < codecPlain || f.codec > codecPrimed || h[9]|h[10]|h[11] != 0 || f.count < 1 || f.payload > maxFramePayload ||
		f.codec == codecPlain && f.payload < int64(f.count)*(recordPrefixBytes+1) || f.next() < f.first {
		return frameHeader{}, errFrame
	}
	return f, nil
}

// aheadBytes is how much of a segment is read at once: frames are mostly of a few
// records, and a system call for each would cost more than all else about them.
const aheadBytes = 256 << 10

// frameBuffer is the room that reading frames takes, from one to the next, and
// what was read ahead.
type frameBuffer struct {
	// of is the file whose bytes from pos on ahead has.
	of    io.ReaderAt
	pos   int64
	ahead []byte
	// plain is the decompressed payload of a packed frame, or the expanded one of a
	// primed frame.
	plain []byte
	// payload is that of the last frame that was read, as a plain frame has it unless
	// its records were left as they are, and records are the ones in it.
	payload []byte
	records [][]byte
	// primed is what the last frame has, where it is a primed one, and plainSize how
	// long its payload would be in a plain one.
	primed    []byte
	plainSize int
}

// forget makes the next frame be read from its file, whatever was read ahead.
func (b *frameBuffer) forget() { b.of = nil }

// at returns n bytes at pos of a file of the given size, which it is to have. They
// are valid until the next call.
func (b *frameBuffer) at(r io.ReaderAt, pos, n, size int64) ([]byte, error) {
	if m, ok := r.(*mapped); ok {
		if there := m.within(pos, n); there != nil {
			return there, nil
		}
	}
	if b.of != r || pos < b.pos || pos+n > b.pos+int64(len(b.ahead)) {
		b.of = nil
		want := min(max(n, aheadBytes), size-pos)
		if int64(cap(b.ahead)) < want {
			b.ahead = make([]byte, want)
		}
		b.ahead = b.ahead[:want]
		if _, err := r.ReadAt(b.ahead, pos); err != nil {
			return nil, readError(err)
		}
		b.of, b.pos = r, pos
	}
	return b.ahead[pos-b.pos:][:n:n], nil
}

// readPayload reads the frame at pos of a file of the given size. The payload lies in
// buf, until the next one is read. The error is errFrame when no frame with the right checksums
// is there, or that of reading.
func readPayload(r io.ReaderAt, pos, size int64, buf *frameBuffer) (h frameHeader, payload []byte, err error) {
	h, err = readFrameHeader(r, pos, size, buf)
	if err != nil {
		return h, nil, err
	}
	payload, err = buf.at(r, pos+frameHeaderBytes, h.payload, size)
	if err != nil {
		return h, nil, err
	}
	if crc32.Checksum(payload, castagnoli) != h.crc {
		return h, nil, errFrame
	}
	return h, payload, nil
}

// split finds the records of a frame's payload, which lie in buf. Those of a primed
// frame are left as they are, and there are none, unless expanded is asked for. The
// error is errFrame where the payload is not that of the header.
func (b *frameBuffer) split(h frameHeader, payload []byte, primer *primerText, expanded bool) (records [][]byte, err error) {
	b.payload, b.records, b.primed = payload, b.records[:0], nil
	switch h.codec {
	case codecZstd:
		if b.plain, err = unpack(payload, b.plain); err != nil {
			return nil, err
		}
		b.payload = b.plain
	case codecPrimed:
		text, err := b.readPrimed(payload, primer)
		if err != nil || !expanded {
			return nil, err
		}
		if b.plain, err = expandAll(b.plain[:0], b.primed, text, h.count, b.plainSize); err != nil {
			return nil, errFrame
		}
		b.payload = b.plain
	}
	if b.records, err = splitRecords(b.records, b.payload, h.count); err != nil {
		return nil, errFrame
	}
	return b.records, nil
}

// readPrimed reads what stands before the records of a primed frame.
func (b *frameBuffer) readPrimed(payload []byte, primer *primerText) (text []byte, err error) {
	if len(payload) < primedHeaderBytes || binary.BigEndian.Uint32(payload) == 0 {
		return nil, errFrame
	}
	text, ok := primer.part(binary.BigEndian.Uint32(payload), binary.BigEndian.Uint32(payload[4:]))
	plain := binary.BigEndian.Uint32(payload[8:])
	if !ok || plain > maxFramePayload {
		return nil, errFrame
	}
	b.primed, b.plainSize = payload[primedHeaderBytes:], int(plain)
	return text, nil
}

func readFrameHeader(r io.ReaderAt, pos, size int64, buf *frameBuffer) (frameHeader, error) {
	if pos+frameHeaderBytes > size {
		return frameHeader{}, errFrame
	}
	raw, err := buf.at(r, pos, frameHeaderBytes, size)
	if err != nil {
		return frameHeader{}, err
	}
	h, err := parseFrameHeader(raw)
	if err == nil && pos+h.bytes() > size {
		return frameHeader{}, errFrame
	}
	return h, err
}

// readError makes a file that ends early a missing frame.
func readError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errFrame
	}
	return err
}

// splitRecords appends the count records of a payload, which must hold
// exactly them. Each is limited to MaxRecordBytes and none is empty.
func splitRecords(records [][]byte, payload []byte, count int) ([][]byte, error) {
	if count > len(payload)/(recordPrefixBytes+1) {
		return nil, fmt.Errorf("%w: %d bytes cannot hold %d records", ErrFormat, len(payload), count)
	}
	records = slices.Grow(records, count)
	for i := range count {
		if len(payload) < recordPrefixBytes {
			return nil, fmt.Errorf("%w: %d of %d records", ErrFormat, i, count)
		}
		n := int(binary.BigEndian.Uint32(payload))
		payload = payload[recordPrefixBytes:]
		if n < 1 || n > len(payload) || n > MaxRecordBytes {
			return nil, fmt.Errorf("%w: record of %d bytes", ErrFormat, n)
		}
		records = append(records, payload[:n:n])
		payload = payload[n:]
	}
	if len(payload) != 0 {
		return nil, fmt.Errorf("%w: %d bytes follow the last record", ErrFormat, len(payload))
	}
	return records, nil
}

// findFrame looks for the first whole frame at or after pos whose offsets are
// not below min, and returns its position. It returns size when there is none.
func findFrame(r io.ReaderAt, pos, size int64, min uint64) (int64, error) {
	const window = 64 << 10
	var buf []byte
	var room frameBuffer
	for pos < size {
		buf = append(buf[:0], make([]byte, window)...)
		n, err := r.ReadAt(buf, pos)
		if err != nil && !errors.Is(err, io.EOF) {
			return size, err
		}
		buf = buf[:n]
		for from := 0; ; {
			i := bytes.Index(buf[from:], frameMagic)
			if i < 0 {
				break
			}
			at := pos + int64(from+i)
			h, err := readFrameHeader(r, at, size, &room)
			var payload []byte
			if err == nil && h.first >= min {
				h, payload, err = readPayload(r, at, size, &room)
			}
			// What a primed one has is seen by who knows the primer.
			if err == nil && h.first >= min && h.codec != codecPrimed {
				_, err = room.split(h, payload, nil, false)
			}
			switch {
			case err == nil && h.first >= min:
				return at, nil
			case err != nil && !errors.Is(err, errFrame):
				return size, err
			}
			from += i + 1
		}
		if n < window {
			return size, nil
		}
		pos += int64(n - len(frameMagic) + 1) // a magic may lie across windows
	}
	return size, nil
}
