// Package daemon is the STS side: it follows the signed pointers of its zones,
// verifies and compiles what they name, swaps it in atomically, answers
// decisions on localhost, and ships the audit records of its answers.
//
// It fails closed: it answers only from what it has verified, and nothing that
// goes wrong makes an allow.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/cache"
	"github.com/caracalai/caracald/distribution"
	"github.com/caracalai/caracald/policy"
)

// Daemon answers decisions. Make one with New, and Run it.
type Daemon struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	// elsewhere counts decisions of zones that are not served, whatever callers name
	// them, so that callers cannot make series without end.
	elsewhere outcomes
	vitals    *vitals
	tracer    trace.Tracer
	up        *upstream
	fetcher   *distribution.Fetcher
	state     state
	id        string
	maskKey   []byte
	spool     *audit.Spool
	sink      audit.Sink
	library   policy.Library
	cache     *cache.Cache[*policy.Answer]
	// registered is the callback of the metrics.
	registered metric.Registration
	server     *server

	// zones is replaced, never changed: requests read it without a lock.
	zones  atomic.Pointer[map[string]*zone]
	adding sync.Mutex

	trust      atomic.Pointer[bundle.Trust]
	trusting   sync.Mutex
	trustAsked time.Time // guarded by trusting
	generation atomic.Uint64

	// serving lives as long as requests are answered, background as long as
	// pointers are followed.
	serving     context.Context
	stopServing context.CancelFunc
	background  context.Context
	loads       sync.WaitGroup
	acked       acknowledged // what the admin side has of the zones; only report touches it
	// compiling has room for as many as may compile at once.
	compiling chan struct{}
	reportNow chan struct{}
	cleanNow  chan struct{}
	cleaning  sync.Mutex

	// booted tells that what is kept was looked at.
	booted atomic.Bool
	// asked tells that the admin side was asked, synced that it answered.
	asked, synced atomic.Bool
	isReady       atomic.Bool
	ready         chan struct{}
	readyOnce     sync.Once
	// oldest is when the first record of the batch that is shipped occurred, in
	// Unix nanoseconds.
	oldest atomic.Int64
	// unkept tells that records cannot be kept, so that it is logged once.
	unkept atomic.Bool
}

