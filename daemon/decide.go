package daemon

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/policy"
)

// Reasons of the diagnostics that the daemon adds.
const (
	reasonNothingActive = "no_active_policy_set"
	reasonNotLoaded     = "zone_not_loaded"
	reasonExpired       = "policy_expired"
)

// decided is one answered decision.
type decided struct {
	*policy.Answer
	id   decisionID
	snap *snapshot
}

// inputs are what inputs are read into.
var inputs = sync.Pool{New: func() any { return new(policy.Input) }}

// deciding is a decision whose record is on its way to the disk.
type deciding struct {
	decided
	zone  *zone
	start time.Time
	// record is the audit's part, with which settle ends; unrecordable is why there is none.
	record       audit.Appending
	unrecordable error
	ctx          context.Context
	span         trace.Span
	// looped is a decision in an event loop, which slow policies would hold up.
	looped bool
}

// decide answers one input. The problem is a refusal, in which case there was
// no decision. The record is as durable as configured when it returns. raw is
// not kept.
func (d *Daemon) decide(rq *request, raw []byte) (decided, *problem) {
	out := decisions.Get().(*deciding)
	p := d.begin(out, rq, raw, time.Now())
	if p == nil {
		p = d.settle(out)
	}
	answered := out.decided
	*out = deciding{}
	decisions.Put(out)
	return answered, p
}

var decisions = sync.Pool{New: func() any { return new(deciding) }}

// begin decides one input and hands the record to the spool; settle has to follow
// where there is no problem. raw is not kept; out is to be empty. The decision
// counts from start.
func (d *Daemon) begin(out *deciding, rq *request, raw []byte, start time.Time) *problem {
	out.start, out.ctx = start, d.serving
	p := d.beginDecision(out, rq, raw)
	if p != nil && out.span != nil {
		out.span.End()
	}
	return p
}

// trace begins the span of a decision whose caller has one.
func (d *Daemon) trace(out *deciding, rq *request) {
	if rq.span.IsSampled() {
		out.ctx, out.span = d.tracer.Start(trace.ContextWithRemoteSpanContext(out.ctx, rq.span), "caracal.decide",
			trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(out.start))
	}
}

func (d *Daemon) beginDecision(out *deciding, rq *request, raw []byte) *problem {
	if len(raw) > d.cfg.MaxInputBytes {
		d.trace(out, rq)
		return refuse(fasthttp.StatusRequestEntityTooLarge, "payload_too_large", "the input has %d bytes; at most %d are accepted", len(raw), d.cfg.MaxInputBytes)
	}
	now := d.cfg.Now()
	in := inputs.Get().(*policy.Input)
	defer func() {
		in.Release()
		inputs.Put(in)
	}()
	var err error
	if out.zone, out.snap, err = d.read(raw, in); err != nil {
		d.trace(out, rq)
		return refuse(fasthttp.StatusBadRequest, "invalid_input", "%v", err)
	}
	if out.snap == nil {
		out.snap = unloaded(strings.Clone(in.ZoneID())) // the id is the caller's
	}
	// From here on everything hangs off the snapshot, whatever is swapped meanwhile.
	if out.looped { // what is decided elsewhere has its span there
		if out.snap.slow() {
			return heldUp
		}
		if out.Answer = d.evaluate(out.ctx, out.snap, in, now, true); out.Answer == nil {
			return heldUp
		}
		d.trace(out, rq)
	} else {
		d.trace(out, rq)
		out.Answer = d.evaluate(out.ctx, out.snap, in, now, false)
	}
	out.id.make(now)
	out.record, out.unrecordable = d.startRecord(rq, &out.decided, raw, now)
	return nil
}

// settle waits until the record is durable. The problem is that it could not be
// kept, in which case there was no decision.
func (d *Daemon) settle(out *deciding) *problem {
	if out.span != nil {
		out.span.SetAttributes(attribute.String("caracal.zone", out.snap.pointer.ZoneID),
			attribute.Int64("caracal.sequence", out.snap.pointer.Sequence), attribute.String("caracal.decision", out.Decision))
		defer out.span.End()
	}
	err := out.unrecordable
	if err == nil {
		err = out.record.Wait()
	}
	if p := d.recorded(&out.decided, err); p != nil {
		return p
	}
	as := &d.elsewhere
	if out.zone != nil {
		as = &out.zone.outcomes
	}
	took := time.Since(out.start)
	d.vitals.decided(took)
	d.metrics.decided(out.ctx, as.counted(out.Decision, out.EvaluationStatus), took)
	return nil
}

