package daemon_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/caracalai/caracald/daemon"
)

// sums are the values of all number metrics, by name and attributes.
func sums(t *testing.T, reader *metric.ManualReader) map[string]float64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &all); err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	put := func(name string, of attribute.Set, v float64) {
		key := name
		for _, kv := range of.ToSlice() { // sorted by key
			key += fmt.Sprintf(" %s=%s", kv.Key, kv.Value.String())
		}
		got[key] = v
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					put(m.Name, p.Attributes, float64(p.Value))
				}
			case metricdata.Gauge[int64]:
				for _, p := range data.DataPoints {
					put(m.Name, p.Attributes, float64(p.Value))
				}
			case metricdata.Gauge[float64]:
				for _, p := range data.DataPoints {
					put(m.Name, p.Attributes, p.Value)
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					put(m.Name, p.Attributes, float64(p.Count))
				}
			}
		}
	}
	return got
}

func TestMetrics(t *testing.T) {
	reader := metric.NewManualReader()
	p, n, _ := one(t, func(c *daemon.Config) { c.MeterProvider = metric.NewMeterProvider(metric.WithReader(reader)) })
	var last string
	for range 3 {
		last = n.decide(inputOf("z1", "read", "")).DecisionID
	}
	n.decide(inputOf("z1", "write", ""))
	n.decide(inputOf("elsewhere", "read", ""))
	n.call("POST", "/v1/decide", []byte("{}"))
	p.record(last)
	got := sums(t, reader)
	for key, want := range map[string]float64{
		"caracal.daemon.decisions decision=allow status=complete zone=z1":         3,
		"caracal.daemon.decisions decision=deny status=complete zone=z1":          1,
		"caracal.daemon.decisions decision=deny status=error zone=":               1,
		"caracal.daemon.decision_duration decision=allow status=complete zone=z1": 3,
		"caracal.daemon.refusals code=invalid_input":                              1,
		"caracal.daemon.pointer_sequence zone=z1":                                 1,
		"caracal.daemon.load_duration":                                            2, // of z1 and empty
		"caracal.daemon.swap_duration":                                            2,
		"caracal.daemon.compile_duration":                                         1,
		"caracal.daemon.pointers zone=z1":                                         1,
		"caracal.daemon.audit_gaps":                                               0,
	} {
		if v, ok := got[key]; !ok || v != want {
			t.Errorf("%s is %v (%v), want %v", key, v, ok, want)
		}
	}
	if looked := got["caracal.daemon.cache_hits"] + got["caracal.daemon.cache_misses"]; looked != 4 {
		t.Errorf("%v cache lookups, want 4", looked)
	}
	if age, ok := got["caracal.daemon.pointer_age zone=z1"]; !ok || age < 0 {
		t.Errorf("pointer age %v (%v)", age, ok)
	}
	for _, name := range []string{"caracal.daemon.spool_depth", "caracal.daemon.spool_size", "caracal.daemon.audit_shipped sink=admin", "caracal.daemon.audit_lag"} {
		if _, ok := got[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
}

// TestSpans: a request is traced where its caller sampled it, under the caller's span.
func TestSpans(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	p, n, _ := one(t, func(c *daemon.Config) {
		c.TracerProvider = trace.NewTracerProvider(trace.WithSpanProcessor(spans))
	})
	const traceID, spanID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	named := func(name string) []trace.ReadOnlySpan {
		return slices.DeleteFunc(spans.Ended(), func(s trace.ReadOnlySpan) bool { return s.Name() != name })
	}
	if len(named("caracal.load")) == 0 {
		t.Error("loading has no span")
	}
	n.decide(inputOf("z1", "read", ""))
	n.decide(inputOf("z1", "read", ""), "Traceparent", "00-"+traceID+"-"+spanID+"-00")
	if got := named("caracal.decide"); len(got) != 0 {
		t.Errorf("%d spans that nobody sampled", len(got))
	}
	for range 2 {
		n.decide(inputOf("z1", "read", ""), "Traceparent", "00-"+traceID+"-"+spanID+"-01")
	}
	p.wait("the spans", func() bool { // which end after the answer
		return len(named("caracal.decide")) == 2 || touched(p)
	})
	got := named("caracal.decide")
	if got[1].SpanContext().TraceID().String() != traceID || got[0].SpanContext().TraceID().String() != traceID || got[0].Parent().SpanID().String() != spanID {
		t.Errorf("got %v", got)
	}
}

// A decision that a loop leaves to the server behind is one span.
func TestSpanOfWhatIsLeft(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	p, n, _ := one(t, func(c *daemon.Config) {
		c.TracerProvider, c.Limits.Timeout = trace.NewTracerProvider(trace.WithSpanProcessor(spans)), 100*time.Millisecond
	})
	beSlow(p, n)
	const traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	header := "Traceparent: 00-" + traceID + "-00f067aa0ba902b7-01"
	if resp, body := dialDaemon(t, n).ask(plain(inputOf("z1", "read", ""), header)); resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	n.stop() // all spans have ended
	made := 0
	for _, s := range spans.Ended() {
		if s.Name() == "caracal.decide" && s.SpanContext().TraceID().String() == traceID {
			made++
		}
	}
	if made != 1 {
		t.Errorf("%d spans for one decision", made)
	}
}

// touched makes a wait, which holds the plane's lock, look again.
func touched(p *plane) bool {
	p.touch()
	return false
}
