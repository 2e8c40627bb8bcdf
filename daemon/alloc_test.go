//go:build !race

package daemon_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/caracalai/caracald/audit"
)

// TestAllocations: a decision allocates nothing, its record included. The race detector
// allocates by itself, so this is run without it too.
func TestAllocations(t *testing.T) {
	content, input := reference(t)
	const token = "a-token-of-the-node"
	for name, headers := range map[string][]string{
		"plain":  nil,
		"traced": {"Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"},
		"token":  {"Authorization: Bearer " + token},
	} {
		for way, durability := range map[string]audit.Durability{"left to the system": audit.SyncNone, "durable": audit.SyncGroup} {
			for _, cache := range []int64{0, 1 << 20} {
				t.Run(fmt.Sprintf("%s/%s/cache=%d", name, way, cache), func(t *testing.T) {
					p := newPlane(t)
					p.takeNoAudit() // shipping allocates for each batch
					v := p.publish("z1", 1, content)
					p.activate("z1", &v)
					cfg := configOf(t, p)
					cfg.SpoolDurability, cfg.CacheBytes = durability, cache
					cfg.RetryMin, cfg.RetryMax, cfg.Heartbeat = time.Hour, time.Hour, time.Hour
					if name == "token" {
						cfg.DecideTokens = []string{token}
					}
					n := startReady(t, cfg)
					c := dialDaemon(t, n)
					request := []byte(plain(string(input), headers...))
					resp, body := c.ask(string(request))
					if resp.StatusCode != http.StatusOK {
						t.Fatalf("%d %s", resp.StatusCode, body)
					}
					end := body[len(body)-64:] // of the identity, which all answers have
					answer := make([]byte, 64<<10)
					ask := func() {
						if _, err := c.Write(request); err != nil {
							t.Fatal(err)
						}
						for got := 0; !bytes.HasSuffix(answer[:got], end); {
							more, err := c.Read(answer[got:])
							if err != nil && err != io.EOF || more == 0 {
								t.Fatal(err)
							}
							got += more
						}
					}
					const decisions = 2000
					for range decisions { // until all there is to keep is kept
						ask()
					}
					var before, after runtime.MemStats
					runtime.ReadMemStats(&before)
					for range decisions {
						ask()
					}
					runtime.ReadMemStats(&after)
					// What goes on beside decisions, such as looking after what is silent,
					// allocates now and then, and what is pooled is made anew after a collection
					// of garbage: less than one for each decision it is.
					if each := float64(after.Mallocs-before.Mallocs) / decisions; each > 0.5 {
						t.Errorf("%.2f allocations a decision", each)
					}
				})
			}
		}
	}
}
