package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/uuid"
)

// markBytes is the length of a file that has an offset: its kind, epoch, offset, CRC-32C.
const markBytes = 36

// mark is a file that has an offset.
type mark struct {
	name string
	// kind is what it begins with, what is how errors call it.
	kind, what string
}

// ackMark is the acknowledged offset.
func (s *Spool) ackMark() mark {
	return mark{filepath.Join(s.dir, "acked"), "caracak1", "the acknowledged offset"}
}

// offerMark is the offset before which records may have been delivered without being
// on the disk, which is only with SyncNone.
func (s *Spool) offerMark() mark {
	return mark{filepath.Join(s.dir, "offered"), "caracof1", "the offered offset"}
}

func (m mark) append(dst []byte, epoch uuid.UUID, offset uint64) []byte {
	start := len(dst)
	dst = append(dst, m.kind...)
	dst = append(dst, epoch[:]...)
	dst = binary.BigEndian.AppendUint64(dst, offset)
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

func (m mark) write(d disk, epoch uuid.UUID, offset uint64) error {
	if err := replaceFile(d, m.name, m.append(nil, epoch, offset)); err != nil {
		return fmt.Errorf("storing %s: %w", m.what, err)
	}
	return nil
}

// overwrite writes into the file that is there, which needs no new space and,
// where it need not be durable, no time. It is less safe: the file might be torn.
func (m mark) overwrite(d disk, epoch uuid.UUID, offset uint64, durable bool) error {
	f, err := d.open(m.name, os.O_RDWR)
	if err != nil {
		return fmt.Errorf("opening %s: %w", m.what, err)
	}
	_, err = f.WriteAt(m.append(nil, epoch, offset), 0)
	if err == nil && durable {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("overwriting %s: %w", m.what, err)
	}
	return nil
}

// store makes the offset durable, on a full disk too.
func (m mark) store(d disk, epoch uuid.UUID, offset uint64) error {
	if err := m.write(d, epoch, offset); err != nil {
		if overwriteErr := m.overwrite(d, epoch, offset, true); overwriteErr != nil {
			return fmt.Errorf("%w: %w; %w", ErrSpoolFailed, err, overwriteErr)
		}
	}
	return nil
}

// read returns the stored epoch and offset; known is false where there is no
// file or it is damaged.
func (m mark) read(d disk) (epoch uuid.UUID, offset uint64, known bool, err error) {
	f, err := d.open(m.name, os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		return epoch, 0, false, nil
	}
	if err != nil {
		return epoch, 0, false, fmt.Errorf("opening %s: %w", m.what, err)
	}
	var data [markBytes + 1]byte
	n, err := f.ReadAt(data[:], 0)
	if closeErr := f.Close(); closeErr != nil {
		return epoch, 0, false, fmt.Errorf("closing %s: %w", m.what, closeErr)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return epoch, 0, false, fmt.Errorf("reading %s: %w", m.what, err)
	}
	if n != markBytes || string(data[:8]) != m.kind ||
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
		if s.ackMark().overwrite(s.disk, s.epoch, offset, false) == nil {
			return false, nil
		}
	}
	// A full disk must not keep what was delivered from being removed.
	if err := s.ackMark().store(s.disk, s.epoch, offset); err != nil {
		return false, err
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
		if s.recycle(seg) {
			continue
		}
		if err := s.disk.remove(seg.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("removing an acknowledged audit segment", "segment", seg.name, "error", err)
		}
	}
	return len(segments) > 0
}
