package loader_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caracalai/caracald/bench/loader"
	"github.com/caracalai/caracald/bench/peer"
	"github.com/caracalai/caracald/bench/workload"
)

// decider answers workload A rightly, after what before does.
func decider(t *testing.T, before func(n int64)) loader.Target {
	t.Helper()
	w := workload.Find("A")
	p, err := peer.Go(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	var n atomic.Int64
	var seen sync.Map
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		before(n.Add(1))
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if _, again := seen.LoadOrStore(r.Header.Get("X-Request-Id"), true); again {
			t.Error("a request id came twice")
		}
		answer, err := p.Answer(nil, body)
		if err != nil {
			t.Error(err)
		}
		_, _ = rw.Write(answer)
	}))
	t.Cleanup(s.Close)
	return loader.Target{Addr: strings.TrimPrefix(s.URL, "http://"), Path: "/v1/decide", Workload: w}
}

func TestClosedLoop(t *testing.T) {
	target := decider(t, func(int64) {})
	r, err := loader.Run(t.Context(), target, loader.Load{Seed: 1, Connections: 4, Duration: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if r.Answered == 0 || r.Failed != 0 || r.Latency.TotalCount() != r.Answered {
		t.Errorf("answered %d, failed %d (%v), %d latencies", r.Answered, r.Failed, r.Failure, r.Latency.TotalCount())
	}
}

// Answers may come in parts, end their connection, or be cut off.
func TestClosedLoopOverAnyAnswer(t *testing.T) {
	const answer = `{"decision":"allow","why":"` // and more
	for name, c := range map[string]struct {
		serve    func(w http.ResponseWriter)
		answered bool // rightly, where they allow
	}{
		"in parts": {serve: func(w http.ResponseWriter) {
			for range 3 {
				_, _ = io.WriteString(w, answer)
				w.(http.Flusher).Flush()
			}
		}, answered: true},
		"large": {serve: func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, answer+strings.Repeat("x", 64<<10))
		}, answered: true},
		"then closed": {serve: func(w http.ResponseWriter) {
			w.Header().Set("Connection", "close")
			_, _ = io.WriteString(w, answer)
		}, answered: true},
		"cut off": {serve: func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, answer)
		}},
		"refused": {serve: func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) }},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				c.serve(w)
			}))
			defer s.Close()
			target := loader.Target{Addr: strings.TrimPrefix(s.URL, "http://"), Path: "/", Workload: workload.Find("A")}
			r, err := loader.Run(t.Context(), target, loader.Load{Seed: 1, Connections: 4, Duration: 500 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			// Denials, of which there are few, were answered wrongly; how many there are goes
			// with how quick the machine is.
			if r.Answered+r.Failed == 0 || (r.Answered > 0) != c.answered || r.Failed > 0 && errors.Is(r.Failure, loader.ErrWrong) != c.answered || (r.Failed > 0) != (r.Failure != nil) {
				t.Errorf("answered %d, failed %d: %v", r.Answered, r.Failed, r.Failure)
			}
		})
	}
}

