package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/caracalai/caracald/admin/store"
)

// eventsTogether has many daemons ship small batches of common zones at the same
// time, some twice, and one whose chain is broken: each is answered as if it were
// alone, and each zone has everybody's events in their order.
func eventsTogether(f *fixture) {
	const daemons, rounds, size = 12, 6, 3
	zones := []string{"z0", "z1", "z2"}
	spools := make([]*spool, daemons)
	for i := range spools {
		spools[i] = newSpool("", rounds*size)
		for n := range spools[i].records {
			spools[i].records[n].ZoneID = zones[(i+n)%len(zones)]
		}
	}
	broken := newSpool(zones[0], 1).batch(0, 1)
	broken.PrevHash[0] = 1
	var failures []error
	var mu sync.Mutex
	fail := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		failures = append(failures, fmt.Errorf(format, args...))
	}
	for round := range rounds {
		var all sync.WaitGroup
		for i, s := range spools {
			b := s.batch(round*size, (round+1)*size)
			results := make([]store.AppendResult, 1+i%2)
			all.Go(func() {
				var twice sync.WaitGroup
				for n := range results {
					twice.Go(func() {
						var err error
						if results[n], err = f.Events().Append(f.ctx, b); err != nil {
							fail("daemon %d, round %d: %w", i, round, err)
						}
					})
				}
				twice.Wait()
				accepted := 0
				for _, r := range results {
					accepted += r.Accepted
					if r.Accepted+r.Duplicate != size || r.Hole != 0 || r.NextOffset != uint64((round+1)*size) {
						fail("daemon %d, round %d: %+v", i, round, r)
					}
				}
				if accepted != size {
					fail("daemon %d, round %d: %d of %d were accepted", i, round, accepted, size)
				}
			})
		}
		all.Go(func() {
			if _, err := f.Events().Append(f.ctx, broken); !errors.Is(err, store.ErrChain) {
				fail("a broken chain: %v", err)
			}
		})
		all.Wait()
		f.ok(errors.Join(failures...))
	}
	next, err := f.Events().NextOffset(f.ctx, broken.DaemonID, broken.Epoch)
	f.ok(err)
	f.same(next, uint64(0))
	for _, zone := range zones {
		got := map[string][]string{}
		for _, e := range f.since(zone, 0, 0) {
			got[e.DaemonID] = append(got[e.DaemonID], e.ID)
		}
		want := map[string][]string{}
		for _, s := range spools {
			mine := slices.DeleteFunc(slices.Clone(s.records), func(e store.Event) bool { return e.ZoneID != zone })
			want[s.daemon] = ids(mine)
		}
		f.same(got, want)
		list := f.since(zone, 0, 0)
		f.same(f.lastSeq(zone), list[len(list)-1].Seq)
	}
}
