package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Without a daemon there is no token; with it again there is.
func TestDaemonGone(t *testing.T) {
	rig := governed(t)
	for name, addr := range map[string]string{"TCP": rig.URL, "socket": "unix://" + rig.Socket} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, addr, rig.Zone, 10*time.Second)
			ready := func() int {
				resp, err := http.Get(s.url + "/readyz")
				check(t, err)
				check(t, resp.Body.Close())
				return resp.StatusCode
			}
			s.token(s.post(s.asks(s.presents(nil), "payments:read")))
			if got := ready(); got != http.StatusOK {
				t.Errorf("readyz: %d", got)
			}
			rig.StopDaemon()
			for range 3 {
				r := s.refused("gone", s.asks(s.presents(nil), "payments:read"), http.StatusServiceUnavailable, temporarilyUnavailable)
				if r.header.Get("Retry-After") == "" {
					t.Error("it is not said when to come again")
				}
			}
			if got := ready(); got != http.StatusServiceUnavailable {
				t.Errorf("readyz: %d", got)
			}
			rig.StartDaemon()
			s.token(s.post(s.asks(s.presents(nil), "payments:read")))
		})
	}
}

// A daemon that answers nonsense, something else, or nothing makes no token.
func TestHostileDaemon(t *testing.T) {
	hash := strings.Repeat("0a", 32)
	const decision = `{"decision":%q,"evaluation_status":%q,"determining_policies":[],"diagnostics":[],"request_id":%q,"decision_id":"d","zone_id":%q,` +
		`"policy_set_id":"s","policy_set_version_id":"v","manifest_sha256":%q,"bundle_sha256":%q}`
	good := func(id string) string { return fmt.Sprintf(decision, "allow", "complete", id, "zone-1", hash, hash) }
	hang := make(chan struct{})
	var say atomic.Pointer[func(w http.ResponseWriter, id string)]
	daemon := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		(*say.Load())(w, r.Header.Get("X-Request-Id"))
	}))
	t.Cleanup(daemon.Close)
	t.Cleanup(func() { close(hang) })
	s := newScene(t, daemon.URL, "zone-1", 10*time.Second)
	text := func(f func(id string) string) func(http.ResponseWriter, string) {
		return func(w http.ResponseWriter, id string) { _, _ = io.WriteString(w, f(id)) }
	}
	results := func(list ...string) string { return `{"results":[` + strings.Join(list, ",") + `]}` }
	honest := text(func(id string) string { return results(good(id)) })
	say.Store(&honest)
	s.token(s.post(s.asks(s.presents(nil), "payments:read"))) // so that what follows fails for its own reason
	for name, f := range map[string]func(http.ResponseWriter, string){
		"nothing":         func(http.ResponseWriter, string) {},
		"HTML":            text(func(string) string { return "<h1>allow</h1>" }),
		"true":            text(func(string) string { return "true" }),
		"one decision":    text(good),
		"no results":      text(func(string) string { return results() }),
		"two results":     text(func(id string) string { return results(good(id), good(id)) }),
		"another zone":    text(func(id string) string { return results(strings.Replace(good(id), "zone-1", "zone-2", 1)) }),
		"another request": text(func(string) string { return results(good("another")) }),
		"another word":    text(func(id string) string { return results(strings.Replace(good(id), "allow", "ALLOW", 1)) }),
		"failed":          text(func(id string) string { return results(strings.Replace(good(id), "complete", "error", 1)) }),
		"no bundle":       text(func(id string) string { return results(strings.ReplaceAll(good(id), hash, "")) }),
		"twice":           text(func(id string) string { return results(strings.Replace(good(id), "{", `{"decision":"deny",`, 1)) }),
		"refusal":         text(func(string) string { return results(`{"error":"audit_unavailable","error_description":"x"}`) }),
		"unknown refusal": text(func(string) string { return results(`{"error":"whatever"}`) }),
		"half":            text(func(id string) string { return results(good(id))[:100] }),
		"500": func(w http.ResponseWriter, id string) {
			w.WriteHeader(500)
			_, _ = io.WriteString(w, results(good(id)))
		},
		"401": func(w http.ResponseWriter, id string) {
			w.WriteHeader(401)
			_, _ = io.WriteString(w, results(good(id)))
		},
		"redirect": func(w http.ResponseWriter, id string) {
			w.Header().Set("Location", daemon.URL)
			w.WriteHeader(307)
			_, _ = io.WriteString(w, results(good(id)))
		},
		"broken off": func(http.ResponseWriter, string) { panic(http.ErrAbortHandler) },
	} {
		say.Store(&f)
		s.refused(name, s.asks(s.presents(nil), "payments:read"), http.StatusServiceUnavailable, temporarilyUnavailable)
	}
	silence := func(http.ResponseWriter, string) { <-hang }
	say.Store(&silence)
	hasty := newScene(t, daemon.URL, "zone-1", 100*time.Millisecond)
	hasty.refused("silence", hasty.asks(hasty.presents(nil), "payments:read"), http.StatusServiceUnavailable, temporarilyUnavailable)
	f := text(func(string) string { return results(`{"error":"invalid_input","error_description":"x"}`) })
	say.Store(&f)
	s.refused("no input", s.asks(s.presents(nil), "payments:read"), http.StatusBadRequest, invalidRequest)
}