// Who never answers does not hold the load up for ever.
func TestNoAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // its backlog takes connections, and what they send
	target := loader.Target{Addr: l.Addr().String(), Path: "/", Workload: workload.Find("A")}
	r, err := loader.Run(t.Context(), target, loader.Load{Seed: 1, Connections: 3, Duration: 50 * time.Millisecond, Grace: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if r.Answered != 0 || r.Failed != 3 || r.Failure == nil {
		t.Errorf("answered %d, failed %d: %v", r.Answered, r.Failed, r.Failure)
	}
}

// A server that takes a known time is never measured faster than that.
func TestLatencyIsAtLeastTheServers(t *testing.T) {
	const delay = 5 * time.Millisecond
	target := decider(t, func(int64) { time.Sleep(delay) })
	for seed, rate := range []float64{0, 200} {
		r, err := loader.Run(t.Context(), target, loader.Load{Seed: uint64(seed), Connections: 4, Duration: 300 * time.Millisecond, Rate: rate})
		if err != nil {
			t.Fatal(err)
		}
		if least := time.Duration(r.Latency.Min()); least < delay-50*time.Microsecond || r.Answered == 0 {
			t.Errorf("rate %v: %d answered, the fastest in %v, with a server that takes %v", rate, r.Answered, least, delay)
		}
	}
}

// Requests that were due while the server stood still are charged for it,
// although they were sent later.
func TestStallsAreNotOmitted(t *testing.T) {
	const stall, rate = 400 * time.Millisecond, 500.0
	var once sync.Once
	var gate sync.RWMutex
	target := decider(t, func(n int64) {
		if n > 50 {
			once.Do(func() {
				gate.Lock()
				time.Sleep(stall)
				gate.Unlock()
			})
		}
		gate.RLock()
		defer gate.RUnlock()
	})
	r, err := loader.Run(t.Context(), target, loader.Load{Seed: 1, Connections: 2, Duration: time.Second, Rate: rate})
	if err != nil {
		t.Fatal(err)
	}
	if want := int64(rate); r.Latency.TotalCount() != want {
		t.Errorf("%d latencies of %d requests that were due", r.Latency.TotalCount(), want)
	}
	// 200 requests were due during the stall, one half of them more than half
	// of it before its end. A loader that omits them sees two.
	late := int64(0)
	for _, b := range r.Latency.Distribution() {
		if b.From > int64(stall/2) {
			late += b.Count
		}
	}
	if late < 50 {
		t.Errorf("%d requests waited for half of the stall, want about 100", late)
	}
}

func TestFailuresAreCounted(t *testing.T) {
	wrong := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, `{"decision":"allow"}`) // wrong for one in ten
	}))
	defer wrong.Close()
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer refusing.Close()
	for name, s := range map[string]*httptest.Server{"wrong": wrong, "refusing": refusing} {
		target := loader.Target{Addr: strings.TrimPrefix(s.URL, "http://"), Path: "/", Workload: workload.Find("A")}
		r, err := loader.Run(t.Context(), target, loader.Load{Seed: 1, Connections: 2, Duration: 2 * time.Second, Rate: 250})
		if err != nil {
			t.Fatal(err)
		}
		if r.Failed == 0 || r.Failure == nil || r.Failed+r.Answered != 500 || (name == "refusing") != (r.Answered == 0) {
			t.Errorf("%s: answered %d, failed %d: %v", name, r.Answered, r.Failed, r.Failure)
		}
	}
}

// Cerbos is asked in its own form, and its effect is taken for the decision.
func TestCerbosEffects(t *testing.T) {
	for _, effect := range []string{"EFFECT_ALLOW", "EFFECT_DENY", "EFFECT_NO_MATCH"} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil || !strings.Contains(string(body), `"actions":["token:exchange"]`) {
				t.Errorf("asked %s: %v", body, err)
			}
			_, _ = io.WriteString(w, `{"results":[{"actions":{"token:exchange": "`+effect+`"}}]}`)
		}))
		target := loader.Target{Addr: strings.TrimPrefix(s.URL, "http://"), Path: "/", Cerbos: true, Workload: workload.Find("A")}
		r, err := loader.Run(t.Context(), target, loader.Load{Seed: 1, Connections: 2, Duration: time.Second, Rate: 500})
		s.Close()
		if err != nil {
			t.Fatal(err)
		}
		// One in ten is to be denied, the others allowed.
		most, least := max(r.Answered, r.Failed), min(r.Answered, r.Failed)
		rightly := map[string]bool{
			"EFFECT_ALLOW": most == r.Answered && least > 0, "EFFECT_DENY": most == r.Failed && least > 0, "EFFECT_NO_MATCH": r.Answered == 0,
		}[effect]
		if !rightly || !errors.Is(r.Failure, loader.ErrWrong) {
			t.Errorf("%s: answered %d, failed %d: %v", effect, r.Answered, r.Failed, r.Failure)
		}
	}
}

func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	target := loader.Target{Addr: addr, Path: "/", Workload: workload.Find("A")}
	if _, err := loader.Run(t.Context(), target, loader.Load{Connections: 1, Duration: time.Second}); err == nil {
		t.Error("no error")
	}
}
