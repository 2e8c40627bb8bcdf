package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/caracalai/caracald/telemetry"
)

func TestMetricsCanBeScraped(t *testing.T) {
	observed, err := telemetry.Start(t.Context(), "probe", "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	counter, err := observed.Meters.Meter("test").Int64Counter("caracal.test.things")
	if err != nil {
		t.Fatal(err)
	}
	counter.Add(t.Context(), 3)
	w := httptest.NewRecorder()
	observed.Metrics.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{"caracal_test_things_total", "} 3", `service_name="probe"`, "go_goroutines"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("the scrape lacks %q", want)
		}
	}
	if err := observed.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// The name under which a caller calls makes no series.
func TestCallersMakeNoSeries(t *testing.T) {
	observed, err := telemetry.Start(t.Context(), "probe", "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	handler := otelhttp.NewHandler(http.NotFoundHandler(), "probe", otelhttp.WithMeterProvider(observed.Meters))
	for _, host := range []string{"one.example:1", "two.example:2"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = host
		handler.ServeHTTP(httptest.NewRecorder(), r)
	}
	w := httptest.NewRecorder()
	observed.Metrics.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if n := strings.Count(w.Body.String(), "\nhttp_server_request_duration_seconds_count{"); n != 1 {
		t.Errorf("calls of two hosts make %d series, not 1:\n%s", n, w.Body)
	}
	if err := observed.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Thousands of zones have a series each.
func TestEveryZoneHasItsSeries(t *testing.T) {
	observed, err := telemetry.Start(t.Context(), "probe", "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	const zones = 3000
	things, err := observed.Meters.Meter("test").Int64Counter("caracal.test.things")
	if err != nil {
		t.Fatal(err)
	}
	for i := range zones {
		things.Add(t.Context(), 1, metric.WithAttributes(attribute.Int("zone", i)))
	}
	w := httptest.NewRecorder()
	observed.Metrics.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if n := strings.Count(w.Body.String(), "\ncaracal_test_things_total{"); n != zones {
		t.Errorf("%d zones have %d series", zones, n)
	}
	if err := observed.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Where the environment names a collector, metrics and spans reach it.
func TestExportsToTheCollectorOfTheEnvironment(t *testing.T) {
	paths := make(chan string, 16)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case paths <- r.URL.Path:
		default:
		}
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
	observed, err := telemetry.Start(t.Context(), "probe", "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	_, span := observed.Tracers.Tracer("test").Start(t.Context(), "work")
	span.End()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := observed.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for len(paths) > 0 {
		seen[<-paths] = true
	}
	if !seen["/v1/traces"] || !seen["/v1/metrics"] {
		t.Errorf("the collector saw %v, not traces and metrics", seen)
	}
}

func TestLoggerFormatsAndLevels(t *testing.T) {
	var out bytes.Buffer
	log, err := telemetry.NewLogger(&out, "warn", "json")
	if err != nil {
		t.Fatal(err)
	}
	log.Info("quiet")
	log.Warn("loud", "zone", "z")
	var line struct{ Msg, Zone string }
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line.Msg != "loud" || line.Zone != "z" {
		t.Errorf("logged %q (%v)", out.String(), err)
	}
	for _, bad := range [][2]string{{"noisy", "json"}, {"info", "xml"}} {
		if _, err := telemetry.NewLogger(&out, bad[0], bad[1]); err == nil {
			t.Errorf("level %q and format %q were taken", bad[0], bad[1])
		}
	}
}
