package storetest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/caracalai/caracald/admin/store"
)

// record is an event as a daemon ships it.
func record(zone string, n int) store.Event {
	return store.Event{
		ID: newID(), ZoneID: zone, EventType: "decision", RequestID: fmt.Sprint("r", n), Decision: "allow", EvaluationStatus: "complete",
		OccurredAt: after(n),
	}
}

// spool is a daemon's epoch: its records and the hash chain over them.
type spool struct {
	daemon, epoch string
	records       []store.Event
}

// hash is the chain before the record at an offset; any chain that depends on all records before does.
func (s *spool) hash(offset int) (h [32]byte) {
	for i := range s.records[:offset] {
		h = sha256.Sum256(binary.BigEndian.AppendUint64([]byte(s.records[i].ID+string(h[:])), uint64(i)))
	}
	return h
}

// batch is the records from one offset up to another.
func (s *spool) batch(from, to int) store.EventBatch {
	return store.EventBatch{
		DaemonID: s.daemon, Epoch: s.epoch, First: uint64(from), PrevHash: s.hash(from), Hash: s.hash(to),
		Events: slices.Clone(s.records[from:to]), At: after(1000),
	}
}

func newSpool(zone string, records int) *spool {
	s := &spool{daemon: newID(), epoch: newID()}
	for n := range records {
		s.records = append(s.records, record(zone, n))
	}
	return s
}

// append stores a batch.
func (f *fixture) append(b store.EventBatch) store.AppendResult {
	f.Helper()
	result, err := f.Events().Append(f.ctx, b)
	f.ok(err)
	return result
}

func (f *fixture) query(q store.EventQuery) []store.Event {
	f.Helper()
	list, err := f.Events().Query(f.ctx, q)
	f.ok(err)
	return list
}

func (f *fixture) since(zone string, seq int64, limit int) []store.Event {
	f.Helper()
	list, err := f.Events().Since(f.ctx, zone, seq, limit)
	f.ok(err)
	return list
}

func (f *fixture) lastSeq(zone string) int64 {
	f.Helper()
	seq, err := f.Events().LastSeq(f.ctx, zone)
	f.ok(err)
	return seq
}

func (f *fixture) nextOffset(s *spool) uint64 {
	f.Helper()
	next, err := f.Events().NextOffset(f.ctx, s.daemon, s.epoch)
	f.ok(err)
	return next
}

func ids(events []store.Event) []string {
	list := []string{}
	for _, e := range events {
		list = append(list, e.ID)
	}
	return list
}

func eventRoundTrip(f *fixture) {
	full := store.Event{
		ID: newID(), ZoneID: "z", EventType: "decision", RequestID: "r", Decision: "deny", EvaluationStatus: "complete", PolicySetID: "s",
		PolicySetVersionID: "v", ManifestSHA256: hashOf([]byte("m")), BundleSHA256: hashOf([]byte("b")), PointerSequence: 7,
		DeterminingPolicies: json.RawMessage(`[{"policy":"p"}]`), Diagnostics: json.RawMessage(`[ ]`), Metadata: json.RawMessage(`{"a": 1.0}`),
		Input: json.RawMessage("{\"principal\" :\t{\"id\":\"\\u00e9\"}}"), OccurredAt: start,
	}
	bare := store.Event{ID: newID(), ZoneID: "z", EventType: "decision", OccurredAt: after(1)}
	s := &spool{daemon: "d", epoch: "e", records: []store.Event{full, bare}}
	f.same(f.append(s.batch(0, 2)), store.AppendResult{Accepted: 2, NextOffset: 2})
	got := f.since("z", 0, 0)
	f.same(len(got), 2)
	for i, want := range s.records { // the JSON is kept byte for byte
		want.Seq, want.IngestedAt, want.DaemonID, want.Epoch, want.Offset = got[i].Seq, after(1000), "d", "e", uint64(i)
		f.same(got[i], want)
	}
	f.same(f.query(store.EventQuery{ZoneID: "z"}), []store.Event{got[1], got[0]})
	byRequest, err := f.Events().ByRequest(f.ctx, "z", "r")
	f.ok(err)
	f.same(byRequest, got[:1])
}

