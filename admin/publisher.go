package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/distribution"
)

const (
	// publishAtOnce is how many bundles are published at the same time.
	publishAtOnce = 8
	// publishTimeout bounds the publishing of one bundle.
	publishTimeout = time.Minute
	// publishRetry is the first pause before bundles that could not be published
	// are tried again; it doubles up to Config.MaintenanceInterval.
	publishRetry = time.Second
	// publishOverlap is how far back each look for new bundles reaches beyond the
	// one before: transactions of other replicas commit later than their times say.
	publishOverlap = time.Hour
	// publishRecheck is how often every object is looked at again, so that one
	// that was removed from the store is put back.
	publishRecheck = 24 * time.Hour
)

// publisher brings every bundle of the control plane's store to an object
// store. What is left to do is worked out from the two: bundles of which this
// process has not seen that the object store has them. So nothing is forgotten
// with a restart, and bundles from before there was an object store come too.
type publisher struct {
	server *Server
	to     *distribution.Store
	soon   chan struct{}

	// The rest belongs to run.
	published map[string]bool
	waiting   []string // newest first, what failed before at the end
	failed    []string // in the pass that is under way
	since     time.Time
	checked   time.Time
	// refused says why bundles could not be published when that was last tried.
	refused map[string]error
}

func newPublisher(s *Server, to *distribution.Store) *publisher {
	return &publisher{server: s, to: to, soon: make(chan struct{}, 1)}
}

// wake says that there may be a new bundle. It does nothing where there is no
// object store.
func (p *publisher) wake() {
	if p == nil {
		return
	}
	select {
	case p.soon <- struct{}{}:
	default:
	}
}

// run publishes until ctx ends.
func (p *publisher) run(ctx context.Context) {
	retry := publishRetry
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.soon:
		case <-next.C:
		}
		err := p.pass(ctx)
		if ctx.Err() != nil {
			return
		}
		// Other replicas make bundles too, of which nothing wakes this one.
		wait := p.server.cfg.MaintenanceInterval
		if err != nil {
			wait = min(wait, retry)
			retry = 2 * wait
			p.server.log.Error("bundles could not be published", "store", p.to.Name(), "pending", len(p.waiting), "again_in", wait, "error", err)
		} else {
			retry = publishRetry
		}
		next.Reset(wait)
	}
}

// pass publishes what is waiting, the newest first. The error is the first one
// met. One bundle that fails does not hold up the others; where none of several
// succeeds, the object store is taken to be away and the pass ends.
func (p *publisher) pass(ctx context.Context) (first error) {
	if err := p.look(ctx); err != nil {
		return err
	}
	defer func() {
		p.waiting, p.failed = append(p.waiting, p.failed...), nil
		p.count()
	}()
	for len(p.waiting) > 0 && ctx.Err() == nil {
		select {
		case <-p.soon: // what is new comes before what is old
			if err := p.look(ctx); err != nil {
				return errors.Join(first, err)
			}
		default:
		}
		part := p.waiting[:min(len(p.waiting), publishAtOnce)]
		results := make([]error, len(part))
		var work sync.WaitGroup
		for i, hash := range part {
			work.Go(func() { results[i] = p.publish(ctx, hash) })
		}
		work.Wait()
		p.waiting = p.waiting[len(part):]
		away := true
		for i, hash := range part {
			err := results[i]
			if err == nil {
				p.published[hash], away = true, false
				delete(p.refused, hash)
				continue
			}
			away = away && !errors.Is(err, distribution.ErrConflict)
			p.failed = append(p.failed, hash)
			if first == nil {
				first = err
			}
			p.say(hash, err)
		}
		p.count()
		if away {
			break
		}
	}
	return first
}

// look finds the bundles that are not known to be published.
func (p *publisher) look(ctx context.Context) error {
	now := p.server.now()
	since, again := p.since, p.checked.IsZero() || now.Sub(p.checked) >= publishRecheck
	if again {
		since = time.Time{}
	}
	var hashes []string
	err := p.server.store.View(ctx, func(tx store.Reader) (err error) {
		hashes, err = tx.Bundles(ctx, since)
		return err
	})
	if err != nil {
		return fmt.Errorf("listing the bundles: %w", err)
	}
	if again {
		p.published, p.waiting, p.failed, p.refused, p.checked = map[string]bool{}, nil, nil, map[string]error{}, now
	}
	p.since = now.Add(-publishOverlap)
	known := make(map[string]bool, len(p.waiting))
	for _, hash := range slices.Concat(p.waiting, p.failed) {
		known[hash] = true
	}
	var found []string
	for _, hash := range hashes {
		if !p.published[hash] && !known[hash] {
			found = append(found, hash)
		}
	}
	p.waiting = append(found, p.waiting...)
	p.count()
	return nil
}

// publish brings one bundle to the object store.
func (p *publisher) publish(ctx context.Context, hash string) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	var b store.Bundle
	err := p.server.store.View(ctx, func(tx store.Reader) (err error) {
		b, err = tx.Bundle(ctx, hash)
		return err
	})
	if err != nil {
		return fmt.Errorf("reading bundle %s: %w", hash, err)
	}
	written, err := p.to.Publish(ctx, hash, b.Data)
	if written {
		p.server.log.Info("a bundle is published", "store", p.to.Name(), "bundle", hash, "bytes", len(b.Data))
	}
	p.server.metrics.publish(ctx, written, err)
	return err
}

// say logs why a bundle could not be published, once for each reason.
func (p *publisher) say(hash string, err error) {
	before := p.refused[hash]
	p.refused[hash] = err
	if before != nil && before.Error() == err.Error() {
		return
	}
	if errors.Is(err, distribution.ErrConflict) {
		p.server.log.Error("the object store has other bytes under a bundle's hash; remove that object", "store", p.to.Name(), "bundle", hash, "error", err)
		return
	}
	p.server.log.Warn("a bundle could not be published", "store", p.to.Name(), "bundle", hash, "error", err)
}

// count brings the gauges up to date.
func (p *publisher) count() {
	conflicts := int64(0)
	for _, err := range p.refused {
		if errors.Is(err, distribution.ErrConflict) {
			conflicts++
		}
	}
	p.server.metrics.unpublished.Store(int64(len(p.waiting) + len(p.failed)))
	p.server.metrics.conflicts.Store(conflicts)
}
