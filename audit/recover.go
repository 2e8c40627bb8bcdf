package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
)

// recover reads the directory and brings the spool to where the last run left
// it, with a segment open to append to.
func (s *Spool) recover() error {
	if err := s.removeLeftovers(); err != nil {
		return err
	}
	epoch, acked, known, err := s.ackMark().read(s.disk)
	if err != nil {
		return err
	}
	offeredOf, offered, _, err := s.offerMark().read(s.disk)
	if err != nil {
		return err
	}
	segments, err := listSegments(s.dir)
	if err != nil {
		return err
	}
	if segments, epoch, err = s.ownSegments(segments, epoch); err != nil {
		return err
	}
	if len(segments) == 0 {
		return s.beginEpoch(nil)
	}
	if !known {
		acked = segments[0].first
	}
	s.epoch, s.acked, s.segments = epoch, acked, segments

	end, headerOK, err := s.verify()
	if err != nil {
		return err
	}
	if end.offset < acked || (!end.known && end.offset == acked) {
		// What was acknowledged is gone from here. Numbers must not be used
		// twice, so they begin anew.
		s.log.Warn("audit spool ends before what was acknowledged, beginning a new epoch",
			"dir", s.dir, "end", end.offset, "acknowledged", acked)
		return s.beginEpoch(segments)
	}
	switch {
	case offeredOf == epoch && end.offset < offered:
		// The machine has forgotten records that may have been delivered before.
		s.log.Error("audit records that were left to the operating system are missing", "dir", s.dir, "from_offset", end.offset, "before_offset", offered)
		s.addHole(end.offset, offered)
		end = position{offset: offered}
	case !end.known:
		// The hash at the end cannot be known. Skipping a number makes the
		// break in the chain a hole, like all other damage.
		s.addHole(end.offset, end.offset+1)
		end.offset++
	}
	s.next, s.synced, s.hash = end.offset, end.offset, end.hash
	if s.durability == SyncNone { // the system may still have to write what the process left to it
		s.synced = acked
	}
	for i := range s.segments {
		s.bytes += s.segments[i].size
	}
	if err := s.resume(headerOK && end.known); err != nil {
		return err
	}
	if lost := s.lostBelow(s.next); lost > 0 && lost == s.next-s.acked {
		// Nothing is left that Next could deliver, so no Ack would come.
		s.gaps.note("", lost, gapDamaged)
		s.acked, s.holes, known = s.next, nil, false
	}
	if !known {
		if err := s.ackMark().write(s.disk, s.epoch, s.acked); err != nil {
			return err
		}
	}
	s.removeSegments(s.dropBelow(s.acked))
	return nil
}

