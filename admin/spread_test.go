package admin_test

import (
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin"
	"github.com/caracalai/caracald/bundle"
)

// told makes n watches at once that wait, or find something newer, and gives
// the longest time over which one of them is to spread. meanwhile is done when
// all wait.
func (p *plane) told(zone string, held int64, n int, meanwhile func()) (longest time.Duration) {
	p.t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	req := watching(p.t.(*testing.T), 60, map[string]int64{zone: held})
	for range n {
		all.Go(func() {
			a, err := p.try(p.t.Context(), "POST", watchPath, root, req)
			var answer bundle.WatchResponse
			if err != nil || a.status != 200 || json.Unmarshal(a.body, &answer) != nil {
				p.t.Errorf("answered %d %s: %v", a.status, a.body, err)
			}
			mu.Lock()
			defer mu.Unlock()
			longest = max(longest, answer.Spread())
		})
	}
	if meanwhile != nil {
		p.watchers(int64(n))
		meanwhile()
	}
	all.Wait()
	return longest
}

// One watcher fetches at once; a crowd is told to spread, by its size, both when
// it is woken and when it comes back and finds news.
func TestCrowdsSpread(t *testing.T) {
	const rate, crowd = 40, 200
	p := newPlane(t, func(c *admin.Config) { c.FetchRate = rate }).run()
	zone := p.zone("one")
	v := p.publish(zone, "set")
	if over := p.told(zone, 0, 1, func() { p.activate(v) }); over != 0 {
		t.Errorf("one watcher is told to spread over %v", over)
	}
	if over := p.told(zone, 1, crowd, func() { p.activate(v) }); over < crowd*time.Second/rate {
		t.Errorf("%d watchers, of whom %d may fetch in a second, spread over %v", crowd, rate, over)
	}

	p = newPlane(t, func(c *admin.Config) { c.FetchRate = rate }).run()
	zone = p.zone("one")
	p.activate(p.publish(zone, "set"))
	if over := p.told(zone, 0, crowd, nil); over == 0 {
		t.Errorf("%d watchers that come at once are not told to spread", crowd)
	}
}
