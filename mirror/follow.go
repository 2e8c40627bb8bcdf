package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/distribution"
)

const (
	// trustEvery is how often rotations are asked for when nothing calls for it.
	trustEvery = 5 * time.Minute
	// maxTrust bounds the answer of GET /v1/trust, in bytes.
	maxTrust = 8 << 20
	// fillAtOnce is how many bundles are fetched at once because pointers moved.
	fillAtOnce = 16
)

var (
	errNoTrust = errors.New("no trust root was loaded yet")
	// errRepeats is that the control plane sends only what was refused.
	errRepeats = errors.New("the control plane sends no pointer that can be relayed")
)

// boot loads what is kept and can be verified. An expired pointer is relayed too:
// what that means is for each daemon to decide.
func (m *Mirror) boot() error {
	data, err := os.ReadFile(m.disk.path(trustFile))
	if err == nil {
		if err = m.takeTrust(data); err != nil {
			m.log.Error("the kept trust roots cannot be used; they are fetched again", "error", err)
			return m.disk.setAside(trustFile)
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("reading the kept trust roots: %w", err)
	}
	if m.trust == nil {
		return nil // what is kept is no use without
	}
	kept, broken, err := m.disk.zones()
	if err != nil {
		return err
	}
	for _, raw := range kept {
		if len(m.cfg.Zones) > 0 && !slices.Contains(m.cfg.Zones, raw.ZoneID) {
			continue
		}
		p, _, err := m.trust.VerifySignedPointer(raw, m.cfg.Now())
		if err != nil && !errors.Is(err, bundle.ErrExpired) || p.Sequence != raw.Sequence {
			broken = append(broken, raw.ZoneID)
			continue
		}
		s := &signed{p, raw}
		m.pointers.accept(s)
		m.showNow(s)
	}
	for _, id := range broken {
		m.log.Error("a kept pointer cannot be used; it is fetched again", "zone", id)
		if err := m.disk.setAside(zoneDir, id+".json"); err != nil {
			return err
		}
	}
	return nil
}

// showNow tells daemons of a pointer, whether its bundle is there or not.
func (m *Mirror) showNow(s *signed) {
	if s.pointer.BundleSHA256 != "" {
		m.cache.name(s.pointer.BundleSHA256, s.pointer.ZoneID)
	}
	m.pointers.show(s)
}

// follow follows the control plane's pointers until ctx ends.
func (m *Mirror) follow(ctx context.Context) {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval, pause.Multiplier, pause.RandomizationFactor = m.cfg.RetryMin, m.cfg.RetryMax, 2, 0.5
	pause.Reset()
	for ctx.Err() == nil {
		err := m.poll(ctx)
		if ctx.Err() != nil {
			return
		}
		// A control plane that refuses the mirror's own token can still be asked
		// about those of daemons.
		reached := !errors.Is(err, errUnreachable)
		if m.connected.Swap(reached) != reached {
			m.log.Info("the connection to the control plane changed", "connected", reached)
		}
		if err == nil || errors.Is(err, errRepeats) {
			m.synced.Store(true)
		}
		if err == nil {
			pause.Reset()
			continue
		}
		m.metrics.pollsFailed.Add(ctx, 1)
		wait := pause.NextBackOff()
		m.log.Warn("watching the pointers failed", "error", err, "again_in", wait)
		again := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-again.C:
		}
		again.Stop()
	}
}

// poll makes one long poll and takes in what it answers. The first one after a
// failure does not wait, so that the mirror soon knows that it is connected.
func (m *Mirror) poll(ctx context.Context) error {
	if err := m.keepTrust(ctx); err != nil {
		return err
	}
	now := time.Now()
	wait := m.cfg.WatchWait
	if !m.connected.Load() {
		wait = 0
	}
	req := bundle.WatchRequest{Zones: bundle.AllZones()}
	var soonest time.Time
	if req.Have, soonest = m.pointers.have(now); !soonest.IsZero() {
		wait = min(wait, soonest.Sub(now)+time.Second) // the wire has whole seconds
	}
	req.WaitSeconds = int(wait / time.Second)
	if len(m.cfg.Zones) > 0 {
		last := make(map[string]int64, len(m.cfg.Zones))
		for _, id := range m.cfg.Zones {
			last[id] = -1
			if held, ok := req.Have[id]; ok {
				last[id] = held.Sequence
			}
		}
		var err error
		if req.Zones, err = bundle.SomeZones(last); err != nil {
			return err
		}
	}
	answer, err := m.up.watch(ctx, m.up.token, req)
	if err != nil {
		return err
	}
	progress := len(answer.Pointers) == 0
	for _, raw := range answer.Pointers {
		progress = m.take(ctx, raw) || progress
	}
	if !progress {
		return errRepeats
	}
	return nil
}

