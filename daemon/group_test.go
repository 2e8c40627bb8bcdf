package daemon_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"regexp"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/daemon"
	"github.com/caracalai/caracald/policy"
)

// eachWay runs a test in each of the ways in which decisions are served: by event
// loops with records that are left to the operating system and with durable ones,
// for which a loop does not wait, and by the server behind the loops.
func eachWay(t *testing.T, test func(t *testing.T, set func(*daemon.Config))) {
	eachDurability(t, test)
	t.Run("behind", func(t *testing.T) { test(t, func(c *daemon.Config) { c.Name = servedBehind }) })
}

// servedBehind is the name of a daemon that is asked in a form that the loops leave.
const servedBehind = "behind"

// eachDurability is eachWay without the server behind.
func eachDurability(t *testing.T, test func(t *testing.T, set func(*daemon.Config))) {
	for name, d := range map[string]audit.Durability{"left to the system": audit.SyncNone, "durable": audit.SyncGroup} {
		t.Run(name, func(t *testing.T) { test(t, func(c *daemon.Config) { c.SpoolDurability = d }) })
	}
}

// beSlow activates policies in z1 that run into the time limit, and asks until the
// daemon knows.
func beSlow(p *plane, n *node) {
	slow := p.publish("z1", 2, `package caracal.authz

import rego.v1

default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}

result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []} if {
	some x in numbers.range(1, 4000)
	some y in numbers.range(1, 4000)
	x * y == -1
}
`)
	p.activate("z1", &slow)
	p.loaded("z1", 2)
	for range 2 {
		if got := n.decide(inputOf("z1", "read", "")); got.EvaluationStatus != "error" {
			n.t.Fatalf("got %+v", got)
		}
	}
}

// Decisions of one zone do not wait for the slow policies of another, on however
// many connections.
func TestSlowPoliciesHoldNobodyUp(t *testing.T) {
	for name, before := range map[string][]int{
		"known to be slow": {20, 21, 22, 23}, // each another input, which the cache does not have
		"asked first":      nil,
		"quick before":     {1, 1, 1, 1, 1, 1, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			eachDurability(t, func(t *testing.T, set func(*daemon.Config)) { slowPoliciesHoldNobodyUp(t, set, before) })
		})
	}
}

