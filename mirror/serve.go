package mirror

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"time"

	jsonx "github.com/go-json-experiment/json"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"

	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/distribution"
)

const (
	// maxWatchBody and maxPassedBody bound bodies, in bytes.
	maxWatchBody  = 8 << 20
	maxPassedBody = 64 << 20
	// defaultWait and maxWait are those of bundle.WatchRequest.WaitSeconds.
	defaultWait = 30
	maxWait     = 60
	// immutable is the Cache-Control of what is named by its hash.
	immutable = "private, max-age=31536000, immutable"
)

// problem is an answer outside 2xx, in the shape that the control plane has.
type problem struct {
	status      int
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

func refuse(status int, code, format string, args ...any) *problem {
	return &problem{status, code, fmt.Sprintf(format, args...)}
}

func unreachable() *problem {
	return refuse(http.StatusServiceUnavailable, "control_plane_unreachable", "the mirror is cut off from the control plane")
}

func (p *problem) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	switch p.status {
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", "1")
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="caracal"`)
	}
	writeJSON(w, p.status, p)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		status, data = http.StatusInternalServerError, []byte(`{"error":"internal_error","error_description":"the answer could not be encoded"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(data) // the caller has gone; there is nobody to tell
}

// routes are what daemons and probes ask for.
func (m *Mirror) routes() http.Handler {
	mux := http.NewServeMux()
	known := map[string]string{}
	handle := func(method, path string, f http.HandlerFunc) {
		known[path] = method
		mux.HandleFunc(method+" "+path, f)
	}
	pass := m.passOn()
	handle(http.MethodPost, "/v1/pointers/watch", m.admitted(m.watch))
	handle(http.MethodGet, "/v1/bundles/{sha256}", m.admitted(func(w http.ResponseWriter, r *http.Request, g *grant) { m.bundle(w, r, g, pass) }))
	handle(http.MethodGet, "/v1/trust", m.admitted(m.trustRoots))
	handle(http.MethodPost, "/v1/receipts", pass.ServeHTTP)
	handle(http.MethodPost, "/v1/audit/batches", pass.ServeHTTP)
	handle(http.MethodGet, "/healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"status": "ok"})
	})
	handle(http.MethodGet, "/readyz", m.readyz)
	handle(http.MethodGet, "/metrics", func(w http.ResponseWriter, r *http.Request) {
		if m.cfg.Metrics == nil {
			refuse(http.StatusNotFound, "not_found", "metrics are not exposed here").write(w)
			return
		}
		m.cfg.Metrics.ServeHTTP(w, r)
	})
	for path, method := range known {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", method)
			refuse(http.StatusMethodNotAllowed, "method_not_allowed", "%s takes %s", r.URL.Path, method).write(w)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(http.StatusNotFound, "not_found", "a mirror has nothing at %s; it answers what daemons ask", r.URL.Path).write(w)
	})
	return otelhttp.NewHandler(mux, "mirror", otelhttp.WithMeterProvider(m.cfg.MeterProvider), otelhttp.WithTracerProvider(m.cfg.TracerProvider))
}

// bearer is the token of a call, "" where there is none.
func bearer(r *http.Request) string {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return ""
	}
	scheme, secret, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(secret)
}

var errNoToken = refuse(http.StatusUnauthorized, "unauthorized", "a valid bearer token is required; a mirror does not take client certificates")

// admitted answers calls of daemons whose token the control plane accepts, or
// accepted where it cannot be asked.
func (m *Mirror) admitted(next func(http.ResponseWriter, *http.Request, *grant)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token := bearer(r)
		if token == "" {
			errNoToken.write(w)
			return
		}
		g, p := m.grants.admit(r.Context(), token)
		if p != nil {
			p.write(w)
			return
		}
		next(w, r, g)
	}
}

// ready tells whether there is something to serve.
func (m *Mirror) ready() bool { return m.synced.Load() || m.pointers.count() > 0 }

func (m *Mirror) readyz(w http.ResponseWriter, _ *http.Request) {
	if !m.ready() {
		refuse(http.StatusServiceUnavailable, "not_ready", "the mirror has no pointers yet").write(w)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"status": "ready", "connected": m.connected.Load()})
}

