package eventloop_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/caracalai/caracald/daemon/eventloop"
)

// patience is how long a test waits for what has to come.
const patience = time.Minute

// echo is a server whose loops answer with the body, and whose server behind
// answers with what it made of the request.
type echo struct {
	l      eventloop.Listener
	loops  atomic.Int64 // requests answered by the loops
	behind atomic.Int64 // and by the server behind them
	// largest is the most requests of a group, since it was set to 0.
	largest atomic.Int64
	// slow makes the handler tell that it was.
	slow bool
	// before is called with the bodies of each group.
	before func(r *eventloop.Request)
	// later has answers wait until keep, which is called with each group, lets them.
	later bool
	keep  func(ready func())
	// state, where set, is told what becomes of the connections of the server behind.
	state func(net.Conn, fasthttp.ConnState)
	// wrap, where set, gives the listener in the place of the real one.
	wrap   func(net.Listener) net.Listener
	server *fasthttp.Server
	served chan error
}

// handler answers at once or, where e is later, when the groups' keeper lets it.
func (e *echo) handler(wake func()) eventloop.Handler {
	return func(group []*eventloop.Request) (p eventloop.Pending, quick bool) {
		e.largest.Store(max(e.largest.Load(), int64(len(group))))
		g := &echoes{e: e}
		for _, r := range group {
			if e.before != nil {
				e.before(r)
			}
			if !r.Elsewhere {
				g.requests, g.ids, g.bodies = append(g.requests, r), append(g.ids, string(r.ID)), append(g.bodies, string(r.Body))
			}
		}
		if !e.later {
			g.End()
			return nil, !e.slow
		}
		e.keep(func() { g.ready.Store(true); wake() })
		return g, !e.slow
	}
}

// echoes is a group that waits for its keeper.
type echoes struct {
	e           *echo
	requests    []*eventloop.Request
	ids, bodies []string
	ready       atomic.Bool
}

func (g *echoes) Ready() bool { return g.ready.Load() }

func (g *echoes) End() {
	for i, r := range g.requests {
		g.e.loops.Add(1)
		last := ""
		if r.Close {
			last = "Connection: close\r\n"
		}
		r.Answer = fmt.Appendf(r.Answer, "HTTP/1.1 200 OK\r\n%sX-Request-Id: %s\r\nContent-Length: %d\r\n\r\n%s", last, g.ids[i], len(g.bodies[i]), g.bodies[i])
	}
}

// start serves on a listener; change sets what is not the default.
func start(t *testing.T, network string, change func(*eventloop.Config, *echo)) *echo {
	t.Helper()
	network, way, _ := strings.Cut(network, " ")
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "s")
	}
	inner, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	e := &echo{served: make(chan error, 1), later: way == later, keep: func(ready func()) { go ready() }}
	c := eventloop.Config{Path: "/echo", MaxBody: 1 << 20, Loops: 2, NewHandler: e.handler}
	if change != nil {
		change(&c, e)
	}
	if e.wrap != nil {
		inner = e.wrap(inner)
	}
	if e.l, err = eventloop.Listen(inner, c); err != nil {
		t.Fatal(err)
	}
	e.server = &fasthttp.Server{Logger: quiet{}, MaxRequestBodySize: 1 << 20, ConnState: e.state, Handler: func(ctx *fasthttp.RequestCtx) {
		e.behind.Add(1)
		if conn := ctx.Conn(); ctx.IsGet() && eventloop.Returnable(conn) {
			ctx.Hijack(func(c net.Conn) {
				if err := eventloop.Return(conn, c); err != nil {
					t.Error(err)
				}
			})
		}
		fmt.Fprintf(ctx, "%s %s %s", ctx.Method(), ctx.Path(), ctx.PostBody())
	}}
	go func() { e.served <- e.server.Serve(e.l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(e.l.Shutdown(ctx), e.server.ShutdownWithContext(ctx)); err != nil {
			t.Error(err)
		}
		if err := <-e.served; err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return e
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}

// caller is one connection.
type caller struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func (e *echo) dial(t *testing.T) *caller {
	t.Helper()
	c, err := net.Dial(e.l.Addr().Network(), e.l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &caller{t, c, bufio.NewReader(c)}
}

func (c *caller) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Error(err)
	}
}

