package client_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin"
	"github.com/caracalai/caracald/admin/client"
	"github.com/caracalai/caracald/admin/store/sqlite"
)

const (
	token   = "the-bootstrap-token-of-these-tests"
	content = "package caracal.authz\n\ndefault result := {\"decision\": \"deny\", \"evaluation_status\": \"complete\", \"determining_policies\": [], \"diagnostics\": []}\n"
)

// failing is a transport that can fail calls on their way there or back.
type failing struct {
	mu sync.Mutex
	// next are what becomes of the calls to come; the rest go through.
	next []func(*http.Request) (*http.Response, error)
	// keys and paths are what was asked for, in order.
	keys, paths []string
	last        http.Header
}

func (f *failing) RoundTrip(req *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.keys, f.paths, f.last = append(f.keys, req.Header.Get("Idempotency-Key")), append(f.paths, req.URL.Path), req.Header.Clone()
	act := http.DefaultTransport.RoundTrip
	if len(f.next) > 0 {
		act, f.next = f.next[0], f.next[1:]
	}
	f.mu.Unlock()
	return act(req)
}

// asked gives the Idempotency-Keys of the calls so far, and forgets them.
func (f *failing) asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	keys := f.keys
	f.keys, f.paths = nil, nil
	return keys
}

func (f *failing) fail(how ...func(*http.Request) (*http.Response, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next = how
}

// plane is a control plane, and a client of it whose calls may fail.
func plane(t testing.TB) (*client.Client, *failing) {
	t.Helper()
	st, err := sqlite.Open(t.Context(), t.TempDir(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	keys, err := admin.LoadOrCreateKeys(t.Context(), st, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	server, err := admin.New(t.Context(), admin.Config{Store: st, Keys: keys, BootstrapToken: token})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	web := httptest.NewServer(server.Handler())
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the control plane: %v", err)
		}
		web.Close()
	})
	f := &failing{}
	c, err := client.New(web.URL, token, client.WithHTTPClient(&http.Client{Transport: f}), client.WithRetries(3, time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	return c, f
}

// must gives a call's result.
func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
