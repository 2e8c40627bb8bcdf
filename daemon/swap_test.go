package daemon_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caracalai/caracald/daemon"
)

// TestSwapUnderLoad: while a zone's pointer moves, every request is answered,
// each answer is of one version whole that was really active, no client sees an
// older sequence after a newer one, and each record equals its answer.
func TestSwapUnderLoad(t *testing.T) { eachWay(t, swapUnderLoad) }

func swapUnderLoad(t *testing.T, set func(*daemon.Config)) {
	const activations, clients = 25, 6
	p, n, v1 := one(t, set)
	versions := map[string]version{v1.id: v1}
	sequences := map[string]int64{v1.id: 1}
	var published []version
	for i := range activations {
		v := p.publish("z1", i+2, "")
		published = append(published, v)
		versions[v.id], sequences[v.id] = v, int64(i+2)
	}
	stop := make(chan struct{})
	var answered sync.Map // decision id -> decision
	var work sync.WaitGroup
	for c := range clients {
		work.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			last := int64(0)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				// Some inputs come again and are answered from the cache.
				body := inputOf("z1", "read", fmt.Sprintf(`,"trace_id":"c%d-%d"`, c, i%3))
				one := node{t: t, url: n.url, client: client}
				r, err := one.try("POST", "/v1/decide", []byte(body))
				if err != nil || r.status != 200 {
					t.Errorf("a request failed: %v, %d %s", err, r.status, r.body)
					return
				}
				got := parse[decision](t, r.body)
				if got.PolicySetVersionID == nil {
					t.Errorf("an answer names no version: %s", r.body)
					return
				}
				v, ok := versions[*got.PolicySetVersionID]
				if !ok || *got.ManifestSHA256 != v.packed.ManifestSHA256 || *got.BundleSHA256 != v.packed.BundleSHA256 || got.tag() != v.tag || got.Decision != "allow" {
					t.Errorf("an answer is not of one version: %s", r.body)
					return
				}
				if now := sequences[v.id]; now < last {
					t.Errorf("sequence %d after %d", now, last)
					return
				} else {
					last = now
				}
				answered.Store(got.DecisionID, got)
			}
		})
	}
	for i := range published {
		ptr := p.activate("z1", &published[i])
		p.loaded("z1", ptr.Sequence)
	}
	close(stop)
	work.Wait()
	n.stop() // which ships all records
	kept, count := p.kept(), 0
	answered.Range(func(_, value any) bool {
		count++
		got, _ := value.(decision)
		r, v := kept[got.DecisionID], versions[*got.PolicySetVersionID]
		if r.PolicySetVersionID != v.id || r.BundleSHA256 != v.packed.BundleSHA256 || r.ManifestSHA256 != v.packed.ManifestSHA256 || r.Sequence != sequences[v.id] ||
			r.Decision != got.Decision || r.RequestID != got.RequestID || !strings.Contains(string(r.Diagnostics), v.tag) {
			t.Errorf("answer %+v, record %+v", got, r)
			return false
		}
		return true
	})
	if count < activations || len(kept) != count {
		t.Errorf("%d answers, %d records", count, len(kept))
	}
}

// TestStopUnderLoad: a stop answers what is under way and ships its records.
func TestStopUnderLoad(t *testing.T) { eachWay(t, stopUnderLoad) }

func stopUnderLoad(t *testing.T, set func(*daemon.Config)) {
	p, n, _ := one(t, set)
	var answered sync.Map
	var work sync.WaitGroup
	begun := make(chan struct{}, 8)
	for range 4 {
		work.Go(func() {
			for i := 0; ; i++ {
				r, err := n.try("POST", "/v1/decide", []byte(inputOf("z1", "read", "")))
				if err != nil {
					return // the listener is gone
				}
				got := parse[decision](t, r.body)
				if r.status != 200 || got.Decision != "allow" {
					t.Errorf("%d %s", r.status, r.body)
					return
				}
				answered.Store(got.DecisionID, true)
				if i == 10 {
					begun <- struct{}{}
				}
			}
		})
	}
	for range 4 {
		select {
		case <-begun:
		case <-time.After(patience):
			t.Fatal("no answers")
		}
	}
	n.stop()
	work.Wait()
	kept := p.kept()
	answered.Range(func(id, _ any) bool {
		if _, ok := kept[id.(string)]; !ok {
			t.Errorf("decision %v has no record", id)
		}
		return true
	})
}
