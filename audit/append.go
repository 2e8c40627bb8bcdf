package audit

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxGroupBytes ends a group, so that one frame stays quick to write and check.
	maxGroupBytes = 4 << 20
	// maxPooledBytes keeps the buffers of rare huge records out of the pool.
	maxPooledBytes = 1 << 20
	// recordOverhead is what a record takes in a segment beside its own bytes,
	// at most: when it is alone in its frame.
	recordOverhead = frameHeaderBytes + recordPrefixBytes
)

// unled is the length of the queue at which the committer writes though callers
// would do so themselves once they wait.
const unled = 256

// pending is one record on its way to the disk.
type pending struct {
	// buf is the record behind the room that the chain takes before it.
	buf []byte
	// primed is the record as it stands in a frame that is made with the primer by,
	// where that is not nil.
	primed []byte
	by     *primer
	done   chan error
	// settled is set when done gets what became of the record.
	settled atomic.Bool
}

// settle tells what became of the record. p is somebody else's then.
func (p *pending) settle(err error) {
	p.settled.Store(true)
	p.done <- err
}

// record is the encoded record.
func (p *pending) record() []byte { return p.buf[chainedBytes:] }

// size is what it takes in a plain frame.
func (p *pending) size() int64 { return recordPrefixBytes + int64(len(p.record())) }

// prime compares the record with a primer, if it is worth it.
func (p *pending) prime(by *primer) {
	if p.by == by || p.by != nil && by != nil && p.by.turn == by.turn { // by begins with p.by
		return
	}
	p.by = by
	switch record := p.record(); {
	case by == nil:
	case len(record) > primedMost:
		p.primed = appendLiteral(p.primed[:0], record)
	default:
		p.primed = by.appendPrimed(p.primed[:0], record)
	}
}

var pendings = sync.Pool{New: func() any { return &pending{done: make(chan error, 1)} }}

// Append adds a record and returns when it is as durable as the spool was told
// to make it. Callers that come together share one write and one fsync; none
// holds a lock while it waits, and encoding is done by the caller.
//
// ErrSpoolFull: there is no room for it. ErrSpoolFailed: the disk refused it,
// or refused another before and was not well since; the record may or may not
// be read back later, but it was not made durable. ErrFormat and ErrLimit: see
// AppendRecord. ErrClosed.
func (s *Spool) Append(r *Record) error { return s.Start(r).Wait() }

// Appending is a record on its way to the disk.
type Appending struct {
	s   *Spool
	p   *pending
	err error
}

// Start is the beginning of an Append: the record is taken, and Wait, which has to
// follow, once, ends it. Of several that one caller starts before it waits, many
// share one write and one fsync. Nothing of r is kept.
func (s *Spool) Start(r *Record) Appending {
	p := pendings.Get().(*pending)
	p.settled.Store(false)
	var err error
	if p.buf, err = AppendRecord(append(p.buf[:0], make([]byte, chainedBytes)...), r); err == nil {
		p.by = nil
		p.prime(s.primer.Load())
		err = s.enqueue(p)
	}
	if err != nil {
		p.release()
		return Appending{err: err}
	}
	return Appending{s: s, p: p}
}

// Done tells whether Wait returns at once. With SyncNone it may never be so before
// Wait is called, which then writes.
func (a Appending) Done() bool { return a.p == nil || a.p.settled.Load() }

// Notify has f called whenever Done of records may have come to be true. It is to
// return at once.
func (s *Spool) Notify(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	told := append(slices.Clone(*s.told.Load()), f)
	s.told.Store(&told)
}

// tell calls those whom Notify was given.
func (s *Spool) tell() {
	for _, f := range *s.told.Load() {
		f()
	}
}

// Wait returns when the record is durable, or with the errors of Append.
func (a Appending) Wait() error {
	if a.p == nil {
		return a.err
	}
	if a.s.durability == SyncNone {
		a.s.lead(a.p)
	}
	err := <-a.p.done
	a.p.release()
	return err
}

