package daemon_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/daemon"
)

type metadata struct {
	TraceID     string   `json:"trace_id"`
	SpanID      string   `json:"span_id"`
	Masked      []string `json:"masked"`
	InputSHA256 string   `json:"input_sha256"`
	Replayable  *bool    `json:"replayable"`
}

func TestMasking(t *testing.T) {
	p, n, _ := one(t, nil)
	input := inputOf("z1", "read", `,"subject_claims":{"email":"a@example.com"},"secret":"s3cret"`)
	yes, no := true, false
	for i, test := range []struct {
		settings   bundle.ZoneSettings
		masked     []string
		replayable *bool
		hidden     []string
		kept       bool
	}{
		{bundle.ZoneSettings{}, nil, nil, nil, true},
		{bundle.ZoneSettings{AuditMask: []string{"/context/secret", "/context/absent"}}, []string{"/context/secret"}, &yes, []string{"s3cret"}, true},
		{bundle.ZoneSettings{AuditMask: []string{"/context/subject_claims/email", "/action/id"}}, []string{"/context/subject_claims/email", "/action/id"}, &no, []string{"a@example.com", `"read"`}, true},
		{bundle.ZoneSettings{AuditMask: []string{"/context/secret"}, AuditInputs: "hashed"}, nil, &no, []string{"s3cret"}, false},
		{bundle.ZoneSettings{AuditMask: []string{"/context/absent", "/action/absent"}}, nil, nil, nil, true},
	} {
		v := p.publish("z1", i+2, "")
		ptr := p.pointer("z1", &v)
		ptr.Settings = test.settings
		p.offer(ptr, p.signed(ptr, &v))
		p.loaded("z1", ptr.Sequence)
		got := n.decide(input)
		if got.Decision != "allow" {
			t.Fatalf("got %+v", got)
		}
		r := p.record(got.DecisionID)
		m := parse[metadata](t, r.Metadata)
		if fmt.Sprint(m.Masked) != fmt.Sprint(test.masked) || (m.Replayable == nil) != (test.replayable == nil) || m.Replayable != nil && *m.Replayable != *test.replayable {
			t.Errorf("%+v: metadata %s", test.settings, r.Metadata)
		}
		for _, secret := range test.hidden {
			if strings.Contains(string(r.Input), secret) {
				t.Errorf("%+v: the record's input has %s: %s", test.settings, secret, r.Input)
			}
		}
		if kept := r.Input != nil; kept != test.kept || test.masked == nil && kept && string(r.Input) != input {
			t.Errorf("%+v: the record's input is %s", test.settings, r.Input)
		}
		if !test.kept && m.InputSHA256 != bundle.SHA256Hex([]byte(input)) {
			t.Errorf("%+v: metadata %s", test.settings, r.Metadata)
		}
		if test.masked != nil && !strings.Contains(string(r.Input), "hmac-sha256:") {
			t.Errorf("%+v: the record's input has no digest: %s", test.settings, r.Input)
		}
	}
}

func TestTraceContext(t *testing.T) {
	p, n, _ := one(t, nil)
	const trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	for header, good := range map[string]bool{
		"00-" + trace + "-" + span + "-01": true, "00-" + trace + "-" + span + "-00": true,
		"00-" + strings.Repeat("0", 32) + "-" + span + "-01": false, "nonsense": false,
	} {
		got := n.decide(inputOf("z1", "read", ""), "Traceparent", header)
		m := parse[metadata](t, p.record(got.DecisionID).Metadata)
		if good != (m.TraceID == trace && m.SpanID == span) || !good && (m.TraceID != "" || m.SpanID != "") {
			t.Errorf("%s: %+v", header, m)
		}
	}
}

