package client_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caracalai/caracald/daemon/client"
)

// listener gives each connection that it accepts to serve, with its number.
func listener(t testing.TB, serve func(n int, c net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer func() { _ = c.Close() }()
				serve(n, c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		work.Wait()
	})
	return "http://" + l.Addr().String()
}

// readRequest reads a request and gives its id and body; ok is false at the end.
func readRequest(r *bufio.Reader) (id, body string, ok bool) {
	req, err := http.ReadRequest(r)
	if err != nil {
		return "", "", false
	}
	data, err := io.ReadAll(req.Body)
	return req.Header.Get("X-Request-Id"), string(data), err == nil
}

func respond(w io.Writer, id, body string) {
	_, _ = fmt.Fprintf(w, "HTTP/1.1 200 OK\r\nX-Request-Id: %s\r\nContent-Length: %d\r\n\r\n%s", id, len(body), body)
}

// members of a good answer, in order.
func goodAnswer(zone, id string) []string {
	hash := strings.Repeat("0a", 32)
	return []string{
		`"decision":"allow"`, `"evaluation_status":"complete"`, `"determining_policies":[{"policy":"p"}]`, `"diagnostics":[]`,
		fmt.Sprintf(`"request_id":%q`, id), `"decision_id":"d"`, fmt.Sprintf(`"zone_id":%q`, zone), `"policy_set_id":"s"`, `"policy_set_version_id":"v"`,
		`"manifest_sha256":"` + hash + `"`, `"bundle_sha256":"` + hash + `"`,
	}
}

func object(members []string) string { return "{" + strings.Join(members, ",") + "}" }

// Answers that are no answer to the question deny, alone and in a batch.
func TestBadAnswers(t *testing.T) {
	replace := func(name, member string) func([]string) string {
		return func(m []string) string {
			for i := range m {
				if strings.HasPrefix(m[i], `"`+name+`"`) {
					m[i] = member
				}
			}
			return object(m)
		}
	}
	tests := map[string]func([]string) string{
		"not JSON":          func([]string) string { return "allow" },
		"nothing":           func([]string) string { return "" },
		"null":              func([]string) string { return "null" },
		"a word":            func([]string) string { return `"allow"` },
		"an array":          func(m []string) string { return "[" + object(m) + "]" },
		"cut off":           func(m []string) string { return strings.TrimSuffix(object(m), "}") },
		"two answers":       func(m []string) string { return object(m) + object(m) },
		"unknown word":      replace("decision", `"decision":"permit"`),
		"other case":        replace("decision", `"decision":"Allow"`),
		"other name":        replace("decision", `"Decision":"allow"`),
		"true":              replace("decision", `"decision":true`),
		"null word":         replace("decision", `"decision":null`),
		"twice":             func(m []string) string { return object(append(m, `"decision":"allow"`)) },
		"twice, escaped":    func(m []string) string { return object(append(m, `"d\u0065cision":"deny"`)) },
		"unknown status":    replace("evaluation_status", `"evaluation_status":"fine"`),
		"failed":            replace("evaluation_status", `"evaluation_status":"error"`),
		"another zone":      replace("zone_id", `"zone_id":"z2"`),
		"another request":   replace("request_id", `"request_id":"r2"`),
		"no request":        replace("request_id", `"x":1`),
		"no zone":           replace("zone_id", `"x":1`),
		"no decision id":    replace("decision_id", `"decision_id":""`),
		"no version":        replace("policy_set_version_id", `"policy_set_version_id":null`),
		"no manifest":       replace("manifest_sha256", `"manifest_sha256":null`),
		"no bundle":         replace("bundle_sha256", `"bundle_sha256":null`),
		"no hash":           replace("bundle_sha256", `"bundle_sha256":"abc"`),
		"upper-case hash":   replace("bundle_sha256", `"bundle_sha256":"`+strings.Repeat("0A", 32)+`"`),
		"no diagnostics":    replace("diagnostics", `"x":[]`),
		"no set":            replace("policy_set_id", `"x":1`),
		"diagnostics":       replace("diagnostics", `"diagnostics":{}`),
		"a refusal as well": func(m []string) string { return object(append(m, `"error":"x"`)) },
	}
	var say atomic.Pointer[func([]string) string]
	addr := listener(t, func(_ int, c net.Conn) {
		r := bufio.NewReader(c)
		for {
			id, body, ok := readRequest(r)
			if !ok {
				return
			}
			text := (*say.Load())(goodAnswer("z1", id))
			if strings.HasPrefix(body, `{"inputs"`) {
				text = `{"results":[` + text + `]}`
			}
			respond(c, id, text)
		}
	})
	c := newClient(t, client.Config{Addr: addr})
	good := object
	say.Store(&good)
	if d, err := c.Decide(t.Context(), asks("z1", "read")); err != nil || !d.Allowed() {
		t.Fatalf("a good answer: %+v, %v", d, err)
	}
	if list, err := c.DecideBatch(t.Context(), []*client.Input{asks("z1", "read")}); err != nil || !list[0].Allowed() {
		t.Fatalf("a good answer: %+v, %v", list, err)
	}
	for name, f := range tests {
		say.Store(&f)
		if name != "a refusal as well" { // which only a batch could mean
			if d, err := c.Decide(t.Context(), asks("z1", "read")); d.Allowed() || d.Decision != client.Deny || !errors.Is(err, client.ErrBadAnswer) {
				t.Errorf("%s: %+v, %v", name, d, err)
			}
		}
		list, err := c.DecideBatch(t.Context(), []*client.Input{asks("z1", "read")})
		if len(list) != 1 || list[0].Allowed() || list[0].Decision.Decision != client.Deny || !errors.Is(list[0].Err, client.ErrBadAnswer) || err != nil && !errors.Is(err, client.ErrBadAnswer) {
			t.Errorf("%s: %+v, %v", name, list, err)
		}
	}
}