// trustRoots answers the trust roots as the control plane gave them.
func (m *Mirror) trustRoots(w http.ResponseWriter, _ *http.Request, _ *grant) {
	m.trusting.Lock()
	roots := m.roots
	m.trusting.Unlock()
	if roots == nil {
		unreachable().write(w)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, json.RawMessage(roots))
}

// readWatch reads the body of a watch strictly.
func readWatch(body []byte) (req bundle.WatchRequest, all bool, some map[string]int64, p *problem) {
	req.WaitSeconds = defaultWait
	if err := jsonx.Unmarshal(body, &req, jsonx.RejectUnknownMembers(true)); err != nil {
		return req, false, nil, refuse(http.StatusBadRequest, "invalid_body", "the body is not the JSON that is wanted: %v", err)
	}
	if req.WaitSeconds < 0 || req.WaitSeconds > maxWait {
		return req, false, nil, refuse(http.StatusBadRequest, "invalid_body", "/wait_seconds must be 0 to %d", maxWait)
	}
	all, some, err := bundle.ParseZones(req.Zones)
	if err != nil {
		return req, false, nil, refuse(http.StatusBadRequest, "invalid_body", "/zones is wrong: %v", err)
	}
	if !all && len(some) == 0 {
		return req, false, nil, refuse(http.StatusBadRequest, "invalid_body", "/zones names no zone")
	}
	return req, all, some, nil
}

// watched is what a daemon watches and holds.
func (m *Mirror) watched(req bundle.WatchRequest, all bool, some map[string]int64, g *grant) (*waiter, map[string]bundle.Held, *problem) {
	w := &waiter{zones: g.zones, all: all, wake: make(chan struct{}, 1), moved: map[string]bool{}}
	if all {
		return w, req.Have, nil
	}
	w.zones = make(map[string]bool, len(some))
	held := make(map[string]bundle.Held, len(some))
	for zone, last := range some {
		switch {
		case !m.pointers.knows(zone):
			return nil, nil, refuse(http.StatusNotFound, "zone_not_found", "the mirror has no zone %.128s", zone)
		case !g.zones[zone]:
			return nil, nil, refuse(http.StatusForbidden, "forbidden", "this token does not reach zone %s", zone)
		}
		w.zones[zone] = true
		held[zone] = bundle.Held{Sequence: last}
		if have := req.Have[zone]; have.Sequence == last {
			held[zone] = have
		}
	}
	return w, held, nil
}

// watch answers the pointers that are newer than what the daemon holds, at once
// or as soon as there are any.
func (m *Mirror) watch(w http.ResponseWriter, r *http.Request, g *grant) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxWatchBody))
	if err != nil {
		refuse(http.StatusBadRequest, "invalid_body", "the body could not be read: %v", err).write(w)
		return
	}
	req, all, some, p := readWatch(body)
	if p == nil && !m.ready() {
		p = refuse(http.StatusServiceUnavailable, "not_ready", "the mirror has no pointers yet")
	}
	var waiter *waiter
	var held map[string]bundle.Held
	if p == nil {
		waiter, held, p = m.watched(req, all, some, g)
	}
	if p != nil {
		p.write(w)
		return
	}
	zones := m.pointers.count()
	if m.answerNewer(w, waiter.zones, held) {
		return
	}
	if req.WaitSeconds == 0 {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if !m.pointers.wait(waiter, m.cfg.MaxWatchers) {
		refuse(http.StatusServiceUnavailable, "too_many_watchers", "as many daemons wait as may; try again soon").write(w)
		return
	}
	defer m.pointers.leave(waiter)
	wait := time.Duration(req.WaitSeconds) * time.Second
	conn := http.NewResponseController(w)
	_ = conn.SetWriteDeadline(time.Now().Add(wait + 30*time.Second)) // a writer without deadlines has none to extend
	_ = conn.SetReadDeadline(time.Time{})
	end := time.NewTimer(wait)
	defer end.Stop()
	moved := waiter.zones // what moved before the daemon waited counts too
	for {
		if m.answerNewer(w, moved, held) {
			return
		}
		if all && zones != m.pointers.count() {
			break // one is new: with the next call it is known whether the token reaches it
		}
		select {
		case <-waiter.wake:
			moved = m.pointers.take(waiter)
			continue
		case <-end.C:
		case <-r.Context().Done():
			return
		case <-m.pointers.stopping:
			refuse(http.StatusServiceUnavailable, "shutting_down", "the mirror is going down; try again soon").write(w)
			return
		}
		break
	}
	w.WriteHeader(http.StatusNoContent)
}

