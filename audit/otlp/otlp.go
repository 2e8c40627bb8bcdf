// Package otlp is the sink that exports audit records as OpenTelemetry logs, one
// log record for each, over OTLP. The usual OTEL_ variables say where to and how.
//
// A batch counts as taken once the collector answered that it took every record.
// What the collector then does with them is for its own configuration.
package otlp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strconv"
	"time"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/trace"

	"github.com/caracalai/caracald/audit"
)

// Bounds of one export; collectors take at least 4 MiB by themselves.
const (
	exportRecords = 512
	exportBytes   = 1 << 20
)

const scope = "github.com/caracalai/caracald/audit"

// Options is what the sink is told beside the environment.
type Options struct {
	// Resource describes the process. Required.
	Resource *resource.Resource
	// Version is that of the instrumentation scope.
	Version string
	// Logger takes the log; nil discards it.
	Logger *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Sink exports audit records.
type Sink struct {
	o        Options
	exporter sdklog.Exporter
	provider *sdklog.LoggerProvider
	logger   log.Logger
	made     *made
	// most is how many records one export has; less after a refusal of some.
	most int
}

var _ audit.Sink = (*Sink)(nil)

// ErrNoEndpoint: the environment does not say where to export logs to.
var ErrNoEndpoint = errors.New("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT is required")

// New makes an exporter of what the environment says. It does not connect.
func New(ctx context.Context, o Options) (*Sink, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	// Any other exporter would drop records and say that all is well.
	if kind := os.Getenv("OTEL_LOGS_EXPORTER"); kind != "" && kind != "otlp" {
		return nil, fmt.Errorf("audit logs: OTEL_LOGS_EXPORTER is %q and must be otlp", kind)
	}
	if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT") == "" {
		return nil, fmt.Errorf("audit logs: %w", ErrNoEndpoint)
	}
	exporter, err := autoexport.NewLogExporter(ctx)
	if err != nil {
		return nil, fmt.Errorf("audit logs: setting up the exporter: %w", err)
	}
	s := &Sink{o: o, exporter: exporter, made: &made{}, most: exportRecords}
	// The variables that shorten logs are not for an audit.
	s.provider = sdklog.NewLoggerProvider(sdklog.WithResource(o.Resource), sdklog.WithProcessor(s.made),
		sdklog.WithAttributeCountLimit(-1), sdklog.WithAttributeValueLengthLimit(-1))
	s.logger = s.provider.Logger(scope, log.WithInstrumentationVersion(o.Version))
	return s, nil
}

// made is the processor that keeps what the logger makes, so that it can be
// exported at once and the outcome be known.
type made struct{ records []sdklog.Record }

func (m *made) Enabled(context.Context, sdklog.EnabledParameters) bool { return true }

func (m *made) OnEmit(_ context.Context, r *sdklog.Record) error {
	m.records = append(m.records, r.Clone())
	return nil
}

func (m *made) Shutdown(context.Context) error   { return nil }
func (m *made) ForceFlush(context.Context) error { return nil }

// Name is "otlp".
func (s *Sink) Name() string { return "otlp" }