// An answer to a batch with another number of results says nothing about any input.
func TestBadBatches(t *testing.T) {
	var say atomic.Pointer[string]
	addr := listener(t, func(_ int, c net.Conn) {
		r := bufio.NewReader(c)
		for {
			id, _, ok := readRequest(r)
			if !ok {
				return
			}
			respond(c, id, strings.ReplaceAll(*say.Load(), "GOOD", object(goodAnswer("z1", id))))
		}
	})
	c := newClient(t, client.Config{Addr: addr})
	for _, text := range []string{
		``, `{}`, `[]`, `null`, `{"results":null}`, `{"results":{}}`, `{"results":[]}`, `{"results":[GOOD]}`, `{"results":[GOOD,GOOD,GOOD]}`,
		`{"Results":[GOOD,GOOD]}`, `[GOOD,GOOD]`, `{"results":[GOOD,GOOD],"results":[GOOD,GOOD]}`, `{"results":[GOOD,GOOD]`,
	} {
		say.Store(&text)
		list, err := c.DecideBatch(t.Context(), []*client.Input{asks("z1", "read"), asks("z1", "write")})
		if !errors.Is(err, client.ErrBadAnswer) || len(list) != 2 {
			t.Errorf("%s: %+v, %v", text, list, err)
		}
		for _, o := range list {
			if o.Allowed() || !errors.Is(o.Err, client.ErrBadAnswer) {
				t.Errorf("%s: %+v", text, o)
			}
		}
	}
	text := `{"results":[7,{"error":""}]}`
	say.Store(&text)
	list, err := c.DecideBatch(t.Context(), []*client.Input{asks("z1", "read"), asks("z1", "read")})
	if err != nil || len(list) != 2 || list[0].Allowed() || list[1].Allowed() || !errors.Is(list[0].Err, client.ErrBadAnswer) || !errors.Is(list[1].Err, client.ErrBadAnswer) {
		t.Errorf("%+v, %v", list, err)
	}
}

// Whatever the status, only 200 is a decision.
func TestStatuses(t *testing.T) {
	var status atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-Request-Id")
		w.Header().Set("X-Request-Id", id)
		w.Header().Set("Retry-After", "3")
		w.Header().Set("Location", "/v1/decide")
		w.WriteHeader(int(status.Load()))
		_, _ = io.WriteString(w, object(append(goodAnswer("z1", id), `"error":"made_up"`, `"error_description":"by the test"`)))
	}))
	t.Cleanup(s.Close)
	c := newClient(t, client.Config{Addr: s.URL})
	for code, match := range map[int]error{
		201: client.ErrRefused, 302: client.ErrRefused, 307: client.ErrRefused, 400: client.ErrInvalidInput, 401: client.ErrUnauthorized,
		403: client.ErrUnauthorized, 404: client.ErrRefused, 413: client.ErrInvalidInput, 422: client.ErrInvalidInput, 429: client.ErrUnavailable,
		500: client.ErrUnavailable, 502: client.ErrUnavailable, 503: client.ErrUnavailable, 504: client.ErrUnavailable, 599: client.ErrUnavailable,
	} {
		status.Store(int32(code))
		d, err := c.Decide(t.Context(), asks("z1", "read"))
		var refused *client.Error
		if d.Allowed() || !errors.Is(err, match) || !errors.Is(err, client.ErrRefused) || !errors.As(err, &refused) {
			t.Errorf("%d: %+v, %v", code, d, err)
			continue
		}
		if refused.Status != code || refused.Code != "made_up" || refused.Description != "by the test" || refused.RetryAfter != 3*time.Second || refused.RequestID != d.RequestID {
			t.Errorf("%d: %+v", code, refused)
		}
	}
}