// lead writes what waits, in the place of the committer, unless somebody has
// written p meanwhile: where nothing waits for the disk, waking another goroutine
// costs more than writing. Where only one record waits and there were several in the
// last group, others who are about to append go first, so that they share the write.
// One by one they would gain nothing, and each would have the runtime wake a thread.
func (s *Spool) lead(p *pending) {
	if p.settled.Load() { // the first of several had them all written
		return
	}
	s.mu.Lock()
	shares := len(s.queue) == 1 && s.lastGroup > 1
	s.mu.Unlock()
	if shares {
		runtime.Gosched()
	}
	s.committing.Lock()
	defer s.committing.Unlock()
	for !p.settled.Load() {
		s.mu.Lock()
		fit := s.failed == nil && !s.rotate && !s.closing && len(s.queue) > 0
		s.mu.Unlock()
		if !fit {
			s.kick() // what else there is to do is the committer's
			return
		}
		s.commit(s.take())
	}
}

func (p *pending) release() {
	p.by = nil // which is large
	if cap(p.buf) <= maxPooledBytes {
		pendings.Put(p)
	}
}

func (s *Spool) enqueue(p *pending) error {
	size := p.size() + frameHeaderBytes
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return ErrClosed
	}
	if s.failed != nil {
		return fmt.Errorf("%w: %w", ErrSpoolFailed, s.failed)
	}
	if size > s.room() {
		s.refused = true
		last := s.segments[len(s.segments)-1]
		if s.acked == s.next && len(s.queue) == 0 && last.end > last.first {
			s.rotate = true // everything was delivered: a new segment frees the room
			s.kick()
		}
		return ErrSpoolFull
	}
	s.reserved += size
	s.queue = append(s.queue, p)
	if n := len(s.queue); s.durability != SyncNone && (n == 1 || n == s.want) || n == unled {
		s.kick()
	}
	return nil
}

// room is how many bytes of records there is room for. The caller holds mu.
func (s *Spool) room() int64 {
	return s.maxBytes - segmentHeaderBytes - s.gapReserve() - s.bytes - s.reserved // a new segment may be needed
}

// gapReserve is the room that records leave to waiting gaps, so that the count
// of what was lost is not kept out by what comes after.
func (s *Spool) gapReserve() int64 {
	if !s.gaps.waiting() {
		return 0
	}
	return min(s.maxBytes/8, 16<<10)
}

// run is the committer: the one goroutine that writes segments.
func (s *Spool) run() {
	defer close(s.stopped)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		wait, done := s.step(timer)
		switch {
		case done:
			return
		case wait > 0:
			timer.Reset(wait)
			select {
			case <-s.wake:
			case <-timer.C:
			}
		case wait < 0:
			<-s.wake
		}
	}
}

// step does one thing that there is to do. It tells how long there is nothing else
// to do, below 0 for until the next wake, or that there never will be.
func (s *Spool) step(timer *time.Timer) (wait time.Duration, done bool) {
	s.committing.Lock()
	defer s.committing.Unlock()
	s.mu.Lock()
	failed, closing, rotate, queued := s.failed != nil, s.closing, s.rotate, len(s.queue)
	wait = time.Until(s.retryAt)
	s.mu.Unlock()
	switch {
	case failed && closing:
		return 0, true
	case failed && wait > 0:
		return wait, false
	case failed:
		s.retry()
	case rotate:
		if err := s.turn(); err != nil {
			s.fail(err, nil)
		}
	case queued > 0 || s.gapsFit():
		if !closing {
			s.gather(timer)
		}
		s.commit(s.take())
	case closing:
		if err := s.syncActive(); err != nil {
			s.fail(err, nil)
		}
		s.trimActive()
		return 0, true
	default:
		return -1, false
	}
	return 0, false
}

// gather holds a group open until as many callers have come as were in the
// group before, or for as long as an fsync takes, and no longer than GroupDelay.
// Callers that were all answered by one fsync tend to come back together; without
// waiting they would split into two halves that take turns, each waiting for two
// fsyncs. Those who come independently of each other gain nothing by a longer wait.
func (s *Spool) gather(timer *time.Timer) {
	if s.durability == SyncNone {
		s.yield()
		return
	}
	if s.durability != SyncGroup || s.groupDelay < 0 || s.lastGroup < 2 {
		return
	}
	defer s.expect(0)
	timer.Reset(min(max(s.syncTakes, leastWait), s.groupDelay))
	for !s.expect(s.lastGroup) {
		select {
		case <-s.wake:
		case <-timer.C:
			return
		}
	}
}

