package audit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"

	"github.com/google/uuid"
)

// The file of the acknowledged offset: magic, epoch, offset, CRC-32C.
const ackBytes = 36

var ackMagic = []byte("caracak1")

func appendAck(dst []byte, epoch uuid.UUID, offset uint64) []byte {
	start := len(dst)
	dst = append(dst, ackMagic...)
	dst = append(dst, epoch[:]...)
	dst = binary.BigEndian.AppendUint64(dst, offset)
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

func writeAck(d disk, name string, epoch uuid.UUID, offset uint64) error {
	if err := replaceFile(d, name, appendAck(nil, epoch, offset)); err != nil {
		return fmt.Errorf("storing the acknowledged offset: %w", err)
	}
	return nil
}

// overwriteAck writes into the file that is there, which needs no new space and,
// where it need not be durable, no time. It is less safe: if it were torn,
// everything would be delivered again.
func overwriteAck(d disk, name string, epoch uuid.UUID, offset uint64, durable bool) error {
	f, err := d.open(name, os.O_RDWR)
	if err != nil {
		return fmt.Errorf("opening the acknowledged offset: %w", err)
	}
	_, err = f.WriteAt(appendAck(nil, epoch, offset), 0)
	if err == nil && durable {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("overwriting the acknowledged offset: %w", err)
	}
	return nil
}

// readAck returns the stored epoch and offset; known is false where there is no
// file or it is damaged, and then everything still there counts as not
// acknowledged.
func readAck(d disk, name string) (epoch uuid.UUID, offset uint64, known bool, err error) {
	f, err := d.open(name, os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		return epoch, 0, false, nil
	}
	if err != nil {
		return epoch, 0, false, fmt.Errorf("opening the acknowledged offset: %w", err)
	}
	var data [ackBytes + 1]byte
	n, err := f.ReadAt(data[:], 0)
	if closeErr := f.Close(); closeErr != nil {
		return epoch, 0, false, fmt.Errorf("closing the acknowledged offset: %w", closeErr)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return epoch, 0, false, fmt.Errorf("reading the acknowledged offset: %w", err)
	}
	if n != ackBytes || !bytes.Equal(data[:8], ackMagic) ||
		binary.BigEndian.Uint32(data[32:]) != crc32.Checksum(data[:32], castagnoli) {
		return epoch, 0, false, nil
	}
	copy(epoch[:], data[8:])
	return epoch, binary.BigEndian.Uint64(data[24:]), true, nil
}

// Ack says that the records below nextOffset were delivered for good. Where that
// lets segments be removed, it is made durable first; otherwise a crash of the
// machine may forget it, and the records come again. An offset
// that was acknowledged before does nothing; one that was not written yet is
// ErrLimit. After ErrSpoolFailed the records may or may not come again.
func (s *Spool) Ack(nextOffset uint64) error {
	s.reading.Lock()
	defer s.reading.Unlock()
	s.mu.Lock()
	next, acked, closing := s.next, s.acked, s.closing
	lost := s.lostBelow(nextOffset)
	s.mu.Unlock()
	switch {
	case closing:
		return ErrClosed
	case nextOffset > next:
		return fmt.Errorf("acknowledging offset %d of %d: %w", nextOffset, next, ErrLimit)
	case nextOffset <= acked:
		return nil
	}
	// Noted before the acknowledgement: a crash in between notes it twice
	// rather than never.
	if lost > 0 {
		s.NoteGap("", lost, gapDamaged)
	}
	durable, err := s.storeAck(nextOffset, lost > 0)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.acked, s.ackStale = nextOffset, !durable
	s.passHoles()
	if last := s.segments[len(s.segments)-1]; s.acked == s.next && (s.refused || last.size > s.maxBytes/8) {
		s.rotate = true // so that what was delivered does not keep its room
	}
	s.mu.Unlock()
	if durable && s.removeSegments(s.dropBelow(nextOffset)) {
		s.mu.Lock()
		s.retryAt = s.retryAt.Add(-lastRetryDelay) // there is room now: try at once
		s.mu.Unlock()
	}
	s.kick()
	return nil
}

// storeAck stores an acknowledgement, durably where a segment can go with it, or
// where it passes records that are lost.
func (s *Spool) storeAck(offset uint64, passes bool) (durable bool, err error) {
	s.mu.Lock()
	last := s.segments[len(s.segments)-1]
	durable = passes || s.refused || len(s.segments) > 1 && s.segments[1].first <= offset || offset == s.next && last.size > s.maxBytes/8
	s.mu.Unlock()
	if !durable {
		if overwriteAck(s.disk, s.ackName(), s.epoch, offset, false) == nil {
			return false, nil
		}
	}
	if err := writeAck(s.disk, s.ackName(), s.epoch, offset); err != nil {
		// A full disk must not keep what was delivered from being removed.
		if overwriteErr := overwriteAck(s.disk, s.ackName(), s.epoch, offset, true); overwriteErr != nil {
			return false, fmt.Errorf("%w: %w; %w", ErrSpoolFailed, err, overwriteErr)
		}
	}
	return true, nil
}

// lostBelow counts the unreadable offsets that an acknowledgement would pass.
// The caller holds mu.
func (s *Spool) lostBelow(offset uint64) (n uint64) {
	for _, h := range s.holes {
		if from, to := max(h.from, s.acked), min(h.to, offset); from < to {
			n += to - from
		}
	}
	return n
}

// passHoles forgets holes below the acknowledged offset. The caller holds mu.
func (s *Spool) passHoles() {
	kept := s.holes[:0]
	for _, h := range s.holes {
		if h.to > s.acked {
			kept = append(kept, h)
		}
	}
	s.holes = kept
}

// dropBelow takes the segments that end at or before an offset off the list
// and returns them. The last segment always stays: it carries the chain on.
func (s *Spool) dropBelow(offset uint64) []segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for n < len(s.segments)-1 && s.segments[n+1].first <= offset {
		s.bytes -= s.segments[n].size
		n++
	}
	dropped := append([]segment(nil), s.segments[:n]...)
	s.segments = append(s.segments[:0], s.segments[n:]...)
	return dropped
}

// removeSegments deletes files and tells whether there were any. One that
// stays is deleted when the spool is opened the next time.
func (s *Spool) removeSegments(segments []segment) bool {
	for _, seg := range segments {
		s.reader.forget(seg.name)
		if err := s.disk.remove(seg.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("removing an acknowledged audit segment", "segment", seg.name, "error", err)
		}
	}
	return len(segments) > 0
}
