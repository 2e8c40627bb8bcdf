package daemon

import (
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/caracalai/caracald/daemon/eventloop"
)

// decidePath is where one input is decided.
const decidePath = "/v1/decide"

// group decides requests that came in together. All of their records are under way
// before the first is waited for, so that they share a write.
type group struct {
	s       *server
	guarded bool
	members []member
	body    []byte
}

// member is one request of a group.
type member struct {
	rq      request
	out     deciding
	problem *problem
	// header is one that a refusal has.
	header string
}

// newGroup makes the handler of one event loop.
func (s *server) newGroup(guarded bool) eventloop.Handler {
	g := &group{s: s, guarded: guarded}
	return g.answer
}

// slowGroup is how long evaluating a group may take before the next ones are smaller.
const slowGroup = time.Millisecond

func (g *group) answer(requests []*eventloop.Request) (quick bool) {
	for len(g.members) < len(requests) {
		g.members = append(g.members, member{})
	}
	members := g.members[:len(requests)]
	start := time.Now()
	full := g.s.enter()
	for i, r := range requests {
		g.begin(&members[i], r, start, full)
	}
	quick = time.Since(start) < slowGroup
	for i := range members {
		g.settle(&members[i])
	}
	if full == nil {
		g.s.leave()
	}
	for i, r := range requests {
		m := &members[i]
		if m.problem == heldUp {
			r.Elsewhere = true
		} else if m.problem != nil {
			g.s.d.metrics.refused(g.s.d.serving, m.problem.code)
			r.Answer = appendResponse(r.Answer, m.problem.status, m.rq.id, m.header, r.Close, m.problem.encode())
		} else {
			g.body = m.out.appendAnswer(g.body[:0], &m.rq)
			r.Answer = appendResponse(r.Answer, fasthttp.StatusOK, m.rq.id, "", r.Close, g.body)
		}
		*m = member{}
	}
	return quick
}

// begin decides a member and hands its record to the spool. full is why it cannot
// be decided, if so.
func (g *group) begin(m *member, r *eventloop.Request, start time.Time, full *problem) {
	m.rq.read(r.ID, r.Traceparent, r.Tracestate, start)
	switch {
	case g.guarded && !g.s.authorized(r.Authorization):
		m.problem, m.header = unauthorized, "WWW-Authenticate: Bearer\r\n"
	case full != nil:
		m.problem, m.header = full, "Retry-After: 1\r\n"
	default:
		defer g.recover(m)
		m.out.looped = true
		m.problem = g.s.d.begin(&m.out, &m.rq, r.Body, start)
	}
}

// settle waits for a member's record.
func (g *group) settle(m *member) {
	if m.problem == nil {
		defer g.recover(m)
		m.problem = g.s.d.settle(&m.out)
	}
}

// recover makes a refusal of a panic.
func (g *group) recover(m *member) {
	if r := recover(); r != nil {
		m.problem = g.s.d.crash(&m.rq, r)
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
