package daemon

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/caracalai/caracald/policy"
)

// metrics are the daemon's instruments.
type metrics struct {
	latency       metric.Float64Histogram
	refusals      metric.Int64Counter
	loads         metric.Float64Histogram
	swaps         metric.Float64Histogram
	compiles      metric.Float64Histogram
	loadFailures  metric.Int64Counter
	watchFailures metric.Int64Counter
	fetches       metric.Int64Counter
	badPointers   metric.Int64Counter
	shippedCount  metric.Int64Counter
	shippedBytes  metric.Int64Counter
	shipFailures  metric.Int64Counter
}

// decisionBounds are the histogram's buckets, in seconds: a decision takes
// microseconds, a durable record milliseconds.
var decisionBounds = []float64{10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 1}

func newMetrics(provider metric.MeterProvider) (*metrics, metric.Meter, error) {
	m := provider.Meter("github.com/caracalai/caracald/daemon")
	var out metrics
	var failed []error
	counter := func(into *metric.Int64Counter, name, unit, description string) {
		c, err := m.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
		*into = c
		failed = append(failed, err)
	}
	histogram := func(into *metric.Float64Histogram, name, description string, bounds ...float64) {
		h, err := m.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description), metric.WithExplicitBucketBoundaries(bounds...))
		*into = h
		failed = append(failed, err)
	}
	counter(&out.refusals, "caracal.daemon.refusals", "{request}", "Requests refused without a decision, by code.")
	counter(&out.loadFailures, "caracal.daemon.load_failures", "{load}", "Versions that could not be loaded, by zone.")
	counter(&out.fetches, "caracal.daemon.bundle_fetches", "{fetch}", "Tries to fetch a bundle, by source and outcome: fetched, missing, wrong_bytes, timeout or failed.")
	counter(&out.watchFailures, "caracal.daemon.watch_failures", "{poll}", "Long polls that failed.")
	counter(&out.badPointers, "caracal.daemon.pointers_refused", "{pointer}", "Pointers that could not be verified, by zone.")
	counter(&out.shippedCount, "caracal.daemon.audit_shipped", "{record}", "Audit records that the sink has taken, by sink.")
	counter(&out.shippedBytes, "caracal.daemon.audit_shipped_bytes", "By", "Bytes sent or written of shipped batches, by sink.")
	counter(&out.shipFailures, "caracal.daemon.audit_ship_failures", "{attempt}", "Batches that could not be handed to the sink and are tried again, by sink.")
	histogram(&out.latency, "caracal.daemon.decision_duration", "Time from an input to its answer, its durable record included.", decisionBounds...)
	histogram(&out.loads, "caracal.daemon.load_duration", "Time to verify, compile and swap a pointer in.", 1e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1, 5)
	histogram(&out.compiles, "caracal.daemon.compile_duration", "Time to compile the policies of a version.", 1e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1, 5)
	histogram(&out.swaps, "caracal.daemon.swap_duration", "Time of the swap alone.", 1e-6, 5e-6, 10e-6, 50e-6, 100e-6, 1e-3)
	return &out, m, errors.Join(failed...)
}

// observe registers what is read when it is asked for.
func (d *Daemon) observe(m metric.Meter) error {
	var failed []error
	gauge := func(name, unit, description string) metric.Int64ObservableGauge {
		g, err := m.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
		failed = append(failed, err)
		return g
	}
	counter := func(name, unit, description string) metric.Int64ObservableCounter {
		c, err := m.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
		failed = append(failed, err)
		return c
	}
	depth := gauge("caracal.daemon.spool_depth", "{record}", "Audit records that are not shipped yet.")
	size := gauge("caracal.daemon.spool_size", "By", "Bytes of the audit spool.")
	gaps := counter("caracal.daemon.audit_gaps", "{record}", "Records that could not be kept.")
	hits := counter("caracal.daemon.cache_hits", "{lookup}", "Decisions answered from the cache.")
	misses := counter("caracal.daemon.cache_misses", "{lookup}", "Decisions that the cache was asked for and did not have. Those of policies that decide as soon as it could are in neither count.")
	// These are counted by the zones, at once and in less room than by an instrument.
	decisions := counter("caracal.daemon.decisions", "{decision}", "Decisions answered, by zone, decision and evaluation status.")
	pointers := counter("caracal.daemon.pointers", "{pointer}", "New pointers taken in, by zone.")
	sequence := gauge("caracal.daemon.pointer_sequence", "{sequence}", "Sequence of the pointer that is served, by zone.")
	interpreted := gauge("caracal.daemon.zone_interpreted", "1", "1 where OPA's evaluator evaluates the zone's policies, by zone.")
	age, err := m.Float64ObservableGauge("caracal.daemon.pointer_age", metric.WithUnit("s"), metric.WithDescription("Time since the served pointer was issued, by zone."))
	failed = append(failed, err)
	lag, err := m.Float64ObservableGauge("caracal.daemon.audit_lag", metric.WithUnit("s"), metric.WithDescription("Age of the oldest audit record that the sink has not taken, 0 where it has all."))
	failed = append(failed, err)
	if err := errors.Join(failed...); err != nil {
		return err
	}
	d.registered, err = m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s := d.spool.Stats()
		o.ObserveInt64(depth, int64(s.Depth))
		o.ObserveInt64(size, s.Bytes)
		o.ObserveInt64(gaps, int64(s.Gaps))
		c := d.cache.Stats()
		o.ObserveInt64(hits, int64(c.Hits))
		o.ObserveInt64(misses, int64(c.Misses))
		now := d.cfg.Now()
		behind := 0.0
		if oldest := d.oldest.Load(); s.Depth > 0 && oldest > 0 {
			behind = max(0, now.Sub(time.Unix(0, oldest)).Seconds())
		}
		o.ObserveFloat64(lag, behind)
		d.elsewhere.observe(o, decisions)
		for _, z := range *d.zones.Load() {
			z.outcomes.observe(o, decisions)
			of := metric.WithAttributes(attribute.String("zone", z.id))
			if n := z.pointers.Load(); n > 0 {
				o.ObserveInt64(pointers, n, of)
			}
			if snap := z.current.Load(); snap != nil {
				o.ObserveInt64(sequence, snap.pointer.Sequence, of)
				slow := int64(0)
				if snap.set != nil && snap.set.Interpreted() != nil {
					slow = 1
				}
				o.ObserveInt64(interpreted, slow, of)
				o.ObserveFloat64(age, now.Sub(snap.pointer.IssuedAt).Seconds(), of)
			}
		}
		return nil
	}, depth, size, gaps, hits, misses, decisions, pointers, sequence, interpreted, age, lag)
	return err
}

