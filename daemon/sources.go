package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/distribution"
)

// newFetcher tries the configured sources in order, and the admin side where it
// stands among them, otherwise last.
func (d *Daemon) newFetcher() *distribution.Fetcher {
	sources := slices.Clone(d.cfg.BundleSources)
	if !slices.Contains(sources, nil) {
		sources = append(sources, nil)
	}
	for i, s := range sources {
		if s == nil {
			sources[i] = adminSource{d.up}
		}
	}
	return &distribution.Fetcher{Sources: sources, Timeout: d.cfg.BundleTimeout, Tried: d.triedSource}
}

// triedSource counts and logs how a source was left.
func (d *Daemon) triedSource(ctx context.Context, source distribution.Source, outcome string, err error) {
	d.metrics.fetched(ctx, source.Name(), outcome)
	switch outcome {
	case distribution.OutcomeFetched:
		d.log.Debug("a bundle is fetched", "source", source.Name())
	case distribution.OutcomeMissing: // it may only be published a little later
		d.log.Info("a bundle source does not have a bundle; the next is tried", "source", source.Name(), "error", err)
	case distribution.OutcomeWrong:
		d.log.Error("a bundle source gave wrong bytes; the next is tried", "source", source.Name(), "error", err)
	default:
		d.log.Warn("a bundle source failed; the next is tried", "source", source.Name(), "outcome", outcome, "error", err)
	}
}

// adminSource is the admin side as a source of bundles.
type adminSource struct{ up *upstream }

func (a adminSource) Name() string { return "admin" }

// Get asks the admin side's addresses. One that has other bytes under the hash
// makes way for the next.
func (a adminSource) Get(ctx context.Context, sha256 string, size int64) (data []byte, err error) {
	for range a.up.urls {
		data, err = a.up.get(ctx, "/v1/bundles/"+sha256, size)
		switch {
		case err == nil:
			if err = distribution.Verify(data, sha256); err == nil {
				return data, nil
			}
		case errors.Is(err, errTooLong):
			err = fmt.Errorf("%w: %w", bundle.ErrHash, err)
		case transient(err):
			return nil, err
		}
		a.up.rotate()
	}
	return nil, err
}

// Close does nothing: the daemon closes what it shares with its other calls.
func (a adminSource) Close() error { return nil }
