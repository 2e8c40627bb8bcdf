package distribution_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/distribution"
)

// web serves one answer to all, and gives it as a source.
func web(t *testing.T, answer http.HandlerFunc) distribution.Source {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	s, err := distribution.Open(t.Context(), server.URL+"/bundles?sig=secret")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func gives(data []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) }
}

// tries notes how sources were left.
type tries struct {
	mu       sync.Mutex
	outcomes []string
}

func (l *tries) note(_ context.Context, _ distribution.Source, outcome string, _ error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.outcomes = append(l.outcomes, outcome)
}

func (l *tries) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.outcomes
	l.outcomes = nil
	return out
}

// TestFetch: whatever is wrong with a source, the next one is tried, and what
// was wrong is told.
func TestFetch(t *testing.T) {
	data := bytes.Repeat([]byte{1, 2, 3, 4}, 5000)
	hash, size := bundle.SHA256Hex(data), int64(len(data))
	damaged := bytes.Clone(data)
	damaged[len(damaged)/2] ^= 1
	good := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/bundles/"+hash || r.URL.RawQuery != "sig=secret" {
			t.Errorf("asked for %s", r.URL)
		}
		_, _ = w.Write(data)
	}
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	for _, test := range []struct {
		name    string
		answer  http.HandlerFunc
		outcome string
	}{
		{"other bytes", gives(damaged), distribution.OutcomeWrong},
		{"truncated", gives(data[:100]), distribution.OutcomeWrong},
		{"empty", gives(nil), distribution.OutcomeWrong},
		{"too long", gives(append(bytes.Clone(data), 0)), distribution.OutcomeWrong},
		{"endless", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(data); err != nil {
					return
				}
			}
		}, distribution.OutcomeWrong},
		{"broken off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "20000")
			_, _ = w.Write(data[:100])
			panic(http.ErrAbortHandler)
		}, distribution.OutcomeFailed},
		{"missing", http.NotFound, distribution.OutcomeMissing},
		{"forbidden", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, distribution.OutcomeFailed},
		{"down", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, distribution.OutcomeFailed},
		{"hanging", hang, distribution.OutcomeTimeout},
		{"hanging in the middle", func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write(data[:100])
			_ = http.NewResponseController(w).Flush()
			hang(w, r)
		}, distribution.OutcomeTimeout},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var l tries
			f := &distribution.Fetcher{Sources: []distribution.Source{web(t, test.answer), web(t, good)}, Timeout: time.Minute, Tried: l.note}
			if test.outcome == distribution.OutcomeTimeout {
				f.Timeout = 500 * time.Millisecond
			}
			defer func() { _ = f.Close() }()
			got, err := f.Fetch(t.Context(), hash, size)
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			if tried := l.take(); !slices.Equal(tried, []string{test.outcome, distribution.OutcomeFetched}) {
				t.Fatalf("tried: %v", tried)
			}
			f.Timeout = time.Minute // the good one comes first now
			// One that could not be reached comes last for a while, so that it holds
			// up no more loads; any other keeps its place.
			if _, err := f.Fetch(t.Context(), hash, size); err != nil {
				t.Fatal(err)
			}
			want := []string{test.outcome, distribution.OutcomeFetched}
			if test.outcome == distribution.OutcomeFailed || test.outcome == distribution.OutcomeTimeout {
				want = want[1:]
			}
			if tried := l.take(); !slices.Equal(tried, want) {
				t.Fatalf("tried then: %v", tried)
			}
		})
	}
}

// TestFetchNothing: the error says what was wrong with each source, and whether
// trying again may help.
func TestFetchNothing(t *testing.T) {
	data := []byte("a bundle")
	hash, size := bundle.SHA256Hex(data), int64(len(data))
	wrong, missing := web(t, gives([]byte("another!"))), web(t, http.NotFound)
	f := &distribution.Fetcher{Sources: []distribution.Source{wrong, wrong}}
	if _, err := f.Fetch(t.Context(), hash, size); !errors.Is(err, bundle.ErrHash) || errors.Is(err, distribution.ErrUnavailable) {
		t.Errorf("wrong bytes alone: %v", err)
	}
	f = &distribution.Fetcher{Sources: []distribution.Source{wrong, missing}}
	_, err := f.Fetch(t.Context(), hash, size)
	if !errors.Is(err, bundle.ErrHash) || !errors.Is(err, distribution.ErrUnavailable) || !errors.Is(err, distribution.ErrMissing) {
		t.Errorf("one has other bytes, one none: %v", err)
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the error tells a secret: %v", err)
	}
	f = new(distribution.Fetcher)
	if _, err := f.Fetch(t.Context(), hash, size); !errors.Is(err, distribution.ErrUnavailable) {
		t.Errorf("no source: %v", err)
	}
	f = &distribution.Fetcher{Sources: []distribution.Source{web(t, func(http.ResponseWriter, *http.Request) { t.Error("was asked") })}}
	if _, err := f.Fetch(t.Context(), hash, 1<<40); !errors.Is(err, bundle.ErrLimit) {
		t.Errorf("too large: %v", err)
	}
	if _, err := f.Fetch(t.Context(), "../../etc/passwd", size); !errors.Is(err, bundle.ErrFormat) {
		t.Errorf("no hash: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Fetch(ctx, hash, size); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}
