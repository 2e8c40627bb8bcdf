package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/valyala/fasthttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/policy"
)

// Reasons of the diagnostics that the daemon adds.
const (
	reasonNothingActive = "no_active_policy_set"
	reasonExpired       = "policy_expired"
)

// request is what a call says about itself, beside its body.
type request struct {
	id string
	// span is the caller's trace context; invalid where it gave none.
	span trace.SpanContext
}

func newRequest(ctx *fasthttp.RequestCtx) *request {
	rq := &request{}
	if id := ctx.Request.Header.Peek("X-Request-Id"); idPattern.Match(id) {
		rq.id = string(id)
	} else {
		rq.id = uuid.Must(uuid.NewV7()).String()
	}
	if parent := ctx.Request.Header.Peek("Traceparent"); len(parent) > 0 {
		carrier := propagation.MapCarrier{"traceparent": string(parent), "tracestate": string(ctx.Request.Header.Peek("Tracestate"))}
		rq.span = trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
	}
	return rq
}

// cached is a decision as it was encoded: everything that does not differ from
// one request to the next.
type cached struct {
	decision, status         string
	determining, diagnostics json.RawMessage
}

// decided is one answered decision.
type decided struct {
	*cached
	id   string
	snap *snapshot
}

// decide answers one input. The problem is a refusal, in which case there was
// no decision. The record is as durable as configured when it returns.
func (d *Daemon) decide(rq *request, raw []byte) (decided, *problem) {
	start := time.Now()
	if len(raw) > d.cfg.MaxInputBytes {
		return decided{}, refuse(fasthttp.StatusRequestEntityTooLarge, "payload_too_large", "the input has %d bytes; at most %d are accepted", len(raw), d.cfg.MaxInputBytes)
	}
	in, err := policy.ParseInput(raw)
	if err != nil {
		return decided{}, refuse(fasthttp.StatusBadRequest, "invalid_input", "%v", err)
	}
	z, ok := (*d.zones.Load())[in.ZoneID()]
	if !ok {
		return decided{}, refuse(fasthttp.StatusNotFound, "zone_not_found", "this daemon serves no zone %q", in.ZoneID())
	}
	// From here on everything hangs off the snapshot, whatever is swapped meanwhile.
	snap := z.current.Load()
	if snap == nil {
		return decided{}, refuse(fasthttp.StatusServiceUnavailable, "zone_not_loaded", "zone %s is not loaded yet", z.id)
	}
	ctx := d.background
	if rq.span.IsSampled() {
		var span trace.Span
		ctx, span = d.tracer.Start(trace.ContextWithRemoteSpanContext(ctx, rq.span), "caracal.decide", trace.WithSpanKind(trace.SpanKindServer),
			trace.WithAttributes(attribute.String("caracal.zone", z.id), attribute.Int64("caracal.sequence", snap.pointer.Sequence)))
		defer span.End()
	}
	now := d.cfg.Now()
	out := decided{cached: d.evaluate(ctx, snap, in, now), id: uuid.Must(uuid.NewV7()).String(), snap: snap}
	if p := d.record(rq, &out, in, now); p != nil {
		return decided{}, p
	}
	d.metrics.decided(ctx, z.id, out.decision, out.status, time.Since(start))
	return out, nil
}

// denial encodes a deny that is not the policies' own.
func denial(status, reason string) *cached { return encodeResult(policy.DenyResult(status, reason)) }

var (
	nothingActive = denial(policy.StatusComplete, reasonNothingActive)
	expired       = denial(policy.StatusError, reasonExpired)
)

// evaluate gives the decision of a snapshot for an input.
func (d *Daemon) evaluate(ctx context.Context, snap *snapshot, in *policy.Input, now time.Time) *cached {
	until := snap.pointer.ExpiresAt
	if d.cfg.Lost == LostGrace {
		until = until.Add(d.cfg.Grace)
	}
	switch {
	case !now.Before(until):
		return expired
	case snap.set == nil:
		return nothingActive
	}
	if c, ok := d.cache.Get(snap.generation, in.Raw()); ok {
		return c
	}
	r := d.run(ctx, snap, in)
	c := encodeResult(r)
	if r.EvaluationStatus != policy.StatusError { // limits and deadlines are not the input's doing
		d.cache.Set(snap.generation, in.Raw(), c, int64(len(c.determining)+len(c.diagnostics)+64))
	}
	return c
}

// run evaluates, and makes a deny of a panic.
func (d *Daemon) run(ctx context.Context, snap *snapshot, in *policy.Input) (r policy.Result) {
	defer func() {
		if p := recover(); p != nil {
			d.log.Error("panic in an evaluation", "panic", p, "zone", snap.pointer.ZoneID, "version", named(snap.pointer.PolicySetVersionID))
			r = policy.DenyResult(policy.StatusError, policy.ReasonError)
		}
	}()
	return snap.set.Evaluate(ctx, in, d.cfg.Limits)
}

