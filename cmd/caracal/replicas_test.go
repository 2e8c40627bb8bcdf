package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/client"
	"github.com/caracalai/caracald/admin/store/postgres"
)

const (
	// storePoll is how often the replicas ask the store for what no notification told.
	storePoll = 500 * time.Millisecond
	// allowance is what a machine that is busy with other tests may add to it.
	allowance = 15 * time.Second
)

// scale tells whether tests run at their full length, as make test-scale has them.
func scale() bool { return os.Getenv("CARACAL_TEST_SCALE") != "" }

// activeZone is a zone between whose two set versions activations go to and fro.
type activeZone struct {
	id, set, policy string
	versions        [2]string
}

func (r *replicas) activeZone(name string) activeZone {
	t := r.t
	t.Helper()
	p := &plant{t: t, client: r.clients[0]}
	zone, err := r.clients[0].CreateZone(t.Context(), api.ZoneCreate{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	set, err := r.clients[1].CreatePolicySet(t.Context(), zone.ID, api.PolicySetCreate{Name: "set"})
	if err != nil {
		t.Fatal(err)
	}
	z := activeZone{id: zone.ID, set: set.ID}
	p.zone, p.set = z.id, z.set
	for n := range z.versions {
		v, err := p.publish(t.Context(), &z.policy, n)
		if err != nil {
			t.Fatal(err)
		}
		z.versions[n] = v.ID
	}
	return z
}

// acknowledged is an activation that a replica answered.
type acknowledged struct {
	zone, outbox string
	sequence     int64
	at           time.Time
}

// One of three replicas is killed every few seconds, under activations and other
// writes that any replica is asked for, with watchers at all of them: no
// acknowledged write is lost or done twice, no sequence is there twice, and no
// watcher misses a change for longer than the poll of the store.
func TestReplicasKilled(t *testing.T) {
	kills, followers := 4, 12
	if scale() {
		kills, followers = 40, 60
	}
	// Maintenance would wake watchers too, and hide that a change was missed.
	r := newReplicas(t, 3, "--store-poll", storePoll.String(), "--maintenance-interval", "1h", "--lease-ttl", "2s")
	zones := []activeZone{r.activeZone("one"), r.activeZone("two")}
	watching, stopWatching := context.WithCancel(t.Context())
	defer stopWatching()
	var watchers, writers sync.WaitGroup
	watched := make([]*follower, followers)
	for i := range watched {
		watched[i] = &follower{zone: zones[i%len(zones)].id}
		watchers.Go(func() {
			if err := watched[i].follow(watching, r.caller(i)); err != nil {
				t.Error(err)
			}
		})
	}
	var mu sync.Mutex
	var activations []acknowledged
	versions := map[string]string{} // id -> zone, of policy versions
	stop := make(chan struct{})
	for i := range 4 {
		z := zones[i%len(zones)]
		c := r.caller(i)
		writers.Go(func() {
			pace := time.NewTicker(30 * time.Millisecond)
			defer pace.Stop()
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-pace.C:
				}
				var done api.Activated
				err := c.write(t.Context(), "/v1/zones/"+z.id+"/policy-sets/"+z.set+"/activate", api.ActivateRequest{VersionID: z.versions[n%2]}, &done)
				if err != nil {
					t.Errorf("activating: %v", err)
					return
				}
				mu.Lock()
				activations = append(activations, acknowledged{z.id, done.OutboxID, done.Sequence, time.Now()})
				mu.Unlock()
			}
		})
		writers.Go(func() {
			c, pace := r.caller(i+1), time.NewTicker(60*time.Millisecond)
			defer pace.Stop()
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-pace.C:
				}
				var v api.PolicyVersion
				err := c.write(t.Context(), "/v1/zones/"+z.id+"/policies/"+z.policy+"/versions",
					api.PolicyVersionCreate{Content: fmt.Sprintf("package caracal.authz\n\ndefault result := {\"decision\": \"deny\", \"evaluation_status\": \"complete\", \"determining_policies\": [], \"diagnostics\": [{\"reason\": \"%d of %d\"}]}\n", n, i)}, &v)
				if err != nil {
					t.Errorf("adding a version: %v", err)
					return
				}
				mu.Lock()
				versions[v.ID] = z.id
				mu.Unlock()
			}
		})
	}
	acked := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(activations)
	}
	random := rand.New(rand.NewPCG(2, uint64(time.Now().UnixNano())))
	for range kills {
		// When exactly the kill comes is what is left to chance.
		time.Sleep(time.Duration(500+random.IntN(2000)) * time.Millisecond)
		victim := random.IntN(len(r.processes))
		before := acked()
		r.processes[victim].kill()
		r.processes[victim].start()
		r.waitReady(victim)
		for late := time.Now().Add(patience); acked() < before+10; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(late) {
				t.Fatalf("no write is acknowledged after the kill of replica %d", victim)
			}
		}
	}
	close(stop)
	writers.Wait()
	r.checkWatched(activations, watched)
	stopWatching()
	watchers.Wait()
	r.checkKept(zones, activations, versions)
	t.Logf("%d kills, %d activations and %d policy versions acknowledged, %d watchers", kills, len(activations), len(versions), followers)
}

