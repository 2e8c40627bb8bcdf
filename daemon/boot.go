package daemon

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/caracalai/caracald/bundle"
)

// bootAll loads every kept zone that this daemon is to serve and that has
// nothing loaded yet. A file that is damaged is set aside; the sequence in a
// sound one counts as seen even where its pointer is trusted no more.
func (d *Daemon) bootAll(ctx context.Context) error {
	ids, err := d.state.zones()
	if err != nil {
		return err
	}
	thrift.begin(len(ids))
	defer thrift.end(len(ids))
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(runtime.GOMAXPROCS(0)) // compiling is what takes time
	for _, id := range ids {
		if !d.serves(id) {
			continue
		}
		if z := d.zone(id); z.current.Load() == nil {
			work.Go(func() error { return d.bootZone(ctx, z) })
		}
	}
	if err := work.Wait(); err != nil {
		return err
	}
	d.booted.Store(true)
	return nil
}

// bootZone loads one kept zone, or says in the log why it cannot be. The error is
// that nothing can go on.
func (d *Daemon) bootZone(ctx context.Context, z *zone) error {
	f, err := d.state.readZone(z.id)
	if err != nil {
		d.log.Error("the kept state of a zone is damaged and is set aside", "zone", z.id, "error", err)
		z.outcome(nil, "the kept state is damaged: "+err.Error())
		return d.state.setAside(zoneName(z.id))
	}
	z.mu.Lock()
	z.seen = max(z.seen, f.Seen)
	z.mu.Unlock()
	if err := d.boot(ctx, z, f); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		d.log.Error("the kept state of a zone cannot be used; it is fetched again", "zone", z.id, "error", err)
		z.outcome(nil, "the kept state cannot be used: "+err.Error())
		return nil
	}
	d.log.Info("a zone is loaded from the state directory", "zone", z.id, "sequence", z.current.Load().pointer.Sequence)
	return nil
}

// boot loads what the state directory keeps of a zone, verifying everything
// anew. A pointer that has expired meanwhile is loaded too: what that means is
// decided with each request.
func (d *Daemon) boot(ctx context.Context, z *zone, f zoneFile) error {
	trust := d.trust.Load()
	if trust == nil {
		return errNoTrust
	}
	raw := bundle.SignedPointer{ZoneID: z.id, Pointer: f.Pointer, Bundle: f.Bundle}
	p, statement, err := trust.VerifySignedPointer(raw, d.cfg.Now())
	if err != nil && !errors.Is(err, bundle.ErrExpired) {
		return err
	}
	want := &signedPointer{p, &toLoad{statement: statement, raw: raw}}
	next, err := d.bootSnapshot(ctx, want)
	if err != nil {
		return err
	}
	want.loading = nil // the state directory has it
	z.mu.Lock()
	z.wanted, z.seen = want, max(z.seen, p.Sequence)
	z.mu.Unlock()
	z.current.Store(next)
	return nil
}

func (d *Daemon) bootSnapshot(ctx context.Context, want *signedPointer) (*snapshot, error) {
	p, now := &want.pointer, d.cfg.Now().UTC()
	if p.PolicySetVersionID == nil {
		return newSnapshot(d.generation.Add(1), p, nil, now)
	}
	data, err := d.state.read(bundleName(p.BundleSHA256))
	if err != nil {
		return nil, err
	}
	if got := bundle.SHA256Hex(data); got != p.BundleSHA256 {
		return nil, errors.Join(fmt.Errorf("%w: the kept bundle's SHA-256 is %s, not %s", bundle.ErrHash, got, p.BundleSHA256), d.state.setAside(bundleName(p.BundleSHA256)))
	}
	set, err := d.unpack(ctx, data, want)
	if err != nil {
		return nil, err
	}
	return newSnapshot(d.generation.Add(1), p, set, now)
}

// cleanSoon asks for bundles that nothing needs to be removed.
func (d *Daemon) cleanSoon() {
	select {
	case d.cleanNow <- struct{}{}:
	default:
	}
}

// cleanRest is how long nothing is looked through again. A thousand zones that are
// loaded one after another, each of which may leave a bundle that nothing needs any
// more, would otherwise have all bundles of all zones looked through a thousand times.
const cleanRest = time.Second

// clean removes bundles that no zone serves, wants or is loading, soon after that
// may have changed.
func (d *Daemon) clean(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.cleanNow:
		}
		if err := d.cleanBundles(); err != nil {
			d.log.Warn("old bundles could not be removed", "error", err)
		}
		if !sleep(ctx, cleanRest) {
			return
		}
	}
}

func (d *Daemon) cleanBundles() error {
	if !d.booted.Load() { // what is kept was not looked at yet
		return nil
	}
	d.cleaning.Lock()
	defer d.cleaning.Unlock()
	return d.state.forgetBundles(func() map[string]bool {
		needed := map[string]bool{}
		for _, z := range *d.zones.Load() {
			z.needs(needed)
		}
		return needed
	})
}
