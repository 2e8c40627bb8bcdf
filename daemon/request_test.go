package daemon_test

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/caracalai/caracald/daemon"
)

// FuzzTraceContext: what callers send is read as OpenTelemetry's library reads it.
func FuzzTraceContext(f *testing.F) {
	for _, parent := range []string{
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03",
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-04",
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff",
		"00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"00-0af7651916cd43dd8448eb211c80319c-B7ad6b7169203331-01",
		"00-00000000000000000000000000000000-b7ad6b7169203331-01",
		"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
		"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
		"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
		"00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01-",
		"00-0af7651916cd43dd8448eb211c80319x-b7ad6b7169203331-01",
		"00-", "-", "",
	} {
		f.Add(parent, "")
		f.Add(parent, "a=1,b=2")
		f.Add(parent, "=")
	}
	f.Fuzz(func(t *testing.T, parent, state string) {
		carrier := propagation.MapCarrier{"traceparent": parent, "tracestate": state}
		want := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
		got := daemon.SpanOf([]byte(parent), []byte(state))
		if !got.Equal(want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		if !got.IsValid() {
			return
		}
		if appended, encoded, err := daemon.Traced(got); err != nil || appended != encoded {
			t.Fatalf("appended %s, encoded %s, %v", appended, encoded, err)
		}
	})
}
