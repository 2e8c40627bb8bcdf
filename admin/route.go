package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
)

// route is one call of the API: how it is reached, who may make it, what goes
// in and out, and what answers it. The OpenAPI document is made from the same
// table, so that it cannot say anything else than the code does.
type route struct {
	method, path string
	// id is the operation's id, noun.verb; writes are audited under it.
	id      string
	summary string
	// roles may make the call, beside admin; nil is every role.
	roles []string
	// public calls need no token.
	public bool
	// changes tells that the call writes: its refusals are audited.
	changes bool
	// idempotent calls take an Idempotency-Key.
	idempotent bool
	// archived calls answer for archived zones too.
	archived bool
	// query documents the query parameters.
	query []parameter
	// request is a pointer to the body's type, nil where there is no body.
	request any
	// binary is the media type of a body that is not JSON.
	binary string
	// response is a pointer to the answer's type, nil where it is not JSON.
	response any
	// contentType of a good answer that is not JSON.
	contentType string
	// status of a good answer.
	status int
	// others are the answers that differ from the good one and from api.Error.
	others []otherAnswer
	handle func(s *Server, w http.ResponseWriter, c *call) error
}

// otherAnswer documents an answer of another status, media type or shape.
type otherAnswer struct {
	status int
	// contentType is "" for JSON.
	contentType string
	// body is a pointer to the answer's type, nil where it is not JSON or empty.
	body any
}

// parameter documents a query parameter.
type parameter struct {
	name, description string
	enum              []string
	integer           bool
	// repeated parameters may be there several times.
	repeated bool
}

// paging are the parameters of every list.
var paging = []parameter{
	{name: "limit", description: "the most items of a page, 1 to 500; 200 by default", integer: true},
	{name: "cursor", description: "next_cursor of the page before"},
}

// Groups of roles that calls are open to.
var (
	anyone     = []string{api.RoleViewer, api.RoleAuthor, api.RoleActivator, api.RoleAuditor}
	authors    = []string{api.RoleAuthor}
	activators = []string{api.RoleActivator}
	auditors   = []string{api.RoleAuditor}
	daemons    = []string{api.RoleDaemon}
	admins     = []string{}
)

// reads makes the route of a call that only reads.
func reads[Resp any](path, id, summary string, roles []string, query []parameter, f func(*Server, context.Context, *call) (Resp, error)) route {
	return route{
		method: http.MethodGet, path: path, id: id, summary: summary, roles: roles, query: query,
		response: new(Resp), status: http.StatusOK,
		handle: func(s *Server, w http.ResponseWriter, c *call) error {
			resp, err := f(s, c.r.Context(), c)
			if err != nil {
				return err
			}
			return respond(w, http.StatusOK, resp)
		},
	}
}

// asks makes the route of a POST that changes nothing.
func asks[Req, Resp any](path, id, summary string, roles []string, f func(*Server, context.Context, *call, *Req) (Resp, error)) route {
	return route{
		method: http.MethodPost, path: path, id: id, summary: summary, roles: roles,
		request: new(Req), response: new(Resp), status: http.StatusOK,
		handle: func(s *Server, w http.ResponseWriter, c *call) error {
			body, err := readBody(c.r, maxBody)
			if err != nil {
				return err
			}
			req := new(Req)
			if err := decodeBody(body, req); err != nil {
				return err
			}
			resp, err := f(s, c.r.Context(), c, req)
			if err != nil {
				return err
			}
			return respond(w, http.StatusOK, resp)
		},
	}
}

// nothing is the request or answer without a body.
type nothing struct{}

// writes makes the route of a call that changes something. f does what needs no
// transaction and gives back what does.
func writes[Req, Resp any](method, path, id, summary string, roles []string, status int, f func(*Server, context.Context, *call, *Req) (commit[Resp], error)) route {
	rt := route{method: method, path: path, id: id, summary: summary, roles: roles, status: status, changes: true, idempotent: method == http.MethodPost}
	var req Req
	_, bodyless := any(req).(nothing)
	if !bodyless {
		rt.request = new(Req)
	}
	var resp Resp
	if _, empty := any(resp).(nothing); !empty {
		rt.response = new(Resp)
	}
	rt.handle = func(s *Server, w http.ResponseWriter, c *call) error {
		return s.write(w, c, write{
			id:     id,
			status: status,
			empty:  rt.response == nil,
			prepare: func(ctx context.Context, body []byte) (func(store.Tx) (outcome, error), error) {
				req := new(Req)
				if !bodyless {
					if err := decodeBody(body, req); err != nil {
						return nil, err
					}
				}
				run, err := f(s, ctx, c, req)
				if err != nil {
					return nil, err
				}
				return func(tx store.Tx) (outcome, error) {
					e, err := run(tx)
					return outcome{body: e.body, subject: e.subject}, err
				}, nil
			},
		})
	}
	return rt
}

// raw makes the route of a call that reads or answers something else than JSON objects.
func raw(method, path, id, summary string, roles []string, query []parameter, contentType string, response any, handle func(*Server, http.ResponseWriter, *call) error) route {
	return route{method: method, path: path, id: id, summary: summary, roles: roles, query: query,
		contentType: contentType, response: response, status: http.StatusOK, handle: handle}
}