// outcomes counts a zone's decisions, by decision and evaluation status. Each counter
// is made when it is needed first: counting one more allocates nothing, and a
// zone does not take room for what never comes of it.
type outcomes struct {
	zone string
	made [2 * statuses]atomic.Pointer[counted]
}

// statuses is how many evaluation statuses there are.
const statuses = 3

// counted is how often there was one outcome, with its labels as instruments take them.
type counted struct {
	n    atomic.Int64
	of   metric.MeasurementOption
	time [1]metric.RecordOption
}

// observe tells an instrument the counts.
func (o *outcomes) observe(to metric.Observer, decisions metric.Int64Observable) {
	for i := range o.made {
		if c := o.made[i].Load(); c != nil {
			to.ObserveInt64(decisions, c.n.Load(), c.of)
		}
	}
}

func (o *outcomes) counted(decision, status string) *counted {
	i := 0
	switch status {
	case policy.StatusPartial:
		i = 1
	case policy.StatusError:
		i = 2
	}
	if decision == policy.Allow {
		i += statuses
	}
	c := o.made[i].Load()
	if c == nil {
		of := metric.WithAttributeSet(attribute.NewSet(
			attribute.String("zone", o.zone), attribute.String("decision", decision), attribute.String("status", status)))
		o.made[i].CompareAndSwap(nil, &counted{of: of, time: [1]metric.RecordOption{of}})
		c = o.made[i].Load()
	}
	return c
}

func (m *metrics) decided(ctx context.Context, as *counted, took time.Duration) {
	as.n.Add(1)
	m.latency.Record(ctx, took.Seconds(), as.time[:]...)
}

func (m *metrics) refused(ctx context.Context, code string) {
	m.refusals.Add(ctx, 1, metric.WithAttributes(attribute.String("code", code)))
}

// loaded and compiled do not say of which zone: the log and the trace of each load
// do, and a thousand zones would make forty thousand series of it.
func (m *metrics) loaded(ctx context.Context, took, swap time.Duration) {
	m.loads.Record(ctx, took.Seconds())
	m.swaps.Record(ctx, swap.Seconds())
}

func (m *metrics) compiled(ctx context.Context, took time.Duration) {
	m.compiles.Record(ctx, took.Seconds())
}

func (m *metrics) pointerRefused(ctx context.Context, zone string) {
	m.badPointers.Add(ctx, 1, metric.WithAttributes(attribute.String("zone", zone)))
}

func (m *metrics) loadFailed(ctx context.Context, zone string) {
	m.loadFailures.Add(ctx, 1, metric.WithAttributes(attribute.String("zone", zone)))
}

func (m *metrics) fetched(ctx context.Context, source, outcome string) {
	m.fetches.Add(ctx, 1, metric.WithAttributes(attribute.String("source", source), attribute.String("outcome", outcome)))
}

func (m *metrics) watchFailed(ctx context.Context) { m.watchFailures.Add(ctx, 1) }

func (m *metrics) shipped(ctx context.Context, sink string, records, bytes int) {
	of := metric.WithAttributes(attribute.String("sink", sink))
	m.shippedCount.Add(ctx, int64(records), of)
	m.shippedBytes.Add(ctx, int64(bytes), of)
}

func (m *metrics) shipFailed(ctx context.Context, sink string) {
	m.shipFailures.Add(ctx, 1, metric.WithAttributes(attribute.String("sink", sink)))
}