// removeLeftovers removes files that were being written when the process died.
func (s *Spool) removeLeftovers() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".tmp") {
			if err := s.disk.remove(filepath.Join(s.dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// ownSegments returns the segments of one epoch: that of the acknowledgement
// where it is known, or else of the last segment that tells. Those of another
// epoch are renamed, never removed: nobody said that they were delivered.
func (s *Spool) ownSegments(segments []segment, epoch uuid.UUID) ([]segment, uuid.UUID, error) {
	epochs := make([]uuid.UUID, len(segments))
	last := uuid.Nil
	for i := range segments {
		f, err := s.disk.open(segments[i].name, os.O_RDWR)
		if err != nil {
			return nil, epoch, err
		}
		h, err := readSegmentHeader(f)
		if closeErr := f.Close(); closeErr != nil {
			return nil, epoch, closeErr
		}
		if err != nil && !errors.Is(err, ErrFormat) {
			return nil, epoch, err
		}
		if err == nil {
			epochs[i], last = h.epoch, h.epoch
		}
	}
	if epoch == uuid.Nil {
		epoch = last
	}
	if epoch == uuid.Nil && len(segments) > 0 {
		return nil, epoch, fmt.Errorf("neither a segment nor the acknowledgement tells the epoch; move the directory away to begin anew: %w", ErrFormat)
	}
	var own []segment
	for i, seg := range segments {
		if epochs[i] == epoch || epochs[i] == uuid.Nil {
			own = append(own, seg)
			continue
		}
		s.log.Warn("setting a segment of another epoch aside", "segment", seg.name, "epoch", epochs[i].String())
		if err := s.disk.rename(seg.name, seg.name+".foreign"); err != nil {
			return nil, epoch, err
		}
	}
	return own, epoch, nil
}

// beginEpoch starts numbering anew after removing segments that were all
// acknowledged. The acknowledgement is written first, so that a crash leaves
// old segments recognizable as such.
func (s *Spool) beginEpoch(old []segment) error {
	epoch, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("making an epoch: %w", err)
	}
	if err := s.ackMark().write(s.disk, epoch, 0); err != nil {
		return err
	}
	s.removeSegments(old)
	s.epoch, s.acked, s.next, s.synced, s.hash, s.holes = epoch, 0, 0, 0, [32]byte{}, nil
	s.segments = nil
	return s.beginSegment()
}

// verify walks all segments, fills in their ends and sizes, gathers holes, cuts
// a torn tail off, and returns where the spool ends. headerOK tells whether
// the last segment can be appended to.
func (s *Spool) verify() (end position, headerOK bool, err error) {
	end.offset = s.segments[0].first
	if s.acked < end.offset {
		s.log.Error("audit segments are missing", "dir", s.dir, "from_offset", s.acked, "before_offset", end.offset)
		s.addHole(s.acked, end.offset)
	}
	for i := range s.segments {
		limit := uint64(math.MaxUint64)
		if i+1 < len(s.segments) {
			limit = s.segments[i+1].first
		}
		if end, headerOK, err = s.verifySegment(&s.segments[i], end, limit); err != nil {
			return end, false, fmt.Errorf("segment %s: %w", filepath.Base(s.segments[i].name), err)
		}
	}
	return end, headerOK, nil
}

// verifySegment walks one segment, which follows the position end.
func (s *Spool) verifySegment(seg *segment, end position, limit uint64) (_ position, headerOK bool, err error) {
	f, err := s.disk.open(seg.name, os.O_RDWR)
	if err != nil {
		return end, false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return end, false, err
	}

	at := position{pos: segmentHeaderBytes, offset: seg.first}
	if seg.first > end.offset {
		s.log.Error("audit records are missing before a segment", "segment", seg.name, "from_offset", end.offset, "before_offset", seg.first)
		s.addHole(end.offset, seg.first)
	} else {
		at.hash, at.known = end.hash, end.known
	}
	h, err := readSegmentHeader(f)
	switch {
	case err == nil && h.first == seg.first:
		if at.known && at.hash != h.prev {
			return end, false, fmt.Errorf("%w: it does not continue the segment before it", ErrChain)
		}
		at.hash, at.known, headerOK = h.prev, true, true
	case err == nil || errors.Is(err, ErrFormat):
		s.log.Error("audit segment has a damaged header", "segment", seg.name)
	default:
		return end, false, err
	}

	w := walk{r: f, size: info.Size(), limit: limit, at: at, buf: new(frameBuffer), primed: &primed{offset: seg.first}}
	for {
		expected := w.at.offset
		h, _, damaged, err := w.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return end, false, err
		}
		if damaged {
			s.log.Error("audit segment is damaged", "segment", seg.name, "before_offset", h.first, "lost", h.first-expected)
		}
		s.addHole(expected, h.first)
		seg.packed = seg.packed || h.codec == codecZstd
	}
	seg.end, seg.size = w.at.offset, w.at.pos
	if limit == math.MaxUint64 && !s.unprimed { // for who appends to it
		s.primer.Store(newPrimer(s.turns, w.primed.text))
	}
	if limit == math.MaxUint64 && headerOK && info.Size() > seg.size {
		follows := make([]byte, min(int64(len(noFrame)), info.Size()-seg.size))
		if _, err := f.ReadAt(follows, seg.size); err != nil {
			return end, false, fmt.Errorf("reading what follows the last frame: %w", err)
		}
		if !bytes.HasPrefix(noFrame, follows) { // which says that nothing was to follow
			s.log.Warn("cutting a torn frame off the audit spool", "segment", seg.name,
				"bytes", info.Size()-seg.size, "next_offset", seg.end)
		}
		if err := f.Truncate(seg.size); err != nil {
			return end, false, fmt.Errorf("cutting a torn frame off: %w", err)
		}
		if err := f.Sync(); err != nil {
			return end, false, fmt.Errorf("cutting a torn frame off: %w", err)
		}
	}
	return w.at, headerOK, nil
}

// addHole remembers that the records of [from, to) cannot be read. Offsets that
// were acknowledged are no loss. The caller holds mu or is alone.
func (s *Spool) addHole(from, to uint64) {
	from = max(from, s.acked)
	if from >= to {
		return
	}
	for _, h := range s.holes {
		if h.from <= from && to <= h.to {
			return
		}
	}
	s.holes = append(s.holes, hole{from, to})
}

// resume opens the last segment to append to, or begins another where that is
// not sound.
func (s *Spool) resume(sound bool) error {
	last := &s.segments[len(s.segments)-1]
	if !sound || last.size >= s.segBytes {
		return s.beginSegment()
	}
	f, err := s.disk.open(last.name, os.O_RDWR)
	if err != nil {
		return err
	}
	s.active = s.appendable(f)
	return nil
}

// beginSegment makes the segment of the next offset and appends to it from now
// on. Only the committer calls it, or who is alone.
func (s *Spool) beginSegment() error {
	h := segmentHeader{epoch: s.epoch, first: s.next, prev: s.hash}
	seg, f, err := s.createSegment(h)
	if err != nil {
		return err
	}
	s.spareAsked = false
	s.leaveActive()
	s.active = s.appendable(f)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turns++
	s.primer.Store(nil)
	// A segment of this name had no whole frame and was replaced; so nobody reads it.
	if n := len(s.segments); n > 0 && s.segments[n-1].name == seg.name {
		s.bytes -= s.segments[n-1].size
		if m := s.segments[n-1].mapped; m != nil {
			if err := m.Close(); err != nil {
				s.log.Warn("closing an audit segment", "error", err)
			}
		}
		s.segments = s.segments[:n-1]
	}
	s.segments = append(s.segments, seg)
	s.bytes += seg.size
	s.rotate, s.refused = false, false
	return nil
}

// appendable is a segment's file as the committer writes it.
func (s *Spool) appendable(f file) file {
	if _, ok := f.(*mapped); ok || s.durability != SyncNone {
		return f
	}
	return quick(f)
}

// leaveActive closes the active segment, unless it lies in memory: then it is read
// there, and closed when it is removed.
func (s *Spool) leaveActive() {
	if _, ok := s.active.(*mapped); ok || s.active == nil {
		return
	}
	s.trimActive()
	if err := s.active.Close(); err != nil {
		s.log.Warn("closing an audit segment", "error", err)
	}
}
