package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"
)

// The channels that replicas wake each other on.
const (
	pointersChannel = "caracal_pointers"
	eventsChannel   = "caracal_events"
)

// watch raises the store's signals when any replica wrote.
type watch struct {
	store *Store
	url   string
	log   *slog.Logger
	every time.Duration
	// last are the counts of the last look.
	last counts
}

// counts only grow: with each write of a pointer, with each batch of events.
type counts struct{ pointers, events int64 }

// begin takes the counts from which on changes are told.
func (w *watch) begin(ctx context.Context) (err error) {
	w.last, err = w.look(ctx)
	return err
}

func (w *watch) look(ctx context.Context) (c counts, err error) {
	err = w.store.readers.QueryRow(ctx, `SELECT (SELECT value FROM counters WHERE name = 'pointer_writes'),
		(SELECT coalesce(sum(last_seq), 0)::BIGINT FROM zone_sizes)`).Scan(&c.pointers, &c.events)
	if err != nil {
		return c, fmt.Errorf("watching the store for changes: %w", err)
	}
	return c, nil
}

// poll looks until ctx ends.
func (w *watch) poll(ctx context.Context) {
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, err := w.look(ctx)
		if err != nil {
			if ctx.Err() == nil {
				w.log.Error("the store cannot be asked for changes", "error", err)
			}
			continue
		}
		if now.pointers != w.last.pointers {
			w.store.changes.Raise()
		}
		if now.events != w.last.events {
			w.store.events.added.Raise()
		}
		w.last = now
	}
}

// listen listens until ctx ends, on one connection after the other.
func (w *watch) listen(ctx context.Context) {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 50*time.Millisecond, max(w.every, 100*time.Millisecond)
	for ctx.Err() == nil {
		err := w.listenOnce(ctx, wait.Reset)
		if ctx.Err() != nil {
			return
		}
		w.log.Warn("notifications of the store are lost, it is polled meanwhile", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(wait.NextBackOff()):
		}
	}
}

// listenOnce listens on one connection until that breaks.
func (w *watch) listenOnce(ctx context.Context, connected func()) error {
	config, err := pgx.ParseConfig(w.url)
	if err != nil {
		return err
	}
	configure(config)
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(end) // it is broken, or nobody needs it any more
	}()
	if _, err := conn.Exec(ctx, `LISTEN `+pointersChannel+`; LISTEN `+eventsChannel); err != nil {
		return err
	}
	connected()
	// Whatever was told while nobody listened.
	w.store.changes.Raise()
	w.store.events.added.Raise()
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		switch n.Channel {
		case pointersChannel:
			w.store.changes.Raise()
		case eventsChannel:
			w.store.events.added.Raise()
		}
	}
}