// take takes a signed pointer in where it is good, and tells whether it is news.
func (m *Mirror) take(ctx context.Context, raw bundle.SignedPointer) bool {
	if !bundle.ValidID(raw.ZoneID) || len(m.cfg.Zones) > 0 && !slices.Contains(m.cfg.Zones, raw.ZoneID) {
		m.log.Warn("the control plane sent a pointer of a zone that was not asked for", "zone", fmt.Sprintf("%.128q", raw.ZoneID))
		return false
	}
	p, err := m.verify(ctx, raw)
	if ctx.Err() != nil {
		return false
	}
	news := false
	if err == nil {
		var contradicts bool
		if news, contradicts = m.pointers.accept(&signed{p, raw}); contradicts {
			err = fmt.Errorf("%w: sequence %d contradicts what was verified before", bundle.ErrSignature, p.Sequence)
		}
	}
	if err != nil {
		m.metrics.refusedPointers.Add(ctx, 1)
		m.log.Error("a pointer was refused; daemons keep the one before", "zone", raw.ZoneID, "sequence", raw.Sequence, "error", err)
		m.pointers.refuse(raw, bundle.ClaimedIssue(raw.Pointer), time.Now().Add(m.cfg.RetryMax))
		return false
	}
	if news {
		m.filling.Go(func() { m.bring(ctx, raw.ZoneID) })
	}
	return news
}

// bring shows the accepted pointer of a zone to daemons, once its bundle is
// cached and it is kept. A bundle that no source gives in its time does not
// hold it back any longer: a daemon may have another way to it.
func (m *Mirror) bring(ctx context.Context, id string) {
	z := m.pointers.zone(id)
	z.showing.Lock()
	defer z.showing.Unlock()
	s := m.pointers.next(id)
	if s == nil || ctx.Err() != nil {
		return
	}
	if s.pointer.BundleSHA256 != "" {
		m.cache.name(s.pointer.BundleSHA256, id)
		m.places <- struct{}{}
		limited, cancel := context.WithTimeout(ctx, m.cfg.BundleTimeout*time.Duration(len(m.fetcher.Sources)))
		err := m.fill(limited, s.pointer.BundleSHA256, s.pointer.BundleSize)
		cancel()
		<-m.places
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			m.log.Warn("a bundle could not be cached yet; its pointer is relayed all the same", "zone", id, "bundle", s.pointer.BundleSHA256, "error", err)
		}
	}
	if err := m.disk.writeZone(s.raw); err != nil {
		m.log.Error("a pointer could not be kept; it is relayed all the same", "zone", id, "error", err)
	}
	m.showNow(s)
	m.metrics.relayed.Add(ctx, 1)
	m.log.Info("a pointer is relayed", "zone", id, "sequence", s.pointer.Sequence)
}

// fill makes sure that a bundle is cached.
func (m *Mirror) fill(ctx context.Context, sha256 string, size int64) error {
	if m.cache.has(sha256) {
		return nil
	}
	_, err := m.fetch(ctx, sha256, size)
	return err
}

// fetch gets a bundle from the sources and caches it. One that could not be
// cached is given all the same.
func (m *Mirror) fetch(ctx context.Context, sha256 string, size int64) ([]byte, error) {
	data, err := m.fetcher.Fetch(ctx, sha256, size)
	if err != nil {
		return nil, err
	}
	if err := m.cache.put(sha256, data); err != nil {
		m.log.Error("a bundle could not be cached", "bundle", sha256, "error", err)
	}
	return data, nil
}

// triedSource counts and logs how a source was left.
func (m *Mirror) triedSource(ctx context.Context, source distribution.Source, outcome string, err error) {
	m.metrics.fetched(ctx, source.Name(), outcome)
	if outcome == distribution.OutcomeWrong {
		m.log.Error("a bundle source gave wrong bytes", "source", source.Name(), "error", err)
	} else if err != nil {
		m.log.Warn("a bundle source failed", "source", source.Name(), "outcome", outcome, "error", err)
	}
}

