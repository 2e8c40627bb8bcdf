package daemon_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/daemon"
)

// reported waits for a report of which something holds. It is called with mu held.
func (p *plane) reported(what string, holds func(r bundle.ReceiptReport, s *bundle.DaemonStatus) bool) {
	p.t.Helper()
	p.wait(what, func() bool { return p.report.Status != nil && holds(p.report, p.report.Status) })
}

func TestStatusIsReported(t *testing.T) {
	p, n, _ := one(t, nil)
	begun := time.Now()
	p.reported("the daemon is ready", func(r bundle.ReceiptReport, s *bundle.DaemonStatus) bool {
		return r.Complete && len(r.Zones) == 2 && s.Ready && s.AuditKept && s.Detail == "" && s.SpoolMaxBytes > 0 &&
			!s.StartedAt.After(begun) && begun.Sub(s.StartedAt) < time.Hour && s.UptimeSeconds > 0
	})
	tried := 0
	p.reported("rates of decisions", func(_ bundle.ReceiptReport, s *bundle.DaemonStatus) bool {
		if tried++; tried > 1 {
			p.mu.Unlock()
			n.decide(inputOf("z1", "read", ""))
			n.decide(inputOf("z1", "read", ""))
			p.mu.Lock()
		}
		return s.DecisionsPerSecond > 0 && s.WindowSeconds > 0 && s.LatencyP50Seconds != nil && *s.LatencyP50Seconds > 0 &&
			*s.LatencyP99Seconds >= *s.LatencyP50Seconds && s.CacheHitShare != nil && *s.CacheHitShare > 0 && *s.CacheHitShare <= 1
	})
	p.reported("nothing is decided any more", func(_ bundle.ReceiptReport, s *bundle.DaemonStatus) bool {
		return s.DecisionsPerSecond == 0 && s.LatencyP50Seconds == nil && s.LatencyP99Seconds == nil && s.CacheHitShare == nil && s.SpoolRecords == 0
	})
}

func TestTroubleIsReported(t *testing.T) {
	p, n, _ := one(t, func(c *daemon.Config) { c.AuditMode, c.SpoolMaxBytes = daemon.AuditCount, 64<<10 })
	p.takeNoAudit()
	for range 40 {
		n.decide(inputOf("z1", "read", noise(4000)))
	}
	p.reported("audit cannot be kept", func(_ bundle.ReceiptReport, s *bundle.DaemonStatus) bool {
		return s.Ready && !s.AuditKept && strings.Contains(s.Detail, "the spool has") && s.SpoolRecords > 0 && s.SpoolBytes > 0 && s.AuditGaps > 0
	})
	p.misbehave(nil)
	p.wait("the spool is shipped", func() bool { return p.report.Status.SpoolRecords == 0 })
	n.decide(inputOf("z1", "read", ""))
	p.reported("audit is kept again", func(_ bundle.ReceiptReport, s *bundle.DaemonStatus) bool { return s.AuditKept && s.Detail == "" })
}

func TestUnreadyIsReported(t *testing.T) {
	p := newPlane(t)
	p.activate("z1", nil)
	cfg := configOf(t, p)
	cfg.Zones = []string{"z1", "z2"}
	n := start(t, cfg)
	p.reported("a zone is missing", func(_ bundle.ReceiptReport, s *bundle.DaemonStatus) bool {
		return !s.Ready && strings.HasSuffix(s.Detail, "nothing is loaded for zone z2")
	})
	p.activate("z2", nil)
	n.ready()
	p.reported("it is ready", func(_ bundle.ReceiptReport, s *bundle.DaemonStatus) bool { return s.Ready && s.Detail == "" })
}

// TestOlderAdminSide is told what it knows.
func TestOlderAdminSide(t *testing.T) {
	p := newPlane(t)
	p.old = true
	p.activate("z1", nil)
	startReady(t, configOf(t, p))
	p.wait("a report without a status", func() bool { return len(p.report.Zones) == 1 && p.report.Status == nil })
	p.mu.Lock()
	p.old = false
	p.mu.Unlock()
	p.reported("it was upgraded", func(r bundle.ReceiptReport, _ *bundle.DaemonStatus) bool { return r.Complete })
}

// TestTakenDaemonKeepsItsAudit: records of a daemon whose id is another's wait,
// those of zones that it does not serve too.
func TestTakenDaemonKeepsItsAudit(t *testing.T) {
	p, n, _ := one(t, nil)
	p.mu.Lock()
	p.taken = true
	p.mu.Unlock()
	n.decide(inputOf("z1", "read", ""))
	n.decide(inputOf("elsewhere", "read", ""))
	p.wait("batches are refused", func() bool { return p.refusedBatches > 2 })
	p.mu.Lock()
	p.taken = false
	p.mu.Unlock()
	p.wait("the records come", func() bool { return len(p.records) == 2 && p.gaps == 0 })
}

// TestVitalBuckets: a duration is in a bucket whose end is at most an eighth above it.
func TestVitalBuckets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		took := time.Duration(rapid.Int64Range(1<<10, 1<<35-1).Draw(t, "nanoseconds"))
		end := daemon.VitalEnd(took)
		if end < took.Seconds() || end > took.Seconds()*1.1251 {
			t.Fatalf("%v is in the bucket that ends at %v s", took, end)
		}
	})
	for _, took := range []time.Duration{-1, 0, 1} {
		if end := daemon.VitalEnd(took); end > 1.2e-6 {
			t.Errorf("%v is in the bucket that ends at %v s", took, end)
		}
	}
	if end := daemon.VitalEnd(time.Hour); end < 30 {
		t.Errorf("an hour is in the bucket that ends at %v s", end)
	}
}
