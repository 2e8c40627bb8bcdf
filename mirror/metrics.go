package mirror

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// metrics are the mirror's own instruments; those of HTTP come from otelhttp.
type metrics struct {
	pollsFailed     metric.Int64Counter
	relayed         metric.Int64Counter
	refusedPointers metric.Int64Counter
	fetches         metric.Int64Counter
	bundles         metric.Int64Counter
	damaged         metric.Int64Counter
	passedOn        metric.Int64Counter
}

func newMetrics(provider metric.MeterProvider) (*metrics, metric.Meter, error) {
	m := provider.Meter("github.com/caracalai/caracald/mirror")
	var out metrics
	var failed []error
	for _, c := range []struct {
		into                    *metric.Int64Counter
		name, unit, description string
	}{
		{&out.pollsFailed, "caracal.mirror.watch_failures", "{poll}", "Long polls to the control plane that failed."},
		{&out.relayed, "caracal.mirror.pointers", "{pointer}", "Pointers taken in and relayed."},
		{&out.refusedPointers, "caracal.mirror.pointers_refused", "{pointer}", "Pointers that could not be verified."},
		{&out.fetches, "caracal.mirror.bundle_fetches", "{fetch}", "Tries to fetch a bundle, by source and outcome: fetched, missing, wrong_bytes, timeout or failed."},
		{&out.bundles, "caracal.mirror.bundle_requests", "{request}", "Bundles that daemons asked for, by result: hit, miss or passed_on."},
		{&out.damaged, "caracal.mirror.bundles_damaged", "{bundle}", "Cached bundles that did not have their hash any more."},
		{&out.passedOn, "caracal.mirror.passed_on", "{request}", "Receipts, audit batches and bundles passed on to the control plane, by the status it answered; 503 where it did not."},
	} {
		made, err := m.Int64Counter(c.name, metric.WithUnit(c.unit), metric.WithDescription(c.description))
		*c.into = made
		failed = append(failed, err)
	}
	return &out, m, errors.Join(failed...)
}

// observe registers what is read when it is asked for.
func (m *Mirror) observe(meter metric.Meter) (metric.Registration, error) {
	var failed []error
	gauge := func(name, unit, description string) metric.Int64ObservableGauge {
		g, err := meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
		failed = append(failed, err)
		return g
	}
	connected := gauge("caracal.mirror.connected", "{connection}", "1 while the control plane answers, 0 while the mirror is cut off.")
	watchers := gauge("caracal.mirror.watchers", "{watcher}", "Long polls of daemons that are open.")
	zones := gauge("caracal.mirror.zones", "{zone}", "Zones that are relayed.")
	tokens := gauge("caracal.mirror.tokens", "{token}", "Tokens of daemons that are accepted.")
	bundles := gauge("caracal.mirror.cache_bundles", "{bundle}", "Bundles in the cache.")
	size := gauge("caracal.mirror.cache_size", "By", "Bytes of the bundles in the cache.")
	age, err := meter.Float64ObservableGauge("caracal.mirror.pointer_age", metric.WithUnit("s"), metric.WithDescription("Time since the relayed pointer was issued, by zone."))
	failed = append(failed, err)
	if err := errors.Join(failed...); err != nil {
		return nil, err
	}
	return meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		up := int64(0)
		if m.connected.Load() {
			up = 1
		}
		o.ObserveInt64(connected, up)
		o.ObserveInt64(watchers, int64(m.pointers.waiting()))
		o.ObserveInt64(zones, int64(m.pointers.count()))
		o.ObserveInt64(tokens, int64(m.grants.count()))
		files, bytes := m.cache.stats()
		o.ObserveInt64(bundles, int64(files))
		o.ObserveInt64(size, bytes)
		now := m.cfg.Now()
		for _, s := range m.pointers.shown() {
			o.ObserveFloat64(age, now.Sub(s.pointer.IssuedAt).Seconds(), metric.WithAttributes(attribute.String("zone", s.pointer.ZoneID)))
		}
		return nil
	}, connected, watchers, zones, tokens, bundles, size, age)
}

func (m *metrics) fetched(ctx context.Context, source, outcome string) {
	m.fetches.Add(ctx, 1, metric.WithAttributes(attribute.String("source", source), attribute.String("outcome", outcome)))
}

func (m *metrics) bundle(ctx context.Context, result string) {
	m.bundles.Add(ctx, 1, metric.WithAttributes(attribute.String("result", result)))
}

func (m *metrics) passed(ctx context.Context, status int) {
	m.passedOn.Add(ctx, 1, metric.WithAttributes(attribute.Int("status", status)))
}