// answer reads one response.
func (c *caller) answer() (status int, header http.Header, body string) {
	c.t.Helper()
	resp, body := c.response()
	return resp.StatusCode, resp.Header, body
}

func (c *caller) response() (*http.Response, string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	data, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		c.t.Fatal(err)
	}
	return resp, string(data)
}

// gone waits until the server has closed the connection.
func (c *caller) gone() {
	c.t.Helper()
	if b, err := c.r.ReadByte(); err == nil {
		c.t.Errorf("read %q from a connection that was to be closed", b)
	} else if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		c.t.Error("the connection was not closed")
	}
}

func post(body string) string {
	return fmt.Sprintf("POST /echo HTTP/1.1\r\nHost: x\r\nX-Request-Id: %d\r\nContent-Length: %d\r\n\r\n%s", len(body), len(body), body)
}

// later is how a network is called where answers wait for something.
const later = "later"

// each runs a test on both kinds of network, with answers that are there at once and
// with others.
func each(t *testing.T, test func(t *testing.T, network string)) {
	for _, network := range []string{"tcp", "unix", "tcp " + later, "unix " + later} {
		t.Run(network, func(t *testing.T) { test(t, network) })
	}
}

// tcp is each on one kind of network.
func tcp(t *testing.T, test func(t *testing.T, network string)) {
	for _, network := range []string{"tcp", "tcp " + later} {
		t.Run(network, func(t *testing.T) { test(t, network) })
	}
}

func TestPlainRequests(t *testing.T) {
	each(t, func(t *testing.T, network string) {
		e := start(t, network, nil)
		const callers, requests = 40, 50
		var all sync.WaitGroup
		for n := range callers {
			c := e.dial(t)
			all.Go(func() {
				for i := range requests {
					body := strings.Repeat(fmt.Sprintf("%d-%d ", n, i), 1+i*i)
					c.send(post(body))
					if status, h, got := c.answer(); status != 200 || got != body || h.Get("X-Request-Id") != fmt.Sprint(len(body)) {
						t.Errorf("status %d, %v, body %.80q, sent %.80q", status, h, got, body)
						return
					}
				}
			})
		}
		all.Wait()
		if n := e.loops.Load(); n != callers*requests || e.behind.Load() != 0 {
			t.Errorf("the loops answered %d, the server behind %d", n, e.behind.Load())
		}
	})
}

// A request is the same however its bytes come in.
func TestSplitRequests(t *testing.T) {
	tcp(t, func(t *testing.T, network string) {
		e := start(t, network, nil)
		text := post("some body")
		for at := range text {
			c := e.dial(t)
			c.send(text[:at])
			c.send(text[at:])
			if _, _, body := c.answer(); body != "some body" {
				t.Errorf("split at %d: %q", at, body)
			}
		}
		c := e.dial(t)
		for i := range text {
			c.send(text[i : i+1])
		}
		if _, _, body := c.answer(); body != "some body" {
			t.Errorf("byte by byte: %q", body)
		}
		large := strings.Repeat("0123456789abcdef", 1<<16) // the largest body
		for range 3 {
			c.send(post(large))
			if _, _, body := c.answer(); body != large {
				t.Errorf("%d bytes came back of %d", len(body), len(large))
			}
		}
		if e.behind.Load() != 0 {
			t.Errorf("the server behind answered %d", e.behind.Load())
		}
	})
}