// refill fetches the bundles of pointers that are shown without, now and then.
func (m *Mirror) refill(ctx context.Context) {
	tick := time.NewTicker(m.cfg.RetryMax)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		m.cache.forget()
		if !m.connected.Load() {
			continue
		}
		for _, s := range m.pointers.shown() {
			if s.pointer.BundleSHA256 == "" || s.pointer.BundleSize > m.cfg.CacheBytes || ctx.Err() != nil {
				continue
			}
			if err := m.fill(ctx, s.pointer.BundleSHA256, s.pointer.BundleSize); err != nil && ctx.Err() == nil {
				m.log.Warn("a bundle still cannot be cached", "zone", s.pointer.ZoneID, "bundle", s.pointer.BundleSHA256, "error", err)
			}
		}
	}
}

// verify checks a signed pointer. Where keys may have been rotated it looks for
// a newer trust root once.
func (m *Mirror) verify(ctx context.Context, raw bundle.SignedPointer) (bundle.Pointer, error) {
	p, err := m.verifyNow(raw)
	if errors.Is(err, bundle.ErrSignature) {
		if terr := m.refreshTrust(ctx); terr != nil {
			return p, errors.Join(err, terr)
		}
		p, err = m.verifyNow(raw)
	}
	return p, err
}

func (m *Mirror) verifyNow(raw bundle.SignedPointer) (bundle.Pointer, error) {
	m.trusting.Lock()
	trust := m.trust
	m.trusting.Unlock()
	if trust == nil {
		return bundle.Pointer{}, errNoTrust
	}
	p, _, err := trust.VerifySignedPointer(raw, m.cfg.Now())
	if err == nil && p.Sequence != raw.Sequence {
		err = fmt.Errorf("%w: the pointer has sequence %d, and came as %d", bundle.ErrSignature, p.Sequence, raw.Sequence)
	}
	return p, err
}

// keepTrust makes sure that there is a trust root, and asks for rotations now
// and then.
func (m *Mirror) keepTrust(ctx context.Context) error {
	m.trusting.Lock()
	none, due := m.trust == nil, time.Since(m.trustAsked) >= trustEvery
	m.trusting.Unlock()
	if !none && !due {
		return nil
	}
	err := m.refreshTrust(ctx)
	if err != nil && !none && ctx.Err() == nil {
		m.log.Warn("the trust roots could not be looked at", "error", err)
		return nil
	}
	return err
}

// refreshTrust fetches the trust roots, and keeps them where they follow ours.
func (m *Mirror) refreshTrust(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	m.trusting.Lock()
	m.trustAsked = time.Now()
	m.trusting.Unlock()
	_, data, err := m.up.do(ctx, http.MethodGet, "/v1/trust", m.up.token, nil, maxTrust)
	if err != nil {
		return fmt.Errorf("fetching the trust roots: %w", err)
	}
	if err := m.takeTrust(data); err != nil {
		return err
	}
	return m.disk.write(data, trustFile)
}

// takeTrust follows the trust roots of an answer of GET /v1/trust as far as they
// go, which must be at least as far as before.
func (m *Mirror) takeTrust(data []byte) error {
	trust, err := followRoots(data, m.cfg.TrustRoot, m.cfg.TrustRootSHA256)
	if err != nil {
		return err
	}
	m.trusting.Lock()
	defer m.trusting.Unlock()
	if m.trust != nil && trust.Version() < m.trust.Version() {
		return fmt.Errorf("%w: the trust roots end with version %d; there was %d", bundle.ErrSignature, trust.Version(), m.trust.Version())
	}
	m.trust, m.roots = trust, data
	return nil
}

// followRoots reads an answer of GET /v1/trust and follows the pinned root
// through it. sha256 pins where pinned is empty.
func followRoots(data []byte, pinned json.RawMessage, sha256 string) (*bundle.Trust, error) {
	var answer bundle.TrustResponse
	if err := json.Unmarshal(data, &answer); err != nil {
		return nil, fmt.Errorf("reading the trust roots: %w: %w", bundle.ErrFormat, err)
	}
	for _, root := range answer.Roots {
		if len(pinned) == 0 && bundle.SHA256Hex(root) == sha256 {
			pinned = root
		}
	}
	if len(pinned) == 0 {
		return nil, fmt.Errorf("%w: there is no trust root with the pinned hash %s", bundle.ErrSignature, sha256)
	}
	trust, err := bundle.LoadTrust(pinned)
	if err != nil {
		return nil, fmt.Errorf("the pinned trust root: %w", err)
	}
	return trust.UpdateAll(answer.Roots)
}
