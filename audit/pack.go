package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// Records of one daemon are much alike, so a segment that is full is packed:
// written anew with many records to a frame, and each frame compressed. It is done
// beside appending, and only to what has not been delivered soon: a record is as
// durable as its Append said throughout, and a spool that has to wait for the admin
// side holds ten times as many.
const (
	// packedRecords and packedBytes end a packed frame: what it repeats is found
	// within it, and what damage takes with it is no more than that.
	packedRecords = 1024
	packedBytes   = 2 << 20
)

// pack compresses full segments until the spool closes.
func (s *Spool) pack() {
	defer close(s.packed)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		s.mu.Lock()
		if s.closing {
			s.mu.Unlock()
			return
		}
		seg, wait, some := s.packable(time.Now())
		s.mu.Unlock()
		switch {
		case !some:
			wait = time.Hour
		case wait <= 0:
			if err := s.packSegment(seg); err != nil {
				s.log.Warn("an audit segment could not be compressed; it stays as it is", "segment", seg.name, "error", err)
			}
			continue
		}
		timer.Reset(wait)
		select {
		case <-s.filled:
		case <-timer.C:
		}
	}
}

// packable finds a full segment that is to be packed, and how long it has still to
// wait for that. The caller holds mu.
func (s *Spool) packable(now time.Time) (seg segment, wait time.Duration, some bool) {
	for i := range s.segments[:len(s.segments)-1] {
		seg := &s.segments[i]
		if seg.packed || seg.end == seg.first || seg.end <= s.acked {
			continue
		}
		if seg.full.IsZero() { // found there when the spool was opened
			seg.full = now
		}
		return *seg, seg.full.Add(s.packDelay).Sub(now), true
	}
	return segment{}, 0, false
}

// packSegment writes a segment anew and puts that in its place. The old one stays
// where something of it cannot be read.
func (s *Spool) packSegment(seg segment) error {
	data, err := s.packedFrames(seg)
	settle := func(size int64) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i := range s.segments {
			if kept := &s.segments[i]; kept.name == seg.name && kept.first == seg.first {
				s.bytes += size - kept.size
				kept.size, kept.packed = size, true
			}
		}
	}
	if err != nil || int64(len(data)) >= seg.size {
		settle(seg.size)
		return err
	}
	temp := seg.name + ".packed.tmp"
	if err := writeFile(s.disk, temp, data); err != nil {
		settle(seg.size)
		return err
	}
	s.reading.Lock()
	defer s.reading.Unlock()
	s.mu.Lock()
	there := false
	for i := range s.segments {
		there = there || s.segments[i].name == seg.name && s.segments[i].end == seg.end
	}
	s.mu.Unlock()
	if !there { // delivered meanwhile
		return s.disk.remove(temp)
	}
	if err := s.disk.rename(temp, seg.name); err != nil {
		settle(seg.size)
		return errors.Join(fmt.Errorf("renaming %s: %w", temp, err), s.disk.remove(temp))
	}
	s.reader.forget(seg.name)
	settle(int64(len(data)))
	if err := s.unmapSegment(seg.name); err != nil {
		s.log.Warn("closing an audit segment", "segment", seg.name, "error", err)
	}
	if err := s.disk.syncDir(filepath.Dir(seg.name)); err != nil {
		return fmt.Errorf("making %s durable: %w", seg.name, err)
	}
	return nil
}

// packedFrames is what a packed segment has.
func (s *Spool) packedFrames(seg segment) (data []byte, err error) {
	f, err := s.disk.open(seg.name, os.O_RDWR)
	if err != nil {
		return nil, fmt.Errorf("opening a segment: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h, err := readSegmentHeader(f)
	if err != nil {
		return nil, err
	}
	data = h.append(nil)
	b := &s.packing.builder
	b.reset(h.first, h.prev)
	s.packing.read.forget()
	w := walk{r: f, buf: &s.packing.read, size: seg.size, limit: seg.end, checked: true, primed: &primed{offset: seg.first}, at: position{pos: segmentHeaderBytes, offset: h.first, hash: h.prev, known: true}}
	for {
		before := w.at.offset
		frame, records, damaged, err := w.next()
		if err == io.EOF && !damaged && w.at.offset == seg.end {
			break
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
		if err == io.EOF || damaged || frame.first != before {
			return nil, fmt.Errorf("offsets from %d on are damaged: %w", before, ErrFormat)
		}
		for _, r := range records {
			b.add(r)
			if b.count >= packedRecords || len(b.buf) >= packedBytes {
				if data, err = b.appendPacked(data); err != nil {
					return nil, err
				}
				runtime.Gosched()
			}
		}
		// The chain is followed while the frames are made, so not by reading them.
		if b.chain.hash != frame.hash {
			return nil, fmt.Errorf("the frame of offset %d: %w", before, ErrChain)
		}
	}
	if b.count > 0 {
		return b.appendPacked(data)
	}
	return data, nil
}

// appendPacked appends the frame to dst, compressed, and begins the next.
func (b *frameBuilder) appendPacked(dst []byte) ([]byte, error) {
	start := len(dst)
	dst = append(dst, b.buf[:frameHeaderBytes]...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(b.buf)-frameHeaderBytes))
	dst, err := compress(packers, dst, runtime.Gosched, b.buf[frameHeaderBytes:])
	if err != nil {
		return dst, fmt.Errorf("compressing: %w", err)
	}
	b.header(dst[start:], codecZstd)
	b.reset(b.chain.offset, b.chain.hash)
	return dst, nil
}

// unpack decompresses the payload of a packed frame into plain, which is grown as
// needed.
func unpack(payload, plain []byte) ([]byte, error) {
	if len(payload) < packedPrefixBytes {
		return plain, errFrame
	}
	n := int(binary.BigEndian.Uint32(payload))
	if n > maxFramePayload {
		return plain, errFrame
	}
	z, err := decompressor()
	if err != nil {
		return plain, fmt.Errorf("making a decompressor: %w", err)
	}
	if cap(plain) < n {
		plain = make([]byte, n)
	}
	out, err := z.DecodeAll(payload[packedPrefixBytes:], plain[:0:n])
	if err != nil || len(out) != n {
		return plain, errFrame
	}
	return out, nil
}
