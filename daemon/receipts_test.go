package daemon_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/caracalai/caracald/bundle"
)

// TestReportsBuildOnEachOther: with a control plane that says what can be built on, a
// daemon of many zones names those that changed, and all of them when that is lost.
func TestReportsBuildOnEachOther(t *testing.T) {
	const zones = 40
	p := newPlane(t)
	p.builds = true
	for i := range zones {
		p.activate(fmt.Sprintf("z%02d", i), nil)
	}
	cfg := configOf(t, p)
	cfg.Heartbeat = 20 * time.Millisecond
	startReady(t, cfg)
	unchanged := func(what string) {
		t.Helper()
		p.wait(what+": a heartbeat names no zone", func() bool { return len(p.receipts) == zones && p.report.Base != "" && len(p.report.Zones) == 0 })
	}
	unchanged("at the start")

	p.mu.Lock()
	before := len(p.attempts)
	p.mu.Unlock()
	second := p.publish("z07", 2, grants("second"))
	p.activate("z07", &second)
	p.loaded("z07", 1)
	unchanged("after an activation")
	p.mu.Lock()
	for _, r := range p.attempts[before:] {
		if len(r.Zones) > 1 || len(r.Zones) == 1 && r.Zones[0].ZoneID != "z07" {
			t.Errorf("for one change %d zones were named", len(r.Zones))
		}
	}
	p.mu.Unlock()

	whole := func(what string, change func()) {
		t.Helper()
		p.mu.Lock()
		p.report = bundle.ReceiptReport{}
		change()
		p.mu.Unlock()
		p.wait(what+": all zones are reported", func() bool { return p.report.Complete && len(p.report.Zones) == zones && p.report.Base == "" })
	}
	whole("what was stored is lost", func() { p.revision = "of another" })
	unchanged("then")
	whole("the control plane is an older one", func() { p.builds = false })
	p.mu.Lock()
	p.builds = true
	p.mu.Unlock()
	unchanged("it is upgraded")
	failing := true
	whole("a report fails", func() {
		p.refuse = func(r *http.Request) int {
			p.mu.Lock()
			defer p.mu.Unlock()
			if r.URL.Path == "/v1/receipts" && failing {
				failing = false
				return http.StatusServiceUnavailable
			}
			return 0
		}
	})
	unchanged("and then")
}

// TestOneRefusedZone: a zone that the control plane does not know keeps the others
// from being reported for no more than some calls.
func TestOneRefusedZone(t *testing.T) {
	const zones = 128
	p := newPlane(t)
	for i := range zones {
		p.activate(fmt.Sprintf("z%03d", i), nil)
	}
	p.unknown = "z077"
	cfg := configOf(t, p)
	cfg.Heartbeat = 20 * time.Millisecond
	startReady(t, cfg)
	var whole []int // where reports of all zones begin
	p.wait("two reports of all zones", func() bool {
		whole = nil
		for i, r := range p.attempts {
			if r.Complete && len(r.Zones) == zones {
				whole = append(whole, i)
			}
		}
		return len(whole) > 1
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.receipts) != zones-1 {
		t.Errorf("%d zones are reported", len(p.receipts))
	}
	if calls := whole[1] - whole[0]; calls > 16 { // twice the logarithm of 128, and a few
		t.Errorf("%d calls were made for one report", calls)
	}
}
