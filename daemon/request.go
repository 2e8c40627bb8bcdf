package daemon

import (
	"context"
	"encoding/hex"
	"sync"
	"unsafe"

	"github.com/google/uuid"
	"github.com/valyala/fasthttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// request is what a call says about itself, beside its body.
type request struct {
	// id is the call's, or made; it is good for as long as the call.
	id string
	// span is the caller's trace context; invalid where it gave none.
	span trace.SpanContext
	made decisionID
}

var requests = sync.Pool{New: func() any { return new(request) }}

// newRequest reads a call's headers; release ends its use.
func newRequest(ctx *fasthttp.RequestCtx) *request {
	rq := requests.Get().(*request)
	if id := ctx.Request.Header.Peek("X-Request-Id"); isID(id) {
		rq.id = unsafe.String(unsafe.SliceData(id), len(id))
	} else {
		rq.made.make()
		rq.id = rq.made.text()
	}
	if parent := ctx.Request.Header.Peek("Traceparent"); len(parent) > 0 {
		carrier := propagation.MapCarrier{"traceparent": string(parent), "tracestate": string(ctx.Request.Header.Peek("Tracestate"))}
		rq.span = trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
	}
	return rq
}

func (rq *request) release() {
	rq.id, rq.span = "", trace.SpanContext{}
	requests.Put(rq)
}

// isID reports whether a header's value is as idPattern says.
func isID(id []byte) bool {
	for _, c := range id {
		if (c|0x20)-'a' > 'z'-'a' && c-'0' > 9 && c != '_' && c != '.' && c != ':' && c != '-' {
			return false
		}
	}
	return len(id) > 0 && len(id) <= 128
}

// decisionID is a UUIDv7 as text.
type decisionID [36]byte

func (id *decisionID) make() {
	u := uuid.Must(uuid.NewV7())
	at := 0
	for i, part := range [...][]byte{u[:4], u[4:6], u[6:8], u[8:10], u[10:]} {
		if i > 0 {
			id[at] = '-'
			at++
		}
		at += hex.Encode(id[at:], part)
	}
}

// text is the id as a string, which is good for as long as id does not change.
func (id *decisionID) text() string { return unsafe.String(&id[0], len(id)) }
