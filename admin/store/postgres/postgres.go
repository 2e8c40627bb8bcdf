// Package postgres keeps the control plane's state in a PostgreSQL database, of
// version 14 or newer, that any number of control planes may share.
//
// Everything is in the schema caracal of the database. What was published is
// kept from change by triggers, whoever asks, and by the rights of the role that
// the running store logs in as, where that is not the owner of the schema:
//
//	CREATE ROLE caracal_owner LOGIN PASSWORD '...';
//	CREATE ROLE caracal LOGIN PASSWORD '...';
//	CREATE DATABASE caracal OWNER caracal_owner;
//
// Open is then given the address of caracal, and Options.OwnerURL that of
// caracal_owner: with it migrations run, and caracal is granted what the store
// needs. It may read, add, and change pointers, names and states; it may not
// rewrite or remove policy versions, set versions, bundles, activations, admin
// audit entries or events. Retention goes through functions that remove a zone's
// oldest events only. With one address for both, triggers alone protect.
//
// Updates wait for each other on one advisory lock, across all replicas: whoever
// decides by what it reads in an Update decides by the newest. A pointer's move
// locks its zone's row too, and a zone's sequences are unique, so that another
// program's moves cannot interleave either.
//
// Replicas wake each other by LISTEN and NOTIFY. A poll beneath it bounds how long
// a lost notification stays unnoticed. LISTEN needs a session of its own, so a
// connection pooler between must not pool by transaction.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/relational"
)

// Options of a store; the zero value is fine.
type Options struct {
	// OwnerURL logs in as the owner of the schema, to migrate it and to grant the
	// running store its rights. "" migrates as the role of the store itself.
	OwnerURL string
	// Logger takes what nobody waits for; nil discards it.
	Logger *slog.Logger
	// PollInterval is how often the database is asked what notifications should
	// have told: it bounds how late a lost one is noticed. Default 1 s.
	PollInterval time.Duration
	// Readers is how many snapshots can be read at once. Default 8. A store has
	// six connections more: one that updates, four that append events, one that listens.
	Readers int
}

// appenders is how many transactions store batches of events at once.
const appenders = 4

// Store is a store.Store on PostgreSQL.
type Store struct {
	readers, updates *pgxpool.Pool
	events           *events
	changes          *relational.Signal
	stop             context.CancelFunc
	background       sync.WaitGroup
	closing          sync.Once
}

var _ store.Store = (*Store)(nil)

// Open connects to the database of a URL (postgres://user:password@host/database,
// with libpq's parameters and variables), brings it to the newest schema, and
// watches it. Errors do not name passwords. The store outlives ctx.
func Open(ctx context.Context, url string, o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.PollInterval <= 0 {
		o.PollInterval = time.Second
	}
	if o.Readers <= 0 {
		o.Readers = 8
	}
	if err := migrate(ctx, url, o.OwnerURL); err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	s := &Store{changes: relational.NewSignal(), events: &events{added: relational.NewSignal(), stored: make(chan struct{}, 1), log: o.Logger}}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	for _, p := range []struct {
		into  **pgxpool.Pool
		conns int
	}{{&s.readers, o.Readers + 1}, {&s.updates, 1}, {&s.events.appends, appenders}} { // one reader is the poll's
		pool, err := connect(background, url, p.conns)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("opening the store: %w", err), s.Close())
		}
		*p.into = pool
	}
	s.events.readers = s.readers
	s.events.appender = relational.NewAppender(appenders, s.events.appendTogether)
	w := &watch{store: s, url: url, log: o.Logger, every: o.PollInterval}
	if err := w.begin(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the store: %w", err), s.Close())
	}
	if err := s.events.makeAhead(ctx, time.Now()); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the store: %w", err), s.Close())
	}
	s.background.Go(func() { w.poll(background) })
	s.background.Go(func() { w.listen(background) })
	s.background.Go(func() { s.events.tell(background) })
	s.background.Go(func() { s.keepAhead(background) })
	return s, nil
}

// Close ends all work and closes the connections.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.stop()
		s.background.Wait()
		for _, pool := range []*pgxpool.Pool{s.readers, s.updates, s.events.appends} {
			if pool != nil {
				pool.Close()
			}
		}
		s.changes.Close()
		s.events.added.Close()
	})
	return nil
}

// Changes tells that pointers may have moved.
func (s *Store) Changes() <-chan struct{} { return s.changes.C }

// Events is the audit half.
func (s *Store) Events() store.Events { return s.events }

// View runs f on one snapshot.
func (s *Store) View(ctx context.Context, f func(store.Reader) error) error {
	return read(ctx, s.readers, func(t *session) error { return f(&relational.Reader{S: t}) })
}

// updateLock is the advisory lock that Updates wait for each other on.
const updateLock = 0x63617261_63616c01

// Update runs f in one transaction.
func (s *Store) Update(ctx context.Context, f func(store.Tx) error) error {
	moved := false
	err := write(ctx, s.updates, func(t *session) error {
		if _, err := t.Exec(ctx, `SELECT pg_advisory_xact_lock(?)`, int64(updateLock)); err != nil {
			return err
		}
		tx := &relational.Tx{Reader: relational.Reader{S: t}}
		defer func() { moved = tx.Moved }()
		return f(tx)
	})
	if err == nil && moved {
		s.changes.Raise()
	}
	return err
}

// Check verifies, on one snapshot: the hashes of everything that has one,
// manifests against the policies stored for them, the admin audit's chain, that
// no zone's activations have a gap that raised no sequence, and the sums that retention goes by.
// References and structures are PostgreSQL's to keep.
func (s *Store) Check(ctx context.Context) (found []string, err error) {
	err = read(ctx, s.readers, func(t *session) error {
		for _, checks := range [][]relational.Check{relational.ControlChecks, relational.EventChecks, {checkStreamless}} {
			wrong, err := relational.RunChecks(ctx, t, checks)
			found = append(found, wrong...)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return found, fmt.Errorf("checking the store: %w", err)
	}
	return found, nil
}

// checkStreamless finds events whose stream is not there.
func checkStreamless(ctx context.Context, s relational.Session, wrong func(string, ...any)) error {
	return relational.Each(ctx, s, relational.ScanText, func(zone string) error {
		wrong("zone %s has events of no daemon", zone)
		return nil
	}, `SELECT DISTINCT e.zone_id FROM events e LEFT JOIN streams s ON s.id = e.stream WHERE s.id IS NULL`)
}