// checkWatched checks that each watcher knew of each activation in time.
func (r *replicas) checkWatched(activations []acknowledged, watched []*follower) {
	t := r.t
	t.Helper()
	var longest time.Duration
	missed := 0
	for _, a := range activations {
		for i, f := range watched {
			if f.zone != a.zone {
				continue
			}
			told, ok := f.told(a.sequence)
			for ; !ok && time.Since(a.at) < storePoll+allowance; told, ok = f.told(a.sequence) {
				time.Sleep(10 * time.Millisecond)
			}
			late := told.Sub(a.at)
			if !ok || late > storePoll+allowance {
				missed++
				t.Errorf("watcher %d missed sequence %d of zone %s (%v, %v later)", i, a.sequence, a.zone, ok, late)
			}
			longest = max(longest, late)
		}
	}
	t.Logf("%d changes were missed; the longest that a watcher was behind an acknowledged activation is %v, with a poll of %v", missed, longest, storePoll)
}

// checkKept compares what was acknowledged with what is kept.
func (r *replicas) checkKept(zones []activeZone, activations []acknowledged, versions map[string]string) {
	t := r.t
	t.Helper()
	kept := map[string]api.Activation{}
	for i, z := range zones {
		c := r.clients[i%len(r.clients)]
		list, err := collect(client.All(t.Context(), func(ctx context.Context, at client.Page) (api.Page[api.Activation], error) {
			return c.Activations(ctx, z.id, at)
		}))
		if err != nil {
			t.Fatal(err)
		}
		for n, a := range list {
			if want := int64(len(list) - 1 - n); a.Sequence != want {
				t.Errorf("zone %s has sequence %d where %d should be", z.id, a.Sequence, want)
			}
			kept[a.ID] = a
		}
		p, err := c.Policy(t.Context(), z.id, z.policy)
		if err != nil {
			t.Fatal(err)
		}
		there := map[string]bool{}
		for _, v := range p.Versions {
			there[v.ID] = true
		}
		mine := 0
		for id, zone := range versions {
			if zone != z.id {
				continue
			}
			mine++
			if !there[id] {
				t.Errorf("the acknowledged policy version %s is lost", id)
			}
		}
		// Two were there before. A write that was sent again with its key is done once.
		if len(there) != mine+len(z.versions) {
			t.Errorf("zone %s has %d policy versions, %d were acknowledged", z.id, len(there), mine)
		}
	}
	for _, a := range activations {
		if k, ok := kept[a.outbox]; !ok || k.Sequence != a.sequence {
			t.Errorf("the acknowledged activation %s of sequence %d is kept as %+v", a.outbox, a.sequence, k)
		}
	}
	if want := len(activations) + len(zones); len(kept) != want { // each zone is born with one
		t.Errorf("%d activations are kept, %d were acknowledged", len(kept), want)
	}
	s, err := postgres.Open(t.Context(), r.store.URL, postgres.Options{OwnerURL: r.store.OwnerURL})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if wrong, err := s.Check(t.Context()); err != nil || len(wrong) > 0 {
		t.Errorf("the store after the kills: %q, %v", wrong, err)
	}
}
