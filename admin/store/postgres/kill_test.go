package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/postgres"
	"github.com/caracalai/caracald/admin/store/postgres/pgtest"
)

// activate moves a zone's pointer by one from where it is, with an admin event
// in the same transaction.
func activate(ctx context.Context, s store.Store, zone string) (activation store.Activation, err error) {
	err = s.Update(ctx, func(tx store.Tx) error {
		p, err := tx.Pointer(ctx, zone)
		if err != nil {
			return err
		}
		p.Sequence++
		activation = store.Activation{ID: uuid.NewString(), ZoneID: zone, Sequence: p.Sequence, PolicySetID: p.PolicySetID, VersionID: p.VersionID}
		if _, err := tx.AppendAdminEvent(ctx, store.AdminEvent{ID: activation.ID, OccurredAt: start}); err != nil {
			return err
		}
		return tx.MovePointer(ctx, p, activation)
	})
	return activation, err
}

// TestKilled kills PostgreSQL amid activations by two replicas and batches of
// events, again and again: what was acknowledged is there once, and no sequence twice.
func TestKilled(t *testing.T) {
	c := pgtest.Own(t)
	d, err := c.Database(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	replicas := []*postgres.Store{open(t, d, 50*time.Millisecond), open(t, d, 50*time.Millisecond)}
	fill(t, replicas[0])
	rounds := 3
	if os.Getenv("CARACAL_TEST_SCALE") != "" { // as make test-scale has it
		rounds = 12
	} else if testing.Short() {
		rounds = 1
	}
	var mu sync.Mutex
	acknowledged := map[string]store.Activation{}
	stored := map[string]bool{} // request ids of acknowledged events
	for round := range rounds {
		ctx, stop := context.WithCancel(t.Context())
		enough := make(chan struct{}, 1)
		before := len(acknowledged)
		var all sync.WaitGroup
		for i, s := range replicas {
			for worker := range 3 {
				all.Go(func() {
					for ctx.Err() == nil {
						a, err := activate(ctx, s, []string{"z1", "z2"}[worker%2])
						if err != nil {
							continue // the server is down
						}
						mu.Lock()
						acknowledged[a.ID] = a
						if len(acknowledged) > before+30 {
							select {
							case enough <- struct{}{}:
							default:
							}
						}
						mu.Unlock()
					}
				})
			}
			all.Go(func() {
				epoch := fmt.Sprint(round, "-", i)
				for offset := uint64(0); ctx.Err() == nil; {
					id := fmt.Sprint(epoch, "-", offset)
					// The hash stays zero, so that a batch whose answer was lost can be sent again as it is.
					r, err := s.Events().Append(ctx, store.EventBatch{DaemonID: "d", Epoch: epoch, First: offset, At: start,
						Events: []store.Event{{ID: id, ZoneID: "z1", RequestID: id, OccurredAt: start}}})
					if err != nil {
						continue
					}
					mu.Lock()
					stored[id] = true
					mu.Unlock()
					offset = r.NextOffset
				}
			})
		}
		for range 2 { // once it is at work, and once it is at work again
			select {
			case <-enough:
			case <-time.After(time.Minute):
				t.Fatal("nothing is acknowledged")
			}
			if err := c.Kill(); err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			before = len(acknowledged)
			select {
			case <-enough:
			default:
			}
			mu.Unlock()
			if err := c.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case <-enough: // it came back
		case <-time.After(time.Minute):
			t.Fatal("nothing is acknowledged after the restart")
		}
		stop()
		all.Wait()
	}
	s := replicas[1]
	if wrong, err := s.Check(t.Context()); err != nil || len(wrong) > 0 {
		t.Errorf("%q is wrong: %v", wrong, err)
	}
	found := map[string]store.Activation{}
	err = s.View(t.Context(), func(r store.Reader) error {
		for _, zone := range []string{"z1", "z2"} {
			list, err := r.Activations(t.Context(), zone, 0, store.Cursor{})
			if err != nil {
				return err
			}
			seen := map[int64]bool{}
			for _, a := range list {
				if seen[a.Sequence] {
					t.Errorf("zone %s has sequence %d twice", zone, a.Sequence)
				}
				seen[a.Sequence], found[a.ID] = true, a
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for id, a := range acknowledged {
		if found[id].Sequence != a.Sequence || found[id].ZoneID != a.ZoneID {
			t.Errorf("activation %s of sequence %d was acknowledged, and is %+v", id, a.Sequence, found[id])
		}
	}
	for id := range stored {
		if list, err := s.Events().ByRequest(t.Context(), "z1", id); err != nil || len(list) != 1 {
			t.Errorf("event %s was acknowledged and is there %d times: %v", id, len(list), err)
		}
	}
	t.Logf("%d activations and %d events were acknowledged", len(acknowledged), len(stored))
}

// TestConnectionLost stops the server and starts it again: a store that was open
// says so meanwhile, works afterwards, and hears of others again.
func TestConnectionLost(t *testing.T) {
	c := pgtest.Own(t)
	d, err := c.Database(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a, b := open(t, d, 50*time.Millisecond), open(t, d, never)
	fill(t, a)
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := activate(t.Context(), a, "z1"); err == nil || errors.Is(err, store.ErrChanged) {
		t.Fatalf("with the server gone activating gives %v", err)
	}
	if err := c.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := activate(t.Context(), a, "z1"); err != nil {
		t.Fatalf("with the server back activating gives %v", err)
	}
	// b has never to poll: it hears again once it listens again.
	late := time.After(time.Minute)
	for {
		sequence := int64(0)
		err := b.View(t.Context(), func(r store.Reader) error {
			p, err := r.Pointer(t.Context(), "z1")
			sequence = p.Sequence
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if sequence == 2 {
			break
		}
		select {
		case <-b.Changes():
		case <-late:
			t.Fatal("the other replica hears nothing")
		}
	}
}