func eventIdempotency(f *fixture) {
	s := newSpool("z", 10)
	f.same(f.nextOffset(s), uint64(0))
	f.same(f.append(s.batch(0, 4)), store.AppendResult{Accepted: 4, NextOffset: 4})
	f.same(f.append(s.batch(0, 4)), store.AppendResult{Duplicate: 4, NextOffset: 4})
	f.same(f.append(s.batch(1, 3)), store.AppendResult{Duplicate: 2, NextOffset: 4})
	f.same(f.append(s.batch(2, 7)), store.AppendResult{Accepted: 3, Duplicate: 2, NextOffset: 7})
	f.same(f.append(s.batch(7, 7)), store.AppendResult{NextOffset: 7})
	f.same(f.nextOffset(s), uint64(7))
	f.same(ids(f.since("z", 0, 0)), ids(s.records[:7]))

	other := &spool{daemon: s.daemon, epoch: newID(), records: newSpool("z", 2).records}
	f.same(f.append(other.batch(0, 2)), store.AppendResult{Accepted: 2, NextOffset: 2}) // epochs count on their own
	f.same(f.append(s.batch(7, 10)), store.AppendResult{Accepted: 3, NextOffset: 10})
	f.same(len(f.since("z", 0, 0)), 12)
}

func eventChain(f *fixture) {
	s := newSpool("z", 6)
	begun := s.batch(0, 3)
	begun.PrevHash[0] ^= 1
	refuse := func(b store.EventBatch) {
		f.Helper()
		_, err := f.Events().Append(f.ctx, b)
		f.is(err, store.ErrChain)
		f.is(err, store.ErrChanged)
	}
	refuse(begun)
	f.same(len(f.since("z", 0, 0)), 0)
	f.append(s.batch(0, 3))
	forked := s.batch(3, 6)
	forked.PrevHash = [32]byte{}
	refuse(forked)
	f.same(f.nextOffset(s), uint64(3))
	f.same(f.append(s.batch(3, 6)), store.AppendResult{Accepted: 3, NextOffset: 6})
	_, err := f.Events().Append(f.ctx, store.EventBatch{DaemonID: "d", Epoch: "e", First: 1<<64 - 1, Events: s.records})
	if err == nil {
		f.Fatal("offsets beyond the last are stored")
	}
}

func eventHole(f *fixture) {
	s := newSpool("a", 10)
	s.records[7].ZoneID = "b"
	f.append(s.batch(0, 2))
	f.same(f.append(s.batch(5, 8)), store.AppendResult{Accepted: 3, Hole: 3, NextOffset: 8})
	f.same(f.append(s.batch(2, 5)), store.AppendResult{Duplicate: 3, NextOffset: 8}) // too late
	f.same(f.append(s.batch(8, 10)), store.AppendResult{Accepted: 2, NextOffset: 10})
	for zone, want := range map[string][]string{"a": ids(slices.Concat(s.records[:2], s.records[5:7], s.records[8:])), "b": ids(s.records[7:8])} {
		gaps := f.query(store.EventQuery{ZoneID: zone, EventType: "audit_gap"})
		f.same(len(gaps), 1)
		var metadata struct {
			Count       uint64 `json:"count"`
			FirstOffset uint64 `json:"first_offset"`
		}
		f.ok(json.Unmarshal(gaps[0].Metadata, &metadata))
		f.same(metadata.Count, uint64(3))
		f.same(metadata.FirstOffset, uint64(2))
		f.same(gaps[0].DaemonID, s.daemon)
		all := f.since(zone, 0, 0)
		f.same(ids(slices.DeleteFunc(all, func(e store.Event) bool { return e.ID == gaps[0].ID })), want)
	}
}

// eventsResent ships a spool as a daemon does that is not sure what came in:
// again from any offset that was acknowledged before.
func eventsResent(f *fixture) {
	rapid.Check(f.T, func(t *rapid.T) {
		zone := newID()
		s := newSpool(zone, rapid.IntRange(1, 20).Draw(t, "records"))
		next := 0
		for next < len(s.records) {
			from := rapid.IntRange(0, next).Draw(t, "from")
			to := rapid.IntRange(from, len(s.records)).Draw(t, "to")
			before := next
			next = max(next, to)
			f.same(f.append(s.batch(from, to)), store.AppendResult{
				Accepted: next - before, Duplicate: to - from - (next - before), NextOffset: uint64(next),
			})
			f.same(f.nextOffset(s), uint64(next))
		}
		f.same(ids(f.since(zone, 0, 0)), ids(s.records))
	})
}