// answerNewer answers the pointers that are newer than what is held, and tells
// whether there were any.
func (m *Mirror) answerNewer(w http.ResponseWriter, zones map[string]bool, held map[string]bundle.Held) bool {
	newer := m.pointers.newer(zones, held)
	if len(newer) == 0 {
		return false
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, bundle.WatchResponse{Pointers: newer})
	return true
}

// bundle answers a bundle that a pointer within the token's reach names, from the
// cache or by fetching it. Any other the control plane is asked for, with the
// daemon's own token.
func (m *Mirror) bundle(w http.ResponseWriter, r *http.Request, g *grant, pass http.Handler) {
	sha256 := r.PathValue("sha256")
	if !hashPattern.MatchString(sha256) {
		refuse(http.StatusBadRequest, "invalid_bundle_sha256", "a bundle is named by 64 lower-case hexadecimal digits").write(w)
		return
	}
	if !m.cache.namedBy(sha256, g.zones) {
		m.metrics.bundle(r.Context(), "passed_on")
		pass.ServeHTTP(w, r)
		return
	}
	data, err := m.cache.get(r.Context(), sha256)
	if err == nil {
		m.metrics.bundle(r.Context(), "hit")
	} else {
		if !errors.Is(err, fs.ErrNotExist) {
			m.log.Error("a cached bundle cannot be read", "bundle", sha256, "error", err)
		}
		m.metrics.bundle(r.Context(), "miss")
		if data, err = m.fetchOnce(r.Context(), sha256); err != nil {
			m.log.Warn("a bundle that a daemon asks for cannot be had", "bundle", sha256, "error", err)
			refuse(http.StatusServiceUnavailable, "bundle_unavailable", "the mirror does not have the bundle, and cannot get it now").write(w)
			return
		}
	}
	h := w.Header()
	h.Set("Content-Type", distribution.MediaType)
	h.Set("ETag", `"`+sha256+`"`)
	h.Set("Cache-Control", immutable)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

// fetchOnce fetches a bundle for all who ask for it at once.
func (m *Mirror) fetchOnce(ctx context.Context, sha256 string) ([]byte, error) {
	size := int64(0)
	for _, s := range m.pointers.shown() {
		if s.pointer.BundleSHA256 == sha256 {
			size = s.pointer.BundleSize
		}
	}
	if size == 0 {
		return nil, fmt.Errorf("no pointer names bundle %s any more: %w", sha256, distribution.ErrMissing)
	}
	data, err, _ := m.cache.reading.Do("fetch "+sha256, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return m.fetch(ctx, sha256, size)
	})
	if err != nil {
		return nil, err
	}
	return data.([]byte), nil
}

// passOn relays calls to the control plane as they come, with the daemon's own
// token, and its answers as they are.
func (m *Mirror) passOn() http.Handler {
	type place struct{}
	proxy := &httputil.ReverseProxy{
		Transport: m.up.client.Transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			base, _ := m.up.address()
			r.SetURL(base)
			r.SetXForwarded()
			r.Out.Header.Del("Cookie") // no call of a daemon has one
		},
		ModifyResponse: func(resp *http.Response) error {
			ctx := resp.Request.Context()
			if at, ok := ctx.Value(place{}).(uint32); ok && resp.StatusCode >= 500 {
				m.up.failed(at)
			}
			m.metrics.passed(ctx, resp.StatusCode)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if at, ok := r.Context().Value(place{}).(uint32); ok && !errors.Is(err, context.Canceled) {
				m.up.failed(at)
			}
			m.metrics.passed(r.Context(), http.StatusServiceUnavailable)
			m.log.Warn("a call could not be passed on", "path", r.URL.Path, "error", err)
			unreachable().write(w)
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The mirror's own certificate must not speak for whoever has no token.
		if bearer(r) == "" {
			errNoToken.write(w)
			return
		}
		if r.ContentLength > maxPassedBody {
			refuse(http.StatusRequestEntityTooLarge, "payload_too_large", "the body is longer than %s bytes", strconv.Itoa(maxPassedBody)).write(w)
			return
		}
		if r.Body != nil {
			r.Body = http.MaxBytesReader(w, r.Body, maxPassedBody)
		}
		_, at := m.up.address()
		proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), place{}, at)))
	})
}
