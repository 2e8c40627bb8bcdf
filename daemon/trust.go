package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/caracalai/caracald/bundle"
)

const (
	// maxTrust bounds the answer of GET /v1/trust, in bytes.
	maxTrust = 8 << 20
	// trustEvery is how often rotations are asked for when nothing calls for it.
	trustEvery = 5 * time.Minute
)

// pinnedRoot is the trust root that everything begins with: the configured one,
// or the one among those given that has the configured hash; nil where there is none.
func (c *Config) pinnedRoot(among []json.RawMessage) json.RawMessage {
	if len(c.TrustRoot) > 0 {
		return c.TrustRoot
	}
	for _, root := range among {
		if bundle.SHA256Hex(root) == c.TrustRootSHA256 {
			return root
		}
	}
	return nil
}

// bootTrust follows the pinned root through the rotations that are kept. It
// gives nil where the roots must be fetched before anything can be verified:
// only a hash is pinned and its root is not kept, or a kept rotation cannot be
// used, because a root that was left behind must not come back.
func (d *Daemon) bootTrust() (*bundle.Trust, error) {
	kept, err := d.state.roots()
	if err != nil {
		return nil, err
	}
	among := make([]json.RawMessage, len(kept))
	for i, k := range kept {
		among[i] = k.root
	}
	pinned := d.cfg.pinnedRoot(among)
	if pinned == nil {
		return nil, nil
	}
	trust, err := bundle.LoadTrust(pinned)
	if err != nil {
		return nil, fmt.Errorf("the pinned trust root: %w", err)
	}
	for _, k := range kept {
		next, err := trust.UpdateAll([]json.RawMessage{k.root})
		if err != nil {
			d.log.Error("a kept trust root does not follow the pinned one; the roots are fetched again", "file", k.name, "error", err)
			return nil, d.state.setAside(k.name)
		}
		trust = next
	}
	return trust, nil
}

// refreshTrust fetches the trust roots and follows them as far as they go. It
// tells whether the trust changed.
func (d *Daemon) refreshTrust(ctx context.Context) (bool, error) {
	d.trusting.Lock()
	defer d.trusting.Unlock()
	d.trustAsked = time.Now()
	data, err := d.up.get(ctx, "/v1/trust", maxTrust)
	if err != nil {
		return false, fmt.Errorf("fetching the trust roots: %w", err)
	}
	var answer bundle.TrustResponse
	if err := json.Unmarshal(data, &answer); err != nil {
		return false, fmt.Errorf("reading the trust roots: %w: %w", bundle.ErrFormat, err)
	}
	before := d.trust.Load()
	trust := before
	if trust == nil {
		pinned := d.cfg.pinnedRoot(answer.Roots)
		if pinned == nil {
			return false, fmt.Errorf("%w: the admin side has no trust root with the pinned hash %s", bundle.ErrSignature, d.cfg.TrustRootSHA256)
		}
		if trust, err = bundle.LoadTrust(pinned); err != nil {
			return false, fmt.Errorf("the pinned trust root: %w", err)
		}
		if err := d.state.write(rootName(trust.Version()), pinned); err != nil {
			return false, err
		}
	}
	var refused []error
	for _, root := range answer.Roots {
		next, err := trust.UpdateAll([]json.RawMessage{root})
		if err != nil {
			refused = append(refused, err)
			continue
		}
		if next.Version() == trust.Version() {
			continue
		}
		// Each step is kept, so that a start without the admin side can follow it too.
		if err := d.state.write(rootName(next.Version()), root); err != nil {
			return false, err
		}
		trust = next
	}
	if err := errors.Join(refused...); err != nil {
		d.log.Error("some of the admin side's trust roots do not follow ours", "version", trust.Version(), "error", err)
	}
	if before != nil && trust.Version() == before.Version() {
		return false, nil
	}
	d.trust.Store(trust)
	d.log.Info("the trust root is loaded", "version", trust.Version(), "expires", trust.Expires())
	return true, nil
}

// keepTrust makes sure that there is a trust root, and asks for rotations now and then.
func (d *Daemon) keepTrust(ctx context.Context) error {
	if d.trust.Load() == nil {
		if _, err := d.refreshTrust(ctx); err != nil {
			return err
		}
		return d.bootAll(ctx) // now what is kept can be verified
	}
	d.trusting.Lock()
	due := d.trustAsked.IsZero() || time.Since(d.trustAsked) >= trustEvery
	d.trusting.Unlock()
	if due {
		if _, err := d.refreshTrust(ctx); err != nil && ctx.Err() == nil {
			d.log.Warn("the trust roots could not be looked at", "error", err)
		}
	}
	return nil
}

// verify checks a signed pointer and its bundle's signature. Where keys may have
// been rotated it looks for a newer trust root once.
func (d *Daemon) verify(ctx context.Context, raw bundle.SignedPointer) (*signedPointer, error) {
	p, err := d.verifyNow(raw)
	if errors.Is(err, bundle.ErrSignature) || errors.Is(err, errTrustExpired) {
		changed, terr := d.refreshTrust(ctx)
		if terr != nil {
			return nil, errors.Join(err, terr)
		}
		if changed {
			p, err = d.verifyNow(raw)
		}
	}
	return p, err
}

var (
	errNoTrust      = errors.New("no trust root was loaded yet")
	errTrustExpired = errors.New("the trust root has expired")
)

// verifyNow checks by the trust root as it is. An expired pointer is refused
// here: an admin side that can be asked can also renew.
func (d *Daemon) verifyNow(raw bundle.SignedPointer) (*signedPointer, error) {
	trust := d.trust.Load()
	if trust == nil {
		return nil, errNoTrust
	}
	now := d.cfg.Now()
	if err := trust.CheckExpiry(now); err != nil {
		return nil, fmt.Errorf("%w: %w", errTrustExpired, err)
	}
	p, statement, err := trust.VerifySignedPointer(raw, now)
	if err != nil {
		return nil, err
	}
	return &signedPointer{p, &toLoad{statement: statement, raw: raw}}, nil
}