// expect has the committer woken when so many records wait, and tells whether as
// many do, or nobody is to be waited for.
func (s *Spool) expect(records int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.want = records
	return len(s.queue) >= records || s.closing
}

// leastWait is how long a group is held open where disks need less.
const leastWait = 100 * time.Microsecond

// yield lets those go first who are about to append: a write for each record
// costs more than all else about it. Nobody waits for it where there is nothing
// else to do.
func (s *Spool) yield() {
	const most = 4
	before := 0
	for range most {
		s.mu.Lock()
		n := len(s.queue)
		s.mu.Unlock()
		if n == before {
			return
		}
		before = n
		runtime.Gosched()
	}
}

// take removes the next group from the queue.
func (s *Spool) take() []*pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, size := 0, 0
	for n < len(s.queue) {
		size += int(s.queue[n].size())
		if n > 0 && (size > maxGroupBytes || s.durability == SyncEach) {
			break
		}
		n++
	}
	group := s.queue[:n:n]
	s.queue = append(s.spare[:0], s.queue[n:]...)
	s.spare = nil
	s.lastGroup = n
	return group
}

// commit writes one group, after the gaps that wait, as one frame.
func (s *Spool) commit(group []*pending) {
	gaps, records := s.gapRecords()
	if len(group)+len(records) == 0 {
		s.spare = group
		return
	}
	if err := s.write(group, records); err != nil {
		s.fail(err, group)
		return
	}
	s.gaps.settle(gaps)
	for i, p := range group {
		p.settle(nil)
		group[i] = nil
	}
	s.spare = group[:0]
	s.tell()
}

func (s *Spool) write(group []*pending, gaps [][]byte) error {
	s.mu.Lock()
	last := s.segments[len(s.segments)-1]
	s.mu.Unlock()
	if last.size >= s.segBytes {
		if err := s.turn(); err != nil {
			return err
		}
		s.mu.Lock()
		last = s.segments[len(s.segments)-1]
		s.mu.Unlock()
	}
	var reserved int64
	for _, p := range group {
		reserved += p.size() + frameHeaderBytes
	}
	size, err := s.writeFrame(group, gaps, last.size)
	if err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	if s.durability != SyncNone {
		began := time.Now()
		if err := s.active.Sync(); err != nil {
			return fmt.Errorf("making records durable: %w", err)
		}
		s.syncTakes += (time.Since(began) - s.syncTakes) / 8
	}
	s.askForSpare(last.size + size)
	s.mu.Lock()
	defer s.mu.Unlock()
	seg := &s.segments[len(s.segments)-1]
	seg.size += size
	seg.end = s.builder.chain.offset
	s.bytes += size
	s.reserved -= reserved
	s.next, s.hash = s.builder.chain.offset, s.builder.chain.hash
	if s.durability != SyncNone {
		s.synced = s.next
	}
	s.announce()
	return nil
}

// writeFrame writes a frame at a position of the active segment, with a call of the
// system or, where it fits into what lies in memory, without. It tells how long it is.
func (s *Spool) writeFrame(group []*pending, gaps [][]byte, at int64) (size int64, err error) {
	by, plain, size := s.primed(group, gaps)
	b := &s.builder
	m, _ := s.active.(*mapped)
	if to := m.within(at, size+int64(len(noFrame))); to != nil {
		defer m.guard(debug.SetPanicOnFault(true), &err)
		// Whoever opens the spool after a kill at any moment of this finds the end of
		// the segment here, or behind the frame: the header makes it one, and is last.
		copy(to[size:], noFrame)
		inPlace := frameBuilder{chain: b.chain}
		frame := inPlace.fill(to[:0:size], s.next, s.hash, gaps, group, by, plain)
		b.chain = inPlace.chain
		s.prime(by, frame)
		return size, nil
	}
	frame := b.fill(b.buf, s.next, s.hash, gaps, group, by, plain)
	if _, err = s.active.WriteAt(frame, at); err == nil {
		s.prime(by, frame)
	}
	if cap(b.buf) > 2*maxGroupBytes {
		b.buf = nil
	}
	return size, err
}

