package daemon

import (
	"encoding/json"
	runtime "runtime/metrics"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// SpanOf reads the headers of a trace context.
var SpanOf = spanOf

// Traced is what a record says of a span and nothing else, as it is appended and as it
// is encoded.
func Traced(span trace.SpanContext) (appended, encoded string, err error) {
	data, err := json.Marshal(metadata{TraceID: span.TraceID().String(), SpanID: span.SpanID().String()})
	return string(appendTraced(nil, span)), string(data), err
}

// VitalEnd is the end of the bucket that a duration is counted in.
func VitalEnd(took time.Duration) float64 { return vitalEnd(vitalBucket(took)) }

// Cheap tells whether policies whose evaluations took so long do without the cache.
func Cheap(evaluations ...time.Duration) bool {
	var s snapshot
	for _, took := range evaluations {
		s.took(took)
	}
	return s.cheap()
}

// Garbage is how much garbage there may be, in percent of what is in use.
func Garbage() uint64 {
	s := []runtime.Sample{{Name: "/gc/gogc:percent"}}
	runtime.Read(s)
	return s[0].Value.Uint64()
}