// What the loops do not read is answered by the server behind, whatever came before.
func TestOtherRequests(t *testing.T) {
	tcp(t, func(t *testing.T, network string) {
		for name, tc := range map[string]struct {
			request string
			status  int
			body    string
		}{
			"another method":      {"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n", 200, "GET /echo "},
			"another path":        {"POST /echo/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na", 200, "POST /echo/x a"},
			"a query":             {"POST /echo?a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na", 200, "POST /echo a"},
			"chunked":             {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200, "POST /echo abc"},
			"another protocol":    {"POST /echo HTTP/1.0\r\nHost: x\r\nContent-Length: 1\r\n\r\na", 200, "POST /echo a"},
			"to be the last":      {"POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\na", 200, "POST /echo a"},
			"no length":           {"POST /echo HTTP/1.1\r\nHost: x\r\n\r\n", 411, ""},
			"too long":            {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\n", 400, ""},
			"two lengths":         {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, ""},
			"a name with a space": {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length : 1\r\n\r\na", 400, ""},
			"no HTTP":             {"hello\r\n\r\n", 400, ""},
		} {
			t.Run(name, func(t *testing.T) {
				e := start(t, network, nil)
				for _, before := range []bool{false, true} {
					c := e.dial(t)
					if before {
						c.send(post("before"))
						if _, _, body := c.answer(); body != "before" {
							t.Errorf("before it: %q", body)
						}
					}
					c.send(tc.request)
					status, _, body := c.answer()
					if tc.status == 411 && status == 200 { // a body that is not told of is empty to some
						status, body = 411, ""
					}
					if status != tc.status || status == 200 && body != tc.body {
						t.Errorf("status %d, body %q", status, body)
					}
				}
				if e.loops.Load() != 1 {
					t.Errorf("the loops answered %d", e.loops.Load())
				}
			})
		}
	})
}

func TestExpect(t *testing.T) {
	tcp(t, func(t *testing.T, network string) {
		e := start(t, network, nil)
		c := e.dial(t)
		c.send("POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
		if line, err := c.r.ReadString('\n'); err != nil || !strings.Contains(line, "100") {
			t.Fatalf("%q, %v", line, err)
		}
		if line, err := c.r.ReadString('\n'); err != nil || strings.TrimSpace(line) != "" {
			t.Fatalf("%q, %v", line, err)
		}
		c.send("ab")
		if _, _, body := c.answer(); body != "POST /echo ab" {
			t.Errorf("%q", body)
		}
	})
}

// Requests that are there together are answered together, but not where that takes long.
func TestGroups(t *testing.T) {
	tcp(t, func(t *testing.T, network string) {
		for _, slow := range []bool{false, true} {
			const callers = 20
			held := make(chan bool)
			e := start(t, network, func(c *eventloop.Config, e *echo) {
				c.Loops, e.slow = 1, slow
				e.before = func(r *eventloop.Request) {
					if string(r.Body) == "hold" {
						held <- true
						<-held
					}
				}
			})
			hold := e.dial(t)
			for range 2 { // the first tells the loop how long it takes
				hold.send(post("hold"))
				<-held
				var all []*caller
				for range callers {
					c := e.dial(t)
					c.send(post("x"))
					all = append(all, c)
				}
				e.largest.Store(0)
				held <- true
				hold.answer()
				for _, c := range all {
					c.answer()
				}
			}
			if n := e.largest.Load(); slow && n != 1 || !slow && n < 2 {
				t.Errorf("slow: %v, and up to %d requests were answered together", slow, n)
			}
		}
	})
}

// Who sends the next request before the answer gets all answers, in order.
func TestPipelining(t *testing.T) {
	tcp(t, func(t *testing.T, network string) {
		e := start(t, network, nil)
		c := e.dial(t)
		c.send(post("one") + post("two") + post("three") + post("four")[:20])
		for _, want := range []string{"one", "POST /echo two", "POST /echo three"} {
			if _, _, body := c.answer(); body != want {
				t.Errorf("%q, want %q", body, want)
			}
		}
		c.send(post("four")[20:])
		if _, _, body := c.answer(); body != "POST /echo four" {
			t.Errorf("%q", body)
		}
	})
}

// A caller that does not read its answer holds nobody up, and gets it whole.
func TestSlowReader(t *testing.T) {
	each(t, func(t *testing.T, network string) {
		large := strings.Repeat("x", 24<<20)
		e := start(t, network, func(c *eventloop.Config, e *echo) {
			c.Loops = 1
			e.before = func(r *eventloop.Request) {
				if string(r.Body) == "large" {
					r.Body = []byte(large)
				}
			}
		})
		slow, quick := e.dial(t), e.dial(t)
		slow.send(post("large"))
		if b, err := slow.r.Peek(1); err != nil || b[0] != 'H' { // it is being answered
			t.Fatal(b, err)
		}
		for range 3 {
			quick.send(post("quick"))
			if _, _, body := quick.answer(); body != "quick" {
				t.Errorf("%q", body)
			}
		}
		if _, _, body := slow.answer(); body != large {
			t.Errorf("%d bytes of %d", len(body), len(large))
		}
		slow.send(post("after"))
		if _, _, body := slow.answer(); body != "POST /echo after" {
			t.Errorf("%q", body)
		}
	})
}

// A connection that was left for one request, and is given back, is served by the
// loops again, whatever of the next request was read behind.
func TestReturn(t *testing.T) {
	tcp(t, func(t *testing.T, network string) {
		e := start(t, network, nil)
		const get = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
		c := e.dial(t)
		for i := range 50 {
			c.send(post("loops"))
			if _, _, body := c.answer(); body != "loops" {
				t.Fatalf("round %d: %q", i, body)
			}
			c.send(get)
			if _, _, body := c.answer(); body != "GET /health " {
				t.Fatalf("round %d: %q", i, body)
			}
		}
		if loops, behind := e.loops.Load(), e.behind.Load(); loops != 50 || behind != 50 {
			t.Errorf("%d requests answered by the loops, %d behind", loops, behind)
		}
		next := post("next")
		for at := range len(next) + 1 {
			c.send(get + next[:at])
			if _, _, body := c.answer(); body != "GET /health " {
				t.Fatalf("with %d bytes of the next: %q", at, body)
			}
			c.send(next[at:])
			if _, _, body := c.answer(); body != "next" && body != "POST /echo next" {
				t.Fatalf("with %d bytes of the next: %q", at, body)
			}
		}
		c.send("GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		if _, _, body := c.answer(); body != "GET /last " {
			t.Errorf("%q", body)
		}
		c.gone()
	})
}

func TestElsewhere(t *testing.T) {
	tcp(t, func(t *testing.T, network string) {
		e := start(t, network, func(_ *eventloop.Config, e *echo) {
			e.before = func(r *eventloop.Request) { r.Elsewhere = bytes.HasPrefix(r.Body, []byte("slow")) }
		})
		c := e.dial(t)
		for _, step := range [][2]string{{"quick", "quick"}, {"slow", "POST /echo slow"}, {"quick", "POST /echo quick"}} {
			c.send(post(step[0]))
			if _, _, body := c.answer(); body != step[1] {
				t.Errorf("%q, want %q", body, step[1])
			}
		}
	})
}

func TestConfig(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for name, change := range map[string]func(*eventloop.Config){
		"path":    func(c *eventloop.Config) { c.Path = "echo" },
		"body":    func(c *eventloop.Config) { c.MaxBody = 0 },
		"loops":   func(c *eventloop.Config) { c.Loops = 0 },
		"bound":   func(c *eventloop.Config) { c.MaxConns = -1 },
		"handler": func(c *eventloop.Config) { c.NewHandler = nil },
	} {
		c := eventloop.Config{Path: "/echo", MaxBody: 1, Loops: 1, NewHandler: new(echo).handler}
		change(&c)
		if _, err := eventloop.Listen(l, c); err == nil {
			t.Errorf("a wrong %s was taken", name)
		}
	}
}