// primed tells which primer a frame is to be made with, nil for a plain one, how long
// its payload is in a plain one, and how long the frame is.
func (s *Spool) primed(group []*pending, gaps [][]byte) (by *primer, plain, size int64) {
	by = s.primer.Load()
	primed := int64(primedHeaderBytes)
	for _, r := range gaps {
		plain += recordPrefixBytes + int64(len(r))
		primed += literalOverhead + int64(len(r))
	}
	for _, p := range group {
		p.prime(by) // which it is already, mostly
		plain += p.size()
		primed += int64(len(p.primed))
	}
	// As long as there is room in the primer, what it has little of goes into it.
	if by == nil || primed > plain/3 && !by.full() || primed >= plain {
		return nil, plain, frameHeaderBytes + plain
	}
	return by, plain, frameHeaderBytes + primed
}

// prime makes what was written the primer of later frames, if it is that of none.
func (s *Spool) prime(by *primer, frame []byte) {
	if by == nil && !s.unprimed {
		s.primer.Store(s.primer.Load().extended(s.turns, frame[frameHeaderBytes:]))
	}
}

// turn ends the active segment and begins the next.
func (s *Spool) turn() error {
	s.mu.Lock()
	s.segments[len(s.segments)-1].full = time.Now()
	s.mu.Unlock()
	if err := s.beginSegment(); err != nil {
		return err
	}
	s.noteFull()
	// What was acknowledged up to the end can go now, unless somebody reads, who may
	// take long; the next acknowledgement removes it then.
	if !s.reading.TryLock() {
		return nil
	}
	defer s.reading.Unlock()
	s.mu.Lock()
	acked, stale := s.acked, s.ackStale
	s.mu.Unlock()
	if !stale {
		s.removeSegments(s.dropBelow(acked))
	}
	return nil
}

// syncActive makes what SyncNone left to the operating system durable, as far as
// it is in the active segment.
func (s *Spool) syncActive() error {
	if s.durability != SyncNone {
		return nil
	}
	if err := s.active.Sync(); err != nil {
		return fmt.Errorf("making records durable: %w", err)
	}
	s.mu.Lock()
	s.synced = s.next
	s.mu.Unlock()
	return nil
}

// fail answers everyone who waits with the disk's error and leaves the segment
// for good: after a failed fsync nobody knows what of the file is durable, and
// a second fsync may lie. What was durable before is still read from it.
func (s *Spool) fail(cause error, group []*pending) {
	s.log.Error("audit spool cannot be written", "dir", s.dir, "error", cause)
	if m, ok := s.active.(*mapped); ok {
		m.spoilt = true
		s.active = nil
	}
	if s.active != nil {
		// Tidiness only: recovery ignores what lies beyond the next segment's
		// first offset.
		s.cutActive("cutting off what was not made durable")
		if err := s.active.Close(); err != nil {
			s.log.Warn("closing a failed audit segment", "error", err)
		}
		s.active = nil
	}
	s.mu.Lock()
	s.failed = cause
	s.retryAt = time.Now().Add(s.backoff)
	group = slices.Concat(group, s.queue)
	s.queue, s.reserved = nil, 0
	s.mu.Unlock()
	for _, p := range group {
		p.settle(fmt.Errorf("%w: %w", ErrSpoolFailed, cause))
	}
	s.tell()
	s.kick() // the committer tries again, whoever was writing
}

// cutActive ends the active segment's file where its last whole frame ends.
func (s *Spool) cutActive(what string) {
	s.mu.Lock()
	size := s.segments[len(s.segments)-1].size
	s.mu.Unlock()
	if err := s.active.Truncate(size); err != nil {
		s.log.Warn(what, "dir", s.dir, "error", err)
	}
}

// retry begins a new segment after a disk error.
func (s *Spool) retry() {
	if err := s.beginSegment(); err != nil {
		s.backoff = min(2*s.backoff, lastRetryDelay)
		s.mu.Lock()
		s.failed = err
		s.retryAt = time.Now().Add(s.backoff)
		s.mu.Unlock()
		return
	}
	s.backoff = s.retryDelay
	s.log.Info("audit spool is written again", "dir", s.dir)
	s.mu.Lock()
	s.failed = nil
	s.mu.Unlock()
}
