package admin

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/caracalai/caracald/admin/store"
)

// leadLease is the lease of the work that one of the replicas does for all:
// renewing pointers, retention, and forgetting what is too old.
const leadLease = "upkeep"

// renewals is how often a lease is renewed, or asked for, within its length.
const renewals = 3

// lead does what one replica does for all, while this is the one, until ctx
// ends. Work under a lease that was lost meanwhile is cut short, and harmless: a
// renewed pointer keeps its sequence and is refused unless it is later than the
// stored one, and what is removed twice is removed.
func (s *Server) lead(ctx context.Context) {
	holder := newID()
	for {
		generation, until, err := s.takeLead(ctx, holder)
		switch {
		case err == nil:
			s.log.Info("this replica does the upkeep", "generation", generation)
			s.metrics.leads.Store(1)
			s.upkeep(ctx, holder, generation, until)
			s.metrics.leads.Store(0)
		case ctx.Err() == nil && !errors.Is(err, store.ErrHeld):
			s.log.Error("background work failed", "work", "asking for the lease of the upkeep", "error", err)
		}
		if !pause(ctx, s.cfg.LeaseTTL/renewals) {
			return
		}
	}
}

// takeLead takes or renews the lease, and tells until when it is held for sure:
// by this machine's clock, from before it was asked for.
func (s *Server) takeLead(ctx context.Context, holder string) (generation int64, until time.Time, err error) {
	until = time.Now().Add(s.cfg.LeaseTTL)
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	generation, err = s.store.Lease(ctx, leadLease, holder, s.cfg.LeaseTTL)
	return generation, until, err
}

// upkeep works and renews the lease until that is lost or ctx ends.
func (s *Server) upkeep(ctx context.Context, holder string, generation int64, until time.Time) {
	working, stop := context.WithCancel(ctx)
	defer stop()
	var work sync.WaitGroup
	// A pointer is renewed when half its life is over, so it must be looked at more often than that.
	work.Go(func() {
		s.every(working, min(s.cfg.MaintenanceInterval, s.cfg.PointerTTL/8), s.renewPointers, "renewing pointers")
	})
	work.Go(func() { s.every(working, s.cfg.MaintenanceInterval, s.keep, "upkeep") })
	for pause(ctx, min(s.cfg.LeaseTTL/renewals, time.Until(until))) {
		again, longer, err := s.takeLead(ctx, holder)
		if err == nil && again == generation {
			until = longer
			continue
		}
		if err == nil || errors.Is(err, store.ErrHeld) || !time.Now().Before(until) {
			s.log.Warn("this replica lost the lease of the upkeep", "error", err)
			break
		}
		s.log.Warn("the lease of the upkeep is not renewed, and will be tried again", "error", err)
	}
	stop()
	work.Wait()
	end, done := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer done()
	if err := s.store.Release(end, leadLease, holder); err != nil && ctx.Err() == nil {
		s.log.Warn("the lease of the upkeep is not given back; it ends by itself", "error", err)
	}
}

// keep does what is due now and then. One failure does not keep the rest from
// being done.
func (s *Server) keep(ctx context.Context) error {
	return errors.Join(s.retain(ctx), s.forget(ctx), s.fleet.tidy(ctx, s.now().Add(-s.cfg.ForgetDaemonsAfter)))
}

// pause waits, and tells false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