// TestFullSpool: what happens when the spool takes no more is what was chosen,
// and every answer has a record or is counted.
func TestFullSpool(t *testing.T) {
	for _, mode := range []daemon.AuditMode{daemon.AuditRefuse, daemon.AuditCount} {
		t.Run(string(mode), func(t *testing.T) {
			p, n, _ := one(t, func(c *daemon.Config) {
				c.AuditMode = mode
				c.SpoolMaxBytes = 64 << 10
			})
			p.takeNoAudit()
			answered := map[string]bool{}
			refused := 0
			for range 100 {
				r := n.call("POST", "/v1/decide", []byte(inputOf("z1", "read", noise(2000))))
				got := parse[decision](t, r.body)
				switch {
				case r.status == 200 && got.Decision == "allow":
					answered[got.DecisionID] = true
				case r.status == 503 && got.Error == "audit_unavailable" && got.Decision == "" && got.DecisionID == "":
					refused++
				default:
					t.Fatalf("%d %s", r.status, r.body)
				}
			}
			if mode == daemon.AuditRefuse && (refused == 0 || len(answered) == 0) || mode == daemon.AuditCount && refused > 0 {
				t.Fatalf("%d answered, %d refused", len(answered), refused)
			}
			full := 200 // what is asked of a daemon that counts
			if mode == daemon.AuditRefuse {
				full = 503
			}
			if r := n.call("GET", "/readyz", nil); r.status != full || full == 503 && !strings.Contains(string(r.body), "audit") {
				t.Errorf("a daemon with a full spool is ready: %d %s", r.status, r.body)
			}
			if mode == daemon.AuditRefuse {
				input := inputOf("z1", "read", fmt.Sprintf(`,"pad":%q`, strings.Repeat("x", 20000)))
				if r := n.call("POST", "/v1/decide/batch", []byte(`{"inputs":[`+input+`]}`)); r.status != 503 || parse[decision](t, r.body).Error != "audit_unavailable" {
					t.Errorf("a batch: %d %s", r.status, r.body)
				}
			}
			p.misbehave(nil)
			if mode == daemon.AuditCount {
				p.wait("the gap to be told", func() bool { return p.gaps > 0 && len(p.records) >= 1 && uint64(decisions(p.records))+p.gaps == 100 })
			} else {
				p.wait("the records", func() bool { return decisions(p.records) == len(answered) })
				p.wait("room for more", func() bool {
					p.mu.Unlock()
					defer p.mu.Lock()
					return n.call("GET", "/readyz", nil).status == 200 && n.call("POST", "/v1/decide", []byte(inputOf("z1", "read", ""))).status == 200 || touch(p)
				})
			}
			for id := range p.kept() {
				delete(answered, id)
			}
			if uint64(len(answered)) != p.gaps {
				t.Errorf("%d answers without a record, %d counted", len(answered), p.gaps)
			}
		})
	}
}

// touch makes a wait look again.
func touch(p *plane) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.touch()
	return false
}

func decisions(records []audit.Record) (n int) {
	for _, r := range records {
		if r.EventType == audit.EventDecision {
			n++
		}
	}
	return n
}

// TestShipping: records arrive in order, each once, though the admin side fails
// now and then, and over a restart.
func TestShipping(t *testing.T) {
	p, n, _ := one(t, nil)
	calls := 0
	p.misbehave(func(r *http.Request) int {
		if r.URL.Path == "/v1/audit/batches" {
			if calls++; calls%2 == 1 {
				return http.StatusInternalServerError
			}
		}
		return 0
	})
	var order []string
	for i := range 60 {
		order = append(order, n.decide(inputOf("z1", "read", "")).DecisionID)
		if i == 30 {
			n.stop()
			n = startReady(t, n.cfg)
		}
	}
	p.record(order[len(order)-1])
	p.mu.Lock()
	defer p.mu.Unlock()
	var got []string
	for _, r := range p.records {
		got = append(got, r.ID)
	}
	if fmt.Sprint(got) != fmt.Sprint(order) {
		t.Fatalf("got %d records %v, want %d %v", len(got), got, len(order), order)
	}
}