func eventQueries(f *fixture) {
	s := newSpool("z", 8)
	s.records[2].Decision, s.records[5].Decision = "deny", "deny"
	s.records[3].EventType = "audit_gap"
	s.records[6].RequestID = "r1"
	s.records[7].ZoneID = "y"
	f.append(s.batch(0, 8))
	at := func(numbers ...int) []string {
		list := []string{}
		for _, n := range numbers {
			list = append(list, s.records[n].ID)
		}
		return list
	}
	for _, c := range []struct {
		q    store.EventQuery
		want []string
	}{
		{store.EventQuery{}, at(6, 5, 4, 3, 2, 1, 0)},
		{store.EventQuery{Limit: 3}, at(6, 5, 4)},
		{store.EventQuery{Since: after(2), Until: after(5)}, at(4, 3, 2)},
		{store.EventQuery{Decision: "deny"}, at(5, 2)},
		{store.EventQuery{Decision: "allow", Limit: 2}, at(6, 4)},
		{store.EventQuery{Decision: "allow", EventType: "audit_gap"}, at(3)},
		{store.EventQuery{EventType: "audit_gap"}, at(3)},
		{store.EventQuery{EventType: "decision", Decision: "deny", Until: after(5)}, at(2)},
		{store.EventQuery{RequestID: "r1"}, at(6, 1)},
		{store.EventQuery{RequestID: "r1", Decision: "allow", Since: after(2)}, at(6)},
		{store.EventQuery{RequestID: "none"}, at()},
		{store.EventQuery{After: store.Cursor{At: after(2), ID: s.records[2].ID}}, at(1, 0)},
		{store.EventQuery{Until: after(2), After: store.Cursor{At: after(5), ID: s.records[5].ID}}, at(1, 0)},
		{store.EventQuery{Until: after(5), After: store.Cursor{At: after(2), ID: s.records[2].ID}}, at(1, 0)},
		{store.EventQuery{Decision: "deny", After: store.Cursor{At: after(5), ID: s.records[5].ID}}, at(2)},
	} {
		c.q.ZoneID = "z"
		if got := ids(f.query(c.q)); !slices.Equal(got, c.want) {
			f.Fatalf("%+v gives %v, want %v", c.q, got, c.want)
		}
	}
	byRequest, err := f.Events().ByRequest(f.ctx, "z", "r1")
	f.ok(err)
	f.same(ids(byRequest), at(1, 6)) // oldest first
	byRequest, err = f.Events().ByRequest(f.ctx, "y", "r1")
	f.ok(err)
	f.same(ids(byRequest), at())
	f.same(ids(f.query(store.EventQuery{ZoneID: "y"})), at(7))
}

func eventCounts(f *fixture) {
	s, other := newSpool("z", 8), newSpool("z", 2)
	s.records[1].Decision = "deny"
	s.records[2].Decision, s.records[2].EvaluationStatus = "deny", "error"
	s.records[3].EventType = "audit_gap"
	s.records[7].ZoneID = "y"
	f.append(s.batch(0, 8))
	f.append(other.batch(0, 2))
	count := func(q store.EventCountQuery) []store.EventCount {
		q.ZoneID = "z"
		list, err := f.Events().Count(f.ctx, q)
		f.ok(err)
		return list
	}
	second := after(1).Sub(after(0))
	delay := func(numbers ...int) (sum time.Duration) {
		for _, n := range numbers {
			sum += after(1000).Sub(after(n))
		}
		return sum
	}
	want := []store.EventCount{
		{At: after(0), DaemonID: s.daemon, Decision: "allow", EvaluationStatus: "complete", Count: 1, LastAt: after(0), ShippedAfter: delay(0)},
		{At: after(0), DaemonID: s.daemon, Decision: "deny", EvaluationStatus: "complete", Count: 1, LastAt: after(1), ShippedAfter: delay(1)},
		{At: after(0), DaemonID: s.daemon, Decision: "deny", EvaluationStatus: "error", Count: 1, LastAt: after(2), ShippedAfter: delay(2)},
		{At: after(0), DaemonID: other.daemon, Decision: "allow", EvaluationStatus: "complete", Count: 2, LastAt: after(1), ShippedAfter: delay(0, 1)},
		{At: after(3), DaemonID: s.daemon, Decision: "allow", EvaluationStatus: "complete", Count: 2, LastAt: after(5), ShippedAfter: delay(4, 5)},
		{At: after(6), DaemonID: s.daemon, Decision: "allow", EvaluationStatus: "complete", Count: 1, LastAt: after(6), ShippedAfter: delay(6)},
	}
	slices.SortStableFunc(want, func(a, b store.EventCount) int {
		return cmp.Or(a.At.Compare(b.At), strings.Compare(a.DaemonID, b.DaemonID))
	})
	f.same(count(store.EventCountQuery{Since: after(0), Until: after(10), Step: 3 * second}), want)
	f.same(count(store.EventCountQuery{Since: after(4), Until: after(6), Step: 10 * second}), []store.EventCount{
		{At: after(4), DaemonID: s.daemon, Decision: "allow", EvaluationStatus: "complete", Count: 2, LastAt: after(5), ShippedAfter: delay(4, 5)},
	})
	f.same(len(count(store.EventCountQuery{Since: after(100), Until: after(200), Step: second})), 0)
}

