// Package telemetry sets up how a process is observed: OpenTelemetry metrics
// and traces, Prometheus at /metrics, OTLP where the usual OTEL_ variables ask
// for it, W3C trace context, and structured logs.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/attribute"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/exemplar"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// Telemetry is the set-up of one process. Stop flushes it.
type Telemetry struct {
	Meters  *metric.MeterProvider
	Tracers *trace.TracerProvider
	// Resource describes the process to whoever is sent its telemetry.
	Resource *resource.Resource
	// Metrics answers a Prometheus scrape.
	Metrics http.Handler
	// Propagator reads and writes W3C trace context and baggage.
	Propagator propagation.TextMapPropagator
}

// Start sets telemetry up for a service. Metrics can always be scraped from
// Metrics. Metrics and traces are pushed too when OTEL_METRICS_EXPORTER,
// OTEL_TRACES_EXPORTER or an OTEL_EXPORTER_OTLP_ENDPOINT variable says where.
func Start(ctx context.Context, service, version string) (*Telemetry, error) {
	res, err := resource.New(ctx,
		resource.WithAttributes(semconv.ServiceName(service), semconv.ServiceVersion(version)),
		resource.WithFromEnv(), resource.WithTelemetrySDK(), resource.WithHost())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return nil, fmt.Errorf("describing the process: %w", err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	scrape, err := otelprom.New(otelprom.WithRegisterer(registry))
	if err != nil {
		return nil, fmt.Errorf("setting up the Prometheus exporter: %w", err)
	}
	// The host that a caller names is the caller's choice: a label of it would let
	// anybody make series without end.
	unbounded := metric.NewView(metric.Instrument{Name: "http.server.*"},
		metric.Stream{AttributeFilter: attribute.NewDenyKeysFilter("server.address", "server.port")})
	// All other labels take what the process itself knows: its zones, codes and
	// sources. By default the SDK would put all but the first 2,000 series of an
	// instrument together, and the decisions of a thousand zones have more.
	meterOptions := []metric.Option{metric.WithResource(res), metric.WithReader(scrape), metric.WithView(unbounded), metric.WithCardinalityLimit(0)}
	if pushes("METRICS") {
		reader, err := autoexport.NewMetricReader(ctx)
		if err != nil {
			return nil, fmt.Errorf("setting up the metrics exporter: %w", err)
		}
		meterOptions = append(meterOptions, metric.WithReader(reader))
	}
	// Exemplars lead from a figure to a trace; where no trace is exported they
	// would be room taken in every series, and a step of every measurement.
	if !pushes("TRACES") {
		meterOptions = append(meterOptions, metric.WithExemplarFilter(exemplar.AlwaysOffFilter))
	}
	tracerOptions := []trace.TracerProviderOption{trace.WithResource(res)}
	if pushes("TRACES") {
		exporter, err := autoexport.NewSpanExporter(ctx)
		if err != nil {
			return nil, fmt.Errorf("setting up the traces exporter: %w", err)
		}
		tracerOptions = append(tracerOptions, trace.WithBatcher(exporter))
	}
	return &Telemetry{
		Meters:     metric.NewMeterProvider(meterOptions...),
		Tracers:    trace.NewTracerProvider(tracerOptions...),
		Resource:   res,
		Metrics:    promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
		Propagator: propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}),
	}, nil
}

// pushes tells whether the environment asks for a signal to be exported. By
// OpenTelemetry's rules OTLP would be tried by default; a daemon that nobody
// gave a collector must not fill its log with refused connections.
func pushes(signal string) bool {
	for _, name := range []string{"OTEL_" + signal + "_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_" + signal + "_ENDPOINT"} {
		if os.Getenv(name) != "" {
			return true
		}
	}
	return false
}

// Stop exports what is left. ctx bounds the time that takes.
func (t *Telemetry) Stop(ctx context.Context) error {
	return errors.Join(t.Tracers.Shutdown(ctx), t.Meters.Shutdown(ctx))
}

// NewLogger makes a logger of a level (debug, info, warn, error) and a format
// (text, json). The error names what cannot be used.
func NewLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log-level: %q is not debug, info, warn or error", level)
	}
	o := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, fmt.Errorf("log-format: %q is not text or json", format)
}
