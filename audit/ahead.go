package audit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// A write that makes a file longer has the file system note where its bytes are and
// how long the file is, and an fsync waits for that too. Over bytes that are on the
// disk already an fsync takes half as long. So where records wait for it, the next
// segment is filled with zeros beside appending to this one, and cut at its end when
// it is left. Without room for that, segments grow as they are written.
const (
	// spareName is the file that becomes the next segment.
	spareName = "next.tmp"
	// spareStep is written at once: whoever appends meanwhile waits for the same disk.
	spareStep = 512 << 10
	// spareRest is slept after each step.
	spareRest = 5 * time.Millisecond
	// spareAt is the part of a segment that is in use when the next one is made, so
	// that a daemon that is asked seldom writes no zeros.
	spareAt = 4
	// spareRoom is how many times a spare's bytes have to be free: what is written ahead
	// must not take the last room from records.
	spareRoom = 8
)

// errNoRoom says that the disk is too full to write ahead.
var errNoRoom = errors.New("the disk has little room left")

var zeros [64 << 10]byte

// writeAhead makes spares until the spool closes.
func (s *Spool) writeAhead() {
	defer close(s.aheadEnded)
	told := false // of the failure, once until it works again
	for {
		select {
		case <-s.wantSpare:
		case <-s.ending:
			return
		}
		// One that is ready may become a segment at any moment; only the committer takes
		// it, so that one which is not ready stays so until it is here.
		s.mu.Lock()
		ready := s.spareReady
		s.mu.Unlock()
		if ready {
			continue
		}
		err := s.makeSpare()
		s.mu.Lock()
		s.spareReady = err == nil
		s.mu.Unlock()
		if err == nil {
			told = false
		} else if !told && !errors.Is(err, ErrClosed) {
			told = true
			s.log.Warn("no audit segment could be written ahead; records are made durable more slowly", "dir", s.dir, "error", err)
		}
	}
}

// makeSpare writes a file of zeros, durably, or leaves none.
func (s *Spool) makeSpare() (err error) {
	if free, err := s.disk.free(s.dir); err != nil {
		return fmt.Errorf("asking for the room on the disk: %w", err)
	} else if free/spareRoom < s.segBytes {
		return errNoRoom
	}
	name := filepath.Join(s.dir, spareName)
	f, err := s.disk.open(name, os.O_CREATE|os.O_TRUNC|os.O_RDWR)
	if err != nil {
		return fmt.Errorf("creating %s: %w", name, err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(fmt.Errorf("filling %s: %w", name, err), s.disk.remove(name))
		}
	}()
	for at := int64(0); at < s.segBytes; {
		for end := min(at+spareStep, s.segBytes); at < end; {
			step := zeros[:min(int64(len(zeros)), end-at)]
			if _, err := f.WriteAt(step, at); err != nil {
				return err
			}
			at += int64(len(step))
		}
		if err := f.Sync(); err != nil {
			return err
		}
		select {
		case <-time.After(spareRest):
		case <-s.ending:
			return ErrClosed
		}
	}
	return nil
}

// takeSpare makes the spare the segment of a name, with its header; nil where there
// is none.
func (s *Spool) takeSpare(name string, header []byte) (_ file, err error) {
	s.mu.Lock()
	ready := s.spareReady
	s.spareReady = false
	s.mu.Unlock()
	if !ready {
		return nil, nil
	}
	spare := filepath.Join(s.dir, spareName)
	f, err := s.disk.open(spare, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if _, err := f.WriteAt(header, 0); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	if err := s.disk.rename(spare, name); err != nil {
		return nil, err
	}
	return f, s.disk.syncDir(s.dir)
}

// askForSpare has a spare made when enough of the active segment is in use. Only the
// committer calls it.
func (s *Spool) askForSpare(size int64) {
	if s.durability == SyncNone || s.spareAsked || size < s.segBytes/spareAt {
		return
	}
	s.spareAsked = true
	select {
	case s.wantSpare <- struct{}{}:
	default:
	}
}

// trimActive cuts off what was written ahead of the active segment's end, which is
// left. It is for tidiness: who reads the segment stops there anyway.
func (s *Spool) trimActive() {
	if s.durability == SyncNone || s.active == nil {
		return
	}
	s.cutActive("cutting off what was written ahead")
}

// blank tells whether a file has nothing but zeros between two positions.
func blank(r io.ReaderAt, from, to int64) (bool, error) {
	var buf [len(zeros)]byte
	for from < to {
		part := buf[:min(int64(len(buf)), to-from)]
		if _, err := r.ReadAt(part, from); err != nil {
			return false, err
		}
		if string(part) != string(zeros[:len(part)]) {
			return false, nil
		}
		from += int64(len(part))
	}
	return true, nil
}

// removeSpare removes the spare of a spool that closes.
func (s *Spool) removeSpare() {
	if !s.spareReady {
		return
	}
	s.spareReady = false
	if err := s.disk.remove(filepath.Join(s.dir, spareName)); err != nil {
		s.log.Warn("removing the audit segment that was written ahead", "dir", s.dir, "error", err)
	}
}
