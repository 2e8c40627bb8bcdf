package daemon_test

import (
	"testing"
	"time"

	"github.com/caracalai/caracald/daemon"
)

func (p *plane) spreads(over time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spread = over.Milliseconds()
}

// A daemon that is told that many fetch a bundle waits with it, unless it needs
// none, and no longer than until there is another goal.
func TestSpread(t *testing.T) {
	p, n, first := one(t, func(c *daemon.Config) { c.MaxSpread = 1000 * time.Hour })
	p.spreads(1000 * time.Hour) // nobody waits for so short a time that this test would see its end
	p.renew("z1", &first, nil)
	p.loaded("z1", 1)
	again := p.activate("z1", &first) // the same bundle, which it has
	p.loaded("z1", again.Sequence)

	second, third := p.publish("z1", 2, ""), p.publish("z1", 3, "")
	ptr := p.activate("z1", &second)
	p.wait("the daemon to hold the pointer", func() bool { return p.have["z1"].Sequence == ptr.Sequence })
	if got := n.decide(inputOf("z1", "read", "")); got.tag() != "v1" {
		t.Errorf("meanwhile it decides by %s", got.tag())
	}
	p.spreads(0)
	ptr = p.activate("z1", &third)
	p.loaded("z1", ptr.Sequence)
	if got := n.decide(inputOf("z1", "read", "")); got.tag() != "v3" {
		t.Errorf("it decides by %s", got.tag())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fetched[second.packed.BundleSHA256] != 0 || p.fetched[third.packed.BundleSHA256] != 1 {
		t.Errorf("bundles were fetched: %v", p.fetched)
	}
}

// The daemon's own bound holds whatever the admin side says.
func TestSpreadIsBounded(t *testing.T) {
	p, _, _ := one(t, func(c *daemon.Config) { c.MaxSpread = time.Millisecond })
	for _, over := range []time.Duration{1000 * time.Hour, -time.Hour, 1 << 62} {
		p.spreads(over)
		v := p.publish("z1", 2, "")
		p.loaded("z1", p.activate("z1", &v).Sequence)
	}
}
