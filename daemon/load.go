package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
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
		select {
		case <-z.moved: // the goal is read after this
		default:
		}
		want, seen := z.goal()
		if want == nil {
			return
		}
		if now := z.current.Load(); now != nil && now.pointer.Sequence == want.pointer.Sequence && now.pointer.IssuedAt.Equal(want.pointer.IssuedAt) {
			return
		}
		if !d.stagger(ctx, z, want) {
			continue
		}
		thrift.begin(1)
		err := d.load(ctx, z, want, seen)
		thrift.end(1)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			z.outcome(want, "")
			d.checkReady()
			d.reportSoon()
			d.cleanSoon()
			continue // there may be another goal by now
		}
		z.outcome(want, err.Error())
		d.metrics.loadFailed(ctx, z.id)
		d.log.Error("a version cannot be loaded; what was loaded before goes on serving", "zone", z.id, "sequence", want.pointer.Sequence, "error", err)
		d.reportSoon()
		if !transient(err) && !errors.Is(err, errState) {
			return // it is what it is, until another pointer comes
		}
		wait := pause.NextBackOff()
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-z.moved: // perhaps to what can be loaded
			pause.Reset()
		case <-t.C:
		}
		t.Stop()
	}
}

// stagger waits a random part of the time over which a bundle is to be fetched
// by all, where it has to be fetched. It tells false when there is another goal
// or ctx ended.
func (d *Daemon) stagger(ctx context.Context, z *zone, want *signedPointer) bool {
	if want.loading.spread <= 0 || want.pointer.PolicySetVersionID == nil {
		return true
	}
	if now := z.current.Load(); now != nil && now.pointer.BundleSHA256 == want.pointer.BundleSHA256 {
		return true
	}
	if _, err := d.state.read(bundleName(want.loading.statement.BundleSHA256)); err == nil {
		return true // it was kept
	}
	t := time.NewTimer(rand.N(want.loading.spread))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-z.moved:
		return false
	case <-t.C:
		want.loading.spread = 0 // once is enough
		return true
	}
}

// errState is matched when the state directory could not be written.
var errState = errors.New("keeping the state")

// load verifies, compiles and swaps in what a verified pointer names.
func (d *Daemon) load(ctx context.Context, z *zone, want *signedPointer, seen int64) (err error) {
	p := want.pointer
	ctx, span := d.tracer.Start(ctx, "caracal.load", trace.WithAttributes(attribute.String("caracal.zone", z.id), attribute.Int64("caracal.sequence", p.Sequence)))
	defer func() {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}()
	start := time.Now()
	d.cleaning.Lock() // what is in use from here on is not cleaned away
	z.begin(want)
	d.cleaning.Unlock()
	defer z.end()
	next, err := d.prepareSnapshot(ctx, z.current.Load(), want)
	if err != nil {
		return err
	}
	// The new sequence is durable before anyone can see an answer of it.
	err = d.state.writeZone(z.id, zoneFile{Seen: seen, Pointer: want.loading.raw.Pointer, Bundle: want.loading.raw.Bundle})
	if err != nil {
		return fmt.Errorf("%w: %w", errState, err)
	}
	want.loading = nil // the state directory has it
	swap := time.Now()
	z.current.Store(next)
	d.metrics.loaded(ctx, time.Since(start), time.Since(swap))
	d.log.Info("a pointer is loaded", "zone", z.id, "sequence", p.Sequence, "version", named(p.PolicySetVersionID), "took", time.Since(start))
	return nil
}

// prepareSnapshot makes the snapshot of a verified pointer. What the current
// one has compiled is shared where it is the same.
func (d *Daemon) prepareSnapshot(ctx context.Context, now *snapshot, want *signedPointer) (*snapshot, error) {
	p := &want.pointer
	loadedAt := d.cfg.Now().UTC()
	switch {
	case now != nil && now.pointer.Sequence == p.Sequence && sameVersion(now.pointer, p): // renewed
		return newSnapshot(now.generation, p, now.set, now.loadedAt)
	case p.PolicySetVersionID == nil:
		return newSnapshot(d.generation.Add(1), p, nil, loadedAt)
	case now != nil && now.set != nil && now.pointer.BundleSHA256 == p.BundleSHA256 && *now.pointer.PolicySetID == *p.PolicySetID:
		// Another activation of the same bytes.
		return newSnapshot(d.generation.Add(1), p, now.set, loadedAt)
	}
	set, err := d.compile(ctx, want)
	if err != nil {
		return nil, err
	}
	return newSnapshot(d.generation.Add(1), p, set, loadedAt)
}

func named(id *string) string {
	if id == nil {
		return "none"
	}
	return *id
}

// compile gets the bundle, from the state directory or one of the sources, checks
// it and compiles its policies.
func (d *Daemon) compile(ctx context.Context, want *signedPointer) (*policy.Set, error) {
	name := bundleName(want.loading.statement.BundleSHA256)
	data, err := d.state.read(name)
	kept := err == nil && bundle.SHA256Hex(data) == want.loading.statement.BundleSHA256
	if !kept {
		if err == nil {
			d.log.Error("a kept bundle is damaged; it is fetched again", "bundle", want.loading.statement.BundleSHA256)
			if err := d.state.setAside(name); err != nil {
				return nil, fmt.Errorf("%w: %w", errState, err)
			}
		} else if !errors.Is(err, fs.ErrNotExist) {
			d.log.Error("a kept bundle cannot be read; it is fetched again", "error", err)
		}
		if data, err = d.fetcher.Fetch(ctx, want.loading.statement.BundleSHA256, want.loading.statement.BundleSize); err != nil {
			return nil, fmt.Errorf("fetching the bundle: %w", err)
		}
	}
	set, err := d.unpackInTurn(ctx, data, want)
	if err != nil {
		return nil, err
	}
	if !kept {
		if err := d.state.write(name, data); err != nil {
			return nil, fmt.Errorf("%w: %w", errState, err)
		}
	}
	return set, nil
}

// unpackInTurn is unpack, by as many at once as there are processors: more would
// not be done sooner, and what each needs while it compiles, many times what stays of
// it, would lie between what stays of the others.
func (d *Daemon) unpackInTurn(ctx context.Context, data []byte, want *signedPointer) (*policy.Set, error) {
	select {
	case d.compiling <- struct{}{}:
		defer func() { <-d.compiling }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return d.unpack(ctx, data, want)
}

// unpack checks a bundle and compiles what is in it, which must be of the
// pointer's zone and set.
func (d *Daemon) unpack(ctx context.Context, data []byte, want *signedPointer) (*policy.Set, error) {
	c, err := bundle.Unpack(data, want.loading.statement, bundle.DefaultLimits())
	if err != nil {
		return nil, err
	}
	m, p := c.Manifest, want.pointer
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
	start := time.Now()
	set, err := d.library.Compile(ctx, mods)
	if err != nil {
		return nil, fmt.Errorf("compiling: %w", err)
	}
	d.metrics.compiled(ctx, time.Since(start))
	if why := set.Interpreted(); why != nil {
		d.log.Warn("OPA's evaluator evaluates a version: it is slower and gives the same answers", "zone", p.ZoneID, "version", named(p.PolicySetVersionID), "reason", why)
	}
	return set, nil
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