func encodeResult(r policy.Result) *cached {
	determining, err1 := encodeEntries(r.DeterminingPolicies)
	diagnostics, err2 := encodeEntries(r.Diagnostics)
	if errors.Join(err1, err2) != nil {
		// What cannot be said cannot be allowed.
		return &cached{decision: policy.Deny, status: policy.StatusError, determining: json.RawMessage("[]"),
			diagnostics: json.RawMessage(`[{"reason":"` + policy.ReasonInvalidResult + `"}]`)}
	}
	return &cached{decision: r.Decision, status: r.EvaluationStatus, determining: determining, diagnostics: diagnostics}
}

func encodeEntries(entries []policy.Entry) (json.RawMessage, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(entries); err != nil {
		return nil, fmt.Errorf("encoding a result: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// record writes the audit record of a decision. The problem is that it could
// not be kept and decisions without a record are not to be answered.
func (d *Daemon) record(rq *request, out *decided, in *policy.Input, now time.Time) *problem {
	p := out.snap.pointer
	rec := audit.Record{
		ID: out.id, EventType: audit.EventDecision, ZoneID: p.ZoneID, RequestID: rq.id,
		Decision: out.decision, EvaluationStatus: out.status,
		ManifestSHA256: p.ManifestSHA256, BundleSHA256: p.BundleSHA256, Sequence: p.Sequence,
		DeterminingPolicies: out.determining, Diagnostics: out.diagnostics, OccurredAt: now.UTC(),
	}
	if p.PolicySetVersionID != nil {
		rec.PolicySetID, rec.PolicySetVersionID = *p.PolicySetID, *p.PolicySetVersionID
	}
	err := d.fillInput(&rec, rq, out.snap, in)
	if err == nil {
		err = d.spool.Append(&rec)
	}
	if err == nil {
		return nil
	}
	if d.cfg.AuditMode == AuditCount {
		reason := "spool_failed"
		if errors.Is(err, audit.ErrSpoolFull) {
			reason = "spool_full"
		}
		d.spool.NoteGap(p.ZoneID, 1, reason)
		return nil
	}
	d.log.Error("a decision is refused because its record cannot be kept", "zone", p.ZoneID, "error", err)
	return refuse(fasthttp.StatusServiceUnavailable, "audit_unavailable", "the audit record cannot be kept, so there is no decision")
}

// metadata is what a record says beside the decision.
type metadata struct {
	TraceID     string   `json:"trace_id,omitempty"`
	SpanID      string   `json:"span_id,omitempty"`
	Masked      []string `json:"masked,omitempty"`
	InputSHA256 string   `json:"input_sha256,omitempty"`
	Replayable  *bool    `json:"replayable,omitempty"`
}

// fillInput puts the evaluated input into a record the way the zone wants it.
func (d *Daemon) fillInput(rec *audit.Record, rq *request, snap *snapshot, in *policy.Input) error {
	var m metadata
	if rq.span.IsValid() {
		m.TraceID, m.SpanID = rq.span.TraceID().String(), rq.span.SpanID().String()
	}
	settings := snap.pointer.Settings
	rec.Input = in.Raw()
	if len(settings.AuditMask) > 0 {
		masked, found, err := audit.Mask(in.Raw(), settings.AuditMask, d.maskKey)
		if err != nil {
			return fmt.Errorf("masking: %w", err)
		}
		rec.Input, m.Masked = masked, found
		if len(found) > 0 {
			m.Replayable = &snap.replayable
		}
	}
	if settings.AuditInputs == "hashed" {
		m.InputSHA256 = sha256Hex(in.Raw())
		rec.Input = nil
		m.Replayable = new(bool)
	}
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encoding metadata: %w", err)
	}
	rec.Metadata = data
	return nil
}

// appendAnswer encodes an answer of /v1/decide.
func (out *decided) appendAnswer(b []byte, rq *request) []byte {
	b = out.appendResult(append(b, '{'))
	b = append(b, `,"request_id":`...)
	b = strconv.AppendQuote(b, rq.id) // plain ASCII
	b = append(b, `,"decision_id":"`...)
	b = append(b, out.id...)
	b = append(b, '"')
	return append(b, out.snap.identity...)
}

// appendResult encodes the fields of the result.
func (out *decided) appendResult(b []byte) []byte {
	b = append(b, `"decision":"`...)
	b = append(b, out.decision...)
	b = append(b, `","evaluation_status":"`...)
	b = append(b, out.status...)
	b = append(b, `","determining_policies":`...)
	b = append(b, out.determining...)
	b = append(b, `,"diagnostics":`...)
	return append(b, out.diagnostics...)
}

func (d *Daemon) handleDecide(ctx *fasthttp.RequestCtx, rq *request) *problem {
	out, p := d.decide(rq, ctx.PostBody())
	if p != nil {
		return p
	}
	ctx.SetContentType("application/json")
	ctx.Response.SetBodyRaw(out.appendAnswer(make([]byte, 0, 1024), rq))
	return nil
}
