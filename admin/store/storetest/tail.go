package storetest

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/caracalai/caracald/admin/store"
)

// eventTail follows a zone while daemons write to it: every event once, in the
// order of Seq, none appearing behind one that was seen.
func eventTail(f *fixture) {
	const writers, batches, size = 4, 15, 7
	f.same(f.lastSeq("z"), int64(0))
	errs := make([]error, writers)
	var all sync.WaitGroup
	for i := range writers {
		s := newSpool("z", batches*size)
		for n := 0; n < len(s.records); n += size {
			s.records[n].ZoneID = "other"
		}
		all.Go(func() {
			for n := range batches {
				_, err := f.Events().Append(f.ctx, s.batch(n*size, (n+1)*size))
				errs[i] = errors.Join(errs[i], err)
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	want := writers * batches * (size - 1)
	seen := map[string]bool{}
	var last int64
	deadline := time.After(time.Minute)
	for len(seen) < want {
		page := f.since("z", last, 10)
		for _, e := range page {
			if e.Seq <= last || seen[e.ID] || e.ZoneID != "z" {
				f.Fatalf("after %d comes %d of zone %s", last, e.Seq, e.ZoneID)
			}
			last, seen[e.ID] = e.Seq, true
		}
		if len(page) > 0 {
			continue
		}
		select {
		case <-f.Events().Added():
		case <-deadline:
			f.Fatalf("%d of %d events were seen", len(seen), want)
		}
	}
	<-done
	f.ok(errors.Join(errs...))
	f.same(f.lastSeq("z"), last)
	f.same(len(f.since("z", last, 0)), 0)
}

func (f *fixture) trim(zone string, before time.Time, maxBytes int64) int64 {
	f.Helper()
	n, err := f.Events().Trim(f.ctx, zone, before, maxBytes)
	f.ok(err)
	return n
}

func trimByAge(f *fixture) {
	const records = 3500 // more than a backend may want to remove at once
	s, other := newSpool("z", records), newSpool("y", 5)
	slices.Reverse(s.records) // stored in another order than they happened
	f.append(s.batch(0, records))
	f.append(other.batch(0, 5))
	last := f.lastSeq("z")
	f.same(f.trim("z", time.Time{}, 0), int64(0))
	f.same(f.trim("z", start, 0), int64(0))
	f.same(f.trim("z", after(3000), 0), int64(3000))
	f.same(len(f.query(store.EventQuery{ZoneID: "z", Until: after(3000)})), 0)
	f.same(len(f.query(store.EventQuery{ZoneID: "z"})), 500)
	f.same(f.trim("z", after(3000), 0), int64(0))
	f.same(f.trim("z", after(records), 0), int64(500))
	f.same(f.trim("z", after(records), 0), int64(0))
	f.same(f.trim("none", after(records), 1), int64(0))
	f.same(len(f.query(store.EventQuery{ZoneID: "y"})), 5)

	// What is gone does not come again, and Seq does not begin anew.
	f.same(f.nextOffset(s), uint64(records))
	f.same(f.append(s.batch(0, 10)).Accepted, 0)
	s.records = append(s.records, record("z", 0))
	f.append(s.batch(records, records+1))
	if f.lastSeq("z") <= last {
		f.Fatalf("the newest Seq was %d and is %d", last, f.lastSeq("z"))
	}
}

func trimBySize(f *fixture) {
	const records, input = 60, 2000
	s, other := newSpool("z", records), newSpool("y", 5)
	for i := range s.records {
		s.records[i].Input = slices.Concat([]byte(`"`), slices.Repeat([]byte("x"), input), []byte(`"`))
	}
	f.append(s.batch(0, records))
	f.append(other.batch(0, 5))
	f.same(f.trim("z", time.Time{}, 100*records*input), int64(0))
	gone := f.trim("z", time.Time{}, records*input/2)
	left := f.since("z", 0, 0)
	if len(left) == 0 || len(left) > records/2 {
		f.Fatalf("%d events of at least %d bytes each are left where half of %d may stay", len(left), input, records)
	}
	f.same(int(gone), records-len(left))
	f.same(ids(left), ids(s.records[gone:])) // the newest stay
	f.same(f.trim("z", time.Time{}, records*input/2), int64(0))
	f.same(f.trim("z", after(records-1), records*input), int64(len(left)-1)) // by age, within the size
	f.same(f.trim("z", time.Time{}, 1), int64(1))
	f.same(len(f.since("y", 0, 0)), 5)
}

func added(f *fixture) {
	s := newSpool("z", 3)
	f.append(s.batch(0, 1))
	f.arrives(f.Events().Added())
	f.append(s.batch(1, 2))
	f.append(s.batch(2, 3)) // nobody listens, and nothing blocks
	f.arrives(f.Events().Added())
}
