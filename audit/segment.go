package audit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// A segment is one file of the spool: a header and then frames.
const (
	segmentHeaderBytes = 68
	segmentSuffix      = ".seg"
	// segmentDigits is wide enough for every offset, so names sort by offset.
	segmentDigits = 20
)

var segmentMagic = []byte("caracsg1")

// segment is what the spool remembers of one file.
type segment struct {
	name string
	// first is the offset the file's name tells, end the offset after its
	// last whole frame.
	first, end uint64
	// size is where the last whole frame ends, in bytes.
	size int64
	// full is when the last record went in, zero where that is not known; packed
	// says that the segment was packed, or is not going to be.
	full   time.Time
	packed bool
	// mapped is the file where it lies in memory, else nil.
	mapped *mapped
}

// segmentHeader stands at the beginning of a segment.
type segmentHeader struct {
	epoch uuid.UUID
	first uint64
	prev  [32]byte
}

func (h segmentHeader) append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, segmentMagic...)
	dst = append(dst, h.epoch[:]...)
	dst = binary.BigEndian.AppendUint64(dst, h.first)
	dst = append(dst, h.prev[:]...)
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

func readSegmentHeader(r io.ReaderAt) (segmentHeader, error) {
	var raw [segmentHeaderBytes]byte
	if _, err := r.ReadAt(raw[:], 0); err != nil {
		if errors.Is(err, io.EOF) {
			return segmentHeader{}, fmt.Errorf("segment header is cut short: %w", ErrFormat)
		}
		return segmentHeader{}, fmt.Errorf("reading a segment header: %w", err)
	}
	crc := binary.BigEndian.Uint32(raw[segmentHeaderBytes-4:])
	if !bytes.Equal(raw[:8], segmentMagic) || crc != crc32.Checksum(raw[:segmentHeaderBytes-4], castagnoli) {
		return segmentHeader{}, fmt.Errorf("segment header: %w", ErrFormat)
	}
	h := segmentHeader{first: binary.BigEndian.Uint64(raw[24:])}
	copy(h.epoch[:], raw[8:])
	copy(h.prev[:], raw[32:])
	return h, nil
}

func segmentName(dir string, first uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%0*d%s", segmentDigits, first, segmentSuffix))
}

