package daemon_test

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/daemon"
)

// TestExpiry: a pointer that nobody renews is served until its expiry and the
// grace, or denies at once; a renewed one answers again.
func TestExpiry(t *testing.T) {
	for _, test := range []struct {
		lost  daemon.LostMode
		ahead time.Duration
		allow bool
		stale bool
	}{
		{daemon.LostGrace, 59 * time.Minute, true, false},
		{daemon.LostGrace, 61 * time.Minute, true, true},
		{daemon.LostGrace, 89 * time.Minute, true, true},
		{daemon.LostGrace, 91 * time.Minute, false, true},
		{daemon.LostDeny, 59 * time.Minute, true, false},
		{daemon.LostDeny, 61 * time.Minute, false, true},
	} {
		t.Run(string(test.lost)+" "+test.ahead.String(), func(t *testing.T) {
			t.Parallel()
			p, n, v1 := one(t, func(c *daemon.Config) { c.Lost, c.Grace = test.lost, 30*time.Minute })
			for range 2 { // so that the cache has it
				n.decide(inputOf("z1", "read", ""))
			}
			p.misbehave(down)
			n.ahead.Store(int64(test.ahead))
			for _, zone := range []string{"z1", "empty"} {
				got := n.decide(inputOf(zone, "read", ""))
				allow := test.allow && zone == "z1"
				if (got.Decision == "allow") != allow {
					t.Fatalf("%s: got %+v", zone, got)
				}
				if !test.allow && (got.EvaluationStatus != "error" || got.reason() != "policy_expired") {
					t.Fatalf("%s: got %+v", zone, got)
				}
				if st := n.status(zone); st.Stale != test.stale || !st.Loaded {
					t.Fatalf("status %+v", st)
				}
			}
			// It is the same after a restart with the admin side still away.
			n.stop()
			ahead := test.ahead
			n.cfg.Now = func() time.Time { return time.Now().Add(ahead) }
			n = startReady(t, n.cfg)
			if got := n.decide(inputOf("z1", "read", "")); (got.Decision == "allow") != test.allow {
				t.Fatalf("got %+v", got)
			}
			p.misbehave(nil)
			p.renew("z1", &v1, func(ptr *bundle.Pointer) { ptr.ExpiresAt = time.Now().Add(3 * time.Hour) })
			p.renew("empty", nil, func(ptr *bundle.Pointer) { ptr.ExpiresAt = time.Now().Add(3 * time.Hour) })
			p.wait("the renewed pointers", func() bool {
				p.mu.Unlock()
				defer p.mu.Lock()
				return !n.status("z1").Stale && !n.status("empty").Stale || touch(p)
			})
			if got := n.decide(inputOf("z1", "read", "")); got.Decision != "allow" {
				t.Fatalf("got %+v", got)
			}
		})
	}
}

// TestOverload: more requests at once than allowed are refused, not answered.
func TestOverload(t *testing.T) { eachWay(t, overload) }

func overload(t *testing.T, set func(*daemon.Config)) {
	p, n, _ := one(t, func(c *daemon.Config) {
		set(c)
		c.MaxConcurrent = 1
		c.Limits.Timeout = 300 * time.Millisecond
	})
	beSlow(p, n)
	// Two callers ask for slow decisions until one was made and one refused: which
	// comes while the other is being made is left to chance.
	var made, refused atomic.Bool
	var callers sync.WaitGroup
	late := time.Now().Add(patience)
	for range 2 {
		callers.Go(func() {
			for (!made.Load() || !refused.Load()) && time.Now().Before(late) {
				r, err := n.try("POST", "/v1/decide", []byte(inputOf("z1", "read", "")))
				if err != nil {
					t.Error(err)
					return
				}
				got := parse[decision](t, r.body)
				if r.status == http.StatusServiceUnavailable {
					refused.Store(true)
					if got.Error != "overloaded" || got.Decision != "" || r.header.Get("Retry-After") == "" {
						t.Errorf("%s", r.body)
					}
				} else {
					made.Store(true)
					if got.Decision != "deny" || got.EvaluationStatus != "error" {
						t.Errorf("got %+v", got)
					}
				}
			}
		})
	}
	callers.Wait()
	if !made.Load() || !refused.Load() {
		t.Errorf("a decision was made: %v, one was refused: %v", made.Load(), refused.Load())
	}
}

// TestErrorsAreNotCached: an evaluation that ran into a limit is tried anew.
func TestErrorsAreNotCached(t *testing.T) {
	reader := metric.NewManualReader()
	p, n, _ := one(t, func(c *daemon.Config) {
		c.Limits.MaxMemory, c.CacheBytes = 1, 1<<20
		c.MeterProvider = metric.NewMeterProvider(metric.WithReader(reader))
	})
	const asked = 4 // what is kept is kept when it is asked for the second time
	for range asked {
		got := n.decide(inputOf("z1", "read", ""))
		if got.Decision != "deny" || got.EvaluationStatus != "error" {
			t.Fatalf("got %+v", got)
		}
		if r := p.record(got.DecisionID); r.EvaluationStatus != "error" {
			t.Fatalf("record %+v", r)
		}
	}
	if got := sums(t, reader); got["caracal.daemon.cache_hits"] != 0 || got["caracal.daemon.cache_misses"] != asked {
		t.Errorf("measured %v", got)
	}
}