// Take exports the first records of a batch.
func (s *Sink) Take(ctx context.Context, daemonID string, b *audit.EncodedBatch) (next uint64, size int, err error) {
	if err := b.Cut(s.most); err != nil {
		return 0, 0, err
	}
	batch, err := b.Decode()
	if err != nil {
		return 0, 0, fmt.Errorf("decoding a batch: %w", err)
	}
	s.made.records = s.made.records[:0]
	at := audit.Place{DaemonID: daemonID, Epoch: batch.Epoch}
	now := s.o.Now()
	n := 0
	for ; n < len(batch.Records) && (n == 0 || size < exportBytes); n++ {
		at.Offset = batch.First + uint64(n)
		text, err := audit.AppendLine(nil, at, &batch.Records[n])
		if err != nil {
			return 0, 0, fmt.Errorf("offset %d: %w", at.Offset, err)
		}
		size += len(text)
		s.emit(ctx, at, &batch.Records[n], string(text[:len(text)-1]), now)
	}
	err = s.exporter.Export(ctx, s.made.records)
	switch refused := rejected(err); {
	case err == nil:
	case refused == 0:
		// It took all and has something to say.
		s.o.Logger.Warn("the collector warns of audit logs", "error", err)
	case refused > 0 && n > 1:
		// Some were taken, and which is not said: those that are not are found by
		// sending fewer, at the price of others coming twice.
		s.most = max(1, n/2)
		return 0, 0, fmt.Errorf("exporting %d audit logs: %w", n, err)
	case refused > 0:
		return 0, 0, fmt.Errorf("%w: offset %d: %w", audit.ErrRejected, batch.First, err)
	default:
		return 0, 0, fmt.Errorf("exporting %d audit logs: %w", n, err)
	}
	s.most = min(2*s.most, exportRecords)
	return batch.First + uint64(n), size, nil
}

// emit makes a log record.
func (s *Sink) emit(ctx context.Context, at audit.Place, r *audit.Record, body string, now time.Time) {
	var out log.Record
	out.SetEventName("caracal." + r.EventType)
	out.SetTimestamp(r.OccurredAt)
	out.SetObservedTimestamp(now)
	out.SetSeverity(log.SeverityInfo)
	out.SetSeverityText("INFO")
	if r.EventType == audit.EventGap {
		out.SetSeverity(log.SeverityWarn)
		out.SetSeverityText("WARN")
	}
	out.SetBody(attribute.StringValue(body))
	for _, a := range [...]struct{ name, value string }{
		{"event_id", r.ID}, {"zone_id", r.ZoneID}, {"request_id", r.RequestID}, {"decision", r.Decision}, {"evaluation_status", r.EvaluationStatus},
		{"policy_set_id", r.PolicySetID}, {"policy_set_version_id", r.PolicySetVersionID}, {"manifest_sha256", r.ManifestSHA256},
		{"bundle_sha256", r.BundleSHA256}, {"daemon_id", at.DaemonID}, {"epoch", at.Epoch},
	} {
		if a.value != "" {
			out.AddAttributes(attribute.String("caracal."+a.name, a.value))
		}
	}
	out.AddAttributes(attribute.Int64("caracal.offset", int64(at.Offset)), attribute.Int64("caracal.sequence", r.Sequence))
	s.logger.Emit(traced(ctx, r.Metadata), out)
}

// traced puts the trace of a record's metadata into a context, from which the
// log record gets it.
func traced(ctx context.Context, metadata json.RawMessage) context.Context {
	var m struct {
		TraceID string `json:"trace_id"`
		SpanID  string `json:"span_id"`
	}
	if json.Unmarshal(metadata, &m) != nil {
		return ctx
	}
	traceID, err := trace.TraceIDFromHex(m.TraceID)
	if err != nil {
		return ctx
	}
	spanID, err := trace.SpanIDFromHex(m.SpanID)
	if err != nil {
		return ctx
	}
	return trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: traceID, SpanID: spanID}))
}

// partial is how the exporters say that a collector took some records only;
// their error's type is internal to them.
var partial = regexp.MustCompile(`(?s)OTLP partial success: .*\((\d+) logs rejected\)`)

// rejected is how many records a collector refused for good, -1 where the export
// failed altogether or did not fail.
func rejected(err error) int {
	if err == nil {
		return -1
	}
	match := partial.FindStringSubmatch(err.Error())
	if match == nil {
		return -1
	}
	n, err := strconv.Atoi(match[1])
	if err != nil {
		return -1
	}
	return n
}

// Close ends the exporter.
func (s *Sink) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(s.provider.Shutdown(ctx), s.exporter.Shutdown(ctx))
}