// mux builds the handler of all routes.
func (s *Server) mux() (http.Handler, error) {
	mux := http.NewServeMux()
	methods := map[string][]string{}
	for _, rt := range routes() {
		mux.Handle(rt.method+" "+rt.path, s.serve(rt))
		methods[rt.path] = append(methods[rt.path], rt.method)
	}
	for path, allowed := range methods {
		slices.Sort(allowed)
		allow := strings.Join(allowed, ", ")
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", allow)
			s.fail(w, r, refuse(http.StatusMethodNotAllowed, "method_not_allowed", "%s takes %s", r.URL.Path, allow))
		})
	}
	s.documentation(mux)
	if err := s.consolePages(mux); err != nil {
		return nil, err
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, refuse(http.StatusNotFound, "not_found", "there is nothing at %s", r.URL.Path))
	})
	observed := otelhttp.NewHandler(s.guard(mux), "admin",
		otelhttp.WithMeterProvider(s.cfg.MeterProvider),
		otelhttp.WithTracerProvider(s.cfg.TracerProvider))
	watch := s.guard(s.serve(watchRoutes()[0]))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A long poll's duration says nothing, and there are as many of them as
		// daemons: what observes other calls would cost each of these more than 2 kB.
		if r.Method == http.MethodPost && r.URL.Path == watchPath {
			watch.ServeHTTP(w, r)
			return
		}
		observed.ServeHTTP(w, r)
	}), nil
}

// guard turns a panic into an answer and a log line, and sets what every answer carries.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := requestID(r)
		r.Header.Set("X-Request-Id", id)
		h := w.Header()
		h.Set("X-Request-Id", id)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler {
				panic(p)
			}
			s.log.Error("panic in a request", "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
			s.fail(w, r, errors.New("internal error"))
		}()
		next.ServeHTTP(w, r)
	})
}

// serve answers one route: who calls, may they, and then the call itself.
func (s *Server) serve(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		c := &call{r: r, requestID: r.Header.Get("X-Request-Id"), now: s.now()}
		err := s.admit(rt, c)
		if err == nil {
			err = rt.handle(s, w, c)
		}
		if err != nil {
			s.fail(w, r, err)
		}
		s.logCall(rt.id, c, start, err)
	})
}

// logCall is not inlined, because ten thousand calls may wait on top of its caller's frame.
//
//go:noinline
func (s *Server) logCall(operation string, c *call, start time.Time, err error) {
	s.log.LogAttrs(c.r.Context(), slog.LevelDebug, "request", slog.String("operation", operation), slog.String("path", c.r.URL.Path),
		slog.String("actor", c.actor.id), slog.String("request_id", c.requestID), slog.Duration("took", time.Since(start)), slog.Any("error", err))
}

// admit finds the actor and checks role, zone and that the zone exists.
func (s *Server) admit(rt route, c *call) error {
	if rt.public {
		return nil
	}
	var err error
	if c.actor, err = s.tokens.authenticate(c.r); err != nil {
		return err
	}
	ctx, zone := c.r.Context(), c.zone()
	refused := func(p *problem) error {
		if c.r.Method == http.MethodGet {
			return p
		}
		return s.auditRefusal(ctx, c, rt.id, p)
	}
	if rt.roles != nil && !c.actor.has(rt.roles...) {
		return refused(refuse(http.StatusForbidden, "forbidden", "%s needs %s", rt.id, needed(rt.roles)))
	}
	if zone == "" {
		return nil
	}
	if !c.actor.reaches(zone) {
		return refused(refuse(http.StatusForbidden, "forbidden", "this token does not reach the zone"))
	}
	if rt.archived { // an archived zone still has its pointer
		known, err := s.hub.knows(ctx, zone)
		if err == nil && !known {
			err = noZone(zone)
		}
		return err
	}
	err = s.store.View(ctx, func(tx store.Reader) error {
		_, err := tx.Zone(ctx, zone)
		return err
	})
	if err = missing(err, "zone", zone); err != nil && rt.changes {
		return s.auditRefusal(ctx, c, rt.id, err)
	}
	return err
}

func needed(roles []string) string {
	if len(roles) == 0 {
		return "the role admin"
	}
	return "one of the roles " + strings.Join(append([]string{api.RoleAdmin}, roles...), ", ")
}

// respond writes a JSON answer.
func respond(w http.ResponseWriter, status int, body any) error {
	data, err := encode(body)
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	writeJSON(w, status, data)
	return nil
}

func writeJSON(w http.ResponseWriter, status int, data []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(data) // the caller has gone; there is nobody to tell
}

// fail answers an error: a problem as it says, anything else as a 500 whose
// cause is logged and not told.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var p *problem
	switch {
	case errors.As(err, &p):
	case r.Context().Err() != nil:
		p = refuse(499, "client_closed_request", "the caller went away")
	case errors.Is(err, context.DeadlineExceeded):
		p = refuse(http.StatusServiceUnavailable, "timeout", "the call took too long")
	default:
		s.log.Error("request failed", "method", r.Method, "path", r.URL.Path, "request_id", r.Header.Get("X-Request-Id"), "error", err)
		p = refuse(http.StatusInternalServerError, "internal_error", "the control plane failed; the log has the cause under request id %s", r.Header.Get("X-Request-Id"))
	}
	if p.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="caracal"`)
	}
	_ = respond(w, p.status, p.body())
}