// What is no HTTP, or ends too early, denies; so does what never ends.
func TestBrokenConnections(t *testing.T) {
	tests := map[string]struct {
		says  string
		match error
	}{
		"nothing":          {"", client.ErrUnavailable},
		"no HTTP":          {"SSH-2.0-OpenSSH_9.9\r\n", client.ErrBadAnswer},
		"half a header":    {"HTTP/1.1 200 OK\r\nContent-Le", client.ErrBadAnswer},
		"half a body":      {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", client.ErrUnavailable},
		"broken chunks":    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", client.ErrBadAnswer},
		"too long":         {"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n{", client.ErrBadAnswer},
		"longer than said": {"HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat(" ", 5000), client.ErrBadAnswer},
		"long header":      {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", client.ErrBadAnswer},
		"interim only":     {"HTTP/1.1 100 Continue\r\n\r\n", client.ErrRefused},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			addr := listener(t, func(_ int, c net.Conn) {
				if _, _, ok := readRequest(bufio.NewReader(c)); ok {
					_, _ = io.WriteString(c, test.says)
				}
			})
			c := newClient(t, client.Config{Addr: addr, MaxAnswerBytes: 4096})
			if d, err := c.Decide(t.Context(), asks("z1", "read")); d.Allowed() || !errors.Is(err, test.match) {
				t.Errorf("%+v, %v", d, err)
			}
		})
	}
}

// silent accepts requests and answers none. It tells of each.
func silent(t testing.TB) (addr string, asked chan struct{}) {
	asked = make(chan struct{}, 10)
	return listener(t, func(_ int, c net.Conn) {
		r := bufio.NewReader(c)
		for {
			if _, _, ok := readRequest(r); !ok {
				return
			}
			asked <- struct{}{}
		}
	}), asked
}

// A daemon that does not answer costs a caller its deadline and no more: its
// own, the context's, or less where the context is cancelled. It is not asked again.
func TestDeadlines(t *testing.T) {
	t.Run("timeout", func(t *testing.T) {
		addr, asked := silent(t)
		c := newClient(t, client.Config{Addr: addr, Timeout: 50 * time.Millisecond})
		d, err := c.Decide(t.Context(), asks("z1", "read"))
		if d.Allowed() || !errors.Is(err, client.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) || len(asked) > 1 {
			t.Errorf("%+v, %v, asked %d times", d, err, len(asked))
		}
	})
	t.Run("context", func(t *testing.T) {
		addr, asked := silent(t)
		c := newClient(t, client.Config{Addr: addr, Timeout: time.Hour})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		for range 2 { // at its end, and after it
			d, err := c.Decide(ctx, asks("z1", "read"))
			if d.Allowed() || !errors.Is(err, client.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) || len(asked) > 1 {
				t.Errorf("%+v, %v, asked %d times", d, err, len(asked))
			}
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		addr, asked := silent(t)
		c := newClient(t, client.Config{Addr: addr, Timeout: time.Hour, MaxConnections: 1})
		ctx, cancel := context.WithCancel(t.Context())
		var first sync.WaitGroup
		first.Go(func() {
			if d, err := c.Decide(ctx, asks("z1", "read")); d.Allowed() || !errors.Is(err, context.Canceled) || !errors.Is(err, client.ErrUnavailable) {
				t.Errorf("%+v, %v", d, err)
			}
		})
		<-asked
		// The one connection is taken, so another call waits for its turn, and no longer than it may.
		short, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer stop()
		if d, err := c.Decide(short, asks("z1", "read")); d.Allowed() || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while it is taken: %+v, %v", d, err)
		}
		cancel()
		first.Wait()
		if len(asked) != 0 {
			t.Error("it was asked again")
		}
	})
}

// A context that is cancelled just as the answer comes may end its own call, and
// no other that is given the same connection.
func TestCancelledAsItEnds(t *testing.T) {
	addr := listener(t, func(_ int, c net.Conn) {
		r := bufio.NewReader(c)
		for {
			id, _, ok := readRequest(r)
			if !ok {
				return
			}
			respond(c, id, object(goodAnswer("z1", id)))
		}
	})
	c := newClient(t, client.Config{Addr: addr})
	for range 300 {
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		work.Go(cancel)
		if d, err := c.Decide(ctx, asks("z1", "read")); d.Allowed() == (err != nil) || err != nil && !errors.Is(err, context.Canceled) {
			t.Fatalf("%+v, %v", d, err)
		}
		if d, err := c.Decide(context.Background(), asks("z1", "read")); err != nil || !d.Allowed() {
			t.Fatalf("the next call: %+v, %v", d, err)
		}
		work.Wait()
	}
}

// A request is sent again when a kept connection ended unanswered, and then
// once, with the same id; never when a byte was answered, nor on a new connection.
func TestAskingAgain(t *testing.T) {
	type seen struct {
		connection int
		id, body   string
	}
	run := func(t *testing.T, later func(n int, c net.Conn, r *bufio.Reader, id string)) (list []seen, d client.Decision, err error) {
		var mu sync.Mutex
		addr := listener(t, func(n int, c net.Conn) {
			r := bufio.NewReader(c)
			for k := 0; ; k++ {
				id, body, ok := readRequest(r)
				if !ok {
					return
				}
				mu.Lock()
				list = append(list, seen{n, id, body})
				mu.Unlock()
				if n == 0 && k == 0 {
					respond(c, id, object(goodAnswer("z1", id)))
					continue
				}
				later(n, c, r, id)
				return
			}
		})
		c := newClient(t, client.Config{Addr: addr})
		if d, err := c.Decide(t.Context(), asks("z1", "read")); err != nil || !d.Allowed() {
			t.Fatalf("%+v, %v", d, err)
		}
		d, err = c.Decide(t.Context(), asks("z1", "write"))
		mu.Lock()
		defer mu.Unlock()
		return list[1:], d, err
	}
	t.Run("closed unanswered", func(t *testing.T) {
		list, d, err := run(t, func(n int, c net.Conn, _ *bufio.Reader, id string) {
			if n == 1 {
				respond(c, id, object(goodAnswer("z1", id)))
			}
		})
		if err != nil || !d.Allowed() {
			t.Fatalf("%+v, %v", d, err)
		}
		if len(list) != 2 || list[0].connection != 0 || list[1].connection != 1 || list[0].id != list[1].id || list[0].body != list[1].body || d.RequestID != list[0].id {
			t.Errorf("asked %+v", list)
		}
	})
	t.Run("closed unanswered twice", func(t *testing.T) {
		list, d, err := run(t, func(int, net.Conn, *bufio.Reader, string) {})
		if d.Allowed() || !errors.Is(err, client.ErrUnavailable) || len(list) != 2 {
			t.Errorf("asked %+v: %+v, %v", list, d, err)
		}
	})
	t.Run("closed within an answer", func(t *testing.T) {
		list, d, err := run(t, func(_ int, c net.Conn, _ *bufio.Reader, _ string) { _, _ = io.WriteString(c, "H") })
		if d.Allowed() || !errors.Is(err, client.ErrBadAnswer) || len(list) != 1 {
			t.Errorf("asked %+v: %+v, %v", list, d, err)
		}
	})
}

// An answer that nobody asked for is never taken for the next one, even where
// the callers have chosen the same id for both.
func TestOutOfStep(t *testing.T) {
	addr := listener(t, func(_ int, c net.Conn) {
		r := bufio.NewReader(c)
		id, _, ok := readRequest(r)
		if !ok {
			return
		}
		var both strings.Builder
		respond(&both, id, object(goodAnswer("z1", id)))
		respond(&both, id, strings.Replace(object(goodAnswer("z1", id)), "allow", "deny", 1))
		_, _ = io.WriteString(c, both.String())
		_, _, _ = readRequest(r) // until the client closes
	})
	c := newClient(t, client.Config{Addr: addr})
	ctx := client.WithRequestID(t.Context(), "same")
	for range 3 {
		if d, err := c.Decide(ctx, asks("z1", "read")); err != nil || !d.Allowed() {
			t.Fatalf("%+v, %v", d, err)
		}
	}
}

// Idle connections are closed once they are old, and after Close nothing is asked.
func TestIdleAndClose(t *testing.T) {
	ended := make(chan struct{}, 10)
	addr := listener(t, func(_ int, c net.Conn) {
		r := bufio.NewReader(c)
		for {
			id, _, ok := readRequest(r)
			if !ok {
				ended <- struct{}{}
				return
			}
			respond(c, id, object(goodAnswer("z1", id)))
		}
	})
	c := newClient(t, client.Config{Addr: addr, IdleTimeout: 10 * time.Millisecond})
	ask := func() {
		t.Helper()
		if d, err := c.Decide(t.Context(), asks("z1", "read")); err != nil || !d.Allowed() {
			t.Fatalf("%+v, %v", d, err)
		}
	}
	ask()
	<-ended // by itself
	ask()
	<-ended
	c = newClient(t, client.Config{Addr: addr})
	ask()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	<-ended
	if d, err := c.Decide(t.Context(), asks("z1", "read")); d.Allowed() || !errors.Is(err, client.ErrClosed) {
		t.Errorf("%+v, %v", d, err)
	}
}
