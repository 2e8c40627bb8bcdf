package admin

import (
	"context"
	"errors"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/caracalai/caracald/distribution"
)

// metrics are the control plane's own instruments; those of HTTP come from otelhttp.
type metrics struct {
	writes    metric.Int64Counter
	watchers  metric.Int64UpDownCounter
	tails     metric.Int64UpDownCounter
	wakes     metric.Int64Counter
	moves     metric.Int64Counter
	receipts  metric.Int64Counter
	batches   metric.Int64Counter
	records   metric.Int64Counter
	duplicate metric.Int64Counter
	holes     metric.Int64Counter
	trimmed   metric.Int64Counter
	publishes metric.Int64Counter
	// These are observed.
	zones, leads, unpublished, conflicts atomic.Int64
}

func newMetrics(provider metric.MeterProvider) (*metrics, error) {
	m := provider.Meter("github.com/caracalai/caracald/admin")
	out := new(metrics)
	var failures []error
	counter := func(into *metric.Int64Counter, name, unit, description string) {
		made, err := m.Int64Counter(name, metric.WithDescription(description), metric.WithUnit(unit))
		*into, failures = made, append(failures, err)
	}
	level := func(into *metric.Int64UpDownCounter, name, unit, description string) {
		made, err := m.Int64UpDownCounter(name, metric.WithDescription(description), metric.WithUnit(unit))
		*into, failures = made, append(failures, err)
	}
	counter(&out.writes, "caracal.admin.writes", "{write}", "Writes that were committed, by operation.")
	level(&out.watchers, "caracal.admin.watchers", "{watcher}", "Long polls for pointers that are open.")
	level(&out.tails, "caracal.admin.audit.tails", "{client}", "Clients that follow the audit.")
	counter(&out.wakes, "caracal.admin.watch.wakes", "{wake}", "Long polls that were woken because a pointer moved.")
	counter(&out.moves, "caracal.admin.pointer.moves", "{pointer}", "Pointers that were seen to move or to be renewed.")
	counter(&out.receipts, "caracal.admin.receipts", "{receipt}", "Zones of daemons that report, by state; with every report each zone of the daemon counts, whether named or not.")
	counter(&out.batches, "caracal.admin.audit.batches", "{batch}", "Audit batches that came in, by outcome.")
	counter(&out.records, "caracal.admin.audit.records", "{record}", "Audit records that were stored.")
	counter(&out.duplicate, "caracal.admin.audit.duplicates", "{record}", "Audit records that came in again and were skipped.")
	counter(&out.holes, "caracal.admin.audit.holes", "{record}", "Audit records that never came in though later ones did.")
	counter(&out.trimmed, "caracal.admin.audit.trimmed", "{record}", "Audit records that were removed by retention.")
	counter(&out.publishes, "caracal.admin.bundle_store.publishes", "{bundle}", "Bundles that the object store was looked at for, by outcome: written, present, conflict or failed.")
	gauge := func(of *atomic.Int64, name, unit, description string) {
		_, err := m.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description),
			metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
				o.Observe(of.Load())
				return nil
			}))
		failures = append(failures, err)
	}
	gauge(&out.zones, "caracal.admin.zones", "{zone}", "Zones that have a pointer, archived ones included.")
	gauge(&out.leads, "caracal.admin.leads", "{replica}", "1 where this replica does the upkeep for all, 0 elsewhere.")
	gauge(&out.unpublished, "caracal.admin.bundle_store.pending", "{bundle}", "Bundles that are not known to be in the object store yet.")
	gauge(&out.conflicts, "caracal.admin.bundle_store.conflicts", "{bundle}", "Bundles under whose hash the object store has other bytes.")
	if err := errors.Join(failures...); err != nil {
		return nil, err
	}
	return out, nil
}

func (m *metrics) wrote(ctx context.Context, operation string) {
	m.writes.Add(ctx, 1, metric.WithAttributes(attribute.String("operation", operation)))
}

// moved counts a refresh of the hub.
func (m *metrics) moved(ctx context.Context, pointers, wakes int) {
	m.moves.Add(ctx, int64(pointers))
	m.wakes.Add(ctx, int64(wakes))
}

// received counts the zones of a daemon that reports.
func (m *metrics) received(ctx context.Context, state string, zones int) {
	if zones == 0 { // a state that no daemon was in is not there
		return
	}
	m.receipts.Add(ctx, int64(zones), metric.WithAttributes(attribute.String("state", state)))
}

func (m *metrics) batch(ctx context.Context, outcome string) {
	m.batches.Add(ctx, 1, metric.WithAttributes(attribute.String("outcome", outcome)))
}

// publish counts that the object store was looked at for a bundle.
func (m *metrics) publish(ctx context.Context, written bool, err error) {
	outcome := "present"
	switch {
	case errors.Is(err, distribution.ErrConflict):
		outcome = "conflict"
	case err != nil:
		outcome = "failed"
	case written:
		outcome = "written"
	}
	m.publishes.Add(ctx, 1, metric.WithAttributes(attribute.String("outcome", outcome)))
}
