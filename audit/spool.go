package audit

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/caracalai/caracald/internal/filelock"
)

// Durability says when Append returns.
type Durability int

const (
	// SyncGroup: after the fsync of a group of records that came in together.
	SyncGroup Durability = iota
	// SyncEach: after an fsync of its own for each record.
	SyncEach
	// SyncNone: once the operating system has the record. It survives the
	// death of the process but not of the machine.
	SyncNone
)

// Defaults of SpoolOptions.
const (
	// DefaultMaxBytes keeps some hours of decisions while the admin is away.
	DefaultMaxBytes = 1 << 30
	// DefaultSegmentBytes is also how much space one acknowledgement may leave
	// unfreed, and how much waits to be compressed.
	DefaultSegmentBytes = 8 << 20
	// DefaultGroupDelay is of the order of one fsync.
	DefaultGroupDelay = 2 * time.Millisecond
	// DefaultPackDelay is longer than it takes to deliver, when that is possible.
	DefaultPackDelay = time.Second
)

// Delays between attempts to write again after a disk error.
const (
	firstRetryDelay = 100 * time.Millisecond
	lastRetryDelay  = 5 * time.Second
)

// SpoolOptions says where a spool lies and how it behaves.
type SpoolOptions struct {
	// Dir is made when it does not exist. One spool at a time has it.
	Dir string
	// MaxBytes bounds what the segments hold together, in bytes;
	// DefaultMaxBytes when zero. Files that are written ahead, or were used and wait to
	// become segments again, are beside it: one where records wait for the disk, else
	// four at most.
	MaxBytes int64
	// SegmentBytes is the size at which the next segment is begun;
	// DefaultSegmentBytes when zero, and never more than a quarter of MaxBytes.
	SegmentBytes int64
	Durability   Durability
	// GroupDelay is the longest that SyncGroup holds a group open for the
	// callers of the group before it to join, where an fsync takes longer than
	// that; DefaultGroupDelay when zero, not at all when negative. A lone caller
	// does not wait.
	GroupDelay time.Duration
	// PackDelay is how long a full segment waits to be delivered before it is
	// compressed; DefaultPackDelay when zero, for ever when negative.
	PackDelay time.Duration
	// Logger is told of what recovery found and of disk errors; nil for silence.
	Logger *slog.Logger

	// disk replaces the file system in tests.
	disk disk
	// retryDelay replaces firstRetryDelay in tests.
	retryDelay time.Duration
	// syncPause replaces syncPause in tests.
	syncPause time.Duration
	// unprimed has only plain frames appended, in tests.
	unprimed bool
}

// Spool is an append-only queue of audit records on disk. Its methods may be
// called from many goroutines.
//
// Offsets number the records of an epoch from 0 without reuse; an epoch begins
// when the directory is new. Records leave at the other end when they are
// acknowledged, a whole segment at a time.
type Spool struct {
	dir        string
	maxBytes   int64
	segBytes   int64
	durability Durability
	groupDelay time.Duration
	packDelay  time.Duration
	retryDelay time.Duration
	syncPause  time.Duration
	unprimed   bool
	log        *slog.Logger
	disk       disk
	lock       *os.File
	epoch      uuid.UUID
	gaps       *gapCounts

	// wake tells the committer to look at the state again.
	wake chan struct{}
	// stopped is closed when the committer has ended.
	stopped chan struct{}
	// filled tells that a segment is full, packed is closed when nothing is packed
	// any more.
	filled chan struct{}
	packed chan struct{}
	// ending is closed when Close is called.
	ending    chan struct{}
	closeOnce sync.Once
	// wantSpare asks for the next segment to be written ahead, aheadEnded is closed
	// when none is any more.
	wantSpare  chan struct{}
	aheadEnded chan struct{}
	closeErr   error

	// told are those whom Notify was given.
	told atomic.Pointer[[]func()]

	mu       sync.Mutex
	queue    []*pending
	want     int   // records for which the committer is waiting, 0 when it is not
	reserved int64 // bytes that the queue will take at most
	bytes    int64 // bytes of all segments
	segments []segment
	next     uint64 // the offset of the next record
	hash     [32]byte
	synced   uint64 // records below it are durable
	acked    uint64
	ackStale bool          // a crash of the machine may forget acked
	holes    []hole        // unreadable offsets that were not acknowledged yet
	failed   error         // why the disk is not written now
	retryAt  time.Time     // when it will be tried again
	refused  bool          // a record did not fit since the last segment began
	rotate   bool          // begin a segment before the next record
	closing  bool          // Append refuses
	waiting  bool          // somebody waits on notify
	notify   chan struct{} // closed when next advances or the spool closes

	spares []spare // files that were written ahead, for the next segments
	turns  uint64  // how many segments were begun, which only who holds committing changes

	// primer is what records of the active segment are compared with, nil where there
	// is nothing yet. Who holds committing changes it.
	primer atomic.Pointer[primer]

	// committing is held by who writes segments: the committer or, where nothing
	// waits for the disk, a caller in its place. It guards these.
	committing sync.Mutex
	active     file
	builder    frameBuilder
	spare      []*pending
	spareAsked bool          // for the segment after the active one
	lastGroup  int           // changed with mu held, too
	syncTakes  time.Duration // on average of late
	backoff    time.Duration

	// packing is the room of who packs segments.
	packing struct {
		builder frameBuilder
		read    frameBuffer
	}

	// reading serializes Next and Ack.
	reading sync.Mutex
	reader  spoolReader
	// lastSync is when reading last made records durable, in Unix nanoseconds.
	lastSync atomic.Int64
}