func eventLists(f *fixture) {
	rapid.Check(f.T, func(t *rapid.T) {
		zone := newID()
		times := drawTimes(t)
		if len(times) == 0 {
			return
		}
		decisions := []string{"allow", "deny", ""}
		decision := rapid.SampledFrom(append(decisions, "*")).Draw(t, "decision")
		q := store.EventQuery{ZoneID: zone}
		if rapid.Bool().Draw(t, "bounded") {
			q.Since = after(rapid.IntRange(0, 2).Draw(t, "since"))
			q.Until = after(rapid.IntRange(0, 3).Draw(t, "until"))
		}
		s := newSpool(zone, len(times))
		var want []store.Cursor
		for i, at := range times {
			e := &s.records[i]
			e.ID, e.OccurredAt = uuid.NewString(), at
			e.Decision = rapid.SampledFrom(decisions).Draw(t, "decided")
			within := q.Since.IsZero() || !at.Before(q.Since) && at.Before(q.Until)
			if within && (decision == "*" || decision == "" || decision == e.Decision) {
				want = append(want, store.Cursor{At: at, ID: e.ID})
			}
		}
		f.append(s.batch(0, len(times)))
		slices.SortFunc(want, newestFirst)
		if decision != "*" {
			q.Decision = decision
		}
		list{fmt.Sprintf("%+v", q), func(limit int, after store.Cursor) ([]store.Cursor, error) {
			q.Limit, q.After = limit, after
			rows, err := f.Events().Query(f.ctx, q)
			return places(rows, func(e store.Event) store.Cursor { return store.Cursor{At: e.OccurredAt, ID: e.ID} }), err
		}}.walk(f, rapid.IntRange(0, len(times)+2).Draw(t, "limit"), want)
	})
}

// eventsOfOnePlace stores records that one daemon shipped as two epochs: none is lost, and lists show each.
func eventsOfOnePlace(f *fixture) {
	s := newSpool("z", 3)
	f.append(s.batch(0, 3))
	again := &spool{daemon: s.daemon, epoch: newID(), records: s.records}
	f.same(f.append(again.batch(0, 3)), store.AppendResult{Accepted: 3, NextOffset: 3})
	seen := map[string]bool{}
	var position store.Cursor
	for range 6 {
		page := f.query(store.EventQuery{ZoneID: "z", Limit: 1, After: position})
		f.same(len(page), 1)
		seen[page[0].ID] = true
		position = store.Cursor{At: page[0].OccurredAt, ID: page[0].ID}
	}
	f.same(len(seen), 6)
	for _, e := range s.records {
		if !seen[e.ID] {
			f.Fatalf("event %s is under another id", strings.Join(ids(s.records), " "))
		}
	}
}

// eventsCanceled ends the context of a call amid its work: a batch is stored whole or not at all.
func eventsCanceled(f *fixture) {
	for n := range 20 {
		s := newSpool(fmt.Sprint("z", n), 200)
		b := s.batch(0, 200)
		ctx, cancel := context.WithCancel(f.ctx)
		go func() {
			for f.ctx.Err() == nil && n > 0 { // a while, longer each time
				n--
				runtime.Gosched()
			}
			cancel()
		}()
		result, err := f.Events().Append(ctx, b)
		switch {
		case err == nil:
			f.same(result, store.AppendResult{Accepted: 200, NextOffset: 200})
		default:
			f.is(err, context.Canceled)
		}
		stored := len(f.since(b.Events[0].ZoneID, 0, 0))
		if stored != result.Accepted || f.nextOffset(s) != uint64(stored) {
			f.Fatalf("%d events are stored up to offset %d, %d were accepted", stored, f.nextOffset(s), result.Accepted)
		}
		<-ctx.Done()
		_, err = f.Events().Append(ctx, b)
		f.is(err, context.Canceled)
	}
}
