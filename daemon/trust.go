package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/caracalai/caracald/bundle"
)

// maxTrust bounds the answer of GET /v1/trust.
const maxTrust = 8 << 20

// bootTrust loads the pinned root and follows the rotations that are kept. It
// gives nil where only a hash is pinned and the root is not kept yet.
func (d *Daemon) bootTrust() (*bundle.Trust, error) {
	kept, err := d.state.roots()
	if err != nil {
		return nil, err
	}
	pinned := d.cfg.TrustRoot
	if len(pinned) == 0 {
		for _, root := range kept {
			if bundle.SHA256Hex(root) == d.cfg.TrustRootSHA256 {
				pinned = root
			}
		}
		if len(pinned) == 0 {
			return nil, nil
		}
	}
	trust, err := bundle.LoadTrust(pinned)
	if err != nil {
		return nil, fmt.Errorf("the pinned trust root: %w", err)
	}
	newer, err := trust.UpdateAll(kept)
	if err != nil {
		// What is pinned still holds; the rotations come again from the admin side.
		d.log.Error("the kept trust roots do not follow the pinned one", "error", err)
		return trust, nil
	}
	return newer, nil
}

// refreshTrust fetches the trust roots and follows them. It tells whether the
// trust changed.
func (d *Daemon) refreshTrust(ctx context.Context) (bool, error) {
	d.trusting.Lock()
	defer d.trusting.Unlock()
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
		for _, root := range answer.Roots {
			if bundle.SHA256Hex(root) != d.cfg.TrustRootSHA256 {
				continue
			}
			if trust, err = bundle.LoadTrust(root); err != nil {
				return false, fmt.Errorf("the pinned trust root: %w", err)
			}
			if err := d.state.write(rootName(trust.Version()), root); err != nil {
				return false, err
			}
		}
		if trust == nil {
			return false, fmt.Errorf("%w: the admin side has no trust root with the pinned hash %s", bundle.ErrSignature, d.cfg.TrustRootSHA256)
		}
	}
	newer, err := trust.UpdateAll(answer.Roots)
	if err != nil {
		d.log.Error("the admin side's trust roots do not follow ours", "version", trust.Version(), "error", err)
		newer = trust
	}
	// Each step is kept, so that a start without the admin side can follow them too.
	step := trust
	for _, root := range answer.Roots {
		next, uerr := step.Update(root)
		if uerr != nil {
			continue
		}
		if err := d.state.write(rootName(next.Version()), root); err != nil {
			return false, err
		}
		step = next
	}
	if before != nil && newer.Version() == before.Version() {
		return false, err
	}
	d.trust.Store(newer)
	d.log.Info("the trust root is loaded", "version", newer.Version(), "expires", newer.Expires())
	return true, nil
}

// verify checks a signed pointer and its bundle's signature. Where keys may have
// been rotated it looks for a newer trust root once.
func (d *Daemon) verify(ctx context.Context, raw bundle.SignedPointer) (*signedPointer, error) {
	p, err := d.verifyNow(raw)
	if err != nil && (errors.Is(err, bundle.ErrSignature) || errors.Is(err, errNoTrust)) {
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

var errNoTrust = errors.New("no trust root was loaded yet")

// verifyNow checks by the trust root as it is. An expired pointer is refused
// here: an admin side that can be asked can also renew.
func (d *Daemon) verifyNow(raw bundle.SignedPointer) (*signedPointer, error) {
	trust := d.trust.Load()
	if trust == nil {
		return nil, errNoTrust
	}
	now := d.cfg.Now()
	if err := trust.CheckExpiry(now); err != nil {
		return nil, err
	}
	p, err := trust.VerifyPointer(raw.Pointer, now)
	if err != nil {
		return nil, err
	}
	return complete(trust, p, raw)
}

// complete checks that a verified pointer is for the zone that it came as, and
// that the bundle's signature is for the bundle that it names.
func complete(trust *bundle.Trust, p bundle.Pointer, raw bundle.SignedPointer) (*signedPointer, error) {
	if p.ZoneID != raw.ZoneID {
		return nil, fmt.Errorf("%w: the pointer is of zone %q, not %q", bundle.ErrSignature, p.ZoneID, raw.ZoneID)
	}
	sp := &signedPointer{pointer: p, raw: raw}
	if p.PolicySetVersionID == nil {
		return sp, nil
	}
	s, err := trust.VerifyStatement(raw.Bundle)
	if err != nil {
		return nil, err
	}
	if s.BundleSHA256 != p.BundleSHA256 || s.ManifestSHA256 != p.ManifestSHA256 || s.BundleSize != p.BundleSize {
		return nil, fmt.Errorf("%w: the bundle's signature is for another bundle than the pointer names", bundle.ErrHash)
	}
	sp.statement = s
	return sp, nil
}