// SpoolStats is the state of a spool at one moment.
type SpoolStats struct {
	Epoch                   string
	NextOffset, AckedOffset uint64
	// Bytes is the size of all segments, MaxBytes its bound, and Room how many bytes
	// of records there is room for now.
	Bytes, MaxBytes, Room int64
	// Depth is how many offsets wait for an acknowledgement.
	Depth uint64
	// Packed is how many records there are in segments that were compressed, and
	// PackedBytes the size of these.
	Packed      uint64
	PackedBytes int64
	// Gaps is how many records were noted as not kept since the spool was
	// opened; PendingGaps of them, and of earlier runs, have no record yet.
	Gaps, PendingGaps uint64
	// Failed is why the disk is not written now, nil when it is.
	Failed error
}

// OpenSpool opens the spool in a directory, or makes a new one. All that is
// there is checked: the checksums of the frames and the hash chain over them.
// A torn frame at the very end is cut off. Damage before the end is passed
// over and becomes an audit_gap record with the reason "damaged" when Ack
// passes it. ErrLocked: another process has the directory. ErrChain: whole
// frames contradict each other, which no crash and no failing disk explains.
// ErrSpoolFailed: the directory cannot be read or written.
func OpenSpool(o SpoolOptions) (*Spool, error) {
	s, err := newSpool(o)
	if err != nil {
		return nil, fmt.Errorf("opening the audit spool: %w", err)
	}
	if err := s.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the audit spool in %s: %w", s.dir, err), s.release())
	}
	go s.run()
	if s.packDelay >= 0 {
		go s.pack()
	} else {
		close(s.packed)
	}
	if s.durability != SyncNone || mapsSegments {
		go s.writeAhead()
	} else {
		close(s.aheadEnded)
	}
	return s, nil
}

