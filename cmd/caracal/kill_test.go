package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store/sqlite"
)

// callers asks from several callers at once until ctx ends, and gives what each
// was answered.
func (p *plant) callers(ctx context.Context, n int, failed func(error)) func() [][]asked {
	lists := make([][]asked, n)
	var work sync.WaitGroup
	for i := range n {
		work.Go(func() {
			h := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
			defer h.CloseIdleConnections()
			scopes := []string{"read", "write"}
			for k := 0; ctx.Err() == nil; k++ {
				a, err := p.ask(ctx, h, scopes[k%2])
				if err != nil {
					if ctx.Err() == nil {
						failed(err)
					}
					continue
				}
				lists[i] = append(lists[i], a)
			}
		})
	}
	return func() [][]asked {
		work.Wait()
		return lists
	}
}

// While pointers move every 100 ms under load, no request fails, every answer
// is by a version that was active, and no caller sees an older one again.
func TestPointersMoveUnderLoad(t *testing.T) {
	p := newPlant(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answers := p.callers(ctx, 4, func(err error) { t.Errorf("a request failed: %v", err) })
	moves := 40
	if testing.Short() {
		moves = 10
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var policyID, last string
	for n := range moves {
		v, err := p.publish(ctx, &policyID, n)
		if err != nil {
			t.Fatal(err)
		}
		<-tick.C
		if _, err := p.client.Activate(ctx, p.zone, p.set, api.ActivateRequest{VersionID: v.ID}); err != nil {
			t.Fatal(err)
		}
		last = v.ID
	}
	st, err := p.client.WaitLoaded(ctx, p.zone, p.set, last, "", nil)
	if err != nil || st.Daemons.Loaded != 1 {
		t.Fatalf("the last version is %+v: %v", st, err)
	}
	cancel()
	p.checkAnswers(answers(), p.history())
	p.daemon.stop()
	p.admin.stop()
}

// However often the control plane, the daemon or both are killed, while
// versions are published and activated and decisions are asked for, what was
// acknowledged is kept, sequences go forward, and every answer is in the audit or
// counted as missing.
func TestKills(t *testing.T) {
	p := newPlant(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answers := p.callers(ctx, 3, func(err error) {
		if errors.Is(err, errRefused) {
			t.Logf("refused: %v", err) // which is no decision
		}
	})
	type acknowledged struct {
		version  string
		sequence int64
	}
	var published []string
	var activated []acknowledged
	var writer sync.WaitGroup
	writer.Go(func() {
		var policyID string
		for n := 0; ctx.Err() == nil; n++ {
			v, err := p.publish(ctx, &policyID, n)
			if err != nil {
				if ctx.Err() == nil {
					t.Errorf("publishing: %v", err)
				}
				return
			}
			published = append(published, v.ID)
			a, err := p.client.Activate(ctx, p.zone, p.set, api.ActivateRequest{VersionID: v.ID})
			if err != nil {
				if ctx.Err() == nil {
					t.Errorf("activating: %v", err)
				}
				return
			}
			activated = append(activated, acknowledged{v.ID, a.Sequence})
		}
	})
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	random := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	for range rounds {
		// When exactly the kill comes is what is left to chance.
		time.Sleep(time.Duration(50+random.IntN(400)) * time.Millisecond)
		victims := [][]*process{{p.admin}, {p.daemon}, {p.admin, p.daemon}}[random.IntN(3)]
		for _, v := range victims {
			v.kill()
		}
		for _, v := range victims {
			v.start()
		}
	}
	p.waitReady()
	killed, err := p.client.Active(t.Context(), p.zone)
	if err != nil {
		t.Fatal(err)
	}
	p.eventually("activations go on after the last kill", func() bool {
		a, err := p.client.Active(t.Context(), p.zone)
		return err == nil && a.Sequence > killed.Sequence
	})
	cancel()
	writer.Wait()
	lists := answers()

	sequences := p.history()
	for _, a := range activated {
		if got, ok := sequences[a.version]; !ok || got != a.sequence {
			t.Errorf("the acknowledged activation of %s as %d is kept as %d (%v)", a.version, a.sequence, got, ok)
		}
	}
	for _, id := range published {
		if _, err := p.client.SetVersion(t.Context(), p.zone, p.set, id); err != nil {
			t.Errorf("the acknowledged version %s: %v", id, err)
		}
	}
	p.eventually("the daemon serves the active version", func() bool {
		active, err := p.client.Active(t.Context(), p.zone)
		if err != nil || active.PolicySetVersionID == nil {
			return false
		}
		a, err := p.ask(t.Context(), http.DefaultClient, "read")
		if err != nil {
			return false
		}
		lists = append(lists, []asked{a})
		return a.PolicySetVersionID != nil && *a.PolicySetVersionID == *active.PolicySetVersionID
	})
	p.checkAnswers(lists, sequences)
	p.daemon.stop()
	p.admin.stop()
	t.Logf("%d versions published, %d activations acknowledged, %d kills", len(published), len(activated), rounds)

	st, err := sqlite.Open(t.Context(), filepath.Join(p.dir, "admin"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	wrong, err := st.Check(t.Context())
	if err != nil || len(wrong) > 0 {
		t.Errorf("the store after the kills: %v %s", err, fmt.Sprint(wrong))
	}
}
