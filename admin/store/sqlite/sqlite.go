// Package sqlite keeps the control plane's state in two SQLite files of one
// directory: control.db, which is small and precious, and events.db, which is
// large and trimmed by retention. It needs no configuration and no C compiler.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/caracalai/caracald/admin/store"
)

//go:embed migrations
var migrations embed.FS

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
	log     *slog.Logger
	control database
	events  *events
	changes *signal
	stop    context.CancelFunc
	polling sync.WaitGroup
	closing sync.Once
	closed  error
}

var _ store.Store = (*Store)(nil)

// database is one file: a single connection writes, several read.
type database struct {
	path           string
	writer, reader *sql.DB
}

// Open opens the store in a directory, which it makes when it is missing, and
// brings the files to the newest schema.
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
	control, err := openDatabase(ctx, filepath.Join(dir, "control.db"), "migrations/control", o)
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	eventsDB, err := openDatabase(ctx, filepath.Join(dir, "events.db"), "migrations/events", o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the store: %w", err), control.close())
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := &Store{
		log:     o.Logger,
		control: control,
		events:  &events{db: eventsDB, added: newSignal()},
		changes: newSignal(),
		stop:    stop,
	}
	s.polling.Go(func() { s.poll(background, control, o.PollInterval, s.changes) })
	s.polling.Go(func() { s.poll(background, eventsDB, o.PollInterval, s.events.added) })
	return s, nil
}

func openDatabase(ctx context.Context, path, schema string, o Options) (database, error) {
	// SQLite would make the file readable by others.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return database{}, err
	}
	if err := f.Close(); err != nil {
		return database{}, err
	}
	db := database{path: path}
	if db.writer, err = sql.Open("sqlite", dsn(path, "immediate", "foreign_keys(1)", "journal_mode(WAL)", "synchronous(FULL)")); err != nil {
		return db, fmt.Errorf("opening %s: %w", path, err)
	}
	db.writer.SetMaxOpenConns(1)
	if db.reader, err = sql.Open("sqlite", dsn(path, "deferred", "query_only(1)")); err != nil {
		return db, errors.Join(fmt.Errorf("opening %s: %w", path, err), db.writer.Close())
	}
	db.reader.SetMaxOpenConns(o.Readers)
	db.reader.SetMaxIdleConns(o.Readers)
	if err := migrate(ctx, db.writer, schema); err != nil {
		return db, errors.Join(fmt.Errorf("preparing %s: %w", path, err), db.close())
	}
	return db, nil
}

func dsn(path, lock string, pragmas ...string) string {
	q := url.Values{"_txlock": {lock}, "_pragma": append([]string{"busy_timeout(10000)"}, pragmas...)}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}).String()
}

func migrate(ctx context.Context, db *sql.DB, schema string) error {
	files, err := fs.Sub(migrations, schema)
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files)
	if err != nil {
		return err
	}
	_, err = provider.Up(ctx)
	return err
}

func (d database) close() error {
	return errors.Join(d.reader.Close(), d.writer.Close())
}

// Close ends all work and closes the files.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.stop()
		s.polling.Wait()
		s.closed = errors.Join(s.control.close(), s.events.db.close())
		s.changes.close()
		s.events.added.close()
	})
	return s.closed
}

// Changes tells that pointers may have moved.
func (s *Store) Changes() <-chan struct{} { return s.changes.c }

// Events is the audit half.
func (s *Store) Events() store.Events { return s.events }

// signal is a channel that holds one value at most: that something happened.
type signal struct {
	c      chan struct{}
	mu     sync.Mutex
	closed bool
}

func newSignal() *signal { return &signal{c: make(chan struct{}, 1)} }

func (s *signal) raise() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	select {
	case s.c <- struct{}{}:
	default:
	}
}

func (s *signal) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	close(s.c)
}

// poll signals when the file was written, also by another process: SQLite has no
// other way to tell.
func (s *Store) poll(ctx context.Context, db database, every time.Duration, changed *signal) {
	conn, err := db.reader.Conn(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.log.Error("watching the store for changes", "file", db.path, "error", err)
		}
		return
	}
	defer func() {
		if err := conn.Close(); err != nil {
			s.log.Warn("ending the watch of the store", "file", db.path, "error", err)
		}
	}()
	tick := time.NewTicker(every)
	defer tick.Stop()
	var last int64
	for {
		var now int64
		if err := conn.QueryRowContext(ctx, "PRAGMA data_version").Scan(&now); err != nil {
			if ctx.Err() == nil {
				s.log.Error("watching the store for changes", "file", db.path, "error", err)
			}
		} else if now != last {
			if last != 0 {
				changed.raise()
			}
			last = now
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// View runs f on one snapshot of control.db.
func (s *Store) View(ctx context.Context, f func(store.Reader) error) error {
	return inTx(ctx, s.control.reader, "reading", func(t *sql.Tx) error { return f(&reader{t}) })
}

// Update runs f in one transaction of control.db.
func (s *Store) Update(ctx context.Context, f func(store.Tx) error) error {
	moved := false
	err := inTx(ctx, s.control.writer, "writing", func(t *sql.Tx) error {
		return f(&tx{reader: reader{t}, tx: t, moved: &moved})
	})
	if err == nil && moved {
		s.changes.raise()
	}
	return err
}

// inTx runs f in a transaction that ends with it, whatever happens.
func inTx(ctx context.Context, db *sql.DB, what string, f func(*sql.Tx) error) (err error) {
	t, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("%s the store: %w", what, translate(err))
	}
	done := false
	defer func() {
		if !done { // f failed or panicked
			if rerr := t.Rollback(); rerr != nil && !errors.Is(rerr, sql.ErrTxDone) {
				err = errors.Join(err, rerr)
			}
		}
	}()
	if err := f(t); err != nil {
		return err
	}
	if err := t.Commit(); err != nil {
		return fmt.Errorf("%s the store: %w", what, translate(err))
	}
	done = true
	return nil
}

// translate gives SQLite's errors the meaning of the store's.
func translate(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, sql.ErrNoRows) {
		return store.ErrNotFound
	}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
		return fmt.Errorf("%w: %w", store.ErrConflict, err)
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return fmt.Errorf("%w: %w", store.ErrNotFound, err)
	case sqlite3.SQLITE_CONSTRAINT_TRIGGER:
		if strings.Contains(err.Error(), "immutable: ") {
			return fmt.Errorf("%w: %w", store.ErrImmutable, err)
		}
	}
	return err
}