func newSpool(o SpoolOptions) (*Spool, error) {
	if o.Dir == "" {
		return nil, errors.New("no directory is given")
	}
	if o.MaxBytes < 0 || o.SegmentBytes < 0 {
		return nil, errors.New("a size is negative")
	}
	if o.Durability < SyncGroup || o.Durability > SyncNone {
		return nil, fmt.Errorf("unknown durability %d", o.Durability)
	}
	s := &Spool{
		dir: o.Dir, maxBytes: o.MaxBytes, segBytes: o.SegmentBytes, durability: o.Durability,
		groupDelay: o.GroupDelay, packDelay: o.PackDelay, retryDelay: o.retryDelay, syncPause: o.syncPause, unprimed: o.unprimed, log: o.Logger, disk: o.disk,
		wake: make(chan struct{}, 1), stopped: make(chan struct{}), filled: make(chan struct{}, 1), packed: make(chan struct{}), ending: make(chan struct{}), notify: make(chan struct{}),
		wantSpare: make(chan struct{}, 1), aheadEnded: make(chan struct{}),
	}
	s.told.Store(new([]func()))
	if s.maxBytes == 0 {
		s.maxBytes = DefaultMaxBytes
	}
	if s.segBytes == 0 {
		s.segBytes = DefaultSegmentBytes
	}
	s.segBytes = min(s.segBytes, s.maxBytes/4)
	if s.packDelay == 0 {
		s.packDelay = DefaultPackDelay
	}
	if s.groupDelay == 0 {
		s.groupDelay = DefaultGroupDelay
	}
	if s.retryDelay == 0 {
		s.retryDelay = firstRetryDelay
	}
	s.backoff = s.retryDelay
	if s.syncPause == 0 {
		s.syncPause = syncPause
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.disk == nil {
		s.disk = osDisk{}
	}
	return s, nil
}

func (s *Spool) open() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("%w: %w", ErrSpoolFailed, err)
	}
	var err error
	if s.lock, err = filelock.Lock(filepath.Join(s.dir, "lock")); errors.Is(err, filelock.ErrLocked) {
		return fmt.Errorf("%w: %w", ErrLocked, err)
	} else if err != nil {
		return err
	}
	if s.gaps, err = openGaps(s.disk, filepath.Join(s.dir, "gaps"), s.durability != SyncNone, s.log); err != nil {
		return fmt.Errorf("%w: %w", ErrSpoolFailed, err)
	}
	if err := s.recover(); err != nil {
		if errors.Is(err, ErrChain) {
			return err
		}
		return fmt.Errorf("%w: %w", ErrSpoolFailed, err)
	}
	return nil
}

// release gives back what open took.
func (s *Spool) release() error {
	var errs []error
	if s.active != nil {
		errs = append(errs, s.active.Close())
	}
	for i := range s.segments {
		if m := s.segments[i].mapped; m != nil {
			errs = append(errs, m.Close())
		}
	}
	if s.gaps != nil {
		errs = append(errs, s.gaps.close())
	}
	errs = append(errs, s.reader.close())
	if s.lock != nil {
		errs = append(errs, filelock.Unlock(s.lock))
	}
	return errors.Join(errs...)
}

// Epoch is the UUIDv7 under which this spool numbers its records.
func (s *Spool) Epoch() string { return s.epoch.String() }

// Stats returns the state of the spool.
func (s *Spool) Stats() SpoolStats {
	noted, pending := s.gaps.totals()
	s.mu.Lock()
	defer s.mu.Unlock()
	var packed uint64
	var packedBytes int64
	for _, seg := range s.segments {
		if seg.packed {
			packed += seg.end - seg.first
			packedBytes += seg.size
		}
	}
	return SpoolStats{
		Packed: packed, PackedBytes: packedBytes,
		Epoch: s.epoch.String(), NextOffset: s.next, AckedOffset: s.acked,
		Bytes: s.bytes, MaxBytes: s.maxBytes, Room: max(0, s.room()), Depth: s.next - s.acked,
		Gaps: noted, PendingGaps: pending, Failed: s.failed,
	}
}

// Close finishes the records that Append has taken, writes the gaps that there
// is room for, and gives the directory back. Whoever waits in Next gets
// ErrClosed. Closing again does nothing.
func (s *Spool) Close() error {
	s.closeOnce.Do(func() {
		s.mu.Lock()
		s.closing = true
		close(s.ending)
		s.announce()
		s.mu.Unlock()
		s.kick()
		s.noteFull()
		<-s.stopped
		<-s.packed
		<-s.aheadEnded
		s.reading.Lock()
		defer s.reading.Unlock()
		s.removeSpares(0)
		if err := s.release(); err != nil {
			s.closeErr = fmt.Errorf("closing the audit spool: %w", err)
		}
	})
	return s.closeErr
}

// kick wakes the committer; one token is enough however many kicks there were.
func (s *Spool) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// noteFull wakes who packs full segments.
func (s *Spool) noteFull() {
	select {
	case s.filled <- struct{}{}:
	default:
	}
}

// announce wakes whoever waits in Next. The caller holds mu.
func (s *Spool) announce() {
	if s.waiting {
		close(s.notify)
		s.notify, s.waiting = make(chan struct{}), false
	}
}
