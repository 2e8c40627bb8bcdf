package admin

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caracalai/caracald/admin/store"
)

const (
	// outboxPage is how many activations are dispatched in one transaction.
	outboxPage = 500
	// firstRetry and lastRetry bound the time before what failed is tried again.
	firstRetry = 50 * time.Millisecond
	lastRetry  = 10 * time.Second
	// flushTimeout bounds the last write when Run ends.
	flushTimeout = 5 * time.Second
)

// errStoreClosed ends Run when the store is closed under it.
var errStoreClosed = errors.New("the store was closed")

// Run does the work in the background until ctx ends, and then returns nil: it
// follows the store, so that long polls and tails wake, dispatches activations,
// publishes bundles to the object store and, where it holds the lease of the
// replicas that share the store, renews pointers and removes what is kept too
// long. What fails is logged and tried again. When it returns, requests that wait have been
// told to end and no more may wait, so that http.Server.Shutdown is not held up.
//
// The handler answers without Run too: a long poll then looks at the store
// when it comes in, but is not woken, and a tail sends what there was.
//
// Run may be called once.
func (s *Server) Run(ctx context.Context) error {
	if !s.hub.started.CompareAndSwap(false, true) {
		return errors.New("the control plane was run already")
	}
	s.hub.running.Store(true)
	defer s.hub.running.Store(false)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var work sync.WaitGroup
	work.Go(func() {
		if !s.follow(ctx, s.store.Changes(), s.publish, "following the pointers") {
			cancel(errStoreClosed)
		}
	})
	work.Go(func() {
		if !s.follow(ctx, s.store.Events().Added(), s.hub.followEvents, "following the audit") {
			cancel(errStoreClosed)
		}
	})
	work.Go(func() { s.lead(ctx) })
	work.Go(func() { s.every(ctx, s.cfg.MaintenanceInterval, s.maintain, "maintenance") })
	work.Go(func() { s.every(ctx, s.fleet.flushEvery(), s.fleet.flush, "storing heartbeats") })
	if s.publisher != nil {
		work.Go(func() { s.publisher.run(ctx) })
	}
	<-ctx.Done()
	s.hub.stop()
	work.Wait()

	last, done := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer done()
	cause := context.Cause(ctx)
	if errors.Is(cause, errStoreClosed) {
		return cause
	}
	s.hub.running.Store(false) // from now on heartbeats are stored as they come
	if err := errors.Join(s.tokens.flush(last), s.fleet.flush(last)); err != nil {
		s.log.Error("background work failed", "work", "stopping", "error", err)
	}
	return nil
}

// follow does the work once and then after each notice, and again, less and
// less often, after it failed. It tells false when no more notices can come
// though ctx has not ended.
func (s *Server) follow(ctx context.Context, notices <-chan struct{}, work func(context.Context) error, what string) bool {
	retry := firstRetry
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return true
		case _, open := <-notices:
			if !open {
				return ctx.Err() != nil
			}
		case <-again.C:
		}
		err := work(ctx)
		if err == nil {
			retry = firstRetry
			again.Stop()
			continue
		}
		if ctx.Err() != nil {
			return true
		}
		s.log.Error("background work failed", "work", what, "again_in", retry, "error", err)
		again.Reset(retry)
		retry = min(2*retry, lastRetry)
	}
}

// every does the work at once and then in intervals.
func (s *Server) every(ctx context.Context, interval time.Duration, work func(context.Context) error, what string) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		if err := work(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("background work failed", "work", what, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// publish brings the pointers to the watchers and notes in the outbox which
// activations they were told of.
func (s *Server) publish(ctx context.Context) error {
	s.hub.publishing.Lock()
	defer s.hub.publishing.Unlock()
	failed := s.hub.refresh(ctx)
	for {
		var pending []store.Activation
		err := s.store.View(ctx, func(tx store.Reader) (err error) {
			pending, err = tx.PendingOutbox(ctx, outboxPage)
			return err
		})
		if err != nil {
			return errors.Join(failed, fmt.Errorf("reading the outbox: %w", err))
		}
		if len(pending) == 0 {
			return failed
		}
		now := s.now()
		late := false
		err = s.store.Update(ctx, func(tx store.Tx) error {
			for _, a := range pending {
				lastErr := ""
				if p, ok := s.hub.pointer(a.ZoneID); failed != nil {
					lastErr = failed.Error()
				} else if !ok || p.Sequence < a.Sequence {
					// It was made after the refresh; its own notice is on the way.
					late = true
					continue
				}
				if err := tx.MarkOutbox(ctx, a.ID, now, lastErr); err != nil {
					return fmt.Errorf("marking activation %s: %w", a.ID, err)
				}
			}
			return nil
		})
		if err != nil {
			return errors.Join(failed, fmt.Errorf("marking the outbox: %w", err))
		}
		if failed != nil || late || len(pending) < outboxPage {
			return failed
		}
	}
}

// maintain does what each replica does for itself now and then. One failure
// does not keep the rest from being done.
func (s *Server) maintain(ctx context.Context) error {
	return errors.Join(
		s.publish(ctx), // in case a notice was lost
		s.tokens.flush(ctx),
	)
}

// forget removes old idempotency keys, and what was spent and has ended since.
func (s *Server) forget(ctx context.Context) error {
	err := s.store.Update(ctx, func(tx store.Tx) error {
		return errors.Join(
			tx.DeleteIdempotentBefore(ctx, s.now().Add(-s.cfg.IdempotencyTTL)),
			tx.DeleteSpentBefore(ctx, s.now()),
		)
	})
	if err != nil {
		return fmt.Errorf("removing old idempotency keys and sessions: %w", err)
	}
	return nil
}

// retain removes the audit events that the zones do not want to keep.
func (s *Server) retain(ctx context.Context) error {
	var failures []error
	var after store.Cursor
	for {
		var zones []store.Zone
		err := s.store.View(ctx, func(tx store.Reader) (err error) {
			zones, err = tx.Zones(ctx, maxLimit, after)
			return err
		})
		if err != nil {
			return errors.Join(append(failures, fmt.Errorf("reading the zones: %w", err))...)
		}
		for _, z := range zones {
			after = store.Cursor{At: z.CreatedAt, ID: z.ID}
			if err := s.retainZone(ctx, z); err != nil {
				failures = append(failures, err)
			}
		}
		if len(zones) < maxLimit || ctx.Err() != nil {
			return errors.Join(failures...)
		}
	}
}

func (s *Server) retainZone(ctx context.Context, z store.Zone) error {
	settings, err := zoneSettings(z)
	if err != nil {
		return err
	}
	if settings.RetentionDays == 0 && settings.RetentionBytes == 0 {
		return nil
	}
	var before time.Time
	if settings.RetentionDays > 0 {
		before = s.now().AddDate(0, 0, -settings.RetentionDays)
	}
	removed, err := s.store.Events().Trim(ctx, z.ID, before, settings.RetentionBytes)
	if err != nil {
		return fmt.Errorf("trimming the audit of zone %s: %w", z.ID, err)
	}
	if removed > 0 {
		s.metrics.trimmed.Add(ctx, removed)
		s.log.Info("old audit events were removed", "zone", z.ID, "events", removed)
	}
	return nil
}
