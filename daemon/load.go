package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/policy"
)

// reach brings a zone to its wanted pointer, and tries again as long as what
// failed may go away by itself. It is run whenever the wanted pointer changes.
func (d *Daemon) reach(ctx context.Context, z *zone) {
	// One at a time for each zone; who comes later finds the newest goal.
	z.loading.Lock()
	defer z.loading.Unlock()
	pause := d.pause()
	for ctx.Err() == nil {
		want, seen := z.goal()
		if want == nil {
			return
		}
		if now := z.current.Load(); now != nil && now.pointer.Sequence == want.pointer.Sequence && now.pointer.IssuedAt.Equal(want.pointer.IssuedAt) {
			z.outcome(want, "")
			return
		}
		err := d.load(ctx, z, want, seen)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			z.outcome(want, "")
			d.reportSoon()
			return
		}
		z.outcome(want, err.Error())
		d.metrics.loadFailed(ctx, z.id)
		d.log.Error("a version cannot be loaded; what was loaded before goes on serving", "zone", z.id, "sequence", want.pointer.Sequence, "error", err)
		d.reportSoon()
		if !transient(err) && !errors.Is(err, errState) {
			return // it is what it is, until another pointer comes
		}
		if !sleep(ctx, pause.NextBackOff()) {
			return
		}
	}
}

// errState is matched when the state directory could not be written.
var errState = errors.New("keeping the state")

// load verifies, compiles and swaps in what a verified pointer names.
func (d *Daemon) load(ctx context.Context, z *zone, want *signedPointer, seen int64) (err error) {
	ctx, span := d.tracer.Start(ctx, "caracal.load", trace.WithAttributes(attribute.String("caracal.zone", z.id), attribute.Int64("caracal.sequence", want.pointer.Sequence)))
	defer func() {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}()
	start := time.Now()
	p := want.pointer
	now := z.current.Load()
	var set *policy.Set
	generation := d.generation.Add(1)
	switch {
	case now != nil && now.pointer.Sequence == p.Sequence: // renewed
		set, generation = now.set, now.generation
	case p.PolicySetVersionID == nil:
	case now != nil && now.set != nil && now.pointer.BundleSHA256 == p.BundleSHA256:
		set = now.set // another version of the same bytes
	default:
		if set, err = d.compile(ctx, want); err != nil {
			return err
		}
	}
	// The new sequence is durable before anyone can see an answer of it.
	err = d.state.writeZone(z.id, zoneFile{Seen: seen, Pointer: want.raw.Pointer, Bundle: want.raw.Bundle})
	if err != nil {
		return fmt.Errorf("%w: %w", errState, err)
	}
	swap := time.Now()
	z.current.Store(newSnapshot(generation, p, set, d.cfg.Now().UTC()))
	d.metrics.loaded(ctx, z.id, time.Since(start), time.Since(swap))
	d.log.Info("a pointer is loaded", "zone", z.id, "sequence", p.Sequence, "version", named(p.PolicySetVersionID), "took", time.Since(start))
	return nil
}

func named(id *string) string {
	if id == nil {
		return "none"
	}
	return *id
}

// compile gets the bundle, from the state directory or the admin side, checks
// it and compiles its policies.
func (d *Daemon) compile(ctx context.Context, want *signedPointer) (*policy.Set, error) {
	data, err := d.state.read(bundleName(want.statement.BundleSHA256))
	fetched := false
	if err != nil || bundle.SHA256Hex(data) != want.statement.BundleSHA256 {
		if err == nil {
			d.log.Warn("a kept bundle is damaged; it is fetched again", "bundle", want.statement.BundleSHA256)
		} else if !errors.Is(err, fs.ErrNotExist) {
			d.log.Warn("a kept bundle cannot be read; it is fetched again", "error", err)
		}
		if want.statement.BundleSize > bundle.DefaultLimits().MaxCompressed {
			return nil, fmt.Errorf("%w: the bundle has %d bytes", bundle.ErrLimit, want.statement.BundleSize)
		}
		if data, err = d.up.get(ctx, "/v1/bundles/"+want.statement.BundleSHA256, want.statement.BundleSize); err != nil {
			return nil, fmt.Errorf("fetching the bundle: %w", err)
		}
		fetched = true
	}
	contents, err := bundle.Unpack(data, want.statement, bundle.DefaultLimits())
	if err != nil {
		return nil, err
	}
	set, err := compile(ctx, want.pointer, contents)
	if err != nil {
		return nil, err
	}
	if fetched {
		if err := d.state.write(bundleName(want.statement.BundleSHA256), data); err != nil {
			return nil, fmt.Errorf("%w: %w", errState, err)
		}
	}
	return set, nil
}

