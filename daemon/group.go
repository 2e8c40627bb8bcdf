package daemon

import (
	"strconv"
	"time"
	"unsafe"

	"github.com/valyala/fasthttp"

	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/daemon/eventloop"
)

// decidePath is where one input is decided.
const decidePath = "/v1/decide"

// grouper decides the requests of one event loop, in groups. All of a group's
// records are under way before the first is waited for, so that they share a write.
type grouper struct {
	s       *server
	guarded bool
	// waits says that records wait for the disk, and the loop not for them.
	waits bool
	free  []*group
}

// group are requests that came in together.
type group struct {
	of       *grouper
	requests []*eventloop.Request
	members  []member
	entered  int
	body     []byte
}

// member is one request of a group.
type member struct {
	rq      request
	out     deciding
	problem *problem
	// header is one that a refusal has.
	header string
	// id is where the request's is kept while it waits.
	id []byte
}

// newGrouper makes the handler of one event loop.
func (s *server) newGrouper(guarded bool, wake func()) eventloop.Handler {
	g := &grouper{s: s, guarded: guarded, waits: s.d.cfg.SpoolDurability != audit.SyncNone}
	if g.waits {
		s.d.spool.Notify(wake)
	}
	return g.take
}

// slowGroup is how long evaluating a group may take before the next ones are smaller.
const slowGroup = time.Millisecond

func (of *grouper) take(requests []*eventloop.Request) (p eventloop.Pending, quick bool) {
	g := of.group()
	for len(g.members) < len(requests) {
		g.members = append(g.members, member{})
	}
	g.requests = append(g.requests, requests...)
	start := time.Now()
	under := 1 // one after another
	if of.waits {
		under = len(requests)
	}
	entered, full := of.s.enter(under)
	g.entered = entered
	for i, r := range requests {
		why := full
		if i < entered {
			why = nil
		}
		g.begin(&g.members[i], r, start, why)
		r.Elsewhere = g.members[i].problem == heldUp
	}
	quick = time.Since(start) < slowGroup
	if !of.waits {
		g.End()
		return nil, quick
	}
	for i, r := range requests {
		g.members[i].keep()
		if r.Elsewhere { // where it may be under way before this group has ended
			of.s.leave(1)
			g.entered--
		}
	}
	return g, quick
}

func (of *grouper) group() *group {
	if n := len(of.free); n > 0 {
		g := of.free[n-1]
		of.free = of.free[:n-1]
		return g
	}
	return &group{of: of}
}

// Ready tells whether all records are durable, or are known not to become so.
func (g *group) Ready() bool {
	for i := range g.requests {
		if m := &g.members[i]; m.problem == nil && !m.out.record.Done() {
			return false
		}
	}
	return true
}

// End waits for the records and encodes the answers.
func (g *group) End() {
	d := g.of.s.d
	for i := range g.requests {
		g.settle(&g.members[i])
	}
	g.of.s.leave(g.entered)
	for i, r := range g.requests {
		m := &g.members[i]
		if r.Elsewhere {
			*m = member{id: m.id}
			continue
		}
		if m.problem != nil {
			d.metrics.refused(d.serving, m.problem.code)
			r.Answer = appendResponse(r.Answer, m.problem.status, m.rq.id, m.header, r.Close, m.problem.encode())
		} else {
			g.body = m.out.appendAnswer(g.body[:0], &m.rq)
			r.Answer = appendResponse(r.Answer, fasthttp.StatusOK, m.rq.id, "", r.Close, g.body)
		}
		*m = member{id: m.id}
	}
	clear(g.requests)
	g.requests = g.requests[:0]
	g.of.free = append(g.of.free, g)
}

// keep makes a request good for longer than its bytes.
func (m *member) keep() {
	if m.problem == heldUp {
		return
	}
	m.id = append(m.id[:0], m.rq.id...)
	m.rq.id = unsafe.String(unsafe.SliceData(m.id), len(m.id))
}

// begin decides a member and hands its record to the spool. full is why it cannot
// be decided, if so.
func (g *group) begin(m *member, r *eventloop.Request, start time.Time, full *problem) {
	m.rq.read(r.ID, r.Traceparent, r.Tracestate, start)
	switch {
	case g.of.guarded && !g.of.s.authorized(r.Authorization):
		m.problem, m.header = unauthorized, "WWW-Authenticate: Bearer\r\n"
	case full != nil:
		m.problem, m.header = full, "Retry-After: 1\r\n"
	default:
		defer g.recover(m)
		m.out.looped = true
		m.problem = g.of.s.d.begin(&m.out, &m.rq, r.Body, start)
	}
}

// settle waits for a member's record.
func (g *group) settle(m *member) {
	if m.problem == nil {
		defer g.recover(m)
		m.problem = g.of.s.d.settle(&m.out)
	}
}

// recover makes a refusal of a panic.
func (g *group) recover(m *member) {
	if r := recover(); r != nil {
		m.problem = g.of.s.d.crash(&m.rq, r)
	}
}

// appendResponse appends a response of HTTP/1.1, as the server behind the loops
// writes it. header is another one, with its end of line.
func appendResponse(b []byte, status int, id, header string, last bool, body []byte) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, fasthttp.StatusMessage(status)...)
	b = append(b, "\r\nServer: caracald\r\nContent-Type: application/json\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	b = append(b, "\r\nX-Request-Id: "...)
	b = append(b, id...)
	b = append(b, "\r\n"...)
	b = append(b, header...)
	if last {
		b = append(b, "Connection: close\r\n"...)
	}
	b = append(b, "\r\n"...)
	return append(b, body...)
}