// read reads an input, as far as the policies of its zone read it, and gives the
// zone and what it serves; nil where there is none. What looks like the zone says
// which policies these are; only what was read and checked says that it is.
func (d *Daemon) read(raw []byte, in *policy.Input) (*zone, *snapshot, error) {
	z, snap := d.snapshotOf(guessZone(raw))
	if snap == nil || snap.set == nil {
		whole, err := policy.ParseInput(raw)
		if err != nil {
			return nil, nil, err
		}
		if z, snap = d.snapshotOf([]byte(whole.ZoneID())); snap == nil || snap.set == nil {
			in.Hold(whole)
			return z, snap, nil
		}
	}
	for {
		if err := snap.set.ReadInput(raw, in); err != nil {
			return nil, nil, err
		}
		if in.ZoneID() == snap.pointer.ZoneID {
			return z, snap, nil
		}
		if z, snap = d.snapshotOf([]byte(in.ZoneID())); snap == nil || snap.set == nil {
			return z, snap, nil
		}
	}
}

// snapshotOf is the zone of an id and what it serves; nil where there is none.
func (d *Daemon) snapshotOf(id []byte) (*zone, *snapshot) {
	z := (*d.zones.Load())[string(id)]
	if z == nil {
		return nil, nil
	}
	return z, z.current.Load()
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
func denial(status, reason string) *policy.Answer {
	return policy.NewAnswer(policy.DenyResult(status, reason))
}

var (
	notLoaded     = denial(policy.StatusError, reasonNotLoaded)
	nothingActive = denial(policy.StatusComplete, reasonNothingActive)
	tooOld        = denial(policy.StatusError, reasonExpired)
	broken        = denial(policy.StatusError, policy.ReasonError)
)

// evaluate gives the decision of a snapshot for an input. A decision that the cache
// has was made for an input that has all that the policies read alike. It is not asked
// where that takes as long as evaluating. In an event loop there is none, nil, where
// evaluating would hold it up.
func (d *Daemon) evaluate(ctx context.Context, snap *snapshot, in *policy.Input, now time.Time, looped bool) *policy.Answer {
	switch {
	case snap.generation == 0:
		return notLoaded
	case d.expired(snap, now):
		return tooOld
	case snap.set == nil:
		return nothingActive
	case !d.cache.Enabled() || snap.cheap():
		return d.run(ctx, snap, in, looped)
	}
	if a, ok := d.cache.Get(snap.generation, in.Key()); ok {
		return a
	}
	a := d.run(ctx, snap, in, looped)
	if a != nil && a.EvaluationStatus != policy.StatusError { // limits and deadlines are not the input's doing
		d.cache.Set(snap.generation, in.Key(), a, a.Bytes())
	}
	return a
}

// heldUp is no refusal: the request is decided, but not in an event loop.
var heldUp = refuse(fasthttp.StatusServiceUnavailable, "internal_error", "the decision was to be made elsewhere")

// loopTime is how long an evaluation may hold up an event loop, and all who wait for it.
const loopTime = 5 * time.Millisecond

// run evaluates, and makes a deny of a panic.
func (d *Daemon) run(ctx context.Context, snap *snapshot, in *policy.Input, looped bool) (a *policy.Answer) {
	defer func() {
		if p := recover(); p != nil {
			d.log.Error("panic in an evaluation", "panic", p, "zone", snap.pointer.ZoneID, "version", named(snap.pointer.PolicySetVersionID))
			a = broken
		}
	}()
	start := time.Now()
	if looped {
		if a = snap.set.DecideSoon(ctx, in, d.cfg.Limits, loopTime); a == nil {
			snap.tookLonger()
			return nil
		}
	} else {
		a = snap.set.Decide(ctx, in, d.cfg.Limits)
	}
	snap.took(time.Since(start))
	return a
}

// appendAnswer encodes an answer of /v1/decide.
func (out *decided) appendAnswer(b []byte, rq *request) []byte {
	b = out.AppendJSON(append(b, '{'))
	b = append(b, `,"request_id":"`...)
	b = append(b, rq.id...) // plain ASCII
	b = append(b, `","decision_id":"`...)
	b = append(b, out.id[:]...)
	b = append(b, '"')
	return append(b, out.snap.identity...)
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
