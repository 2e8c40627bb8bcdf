package daemon

import (
	"bytes"
	"context"
	"encoding/hex"
	"math/rand/v2"
	"sync"
	"time"
	"unsafe"

	"github.com/valyala/fasthttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/caracalai/caracald/bundle"
)

// request is what a call says about itself, beside its body.
type request struct {
	// id is the call's, or made; it is good for as long as the call.
	id string
	// span is the caller's trace context; invalid where it gave none.
	span trace.SpanContext
	made decisionID
	// traced is what a record says of the span, good for as long as the call.
	traced [tracedBytes]byte
}

var requests = sync.Pool{New: func() any { return new(request) }}

// newRequest reads a call's headers; release ends its use.
func newRequest(ctx *fasthttp.RequestCtx) *request {
	rq := requests.Get().(*request)
	h := &ctx.Request.Header
	rq.read(h.Peek("X-Request-Id"), h.Peek("Traceparent"), h.Peek("Tracestate"), time.Now())
	return rq
}

// read takes in the headers of a call. The request is good for as long as they are.
func (rq *request) read(id, parent, state []byte, now time.Time) {
	if bundle.ValidID(id) {
		rq.id = unsafe.String(unsafe.SliceData(id), len(id))
	} else {
		rq.made.make(now)
		rq.id = rq.made.text()
	}
	rq.span = trace.SpanContext{}
	if len(parent) > 0 {
		rq.span = spanOf(parent, state)
	}
}

// spanOf reads a trace context, as W3C Trace Context has it. Its plain form, which is
// what nearly everybody sends, is read here because the library allocates nine times
// for it; all else, malformed or of a later version, is the library's.
func spanOf(parent, state []byte) trace.SpanContext {
	var c trace.SpanContextConfig
	if len(state) == 0 && len(parent) == len("00-tttttttttttttttttttttttttttttttt-ssssssssssssssss-ff") &&
		string(parent[:3]) == "00-" && parent[35] == '-' && parent[52] == '-' && !bytes.ContainsAny(parent, "ABCDEF") {
		var flags [1]byte
		_, err1 := hex.Decode(c.TraceID[:], parent[3:35])
		_, err2 := hex.Decode(c.SpanID[:], parent[36:52])
		_, err3 := hex.Decode(flags[:], parent[53:])
		if err1 == nil && err2 == nil && err3 == nil && flags[0] <= byte(trace.FlagsSampled|trace.FlagsRandom) {
			c.TraceFlags, c.Remote = trace.TraceFlags(flags[0]), true
			if span := trace.NewSpanContext(c); span.IsValid() {
				return span
			}
		}
	}
	carrier := propagation.MapCarrier{"traceparent": string(parent), "tracestate": string(state)}
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
}

func (rq *request) release() {
	rq.id, rq.span = "", trace.SpanContext{}
	requests.Put(rq)
}

// decisionID is a UUIDv7 as text.
type decisionID [36]byte

// make makes an id, as RFC 9562 has it: 48 bits of Unix milliseconds, then random
// bits, from a generator that the runtime seeds and keeps for each thread. It is
// made here because libraries allocate for each.
func (id *decisionID) make(now time.Time) {
	const version, variant = 7, 2
	random := rand.Uint64()
	high := uint64(now.UnixMilli())<<16 | version<<12 | random>>52
	low := variant<<62 | rand.Uint64()>>2
	id.hex(0, high>>32, 8)
	id[8] = '-'
	id.hex(9, high>>16, 4)
	id[13] = '-'
	id.hex(14, high, 4)
	id[18] = '-'
	id.hex(19, low>>48, 4)
	id[23] = '-'
	id.hex(24, low, 12)
}

// hex writes the lowest digits of n from a place on.
func (id *decisionID) hex(at int, n uint64, digits int) {
	for i := at + digits - 1; i >= at; i-- {
		id[i] = "0123456789abcdef"[n&15]
		n >>= 4
	}
}

// text is the id as a string, which is good for as long as id does not change.
func (id *decisionID) text() string { return unsafe.String(&id[0], len(id)) }
