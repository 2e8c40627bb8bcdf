// Package sqlite keeps the control plane's state in two SQLite files of one
// directory: control.db, which is small and precious, and events.db, which is
// large and trimmed by retention. It needs no configuration and no C compiler.
//
// Several processes may share the directory on one machine; network file
// systems do not lock well enough for that.
package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/relational"
)

// The two files.
const (
	controlFile = "control.db"
	eventsFile  = "events.db"
)

// Options of a store; the zero value is fine.
type Options struct {
	// Logger takes what nobody waits for; nil discards it.
	Logger *slog.Logger
	// PollInterval is how often the files are asked whether another process
	// changed them. Default 1 s.
	PollInterval time.Duration
	// Readers is how many snapshots can be read at once. Default 8.
	Readers int
}

// Store is a store.Store on SQLite.
type Store struct {
	control *database
	events  *events
	changes *relational.Signal
	stop    context.CancelFunc
	polling sync.WaitGroup
	closing sync.Once
	closed  error
}

var _ store.Store = (*Store)(nil)

// Open opens the store in a directory, which it makes when it is missing, and
// brings the files to the newest schema. The error names the file that could
// not be opened. The store outlives ctx.
func Open(ctx context.Context, dir string, o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.PollInterval <= 0 {
		o.PollInterval = time.Second
	}
	if o.Readers <= 0 {
		o.Readers = 8
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	control, err := openDatabase(ctx, filepath.Join(dir, controlFile), "migrations/control", o.Readers)
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	eventsDB, err := openDatabase(ctx, filepath.Join(dir, eventsFile), "migrations/events", o.Readers)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the store: %w", err), control.close())
	}
	s := &Store{
		control: control,
		events:  &events{db: eventsDB, added: relational.NewSignal()},
		changes: relational.NewSignal(),
	}
	s.events.appender = relational.NewAppender(1, s.events.appendTogether) // the file has one writer
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	for _, w := range []*watch{
		{db: control, log: o.Logger, changed: s.changes, count: `SELECT value FROM counters WHERE name = 'pointer_writes'`},
		{db: eventsDB, log: o.Logger, changed: s.events.added, count: `SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'`},
	} {
		if err := w.begin(background); err != nil {
			return nil, errors.Join(fmt.Errorf("opening the store: %w", err), s.Close())
		}
		s.polling.Go(func() { w.run(background, o.PollInterval) })
	}
	return s, nil
}

// Close ends all work and closes the files.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.stop()
		s.polling.Wait()
		s.closed = errors.Join(s.control.close(), s.events.db.close())
		s.changes.Close()
		s.events.added.Close()
	})
	return s.closed
}

// Changes tells that pointers may have moved.
func (s *Store) Changes() <-chan struct{} { return s.changes.C }

// Events is the audit half.
func (s *Store) Events() store.Events { return s.events }

// View runs f on one snapshot of control.db.
func (s *Store) View(ctx context.Context, f func(store.Reader) error) error {
	return s.control.read(ctx, func(t *session) error { return f(&relational.Reader{S: t}) })
}

// Update runs f in one transaction of control.db.
func (s *Store) Update(ctx context.Context, f func(store.Tx) error) error {
	moved := false
	err := s.control.write(ctx, func(t *session) error {
		tx := &relational.Tx{Reader: relational.Reader{S: t}}
		defer func() { moved = tx.Moved }()
		return f(tx)
	})
	if err == nil && moved {
		s.changes.Raise()
	}
	return err
}

// Lease takes or renews a lease, by the machine's clock: whoever opens the files is on it.
func (s *Store) Lease(ctx context.Context, name, holder string, ttl time.Duration) (generation int64, err error) {
	err = s.control.write(ctx, func(t *session) error {
		generation, err = relational.TakeLease(ctx, t, name, holder, time.Now(), ttl)
		return err
	})
	return generation, err
}

// Release gives a lease back.
func (s *Store) Release(ctx context.Context, name, holder string) error {
	return s.control.write(ctx, func(t *session) error { return relational.ReleaseLease(ctx, t, name, holder) })
}
