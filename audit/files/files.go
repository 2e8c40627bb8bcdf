// Package files is the sink that writes audit records to files: a line of JSON
// for each (audit.AppendLine), into a file that is rotated by size and age; what
// was rotated is compressed, and removed by age and number.
//
// A batch counts as taken once an fsync was done after its last line. After a
// crash the sink goes on behind the last whole line and passes over records that
// are there already, so that a batch that comes again is not written twice. The
// libraries for rotated logs have neither, which is why none is used.
package files

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/internal/filelock"
)

// Defaults of Options.
const (
	DefaultMaxBytes    = 100 << 20
	DefaultRotateAfter = 24 * time.Hour
)

// Options says where the files are and how long.
type Options struct {
	// Path is the file that is written; its directory is made when it is not
	// there. Rotated files are beside it: audit.ndjson becomes
	// audit-20060102T150405.000000000Z.ndjson.gz. One sink at a time has it. Required.
	Path string
	// MaxBytes is the size from which a file is rotated before the next batch.
	// Default DefaultMaxBytes.
	MaxBytes int64
	// RotateAfter is the age of a file's first record from which it is rotated
	// before the next batch. Default DefaultRotateAfter, negative for never.
	RotateAfter time.Duration
	// MaxAge is how long after its rotation a file is kept; 0 for ever.
	MaxAge time.Duration
	// MaxFiles is how many rotated files are kept; 0 for all.
	MaxFiles int
	// Logger takes the log; nil discards it.
	Logger *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time

	// fault may fail an operation on a file, in tests.
	fault func(operation, name string) error
}

// Sink writes audit records to files.
type Sink struct {
	o    Options
	lock *os.File
	// rotated tells who compresses that there is work; done ends it.
	rotated, done chan struct{}
	work          sync.WaitGroup
	once          sync.Once
	closeErr      error

	mu sync.Mutex
	// file is what is written, nil after a failure that it has to be looked at for.
	file *os.File
	size int64
	// first is when the file's first record occurred, last where its last one stands.
	first time.Time
	last  audit.Place
	any   bool // whether there is a last one
	lines []byte
}

var _ audit.Sink = (*Sink)(nil)

// Open opens the file or makes it, and looks where it ends. ErrLocked: another
// process has it.
func Open(o Options) (*Sink, error) {
	if o.Path == "" {
		return nil, errors.New("audit files: no path is given")
	}
	o.Path = filepath.Clean(o.Path)
	if o.MaxBytes < 0 || o.MaxAge < 0 || o.MaxFiles < 0 {
		return nil, errors.New("audit files: a bound is negative")
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.RotateAfter == 0 {
		o.RotateAfter = DefaultRotateAfter
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.fault == nil {
		o.fault = func(string, string) error { return nil }
	}
	s := &Sink{o: o, rotated: make(chan struct{}, 1), done: make(chan struct{})}
	if err := os.MkdirAll(filepath.Dir(o.Path), 0o750); err != nil {
		return nil, fmt.Errorf("audit files: %w", err)
	}
	var err error
	if s.lock, err = filelock.Lock(o.Path + ".lock"); err != nil {
		if errors.Is(err, filelock.ErrLocked) {
			err = fmt.Errorf("%w: %w", audit.ErrLocked, err)
		}
		return nil, fmt.Errorf("audit files: %w", err)
	}
	if err := s.recover(); err != nil {
		return nil, errors.Join(fmt.Errorf("audit files: %w", err), filelock.Unlock(s.lock))
	}
	s.work.Go(s.keepTidy)
	s.tidySoon()
	return s, nil
}

// Name is "file".
func (s *Sink) Name() string { return "file" }

// Take writes what is new of a batch and makes it durable.
func (s *Sink) Take(ctx context.Context, daemonID string, b *audit.EncodedBatch) (next uint64, size int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, 0, err
	}
	batch, err := b.Decode()
	if err != nil {
		return 0, 0, fmt.Errorf("decoding a batch: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		if err := s.recover(); err != nil {
			return 0, 0, fmt.Errorf("opening %s again: %w", s.o.Path, err)
		}
	}
	s.lines = s.lines[:0]
	at := audit.Place{DaemonID: daemonID, Epoch: batch.Epoch}
	var oldest time.Time
	for i := range batch.Records {
		at.Offset = batch.First + uint64(i)
		if s.has(at) {
			continue
		}
		if oldest.IsZero() {
			oldest = batch.Records[i].OccurredAt
		}
		if s.lines, err = audit.AppendLine(s.lines, at, &batch.Records[i]); err != nil {
			return 0, 0, fmt.Errorf("offset %d: %w", at.Offset, err)
		}
	}
	if len(s.lines) == 0 {
		return batch.Next(), 0, nil
	}
	if s.due(int64(len(s.lines))) {
		if err := s.rotate(); err != nil {
			return 0, 0, fmt.Errorf("rotating %s: %w", s.o.Path, err)
		}
	}
	if err := s.write(s.lines); err != nil {
		return 0, 0, fmt.Errorf("writing %s: %w", s.o.Path, err)
	}
	if s.first.IsZero() {
		s.first = oldest
	}
	s.last, s.any = at, true
	return batch.Next(), len(s.lines), nil
}

// has tells whether a record is in the files. Records of an epoch come in order,
// so the last one tells.
func (s *Sink) has(at audit.Place) bool {
	return s.any && s.last.DaemonID == at.DaemonID && s.last.Epoch == at.Epoch && at.Offset <= s.last.Offset
}

// write appends and makes durable, or leaves the file as it was; where that
// fails too, it is looked at anew the next time.
func (s *Sink) write(data []byte) error {
	err := s.o.fault("write", s.o.Path)
	if err == nil {
		_, err = s.file.WriteAt(data, s.size)
	} else { // as a disk that fills up in the middle
		_, _ = s.file.WriteAt(data[:len(data)/2], s.size)
	}
	if err == nil {
		if err = s.o.fault("sync", s.o.Path); err == nil {
			err = s.file.Sync()
		}
	}
	if err == nil {
		s.size += int64(len(data))
		return nil
	}
	cut := s.o.fault("truncate", s.o.Path)
	if cut == nil {
		cut = s.file.Truncate(s.size)
	}
	if cut != nil {
		_ = s.file.Close() // nothing in it counts that was not synced
		s.file = nil
	}
	return err
}

// Close ends the compression that is under way and gives the file back.
func (s *Sink) Close() error {
	s.once.Do(func() {
		close(s.done)
		s.work.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		var failed []error
		if s.file != nil {
			failed = append(failed, s.file.Close())
			s.file = nil
		}
		failed = append(failed, filelock.Unlock(s.lock))
		s.closeErr = errors.Join(failed...)
	})
	return s.closeErr
}

// stem and extension are the parts of the path around what a rotated file's
// name has more.
func (s *Sink) stem() (stem, extension string) {
	extension = filepath.Ext(s.o.Path)
	return strings.TrimSuffix(s.o.Path, extension) + "-", extension
}