// compile compiles verified contents, which must be of the pointer's zone and set.
func compile(ctx context.Context, p bundle.Pointer, c *bundle.Contents) (*policy.Set, error) {
	m := c.Manifest
	if m.ZoneID != p.ZoneID || m.PolicySetID != *p.PolicySetID {
		return nil, fmt.Errorf("%w: the manifest is of zone %q and set %q, the pointer of %q and %q", bundle.ErrHash, m.ZoneID, m.PolicySetID, p.ZoneID, *p.PolicySetID)
	}
	if m.EntryPoint != policy.EntryPoint || m.SchemaVersion != policy.SchemaVersion {
		return nil, fmt.Errorf("%w: the manifest wants entry point %q and schema %q, which this daemon does not know", bundle.ErrFormat, m.EntryPoint, m.SchemaVersion)
	}
	mods := make([]policy.Module, len(c.Modules))
	for i, module := range c.Modules {
		mods[i] = policy.Module{PolicyID: m.Policies[i].PolicyID, VersionID: module.PolicyVersionID, Name: m.Policies[i].Name, Content: string(module.Content)}
	}
	set, err := policy.Compile(ctx, mods)
	if err != nil {
		return nil, fmt.Errorf("compiling: %w", err)
	}
	return set, nil
}

// boot loads what the state directory keeps of a zone, verifying everything
// anew. A pointer that has expired meanwhile is loaded too: what that means is
// decided with each request.
func (d *Daemon) boot(ctx context.Context, z *zone) error {
	trust := d.trust.Load()
	if trust == nil {
		return errNoTrust
	}
	f, err := d.state.readZone(z.id)
	if err != nil {
		return err
	}
	raw := bundle.SignedPointer{ZoneID: z.id, Pointer: f.Pointer, Bundle: f.Bundle}
	p, err := trust.VerifyPointer(f.Pointer, d.cfg.Now())
	if err != nil && !errors.Is(err, bundle.ErrExpired) {
		return err
	}
	want, err := complete(trust, p, raw)
	if err != nil {
		return err
	}
	var set *policy.Set
	if p.PolicySetVersionID != nil {
		data, err := d.state.read(bundleName(p.BundleSHA256))
		if err != nil {
			return err
		}
		contents, err := bundle.Unpack(data, want.statement, bundle.DefaultLimits())
		if err != nil {
			if aside := d.state.setAside(bundleName(p.BundleSHA256)); aside != nil {
				err = errors.Join(err, aside)
			}
			return err
		}
		if set, err = compile(ctx, p, contents); err != nil {
			return err
		}
	}
	z.mu.Lock()
	z.wanted, z.seen = want, max(f.Seen, p.Sequence)
	z.mu.Unlock()
	z.current.Store(newSnapshot(d.generation.Add(1), p, set, d.cfg.Now().UTC()))
	return nil
}

// bootAll loads every kept zone that this daemon is to serve. What cannot be
// used is set aside; its sequence still counts as seen where it can be told.
func (d *Daemon) bootAll(ctx context.Context) error {
	ids, err := d.state.zones()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if !d.serves(id) {
			continue
		}
		z := d.zone(id)
		err := d.boot(ctx, z)
		switch {
		case err == nil:
			d.log.Info("a zone is loaded from the state directory", "zone", id, "sequence", z.current.Load().pointer.Sequence)
			continue
		case ctx.Err() != nil:
			return ctx.Err()
		}
		d.log.Error("the kept state of a zone cannot be used", "zone", id, "error", err)
		if f, ferr := d.state.readZone(id); ferr == nil {
			z.mu.Lock()
			z.seen = max(z.seen, f.Seen)
			z.mu.Unlock()
			continue // the file may be good and only the bundle bad
		}
		if err := d.state.setAside(zoneName(id)); err != nil {
			return err
		}
	}
	return nil
}

// sweepBundles forgets bundles that no zone serves or wants.
func (d *Daemon) sweepBundles() {
	var keep []string
	for _, z := range *d.zones.Load() {
		if s := z.current.Load(); s != nil {
			keep = append(keep, s.pointer.BundleSHA256)
		}
		if want, _ := z.goal(); want != nil {
			keep = append(keep, want.pointer.BundleSHA256)
		}
	}
	if err := d.state.forgetBundles(keep); err != nil {
		d.log.Warn("old bundles could not be removed", "error", err)
	}
}

// pause makes the growing, jittered pauses between attempts.
func (d *Daemon) pause() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval, b.Multiplier, b.RandomizationFactor = d.cfg.RetryMin, d.cfg.RetryMax, 2, 0.5
	b.Reset()
	return b
}

// sleep waits, and tells false when ctx ended first.
func sleep(ctx context.Context, pause time.Duration) bool {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