// listSegments returns the segments of a directory in the order of their
// offsets, with nothing read yet but their names.
func listSegments(dir string) ([]segment, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("listing segments: %w", err)
	}
	var out []segment
	for _, e := range entries {
		digits, ok := strings.CutSuffix(e.Name(), segmentSuffix)
		if !ok || len(digits) != segmentDigits || !e.Type().IsRegular() {
			continue
		}
		first, err := strconv.ParseUint(digits, 10, 64)
		if err != nil {
			continue
		}
		out = append(out, segment{name: filepath.Join(dir, e.Name()), first: first, end: first})
	}
	slices.SortFunc(out, func(a, b segment) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

// createSegment makes an empty segment, durably where it is to be, and leaves it
// open. A file of the same name holds no whole frame and is replaced.
func (s *Spool) createSegment(h segmentHeader) (segment, file, error) {
	name, header := segmentName(s.dir, h.first), h.append(nil)
	seg := segment{name: name, first: h.first, end: h.first, size: segmentHeaderBytes}
	f, err := s.takeSpare(name, header)
	if err != nil {
		s.log.Warn("using the audit segment that was written ahead", "segment", name, "error", err)
	} else if f != nil {
		seg.mapped, _ = f.(*mapped)
		return seg, f, nil
	}
	flag := os.O_RDWR
	durable := s.durability != SyncNone
	if durable {
		if err := replaceFile(s.disk, name, header); err != nil {
			return segment{}, nil, fmt.Errorf("making a segment: %w", err)
		}
	} else {
		flag |= os.O_CREATE | os.O_TRUNC
	}
	if f, err = s.disk.open(name, flag); err != nil {
		return segment{}, nil, fmt.Errorf("opening a new segment: %w", err)
	}
	if !durable {
		if _, err := f.WriteAt(header, 0); err != nil {
			return segment{}, nil, errors.Join(fmt.Errorf("making a segment: %w", err), f.Close())
		}
	}
	return seg, f, nil
}

// hole is a range of offsets whose records cannot be read.
type hole struct{ from, to uint64 }

// position is where a reader stands in a segment.
type position struct {
	pos    int64
	offset uint64
	hash   [32]byte
	// known is false where the hash before offset is not known, as after a hole.
	known bool
}

// walk is one pass over the frames of a segment.
type walk struct {
	r    io.ReaderAt
	size int64
	// limit is the first offset that belongs to the next segment; frames from
	// there on were written before a disk error and superseded.
	limit uint64
	at    position
	buf   *frameBuffer
	// primed is the segment's primer as far as it is known, from this walk or an
	// earlier one.
	primed *primed
	// checked says that the chain was followed before, when frames were written or the
	// spool opened: the checksums tell whether the disk has kept them.
	checked bool
	// packed leaves the records of primed frames as they are.
	packed bool
}

// primed is the primer of a segment as far as it was gone through.
type primed struct {
	primerText
	// to is where the next frame is, or 0 at first; offset is what its records begin
	// at or after.
	to     int64
	offset uint64
}

// next returns the next whole frame and its records, valid until the next
// call. damaged tells that bytes were passed over which are no frame. io.EOF
// tells that no further frame is there: at.pos is then the end of the last
// frame, and damaged tells that bytes follow it. A frame that contradicts the
// chain is ErrChain.
func (w *walk) next() (h frameHeader, records [][]byte, damaged bool, err error) {
	if w.primed.to == 0 {
		w.primed.to = segmentHeaderBytes
	}
	pos := w.at.pos
	for pos < w.size && w.at.offset < w.limit {
		h, records, err = w.frame(pos)
		if err == nil && h.first < w.at.offset {
			err = errFrame // the bytes of an older frame
		}
		if errors.Is(err, errFrame) {
			damaged = true
			if pos, err = findFrame(w.r, pos+1, w.size, w.at.offset); err != nil {
				return h, nil, true, fmt.Errorf("looking for a frame: %w", err)
			}
			continue
		}
		if err != nil {
			return h, nil, damaged, fmt.Errorf("reading the frame at byte %d: %w", pos, err)
		}
		if h.next() > w.limit {
			break
		}
		if h.first == w.at.offset && w.at.known && h.prev != w.at.hash {
			return h, nil, damaged, fmt.Errorf("%w: the frame of offset %d does not continue the one before it", ErrChain, h.first)
		}
		if w.primed.to == w.at.pos {
			w.primed.pass(h, pos, w.buf.payload)
		}
		w.at = position{pos: pos + h.bytes(), offset: h.next(), hash: h.hash, known: true}
		return h, records, damaged, nil
	}
	return frameHeader{}, nil, damaged || w.at.pos < w.size, io.EOF
}

// frame reads the frame at a position.
func (w *walk) frame(pos int64) (h frameHeader, records [][]byte, err error) {
	h, payload, err := readPayload(w.r, pos, w.size, w.buf)
	if err != nil {
		return h, nil, err
	}
	if h.codec == codecPrimed && w.primed.to < w.at.pos {
		if err := w.prime(); err != nil {
			return h, nil, err
		}
		// The room of the payload was used for those before it.
		if h, payload, err = readPayload(w.r, pos, w.size, w.buf); err != nil {
			return h, nil, err
		}
	}
	if records, err = w.buf.split(h, payload, &w.primed.primerText, !w.packed); err != nil || w.checked {
		return h, records, err
	}
	return h, records, VerifyChain(h.prev, h.first, records, h.hash)
}

// prime goes through the frames before this walk for the segment's primer.
func (w *walk) prime() error {
	for p := w.primed; p.to < w.at.pos; {
		h, err := readFrameHeader(w.r, p.to, w.size, w.buf)
		var payload []byte
		if err == nil && h.codec == codecPlain {
			h, payload, err = readPayload(w.r, p.to, w.size, w.buf)
		}
		if err == nil && h.first < p.offset {
			err = errFrame
		}
		switch {
		case errors.Is(err, errFrame):
			if p.to, err = findFrame(w.r, p.to+1, w.size, p.offset); err != nil {
				return fmt.Errorf("looking for a frame: %w", err)
			}
		case err != nil:
			return err
		default:
			p.pass(h, p.to, payload)
		}
	}
	return nil
}

// pass adds a frame at a position, with its payload where it is a plain one.
func (p *primed) pass(h frameHeader, pos int64, payload []byte) {
	if h.codec == codecPlain {
		p.add(payload)
	}
	p.to, p.offset = pos+h.bytes(), h.next()
}
