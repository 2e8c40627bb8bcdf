package daemon

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttpadaptor"

	"github.com/caracalai/caracald/daemon/eventloop"
)

// server is the decision API on its listeners.
type server struct {
	d       *Daemon
	tcp     net.Listener
	unix    net.Listener
	socket  string
	http    []*fasthttp.Server
	loops   []eventloop.Listener
	tokens  [][sha256.Size]byte
	metrics fasthttp.RequestHandler
	busy    atomic.Int64
	full    atomic.Int64 // when it was logged last that there are too many connections, Unix ns
}

// listen opens the configured listeners.
func (d *Daemon) listen() (_ *server, err error) {
	s := &server{d: d}
	for _, t := range d.cfg.DecideTokens {
		s.tokens = append(s.tokens, sha256.Sum256([]byte(t)))
	}
	if d.cfg.Metrics != nil {
		s.metrics = fasthttpadaptor.NewFastHTTPHandler(d.cfg.Metrics)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if addr := d.cfg.DecideAddr; addr != "" {
		if s.tcp, err = net.Listen("tcp", addr); err != nil {
			return nil, fmt.Errorf("listening for decisions: %w", err)
		}
		if d.cfg.DecideTLS != nil {
			s.tcp = tls.NewListener(s.tcp, d.cfg.DecideTLS)
		}
	}
	if path := d.cfg.DecideSocket; path != "" {
		if s.unix, err = listenUnix(path); err != nil {
			return nil, fmt.Errorf("listening for decisions: %w", err)
		}
		s.socket = path
	}
	return s, nil
}

// listenUnix opens a socket. One that nobody listens on any more is replaced.
func listenUnix(path string) (net.Listener, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeSocket == 0:
		return nil, fmt.Errorf("%s is there and is no socket", path)
	default:
		if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
			return nil, errors.Join(fmt.Errorf("%s is in use by another process", path), c.Close())
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (s *server) addr() net.Addr {
	if s.tcp == nil {
		return nil
	}
	return s.tcp.Addr()
}

// How long a connection may take over a request or an answer, and be silent between.
const (
	readTimeout = 30 * time.Second
	idleTimeout = 2 * time.Minute
)

// start serves on all listeners. What it gives back tells when one of them fails.
func (s *server) start() <-chan error {
	failed := make(chan error, 2)
	serve := func(plain net.Listener, guarded bool) {
		l, err := s.loop(plain, guarded)
		if err != nil {
			failed <- fmt.Errorf("serving decisions: %w", err)
			return
		}
		s.loops = append(s.loops, l)
		h := &fasthttp.Server{
			Handler:                      s.handler(guarded),
			ErrorHandler:                 badRequest,
			Name:                         "caracald",
			Concurrency:                  maxConns(),
			MaxRequestBodySize:           max(s.d.cfg.MaxInputBytes, s.d.cfg.MaxBatchBytes),
			ReadTimeout:                  readTimeout,
			WriteTimeout:                 readTimeout,
			IdleTimeout:                  idleTimeout,
			ReadBufferSize:               16 << 10,
			NoDefaultDate:                true,
			NoDefaultContentType:         true,
			DisablePreParseMultipartForm: true,
			CloseOnShutdown:              true,
			Logger:                       quiet{s.d},
		}
		s.http = append(s.http, h)
		go func() {
			if err := h.Serve(l); err != nil {
				failed <- fmt.Errorf("serving decisions: %w", err)
			}
		}()
	}
	if s.tcp != nil {
		serve(s.tcp, len(s.tokens) > 0)
		s.d.log.Info("decisions are served", "address", s.tcp.Addr().String())
	}
	if s.unix != nil {
		serve(s.unix, false)
		s.d.log.Info("decisions are served", "socket", s.socket)
	}
	return failed
}

// loop has event loops serve decisions of a listener.
func (s *server) loop(l net.Listener, guarded bool) (eventloop.Listener, error) {
	return eventloop.Listen(l, eventloop.Config{
		Path: decidePath, MaxBody: s.d.cfg.MaxInputBytes, Loops: runtime.GOMAXPROCS(0), Idle: idleTimeout, Slow: readTimeout,
		MaxConns: maxConns(), Exhausted: s.exhausted,
		NewHandler: func(wake func()) eventloop.Handler { return s.newGrouper(guarded, wake) },
	})
}

// exhausted logs why a connection has to wait, now and then.
func (s *server) exhausted(why error) {
	const rest = time.Minute
	now := time.Now().UnixNano()
	if last := s.full.Load(); now-last > int64(rest) && s.full.CompareAndSwap(last, now) {
		s.d.log.Error("no further connection can be accepted for now", "error", why)
	}
}

// stop takes no new requests and lets those under way finish, for a bounded time.
func (s *server) stop(most time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	var stopping sync.WaitGroup
	failed := make([]error, len(s.http)+len(s.loops))
	end := func(err *error, shutdown func(context.Context) error) {
		if *err = shutdown(ctx); errors.Is(*err, context.DeadlineExceeded) {
			s.d.log.Warn("requests were still under way when the daemon stopped")
			*err = nil
		}
	}
	for i, h := range s.http {
		stopping.Go(func() { end(&failed[i], h.ShutdownWithContext) })
	}
	for i, l := range s.loops {
		stopping.Go(func() { end(&failed[len(s.http)+i], l.Shutdown) })
	}
	stopping.Wait()
	return errors.Join(failed...)
}

// close gives the listeners back; a socket's file goes with it.
func (s *server) close() error {
	var failed []error
	for _, l := range []net.Listener{s.tcp, s.unix} {
		if l == nil {
			continue
		}
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// quiet passes fasthttp's log on: it is about callers that break off.
type quiet struct{ d *Daemon }

func (q quiet) Printf(format string, args ...any) {
	q.d.log.Debug("http: " + fmt.Sprintf(format, args...))
}

// problem is a refusal: an answer without a decision.
type problem struct {
	status int
	code   string
	reason string
}

func (p *problem) Error() string { return p.code + ": " + p.reason }

func refuse(status int, code, format string, args ...any) *problem {
	return &problem{status, code, fmt.Sprintf(format, args...)}
}

// errorBody is the shape of every refusal.
type errorBody struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

func (p *problem) body() errorBody { return errorBody{p.code, p.reason} }

// encode is the body as it is sent.
func (p *problem) encode() []byte {
	data, err := json.Marshal(p.body())
	if err != nil { // two strings cannot fail
		return []byte(`{"error":"internal_error","error_description":""}`)
	}
	return data
}

func writeProblem(ctx *fasthttp.RequestCtx, p *problem) {
	ctx.Response.ResetBody()
	ctx.SetStatusCode(p.status)
	ctx.SetContentType("application/json")
	ctx.SetBody(p.encode())
}

// badRequest answers what fasthttp could not read.
func badRequest(ctx *fasthttp.RequestCtx, err error) {
	var small *fasthttp.ErrSmallBuffer
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		writeProblem(ctx, refuse(fasthttp.StatusRequestEntityTooLarge, "payload_too_large", "the body is too long"))
	case errors.As(err, &small):
		writeProblem(ctx, refuse(fasthttp.StatusRequestHeaderFieldsTooLarge, "headers_too_large", "the headers are too long"))
	default:
		writeProblem(ctx, refuse(fasthttp.StatusBadRequest, "bad_request", "the request could not be read"))
	}
	ctx.SetConnectionClose()
}

const dataPath = "/v1/data/caracal/authz/result"

// handler answers the decision API. guarded asks for a bearer token, except for
// health and readiness.
func (s *server) handler(guarded bool) fasthttp.RequestHandler {
	d := s.d
	posts := map[string]func(*fasthttp.RequestCtx, *request) *problem{
		decidePath:               d.handleDecide,
		"/v1/decide/batch":       d.handleBatch,
		dataPath:                 d.handleData,
		"/access/v1/evaluation":  d.handleEvaluation,
		"/access/v1/evaluations": d.handleEvaluations,
	}
	return func(ctx *fasthttp.RequestCtx) {
		if handle, ok := posts[string(ctx.Path())]; ok {
			if p := s.post(ctx, guarded, handle); p != nil {
				d.metrics.refused(d.serving, p.code)
				writeProblem(ctx, p)
			}
			return
		}
		path := string(ctx.Path())
		zone, ofStatus := statusZone(path)
		get := ctx.IsGet() || ctx.IsHead()
		// Callers that ask for health over the connections on which they ask for
		// decisions would else have all of them here before long.
		if conn := ctx.Conn(); eventloop.Returnable(conn) {
			ctx.Hijack(func(c net.Conn) {
				if err := eventloop.Return(conn, c); err != nil {
					quiet{d}.Printf("%v", err)
				}
			})
		}
		switch {
		case path == "/healthz" && get:
			writeJSON(ctx, []byte(`{"status":"ok"}`))
		case path == "/readyz" && get:
			d.handleReady(ctx)
		case guarded && !s.authorized(ctx.Request.Header.Peek("Authorization")):
			writeProblem(ctx, unauthorized)
		case path == "/metrics" && get && s.metrics != nil:
			s.metrics(ctx)
		case ofStatus && get:
			d.handleStatus(ctx, zone)
		case path == "/healthz" || path == "/readyz" || path == "/metrics" && s.metrics != nil || ofStatus:
			ctx.Response.Header.Set("Allow", "GET")
			writeProblem(ctx, refuse(fasthttp.StatusMethodNotAllowed, "method_not_allowed", "this takes GET"))
		default:
			writeProblem(ctx, refuse(fasthttp.StatusNotFound, "not_found", "there is nothing at this path"))
		}
	}
}

var unauthorized = refuse(fasthttp.StatusUnauthorized, "unauthorized", "a valid bearer token is required")

// authorized tells whether the value of an Authorization header is good.
func (s *server) authorized(header []byte) bool {
	scheme, secret, _ := strings.Cut(string(header), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	hash := sha256.Sum256([]byte(strings.TrimSpace(secret)))
	good := 0
	for i := range s.tokens { // all of them, so that time tells nothing
		good |= subtle.ConstantTimeCompare(hash[:], s.tokens[i][:])
	}
	return good == 1
}

// post runs a call that decides: within the bounds, and never as a panic.
func (s *server) post(ctx *fasthttp.RequestCtx, guarded bool, handle func(*fasthttp.RequestCtx, *request) *problem) (p *problem) {
	rq := newRequest(ctx)
	defer rq.release()
	ctx.Response.Header.Set("X-Request-Id", rq.id)
	if !ctx.IsPost() {
		ctx.Response.Header.Set("Allow", "POST")
		return refuse(fasthttp.StatusMethodNotAllowed, "method_not_allowed", "this takes POST")
	}
	if guarded && !s.authorized(ctx.Request.Header.Peek("Authorization")) {
		ctx.Response.Header.Set("WWW-Authenticate", "Bearer")
		return unauthorized
	}
	if _, p := s.enter(1); p != nil {
		ctx.Response.Header.Set("Retry-After", "1")
		return p
	}
	defer s.leave(1)
	defer func() {
		if r := recover(); r != nil {
			p = s.d.crash(rq, r)
		}
	}()
	return handle(ctx, rq)
}

// enter counts n requests that are evaluated, as far as there are not too many, and
// tells how many it let in and why not the others; leave ends these.
func (s *server) enter(n int) (entered int, full *problem) {
	over := s.busy.Add(int64(n)) - int64(s.d.cfg.MaxConcurrent)
	if over <= 0 {
		return n, nil
	}
	out := min(n, int(over))
	s.leave(out)
	return n - out, refuse(fasthttp.StatusServiceUnavailable, "overloaded", "more than %d requests are under way", s.d.cfg.MaxConcurrent)
}

func (s *server) leave(n int) { s.busy.Add(-int64(n)) }

func writeJSON(ctx *fasthttp.RequestCtx, data []byte) {
	ctx.SetContentType("application/json")
	ctx.SetBody(data)
}

func (d *Daemon) handleReady(ctx *fasthttp.RequestCtx) {
	d.checkReady()
	switch {
	case !d.isReady.Load():
		writeProblem(ctx, refuse(fasthttp.StatusServiceUnavailable, "not_ready", "a zone is not loaded yet"))
	case d.cfg.AuditMode == AuditRefuse && !d.keepsAudit():
		writeProblem(ctx, refuse(fasthttp.StatusServiceUnavailable, "not_ready", "audit cannot be kept, so decisions are refused"))
	default:
		writeJSON(ctx, []byte(`{"status":"ready"}`))
	}
}

// readyRoom is how much room the spool has while the daemon says that it is ready:
// some records of the usual size.
const readyRoom = 16 << 10

// keepsAudit tells whether the spool takes records.
func (d *Daemon) keepsAudit() bool {
	s := d.spool.Stats()
	return s.Failed == nil && s.Room >= readyRoom
}

// statusZone gives the zone of a path that asks for a zone's status.
func statusZone(path string) (zone string, ok bool) {
	zone, ok = strings.CutPrefix(path, "/v1/zones/")
	if ok {
		zone, ok = strings.CutSuffix(zone, "/status")
	}
	return zone, ok && zone != "" && !strings.Contains(zone, "/")
}
