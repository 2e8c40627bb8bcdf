// Package mirror is a relay between a control plane and the daemons of a site. To
// daemons it answers what they ask of a control plane: it relays the signed
// pointers, which it follows with one long poll for all of them, and caches the
// bundles on disk. Receipts and audit batches it passes on as they come, with the
// daemon's own token, and acknowledges nothing that the control plane did not.
//
// It goes on serving pointers and bundles while it is cut off from the control
// plane, and after a restart meanwhile.
//
// Daemons trust it with nothing but the tokens that pass through it: they verify
// every signature and hash themselves. A mirror can withhold, which the expiry of
// pointers bounds; it cannot forge. It verifies everything too, so that what is
// damaged or forged ends here.
package mirror

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/distribution"
)

// Mirror relays. Make one with New, serve its Handler and Run it.
type Mirror struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	// registered is the callback of the metrics.
	registered metric.Registration
	up         *upstream
	fetcher    *distribution.Fetcher
	disk       disk
	cache      *cache
	grants     *grants
	pointers   *pointers
	handler    http.Handler

	// trust and roots are nil until there is a trust root; guarded by trusting.
	trusting   sync.Mutex
	trust      *bundle.Trust
	roots      []byte // the answer of GET /v1/trust
	trustAsked time.Time

	// synced tells that the control plane was heard of since the start,
	// connected that it was when last asked.
	synced, connected atomic.Bool
	started           atomic.Bool
	// filling are the bundles being brought; places bounds them.
	filling sync.WaitGroup
	places  chan struct{}
}

// New prepares a mirror: it opens the state directory and loads what can be
// verified of it. Close it by running it, or with Close where it is not run.
func New(cfg Config) (_ *Mirror, err error) {
	if err := cfg.prepare(); err != nil {
		return nil, fmt.Errorf("mirror configuration: %w", err)
	}
	m := &Mirror{cfg: cfg, log: cfg.Logger, up: newUpstream(&cfg), pointers: newPointers(), places: make(chan struct{}, fillAtOnce)}
	m.fetcher = &distribution.Fetcher{
		Sources: append(append([]distribution.Source(nil), cfg.BundleSources...), upstreamSource{m.up}),
		Timeout: cfg.BundleTimeout, Tried: m.triedSource,
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Close())
		}
	}()
	var meter metric.Meter
	if m.metrics, meter, err = newMetrics(cfg.MeterProvider); err != nil {
		return nil, fmt.Errorf("making the metrics: %w", err)
	}
	if m.disk, err = openDisk(cfg.StateDir); err != nil {
		return nil, err
	}
	if m.cache, err = openCache(m.disk, cfg.CacheBytes, m.pointers.bundles, m.log, m.metrics); err != nil {
		return nil, err
	}
	if m.grants, err = openGrants(m); err != nil {
		return nil, err
	}
	if err := m.boot(); err != nil {
		return nil, err
	}
	if m.registered, err = m.observe(meter); err != nil {
		return nil, fmt.Errorf("making the metrics: %w", err)
	}
	m.handler = m.routes()
	return m, nil
}

// Handler answers daemons, and probes.
func (m *Mirror) Handler() http.Handler { return m.handler }

// Run follows the control plane until ctx ends, and then gives back what New
// took. It may be called once.
func (m *Mirror) Run(ctx context.Context) error {
	if !m.started.CompareAndSwap(false, true) {
		return errors.New("the mirror was run already")
	}
	var work sync.WaitGroup
	work.Go(func() { m.follow(ctx) })
	work.Go(func() { m.refill(ctx) })
	<-ctx.Done()
	m.pointers.stop()
	work.Wait()
	m.filling.Wait()
	return m.Close()
}

// Close gives back what New took. Run does it by itself.
func (m *Mirror) Close() error {
	var failed []error
	if m.registered != nil {
		failed = append(failed, m.registered.Unregister())
	}
	m.up.client.CloseIdleConnections()
	return errors.Join(append(failed, m.fetcher.Close())...)
}