// New prepares a daemon: it opens the state directory and the spool, loads what
// can be verified without the admin side, and opens the listeners. Close it by
// running it, or with Close where it is not run.
func New(cfg Config) (_ *Daemon, err error) {
	if err := cfg.prepare(); err != nil {
		return nil, fmt.Errorf("daemon configuration: %w", err)
	}
	d := &Daemon{
		cfg: cfg, log: cfg.Logger, tracer: cfg.TracerProvider.Tracer("github.com/caracalai/caracald/daemon"),
		up: newUpstream(&cfg), reportNow: make(chan struct{}, 1), cleanNow: make(chan struct{}, 1), ready: make(chan struct{}),
		compiling: make(chan struct{}, runtime.GOMAXPROCS(0)),
	}
	d.vitals = newVitals(cfg.Now())
	d.fetcher = d.newFetcher()
	if d.sink = cfg.AuditSink; d.sink == nil {
		d.sink = &adminSink{up: d.up}
	}
	d.serving, d.stopServing = context.WithCancel(context.Background())
	d.zones.Store(&map[string]*zone{})
	for _, id := range cfg.Zones {
		d.zone(id)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	m, meter, err := newMetrics(cfg.MeterProvider)
	if err != nil {
		return nil, fmt.Errorf("making the metrics: %w", err)
	}
	d.metrics = m
	if d.state, err = openState(cfg.StateDir, cfg.Logger); err != nil {
		return nil, err
	}
	// The spool's lock keeps a second daemon out of the whole directory.
	d.spool, err = audit.OpenSpool(audit.SpoolOptions{
		Dir: filepath.Join(cfg.StateDir, "spool"), MaxBytes: cfg.SpoolMaxBytes, Durability: cfg.SpoolDurability, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("opening the audit spool: %w", err)
	}
	if err := d.state.sweep(); err != nil {
		return nil, err
	}
	if d.id, err = d.state.daemonID(); err != nil {
		return nil, err
	}
	if d.maskKey, err = d.state.maskKey(); err != nil {
		return nil, err
	}
	if d.cache, err = cache.New[*policy.Answer](cache.Options{MaxBytes: cfg.CacheBytes}); err != nil {
		return nil, fmt.Errorf("making the cache: %w", err)
	}
	trust, err := d.bootTrust()
	if err != nil {
		return nil, err
	}
	if trust != nil {
		d.trust.Store(trust)
		if err := d.bootAll(d.serving); err != nil {
			return nil, err
		}
	}
	if err := d.observe(meter); err != nil {
		return nil, fmt.Errorf("making the metrics: %w", err)
	}
	if d.server, err = d.listen(); err != nil {
		return nil, err
	}
	return d, nil
}

// Run serves until ctx ends, and then stops in order: no new requests, those
// under way are answered, audit is shipped; each for a bounded time. It gives
// back what New took, so a daemon runs once.
func (d *Daemon) Run(ctx context.Context) error {
	background, cancel := context.WithCancel(ctx)
	defer cancel()
	d.background = background
	if d.cfg.Unaudited {
		d.log.Error("decisions are answered without audit records: this is for measurements only")
	}
	d.checkReady()
	d.cleanSoon()
	var work sync.WaitGroup
	work.Go(func() { d.watch(background) })
	work.Go(func() { d.report(background) })
	work.Go(func() { d.clean(background) })
	shipping, stopShipping := context.WithCancel(context.WithoutCancel(ctx))
	defer stopShipping()
	shipped := make(chan struct{})
	go func() {
		defer close(shipped)
		d.ship(shipping)
	}()
	failed := d.server.start()
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	err = errors.Join(err, d.server.stop(d.cfg.DrainTimeout))
	cancel()
	work.Wait()
	d.loads.Wait()
	stopShipping()
	<-shipped
	return errors.Join(err, d.Close())
}

// Close gives back what New took. Run does it by itself.
func (d *Daemon) Close() error {
	d.stopServing()
	var failed []error
	if d.server != nil {
		failed = append(failed, d.server.close())
	}
	if d.registered != nil {
		failed = append(failed, d.registered.Unregister())
	}
	if d.spool != nil {
		failed = append(failed, d.spool.Close())
	}
	d.cache.Close()
	d.up.client.CloseIdleConnections()
	failed = append(failed, d.fetcher.Close())
	return errors.Join(failed...)
}

// Ready is closed once the daemon is ready: every configured zone is loaded or
// known to be empty; without configured zones, once the admin side told which
// there are and each is loaded, or, while the admin side is away, once those
// that were kept are. A daemon that is ready stays it: its zones go on serving
// what they have.
func (d *Daemon) Ready() <-chan struct{} { return d.ready }

// Addr is the TCP address of the decision API, nil where there is none.
func (d *Daemon) Addr() net.Addr { return d.server.addr() }

// SocketPath is the path of the decision API's Unix socket, "" where there is none.
func (d *Daemon) SocketPath() string { return d.cfg.DecideSocket }

// ID is the id under which the admin side knows the daemon.
func (d *Daemon) ID() string { return d.id }

// serves tells whether a zone is among those to serve.
func (d *Daemon) serves(id string) bool {
	return len(d.cfg.Zones) == 0 || slices.Contains(d.cfg.Zones, id)
}

// zone gives the zone of an id, and makes it when it is new.
func (d *Daemon) zone(id string) *zone {
	d.adding.Lock()
	defer d.adding.Unlock()
	all := *d.zones.Load()
	if z, ok := all[id]; ok {
		return z
	}
	more := maps.Clone(all)
	z := newZone(id)
	more[id] = z
	d.zones.Store(&more)
	return z
}

// checkReady works out whether the daemon is ready.
func (d *Daemon) checkReady() {
	if d.isReady.Load() {
		return
	}
	all := *d.zones.Load()
	for _, z := range all {
		if z.current.Load() == nil {
			return
		}
	}
	if len(d.cfg.Zones) == 0 && !d.synced.Load() && (!d.asked.Load() || len(all) == 0) {
		return
	}
	d.isReady.Store(true)
	d.readyOnce.Do(func() { close(d.ready) })
	d.reportSoon()
}