// TestForeignZoneRecords: decisions about zones that the token does not reach do
// not hold up the audit; they are counted.
func TestForeignZoneRecords(t *testing.T) {
	p := newPlane(t)
	v := p.publish("z1", 1, "")
	p.activate("z1", &v)
	p.zones = map[string]bool{"z1": true}
	cfg := configOf(t, p)
	cfg.Zones = []string{"z1"}
	n := startReady(t, cfg)
	// They are to be in one batch.
	p.takeNoAudit()
	want := 0
	for i := range 30 {
		zone := "z1"
		if i%5 == 4 {
			zone = fmt.Sprintf("foreign-%d", i)
		} else {
			want++
		}
		n.decide(inputOf(zone, "read", ""))
	}
	p.misbehave(nil)
	p.wait("the records of the served zone and the gaps of others", func() bool {
		return decisions(p.records) == want && p.gaps == 6
	})
	// A record of a served zone is never given up, even where it is refused.
	p.mu.Lock()
	p.zones = map[string]bool{}
	p.mu.Unlock()
	got := n.decide(inputOf("z1", "read", ""))
	n.stop()
	p.mu.Lock()
	p.zones = nil
	p.mu.Unlock()
	start(t, cfg)
	p.record(got.DecisionID)
}

// TestReceiptsBySingles: an admin side that refuses a report for one zone is
// still told of the others.
func TestReceiptsBySingles(t *testing.T) {
	p, _, _ := one(t, nil)
	p.mu.Lock()
	p.unknown = "empty"
	p.mu.Unlock()
	v2 := p.publish("z1", 2, "")
	p.activate("z1", &v2)
	p.loaded("z1", 2)
}

// BenchmarkDecideHTTP is a decision over TCP with its durable record: evaluated
// each time, or from the cache.
func BenchmarkDecideHTTP(b *testing.B) {
	for name, cache := range map[string]int64{"evaluated": 0, "cached": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			_, n, _ := one(b, func(c *daemon.Config) {
				c.CacheBytes = cache
				c.SpoolDurability = audit.SyncNone
			})
			body := []byte(inputOf("z1", "read", ""))
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					r, err := n.try("POST", "/v1/decide", body)
					if err != nil || r.status != 200 || !json.Valid(r.body) {
						b.Error(err, r.status)
						return
					}
				}
			})
		})
	}
}

// TestChainMismatch: records that the admin side cannot put behind what it has
// are counted and passed, so that they do not hold up all that follow.
func TestChainMismatch(t *testing.T) {
	p, n, _ := one(t, nil)
	refused := false
	p.misbehave(func(r *http.Request) int {
		if r.URL.Path == "/v1/audit/batches" && !refused {
			refused = true
			return http.StatusConflict
		}
		return 0
	})
	lost := n.decide(inputOf("z1", "read", ""))
	p.wait("the gap to be told", func() bool { return p.gaps == 1 })
	p.record(n.decide(inputOf("z1", "read", "")).DecisionID)
	if _, ok := p.kept()[lost.DecisionID]; ok {
		t.Error("the refused record came after all")
	}
}

// TestGathering: the first record after a silence is shipped at once, those behind
// it together, when there are many of them or the daemon stops.
func TestGathering(t *testing.T) {
	p, n, _ := one(t, func(c *daemon.Config) { c.ShipInterval = time.Hour })
	calls := 0
	p.misbehave(func(r *http.Request) int {
		if r.URL.Path == "/v1/audit/batches" {
			calls++
		}
		return 0
	})
	counted := func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return calls
	}
	p.record(n.decide(inputOf("z1", "read", "")).DecisionID)
	if counted() != 1 {
		t.Errorf("%d batches for one record", counted())
	}
	several := func(many int) string {
		input := inputOf("z1", "read", "")
		r := n.call("POST", "/v1/decide/batch", []byte(`{"inputs":[`+strings.Repeat(input+",", many-1)+input+`]}`))
		results := parse[struct{ Results []decision }](t, r.body).Results
		if len(results) != many {
			t.Fatalf("%d %.200s", r.status, r.body)
		}
		return results[many-1].DecisionID
	}
	few := several(10)
	many := several(1000)
	p.record(many)
	p.record(few)
	if counted() != 2 {
		t.Errorf("%d batches", counted())
	}
	few = several(10)
	n.stop()
	p.record(few)
	if counted() != 3 {
		t.Errorf("%d batches", counted())
	}
}