// slowPoliciesHoldNobodyUp asks for one decision that takes hours, after others that
// take as many rounds as before says.
func slowPoliciesHoldNobodyUp(t *testing.T, set func(*daemon.Config), before []int) {
	spans := tracetest.NewSpanRecorder()
	p, n, _ := one(t, func(c *daemon.Config) {
		set(c)
		c.TracerProvider = trace.NewTracerProvider(trace.WithSpanProcessor(spans))
		// What is slow ends when the daemon does, which does not wait for it.
		c.Limits, c.DrainTimeout = policy.Limits{Timeout: time.Hour, MaxMemory: 1 << 60}, time.Millisecond
	})
	slow := p.publish("z1", 2, `package caracal.authz

import rego.v1

default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}

result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []} if {
	some x in numbers.range(1, input.context.rounds)
	some y in numbers.range(1, input.context.rounds)
	some z in numbers.range(1, input.context.rounds)
	some u in numbers.range(1, input.context.rounds)
	x * y * z * u == -1
}
`)
	rounds := func(n int) string { return inputOf("z1", "read", fmt.Sprintf(`,"rounds":%d`, n)) }
	p.activate("z1", &slow)
	p.loaded("z1", 2)
	for _, r := range before {
		if got := n.decide(rounds(r)); got.EvaluationStatus != "complete" {
			t.Fatalf("got %+v", got)
		}
	}
	other := p.publish("z2", 1, grants("a"))
	p.activate("z2", &other)
	p.loaded("z2", 0)
	done := make(chan error, 1)
	go func() {
		_, err := n.try("POST", "/v1/decide", []byte(rounds(5000)), "Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
		done <- err
	}()
	p.wait("the slow decision to begin", func() bool {
		return slices.ContainsFunc(spans.Started(), func(s trace.ReadWriteSpan) bool { return s.Name() == "caracal.decide" })
	})
	for range 4 * runtime.GOMAXPROCS(0) {
		c := dialDaemon(t, n)
		for range 3 {
			if resp, body := c.ask(plain(inputOf("z2", "read", ""))); resp.StatusCode != http.StatusOK {
				t.Fatalf("%d %s", resp.StatusCode, body)
			}
		}
	}
	select {
	case err := <-done:
		t.Errorf("the slow decision was made first (%v)", err)
	default:
		n.stop()
		<-done
	}
}

type connection struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func dialDaemon(t *testing.T, n *node) *connection {
	t.Helper()
	c, err := net.Dial("tcp", n.d.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &connection{t, c, bufio.NewReader(c)}
}

func (c *connection) ask(request string) (*http.Response, []byte) {
	c.t.Helper()
	if _, err := io.WriteString(c, request); err != nil {
		c.t.Fatal(err)
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp, body
}

// plain is a request as the event loops take it.
func plain(body string, headers ...string) string {
	b := bytes.NewBufferString("POST /v1/decide HTTP/1.1\r\nHost: localhost\r\n")
	for _, h := range headers {
		fmt.Fprintf(b, "%s\r\n", h)
	}
	fmt.Fprintf(b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return b.String()
}

// Whether a request is read by the event loops or by the server behind them, the
// answer is the same, but for the ids that it is given.
func TestOneAnswerEitherWay(t *testing.T) { eachDurability(t, oneAnswerEitherWay) }

func oneAnswerEitherWay(t *testing.T, set func(*daemon.Config)) {
	const token = "a-token-of-the-node"
	_, n, _ := one(t, func(c *daemon.Config) { set(c); c.DecideTokens, c.MaxInputBytes = []string{token}, 4096 })
	good := "Authorization: Bearer " + token
	made := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)
	statuses := map[int]bool{}
	for name, tc := range map[string]struct {
		body    string
		headers []string
	}{
		"allowed":          {inputOf("z1", "read", ""), []string{good, "X-Request-Id: mine"}},
		"denied":           {inputOf("z1", "delete", ""), []string{good}},
		"traced":           {inputOf("z1", "read", ""), []string{good, "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}},
		"a wrong id":       {inputOf("z1", "read", ""), []string{good, "X-Request-Id: not an id"}},
		"another zone":     {inputOf("elsewhere", "read", ""), []string{good}},
		"no JSON":          {"{", []string{good}},
		"not an input":     {"{}", []string{good}},
		"nothing":          {"", []string{good}},
		"too long":         {inputOf("z1", string(bytes.Repeat([]byte("a"), 4096)), ""), []string{good}},
		"no token":         {inputOf("z1", "read", ""), nil},
		"a wrong token":    {inputOf("z1", "read", ""), []string{good + "x"}},
		"no bearer":        {inputOf("z1", "read", ""), []string{"Authorization: Basic " + token}},
		"two same headers": {inputOf("z1", "read", ""), []string{good, good}},
	} {
		loops, loopsBody := dialDaemon(t, n).ask(plain(tc.body, tc.headers...))
		// One that says it is the last is outside of what the loops read.
		behind, behindBody := dialDaemon(t, n).ask(plain(tc.body, append(slices.Clone(tc.headers), "Connection: close")...))
		loopsBody, behindBody = made.ReplaceAll(loopsBody, []byte("ID")), made.ReplaceAll(behindBody, []byte("ID"))
		for _, h := range []http.Header{loops.Header, behind.Header} {
			h.Del("Connection")
			if id := h.Get("X-Request-Id"); made.MatchString(id) {
				h.Set("X-Request-Id", "ID")
			}
			h.Set("Content-Length", "")
		}
		if loops.StatusCode != behind.StatusCode || !bytes.Equal(loopsBody, behindBody) || !maps.EqualFunc(loops.Header, behind.Header, slices.Equal) {
			t.Errorf("%s:\n%d %v %s\n%d %v %s", name, loops.StatusCode, loops.Header, loopsBody, behind.StatusCode, behind.Header, behindBody)
		}
		statuses[loops.StatusCode] = true
	}
	if want := []int{200, 400, 401, 413}; !slices.Equal(slices.Sorted(maps.Keys(statuses)), want) {
		t.Errorf("the statuses were %v, want %v", statuses, want)
	}
}

// Health may be asked for over a connection on which decisions are asked for.
// Each caller has the answer to its own request, also while others' bytes are read
// into the place of its own.
func TestOwnAnswers(t *testing.T) { eachDurability(t, ownAnswers) }

func ownAnswers(t *testing.T, set func(*daemon.Config)) {
	p, n, _ := one(t, set)
	type asked struct{ id, trace, decision string }
	some := make(chan asked, 1000)
	var work sync.WaitGroup
	for i := range 16 {
		c := dialDaemon(t, n)
		work.Go(func() {
			for j := range 100 {
				a := asked{id: fmt.Sprintf("request-%02d-%05d", i, j), trace: fmt.Sprintf("%032x", i*1000+j+1)}
				resp, body := c.ask(plain(inputOf("z1", "read", ""), "X-Request-Id: "+a.id, "Traceparent: 00-"+a.trace+"-00f067aa0ba902b7-00"))
				got := parse[decision](t, body)
				if resp.Header.Get("X-Request-Id") != a.id || got.RequestID != a.id {
					t.Errorf("%s got the answer to %q, %q", a.id, resp.Header.Get("X-Request-Id"), got.RequestID)
					return
				}
				if a.decision = got.DecisionID; j%10 == 0 {
					some <- a
				}
			}
		})
	}
	work.Wait()
	close(some)
	for a := range some {
		if r := p.record(a.decision); r.RequestID != a.id || parse[metadata](t, r.Metadata).TraceID != a.trace {
			t.Errorf("the record of %s is of %s: %s", a.id, r.RequestID, r.Metadata)
		}
	}
}

func TestHealthBetweenDecisions(t *testing.T) {
	eachDurability(t, func(t *testing.T, set func(*daemon.Config)) {
		_, n, _ := one(t, set)
		c := dialDaemon(t, n)
		for range 20 {
			for _, tc := range []struct {
				method, path string
				status       int
			}{{"GET", "/readyz", 200}, {"HEAD", "/healthz", 200}, {"GET", "/nothing", 404}} {
				if _, err := fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: x\r\n\r\n", tc.method, tc.path); err != nil {
					t.Fatal(err)
				}
				resp, err := http.ReadResponse(c.r, &http.Request{Method: tc.method})
				if err != nil || resp.StatusCode != tc.status {
					t.Fatalf("%s %s: %v, %v", tc.method, tc.path, resp, err)
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil {
					t.Fatal(err)
				}
				if resp, body := c.ask(plain(inputOf("z1", "read", ""))); resp.StatusCode != http.StatusOK || !bytes.Contains(body, []byte(`"allow"`)) {
					t.Fatalf("%d %s", resp.StatusCode, body)
				}
			}
		}
	})
}
