package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/valyala/fasthttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/caracalai/caracald/policy"
)

// Reasons of the diagnostics that the daemon adds.
const (
	reasonNothingActive = "no_active_policy_set"
	reasonNotLoaded     = "zone_not_loaded"
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

// encoded is a decision as JSON: everything that does not differ from one
// request to the next. It is shared by the cache and never changed.
type encoded struct {
	outcome
	determining, diagnostics json.RawMessage
}

// decided is one answered decision.
type decided struct {
	*encoded
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
	now := d.cfg.Now()
	ctx := d.serving
	if rq.span.IsSampled() {
		var span trace.Span
		ctx, span = d.tracer.Start(trace.ContextWithRemoteSpanContext(ctx, rq.span), "caracal.decide", trace.WithSpanKind(trace.SpanKindServer))
		defer span.End()
	}
	z, out := d.recall(raw, now)
	if out.encoded == nil {
		in, err := policy.ParseInput(raw)
		if err != nil {
			return decided{}, refuse(fasthttp.StatusBadRequest, "invalid_input", "%v", err)
		}
		// From here on everything hangs off the snapshot, whatever is swapped meanwhile.
		tried := out.snap
		if z, out.snap = d.snapshotOf(in.ZoneID()); out.snap == nil {
			out.snap = unloaded(in.ZoneID())
		}
		out.encoded = d.evaluate(ctx, out.snap, in, now, tried)
	}
	out.id = uuid.Must(uuid.NewV7()).String()
	if p := d.record(rq, &out, raw, now); p != nil {
		return decided{}, p
	}
	outcomes := elsewhere
	if z != nil {
		outcomes = z.outcomes
	}
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.SetAttributes(attribute.String("caracal.zone", out.snap.pointer.ZoneID),
			attribute.Int64("caracal.sequence", out.snap.pointer.Sequence), attribute.String("caracal.decision", out.decision))
	}
	d.metrics.decided(ctx, outcomes[out.outcome], time.Since(start))
	return out, nil
}

// snapshotOf is the zone of an id and what it serves; nil where there is none.
func (d *Daemon) snapshotOf(id string) (*zone, *snapshot) {
	z := (*d.zones.Load())[id]
	if z == nil {
		return nil, nil
	}
	return z, z.current.Load()
}

// recall finds a decision that was made for exactly these bytes. They are not
// parsed for it: what looks like their zone leads to a generation, and only
// bytes that were parsed and found to be of its zone are kept under that.
// Without a decision it gives the snapshot that has none.
func (d *Daemon) recall(raw []byte, now time.Time) (*zone, decided) {
	id := guessZone(raw)
	if id == nil {
		return nil, decided{}
	}
	z := (*d.zones.Load())[string(id)]
	if z == nil {
		return nil, decided{}
	}
	snap := z.current.Load()
	if snap == nil || snap.set == nil || d.expired(snap, now) {
		return nil, decided{}
	}
	c, _ := d.cache.Get(snap.generation, raw)
	return z, decided{encoded: c, snap: snap}
}

// guessZone finds the first string that is called zone_id. It allocates nothing.
func guessZone(raw []byte) []byte {
	const name = `"zone_id"`
	i := bytes.Index(raw, []byte(name))
	if i < 0 {
		return nil
	}
	rest := bytes.TrimLeft(raw[i+len(name):], " \t\r\n:")
	if len(rest) == 0 || rest[0] != '"' {
		return nil
	}
	rest = rest[1:]
	if end := bytes.IndexByte(rest, '"'); end > 0 {
		return rest[:end]
	}
	return nil
}

// expired tells whether a snapshot's pointer is past what may be served.
func (d *Daemon) expired(snap *snapshot, now time.Time) bool {
	until := snap.pointer.ExpiresAt
	if d.cfg.Lost == LostGrace {
		until = until.Add(d.cfg.Grace)
	}
	return !now.Before(until)
}

// denial encodes a deny that is not the policies' own.
func denial(status, reason string) *encoded { return encodeResult(policy.DenyResult(status, reason)) }

var (
	notLoaded     = denial(policy.StatusError, reasonNotLoaded)
	nothingActive = denial(policy.StatusComplete, reasonNothingActive)
	tooOld        = denial(policy.StatusError, reasonExpired)
)

// evaluate gives the decision of a snapshot for an input. The cache of a
// snapshot that was tried has none.
func (d *Daemon) evaluate(ctx context.Context, snap *snapshot, in *policy.Input, now time.Time, tried *snapshot) *encoded {
	switch {
	case snap.generation == 0:
		return notLoaded
	case d.expired(snap, now):
		return tooOld
	case snap.set == nil:
		return nothingActive
	}
	if snap != tried {
		if c, ok := d.cache.Get(snap.generation, in.Raw()); ok {
			return c
		}
	}
	r := d.run(ctx, snap, in)
	c := encodeResult(r)
	if c.status != policy.StatusError { // limits and deadlines are not the input's doing
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

func encodeResult(r policy.Result) *encoded {
	determining, err1 := encodeEntries(r.DeterminingPolicies)
	diagnostics, err2 := encodeEntries(r.Diagnostics)
	if errors.Join(err1, err2) != nil {
		// What cannot be said cannot be allowed.
		return &encoded{outcome{policy.Deny, policy.StatusError}, json.RawMessage("[]"),
			json.RawMessage(`[{"reason":"` + policy.ReasonInvalidResult + `"}]`)}
	}
	return &encoded{outcome{r.Decision, r.EvaluationStatus}, determining, diagnostics}
}

func encodeEntries(entries []policy.Entry) (json.RawMessage, error) {
	if len(entries) == 0 {
		return json.RawMessage("[]"), nil
	}
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(entries); err != nil {
		return nil, fmt.Errorf("encoding a result: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
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

// answers are buffers in which answers are encoded.
var answers = sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}

func (d *Daemon) handleDecide(ctx *fasthttp.RequestCtx, rq *request) *problem {
	out, p := d.decide(rq, ctx.PostBody())
	if p != nil {
		return p
	}
	buf, ok := answers.Get().(*[]byte)
	if !ok { // the pool holds nothing else
		buf = new([]byte)
	}
	*buf = out.appendAnswer((*buf)[:0], rq)
	writeJSON(ctx, *buf) // copies
	answers.Put(buf)
	return nil
}
