package otlp_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	collog "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logpb "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/audit/otlp"
)

// collector takes OTLP logs over HTTP and gRPC, and can misbehave.
type collector struct {
	collog.UnimplementedLogsServiceServer
	t testing.TB

	mu       sync.Mutex
	records  []*logpb.LogRecord
	resource map[string]string
	exports  int
	largest  int
	// status, where not 0, answers exports over HTTP.
	status int
	// reject tells which records are not taken.
	reject func(*logpb.LogRecord) bool
	// warn is said though all is taken.
	warn string
}

func (c *collector) Export(_ context.Context, req *collog.ExportLogsServiceRequest) (*collog.ExportLogsServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.exports++
	rejected, n := int64(0), 0
	for _, r := range req.ResourceLogs {
		for _, a := range r.Resource.Attributes {
			c.resource[a.Key] = a.Value.GetStringValue()
		}
		for _, s := range r.ScopeLogs {
			for _, l := range s.LogRecords {
				n++
				if c.reject != nil && c.reject(l) {
					rejected++
					continue
				}
				c.records = append(c.records, l)
			}
		}
	}
	c.largest = max(c.largest, n)
	out := &collog.ExportLogsServiceResponse{}
	if rejected > 0 || c.warn != "" {
		out.PartialSuccess = &collog.ExportLogsPartialSuccess{RejectedLogRecords: rejected, ErrorMessage: "said by\nthe test " + c.warn}
	}
	return out, nil
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	status := c.status
	c.mu.Unlock()
	if status != 0 {
		w.WriteHeader(status)
		return
	}
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			c.t.Error(err)
			return
		}
		body = z
	}
	data, err := io.ReadAll(body)
	if err != nil {
		return
	}
	var req collog.ExportLogsServiceRequest
	if err := proto.Unmarshal(data, &req); err != nil || r.URL.Path != "/v1/logs" {
		c.t.Errorf("%s: %v", r.URL.Path, err)
		return
	}
	answer, _ := c.Export(r.Context(), &req)
	if data, err = proto.Marshal(answer); err != nil {
		c.t.Error(err)
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	_, _ = w.Write(data)
}

func (c *collector) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

// requests counts the records of each request.
func (c *collector) requests() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := map[string]int{}
	for _, r := range c.records {
		counts[attributes(r)["caracal.request_id"].GetStringValue()]++
	}
	return counts
}

func attributes(r *logpb.LogRecord) map[string]*commonpb.AnyValue {
	all := map[string]*commonpb.AnyValue{}
	for _, a := range r.Attributes {
		all[a.Key] = a.Value
	}
	return all
}

