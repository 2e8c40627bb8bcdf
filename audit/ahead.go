package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// A write that makes a file longer has the file system note where its bytes are and
// how long the file is, and an fsync waits for that too. Over bytes that are on the
// disk already an fsync takes half as long. So where records wait for it, the next
// segment is filled with zeros beside appending to this one, and cut at its end when
// it is left. Without room for that, segments grow as they are written.
//
// Where nothing waits for the disk, a file that was written ahead is mapped into
// memory, and becomes a segment again once its records were delivered: its pages
// are there, so that writing to it takes neither a call of the system nor new memory.
const (
	// spareName is the file that becomes the next segment, by a number: one that was
	// taken has its name still while the one after it is made.
	spareName = "next-%d.tmp"
	// spareKept is how long files that are not needed are kept, but for one, and
	// sparesMost how many are. Under load records wait for half a second until they
	// are durable and can be delivered, in as many segments.
	spareKept  = 10 * time.Second
	sparesMost = 4
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

// spare is a file that may become a segment.
type spare struct {
	name string
	// mapped is the file where it lies in memory; else it is not open.
	mapped *mapped
}

// writeAhead makes spares until the spool closes.
func (s *Spool) writeAhead() {
	defer close(s.aheadEnded)
	told := false // of the failure, once until it works again
	tick := time.NewTicker(spareKept)
	defer tick.Stop()
	var turns, begun uint64
	for {
		select {
		case <-s.wantSpare:
		case <-tick.C:
			s.mu.Lock()
			idle := turns == s.turns
			turns = s.turns
			s.mu.Unlock()
			if idle {
				s.removeSpares(1)
			}
			continue
		case <-s.ending:
			return
		}
		s.mu.Lock()
		ready := len(s.spares) > 0
		s.mu.Unlock()
		if ready {
			continue
		}
		begun++
		made, err := s.makeSpare(begun)
		if err == nil {
			s.mu.Lock()
			s.spares = append(s.spares, made)
			s.mu.Unlock()
			told = false
		} else if !told && !errors.Is(err, ErrClosed) {
			told = true
			s.log.Warn("no audit segment could be written ahead; segments grow as they are written, which takes longer", "dir", s.dir, "error", err)
		}
	}
}

// makeSpare writes a file of zeros, durably where records wait for the disk, or
// leaves none.
func (s *Spool) makeSpare(number uint64) (made spare, err error) {
	if free, err := s.disk.free(s.dir); err != nil {
		return spare{}, fmt.Errorf("asking for the room on the disk: %w", err)
	} else if free/spareRoom < s.segBytes {
		return spare{}, errNoRoom
	}
	name := filepath.Join(s.dir, fmt.Sprintf(spareName, number))
	f, err := s.disk.open(name, os.O_CREATE|os.O_TRUNC|os.O_RDWR)
	if err != nil {
		return spare{}, fmt.Errorf("creating %s: %w", name, err)
	}
	if err := s.fillSpare(f); err != nil {
		return spare{}, errors.Join(fmt.Errorf("filling %s: %w", name, err), f.Close(), s.disk.remove(name))
	}
	if s.durability != SyncNone {
		if err := f.Close(); err != nil {
			return spare{}, errors.Join(fmt.Errorf("closing %s: %w", name, err), s.disk.remove(name))
		}
		return spare{name: name}, nil
	}
	m, err := mapFile(s.disk, f, s.segBytes)
	if err != nil {
		return spare{}, errors.Join(err, f.Close(), s.disk.remove(name))
	}
	return spare{name, m}, nil
}

// fillSpare writes zeros to a file, as many as a segment has bytes.
func (s *Spool) fillSpare(f file) error {
	for at := int64(0); at < s.segBytes; {
		for end := min(at+spareStep, s.segBytes); at < end; {
			step := zeros[:min(int64(len(zeros)), end-at)]
			if _, err := f.WriteAt(step, at); err != nil {
				return err
			}
			at += int64(len(step))
		}
		if s.durability != SyncNone {
			if err := f.Sync(); err != nil {
				return err
			}
		}
		select {
		case <-time.After(spareRest):
		case <-s.ending:
			return ErrClosed
		}
	}
	return nil
}

// takeSpare makes a spare the segment of a name, with its header; nil where there
// is none.
func (s *Spool) takeSpare(name string, header []byte) (_ file, err error) {
	s.mu.Lock()
	var taken spare
	if last := len(s.spares) - 1; last >= 0 {
		taken, s.spares = s.spares[last], s.spares[:last]
	}
	s.mu.Unlock()
	if taken.name == "" {
		return nil, nil
	}
	var f file = taken.mapped
	if taken.mapped == nil {
		if f, err = s.disk.open(taken.name, os.O_RDWR); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	// One that was a segment has a frame there.
	if _, err := f.WriteAt(append(header, noFrame...), 0); err != nil {
		return nil, err
	}
	if s.durability == SyncNone {
		return f, s.disk.rename(taken.name, name)
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	if err := s.disk.rename(taken.name, name); err != nil {
		return nil, err
	}
	return f, s.disk.syncDir(s.dir)
}

// recycle keeps the file of a segment whose records were delivered for one of the
// next, or tells that it is not to be: then its memory is given back. The caller
// holds reading.
func (s *Spool) recycle(seg segment) bool {
	m := seg.mapped
	if m == nil {
		return false
	}
	s.mu.Lock()
	keep := !m.spoilt && !m.faulty.Load() && !s.closing && len(s.spares) < sparesMost
	s.mu.Unlock()
	name := seg.name + ".tmp"
	if keep && s.disk.rename(seg.name, name) == nil {
		s.mu.Lock()
		s.spares = append(s.spares, spare{name, m})
		s.mu.Unlock()
		return true
	}
	if err := m.Close(); err != nil {
		s.log.Warn("closing an audit segment", "segment", seg.name, "error", err)
	}
	return false
}

// unmapSegment gives back the memory of a segment whose file was replaced. The
// caller holds reading.
func (s *Spool) unmapSegment(name string) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.segments {
		if seg := &s.segments[i]; seg.name == name && seg.mapped != nil {
			err = seg.mapped.Close()
			seg.mapped = nil
		}
	}
	return err
}

// askForSpare has a spare made when enough of the active segment is in use. Only the
// committer calls it.
func (s *Spool) askForSpare(size int64) {
	if s.spareAsked || size < s.segBytes/spareAt {
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
	if _, ok := s.active.(*mapped); s.active == nil || s.durability == SyncNone && !ok {
		return
	}
	s.cutActive("cutting off what was written ahead")
}

// removeSpares removes files that were written ahead, but for so many.
func (s *Spool) removeSpares(kept int) {
	s.mu.Lock()
	kept = min(kept, len(s.spares))
	removed := slices.Clone(s.spares[kept:])
	s.spares = s.spares[:kept]
	s.mu.Unlock()
	for _, one := range removed {
		err := s.disk.remove(one.name)
		if one.mapped != nil {
			err = errors.Join(err, one.mapped.Close())
		}
		if err != nil {
			s.log.Warn("removing an audit segment that was written ahead", "dir", s.dir, "error", err)
		}
	}
}