// start starts a collector and a sink that exports to it.
func start(t *testing.T, protocol string) (*collector, *otlp.Sink) {
	t.Helper()
	c := &collector{t: t, resource: map[string]string{}}
	switch protocol {
	case "grpc":
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := grpc.NewServer()
		collog.RegisterLogsServiceServer(s, c)
		go func() { _ = s.Serve(l) }()
		t.Cleanup(s.Stop)
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+l.Addr().String())
	default:
		s := httptest.NewServer(c)
		t.Cleanup(s.Close)
		t.Setenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", s.URL+"/v1/logs")
		t.Setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
	}
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
	// These are not for an audit.
	t.Setenv("OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3")
	t.Setenv("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "2")
	s, err := otlp.New(t.Context(), otlp.Options{Resource: resource.NewSchemaless(attribute.String("service.name", "caracald")), Version: "1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return c, s
}

// spooled is a spool with n records, the last of which is a gap.
func spooled(t *testing.T, n int, pad string) *audit.Spool {
	t.Helper()
	s, err := audit.OpenSpool(audit.SpoolOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	for i := range n {
		r := &audit.Record{ID: uuid.NewString(), EventType: audit.EventDecision, ZoneID: "z1", RequestID: fmt.Sprint("r", i), Decision: "allow", EvaluationStatus: "complete",
			PolicySetVersionID: "v1", BundleSHA256: "bb", Sequence: 7, Input: json.RawMessage(fmt.Sprintf(`{"pad":%q}`, pad)), OccurredAt: time.Unix(1700000000, int64(i)).UTC(),
			Metadata: json.RawMessage(`{"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7"}`)}
		if i == n-1 {
			r.EventType, r.Decision, r.Metadata = audit.EventGap, "", json.RawMessage(`{"count":2,"reason":"spool_full"}`)
		}
		if err := s.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// ship hands everything over; where a record is refused it is passed, as a daemon does.
func ship(t *testing.T, s *audit.Spool, to *otlp.Sink) (refused, failed int) {
	t.Helper()
	for s.Stats().Depth > 0 {
		var b audit.EncodedBatch
		if err := s.NextEncoded(t.Context(), &b, 0, 0); err != nil {
			t.Fatal(err)
		}
		next, _, err := to.Take(t.Context(), "d1", &b)
		if errors.Is(err, audit.ErrRejected) {
			refused++
			next = b.First + 1
		} else if err != nil {
			if failed++; failed > 100 {
				t.Fatal(err)
			}
			continue
		}
		if err := s.Ack(next); err != nil {
			t.Fatal(err)
		}
	}
	return refused, failed
}

// TestExport: each record is one log record with all that it says, over both
// protocols; many are exported in parts.
func TestExport(t *testing.T) {
	for _, protocol := range []string{"http/protobuf", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			c, to := start(t, protocol)
			s := spooled(t, 1300, strings.Repeat("x", 2000))
			epoch := s.Epoch()
			if refused, failed := ship(t, s, to); refused+failed != 0 {
				t.Errorf("%d refused, %d failed", refused, failed)
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if len(c.records) != 1300 || c.exports < 3 || c.largest > 512 || c.resource["service.name"] != "caracald" {
				t.Fatalf("%d records in %d exports of up to %d, resource %v", len(c.records), c.exports, c.largest, c.resource)
			}
			for i, r := range c.records {
				a := attributes(r)
				var body struct {
					RequestID   string `json:"request_id"`
					Offset      int
					PolicyInput struct{ Pad string } `json:"policy_input"`
				}
				if err := json.Unmarshal([]byte(r.Body.GetStringValue()), &body); err != nil {
					t.Fatal(err)
				}
				id := fmt.Sprint("r", i)
				if body.RequestID != id || body.Offset != i || len(body.PolicyInput.Pad) != 2000 || a["caracal.request_id"].GetStringValue() != id ||
					a["caracal.offset"].GetIntValue() != int64(i) || a["caracal.sequence"].GetIntValue() != 7 || a["caracal.daemon_id"].GetStringValue() != "d1" ||
					a["caracal.epoch"].GetStringValue() != epoch || a["caracal.zone_id"].GetStringValue() != "z1" || a["caracal.bundle_sha256"].GetStringValue() != "bb" ||
					r.TimeUnixNano != uint64(1700000000e9)+uint64(i) || r.ObservedTimeUnixNano == 0 {
					t.Fatalf("record %d is %v", i, r)
				}
				if i < 1299 && (r.EventName != "caracal.decision" || fmt.Sprintf("%x", r.TraceId) != "4bf92f3577b34da6a3ce929d0e0e4736" || fmt.Sprintf("%x", r.SpanId) != "00f067aa0ba902b7" ||
					r.SeverityNumber != logpb.SeverityNumber_SEVERITY_NUMBER_INFO || a["caracal.decision"].GetStringValue() != "allow") {
					t.Fatalf("record %d is %v", i, r)
				}
			}
			if last := c.records[1299]; last.EventName != "caracal.audit_gap" || last.SeverityNumber != logpb.SeverityNumber_SEVERITY_NUMBER_WARN {
				t.Errorf("the gap is %v", last)
			}
		})
	}
}

// TestRejected: what a collector rejects is found and refused alone; what it
// takes arrives, some of it twice.
func TestRejected(t *testing.T) {
	for _, protocol := range []string{"http/protobuf", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			c, to := start(t, protocol)
			bad := map[string]bool{"r3": true, "r40": true}
			c.reject = func(r *logpb.LogRecord) bool { return bad[attributes(r)["caracal.request_id"].GetStringValue()] }
			s := spooled(t, 100, "")
			if refused, _ := ship(t, s, to); refused != 2 {
				t.Errorf("%d refused, want 2", refused)
			}
			counts := c.requests()
			for i := range 100 {
				if id := fmt.Sprint("r", i); (counts[id] == 0) != bad[id] {
					t.Errorf("%s came %d times", id, counts[id])
				}
			}
			// A warning is not a refusal.
			c.set(func() { c.reject, c.warn = nil, "all is taken" })
			s = spooled(t, 10, "")
			if refused, failed := ship(t, s, to); refused+failed != 0 {
				t.Errorf("%d refused, %d failed", refused, failed)
			}
		})
	}
}

// TestFailures: an answer that is no success takes nothing, and nothing is given up.
func TestFailures(t *testing.T) {
	c, to := start(t, "http/protobuf")
	s := spooled(t, 10, "")
	for _, status := range []int{400, 401, 404, 413, 500} {
		c.set(func() { c.status = status })
		var b audit.EncodedBatch
		if err := s.NextEncoded(t.Context(), &b, 0, 0); err != nil {
			t.Fatal(err)
		}
		if next, _, err := to.Take(t.Context(), "d1", &b); err == nil || errors.Is(err, audit.ErrRejected) || errors.Is(err, audit.ErrLimit) {
			t.Errorf("%d: took up to %d, %v", status, next, err)
		}
	}
	c.set(func() { c.status = 0 })
	ship(t, s, to)
	for id, n := range c.requests() {
		if n != 1 {
			t.Errorf("%s came %d times", id, n)
		}
	}
	if n := len(c.requests()); n != 10 {
		t.Errorf("%d requests, want 10", n)
	}
}

func TestEnvironment(t *testing.T) {
	o := otlp.Options{Resource: resource.Empty()}
	if _, err := otlp.New(t.Context(), o); !errors.Is(err, otlp.ErrNoEndpoint) {
		t.Errorf("without an endpoint: %v", err)
	}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	t.Setenv("OTEL_LOGS_EXPORTER", "none")
	if _, err := otlp.New(t.Context(), o); err == nil || !strings.Contains(err.Error(), "OTEL_LOGS_EXPORTER") {
		t.Errorf("with an exporter that drops everything: %v", err)
	}
}
