package storetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/caracalai/caracald/admin/store"
)

// daemon makes a daemon that is not stored yet.
func daemon(name string, seen int) store.Daemon {
	return store.Daemon{ID: newID(), Name: name, Version: "1", Labels: map[string]string{}, FirstSeenAt: start, LastSeenAt: after(seen), Status: json.RawMessage("null")}
}

// receiptOf makes a receipt of a daemon for a zone that is not stored yet.
func receiptOf(d store.Daemon, zone, state string, sequence int64) store.Receipt {
	return store.Receipt{DaemonID: d.ID, ZoneID: zone, State: state, Sequence: sequence, ServingSequence: -1, ReportedAt: d.LastSeenAt}
}

// reported stores a daemon with receipts.
func (f *fixture) reported(d store.Daemon, receipts ...store.Receipt) {
	f.Helper()
	f.update(func(tx store.Tx) error {
		err := tx.PutDaemon(f.ctx, d)
		for _, r := range receipts {
			err = errors.Join(err, tx.PutReceipt(f.ctx, r))
		}
		return err
	})
}

// governed is a published zone whose pointer was moved up to a sequence.
func (f *fixture) governed(name string, sequence int64) published {
	f.Helper()
	z := f.published(name)
	f.moved(z.zone, 0, nil)
	for n := int64(1); n <= sequence; n++ {
		f.moved(z.zone, n, &z.first)
	}
	return z
}

// receipts lists what daemons reported, without the pointers.
func (f *fixture) receipts(zone string, daemons ...store.Daemon) []store.Receipt {
	f.Helper()
	var ids []string
	for _, d := range daemons {
		ids = append(ids, d.ID)
	}
	var list []store.Receipt
	for _, r := range read(f, func(r store.Reader) ([]store.WantedReceipt, error) { return r.Receipts(f.ctx, ids, zone, 0) }) {
		list = append(list, r.Receipt)
	}
	return list
}

// found lists the names of the daemons that match.
func (f *fixture) found(q store.DaemonQuery) []string {
	f.Helper()
	names := []string{}
	for _, d := range read(f, func(r store.Reader) ([]store.DaemonState, error) { return r.Daemons(f.ctx, q) }) {
		names = append(names, d.Name)
	}
	return names
}

func daemons(f *fixture) {
	z := f.published("zone")
	d, other := daemon("b", 5), daemon("a", 0)
	failing := after(3)
	d.Labels, d.Owner, d.Digest, d.Status, d.FailingSince = map[string]string{"region": "eu"}, "token-1", "abc", json.RawMessage(`{"ready":false}`), &failing
	other.FirstSeenAt = time.Time{}
	receipt := store.Receipt{
		DaemonID: d.ID, ZoneID: z.zone, State: "loaded", Sequence: 3, VersionID: &z.first.ID, ManifestSHA256: z.first.ManifestSHA256,
		BundleSHA256: z.first.BundleSHA256, LoadedAt: after(1), Detail: "fine", ServingSequence: 3, ServingVersionID: &z.first.ID, Since: after(2), ReportedAt: after(5),
	}
	f.refused(store.ErrNotFound, func(tx store.Tx) error { return tx.PutReceipt(f.ctx, receipt) }) // an unknown daemon's
	f.reported(d, receipt)
	empty := receiptOf(other, newID(), "not_loaded", -1)
	f.reported(other, empty)
	get := func(id string) func(store.Reader) (store.Daemon, error) {
		return func(r store.Reader) (store.Daemon, error) { return r.Daemon(f.ctx, id) }
	}
	f.same(read(f, get(d.ID)), d)
	f.same(read(f, get(other.ID)), other)
	missing(f, get(newID()))
	f.same(f.receipts(z.zone, d, other), []store.Receipt{receipt})
	f.same(f.receipts(empty.ZoneID, d, other), []store.Receipt{empty})
	f.same(f.receipts("", d, other), []store.Receipt{receipt, empty})
	f.same(len(f.receipts(newID(), d)), 0)
	f.same(len(f.receipts("")), 0)

	receipt.State, receipt.Detail, receipt.Sequence, receipt.VersionID, receipt.ReportedAt = "failed", "no such bundle", 4, nil, after(6)
	d.Version, d.LastSeenAt, d.FailingSince, d.Labels = "2", after(6), nil, map[string]string{}
	f.reported(d, receipt)
	f.same(f.receipts(z.zone, d), []store.Receipt{receipt})
	late := receipt
	late.State, late.ReportedAt = "loaded", after(4)
	older := d
	older.LastSeenAt, older.FirstSeenAt = after(4), after(4)
	f.reported(older, late) // came the long way round
	f.same(f.receipts(z.zone, d), []store.Receipt{receipt})
	f.same(read(f, get(d.ID)), d)
	other.FirstSeenAt = after(9) // where it was not kept
	f.reported(other)
	f.same(read(f, get(other.ID)), other)

	f.update(func(tx store.Tx) error { return tx.DeleteReceipt(f.ctx, d.ID, z.zone) })
	f.update(func(tx store.Tx) error { return tx.DeleteReceipt(f.ctx, d.ID, z.zone) })
	f.same(f.receipts("", d, other), []store.Receipt{empty})
	stale := func(age int) []store.Receipt {
		return read(f, func(r store.Reader) ([]store.Receipt, error) {
			return r.StaleReceipts(f.ctx, time.Duration(age)*time.Microsecond, 5)
		})
	}
	other.LastSeenAt = after(20)
	f.reported(other)
	f.same(stale(19), []store.Receipt{empty})
	f.same(len(stale(20)), 0)
}

func daemonStates(f *fixture) {
	ahead, still := f.governed("ahead", 3), f.governed("still", 2)
	cut := after(10)
	failing := after(11)
	healthy, lagging, failed, unready, silent := daemon("healthy", 10), daemon("lagging", 10), daemon("failed", 11), daemon("unready", 12), daemon("silent", 9)
	unready.FailingSince = &failing
	lagging.Labels = map[string]string{"region": "eu", "node": `a"b`}
	failed.Labels = map[string]string{"region": "eu-2", "note": `{"region":"eu"}`, `x,"region`: "eu"}
	failed.Version = "2.0-RC"
	f.reported(healthy, receiptOf(healthy, ahead.zone, "loaded", 3))
	f.reported(lagging, receiptOf(lagging, ahead.zone, "loaded", 2), receiptOf(lagging, still.zone, "loaded", 2))
	f.reported(failed, receiptOf(failed, ahead.zone, "failed", 3), receiptOf(failed, still.zone, "loaded", 1))
	f.reported(unready)
	f.reported(silent, receiptOf(silent, still.zone, "loaded", 2))
	for _, c := range []struct {
		q    store.DaemonQuery
		want []string
	}{
		{store.DaemonQuery{}, []string{"healthy", "lagging", "failed", "unready", "silent"}},
		{store.DaemonQuery{State: store.DaemonHealthy}, []string{"healthy"}},
		{store.DaemonQuery{State: store.DaemonLagging}, []string{"lagging"}},
		{store.DaemonQuery{State: store.DaemonFailing}, []string{"failed", "unready"}},
		{store.DaemonQuery{State: store.DaemonUnreachable}, []string{"silent"}},
		{store.DaemonQuery{State: store.DaemonRetired}, []string{}},
		{store.DaemonQuery{ZoneID: still.zone}, []string{"lagging", "failed", "silent"}},
		{store.DaemonQuery{ZoneID: still.zone, State: store.DaemonHealthy}, []string{"lagging"}},
		{store.DaemonQuery{ZoneID: still.zone, State: store.DaemonLagging}, []string{"failed"}},
		{store.DaemonQuery{ZoneID: still.zone, State: store.DaemonFailing}, []string{}},
		{store.DaemonQuery{ZoneID: newID()}, []string{}},
		{store.DaemonQuery{Labels: map[string]string{"region": "eu"}}, []string{"lagging"}},
		{store.DaemonQuery{Labels: map[string]string{"node": `a"b`}}, []string{"lagging"}},
		{store.DaemonQuery{Labels: map[string]string{"node": `a"b`, "region": "us"}}, []string{}},
		{store.DaemonQuery{Labels: map[string]string{"note": `{"region":"eu"}`}}, []string{"failed"}},
		{store.DaemonQuery{Text: "EAL"}, []string{"healthy"}},
		{store.DaemonQuery{Text: "rc"}, []string{"failed"}},
		{store.DaemonQuery{Text: silent.ID[20:]}, []string{"silent"}},
		{store.DaemonQuery{Text: "%"}, []string{}},
		{store.DaemonQuery{Limit: 2, After: healthy.ID}, []string{"lagging", "failed"}},
		{store.DaemonQuery{Limit: 1, After: lagging.ID, State: store.DaemonFailing}, []string{"failed"}},
	} {
		c.q.SilentBefore = cut
		f.same(f.found(c.q), c.want)
	}
	counts := read(f, func(r store.Reader) ([]store.DaemonCount, error) {
		return r.CountDaemons(f.ctx, store.DaemonQuery{SilentBefore: cut, After: failed.ID, Limit: 1})
	})
	f.same(counts, []store.DaemonCount{
		{State: "failing", Version: "1", Daemons: 1}, {State: "failing", Version: "2.0-RC", Daemons: 1}, {State: "healthy", Version: "1", Daemons: 1},
		{State: "lagging", Version: "1", Daemons: 1}, {State: "unreachable", Version: "1", Daemons: 1},
	})
	list := read(f, func(r store.Reader) ([]store.WantedReceipt, error) {
		return r.Receipts(f.ctx, []string{failed.ID, lagging.ID}, "", 1)
	})
	moved := start.Add(3 * time.Second)
	f.same(list, []store.WantedReceipt{
		{Receipt: receiptOf(lagging, ahead.zone, "loaded", 2), WantedSequence: 3, WantedSince: moved, Zones: 2},
		{Receipt: receiptOf(failed, ahead.zone, "failed", 3), WantedSequence: 3, WantedSince: moved, Zones: 2},
	})
}

// daemonPages reads lists page by page: each daemon comes once, whatever the filter.
func daemonPages(f *fixture) {
	z := f.governed("zone", 2)
	rapid.Check(f.T, func(t *rapid.T) {
		label := newID() // these daemons' alone
		var want []string
		for range rapid.IntRange(0, 12).Draw(t, "daemons") {
			d := daemon("d", 1)
			d.Labels = map[string]string{"run": label}
			sequence := rapid.Int64Range(1, 2).Draw(t, "sequence")
			f.reported(d, receiptOf(d, z.zone, "loaded", sequence))
			if sequence < 2 {
				want = append(want, d.ID)
			}
		}
		slices.Sort(want)
		limit := rapid.IntRange(1, 5).Draw(t, "limit")
		q := store.DaemonQuery{ZoneID: z.zone, State: store.DaemonLagging, Labels: map[string]string{"run": label}, Limit: limit, SilentBefore: start}
		var got []string
		for {
			page := read(f, func(r store.Reader) ([]store.DaemonState, error) { return r.Daemons(f.ctx, q) })
			for _, d := range page {
				got = append(got, d.ID)
			}
			if len(page) < limit {
				break
			}
			q.After = got[len(got)-1]
		}
		if !slices.Equal(got, want) {
			t.Fatalf("pages of %d: %v, want %v", limit, got, want)
		}
	})
}

func daemonsSeen(f *fixture) {
	const many = 70 // more than one statement takes
	var all []store.Daemon
	var seen []store.Seen
	for i := range many {
		d := daemon(fmt.Sprint(i), 5)
		d.Owner, d.Digest = "me", "now"
		f.reported(d)
		all = append(all, d)
		seen = append(seen, store.Seen{ID: d.ID, Owner: "me", Digest: "now", At: after(6 + i), Status: json.RawMessage(fmt.Sprintf(`{"n":%d}`, i))})
	}
	see := func(seen ...store.Seen) (n int64) {
		f.Helper()
		f.update(func(tx store.Tx) (err error) {
			n, err = tx.SeeDaemons(f.ctx, seen)
			return err
		})
		return n
	}
	f.same(see(), int64(0))
	f.same(see(seen...), int64(many))
	for i, d := range all {
		d.LastSeenAt, d.Status = seen[i].At, seen[i].Status
		f.same(read(f, func(r store.Reader) (store.Daemon, error) { return r.Daemon(f.ctx, d.ID) }), d)
	}
	for _, change := range []func(*store.Seen){
		func(s *store.Seen) { s.Owner = "you" },
		func(s *store.Seen) { s.Digest = "before" },
		func(s *store.Seen) { s.At = after(5) },
		func(s *store.Seen) { s.ID = newID() },
	} {
		other := seen[0]
		other.At = after(100)
		change(&other)
		f.same(see(other), int64(0))
	}
	f.update(func(tx store.Tx) error { return tx.RetireDaemon(f.ctx, all[0].ID, after(9)) })
	gone := seen[0]
	gone.At = after(100)
	f.same(see(gone, store.Seen{ID: all[1].ID, Owner: "me", Digest: "now", At: after(100)}), int64(1))
}

func daemonsRetired(f *fixture) {
	z := f.published("zone")
	d, kept := daemon("gone", 5), daemon("kept", 7)
	d.Owner, d.Digest = "me", "now"
	f.reported(d, receiptOf(d, z.zone, "loaded", 2))
	f.reported(kept, receiptOf(kept, z.zone, "loaded", 2))
	retire := func(id string, at int) func(store.Tx) error {
		return func(tx store.Tx) error { return tx.RetireDaemon(f.ctx, id, after(at)) }
	}
	f.refused(store.ErrNotFound, retire(newID(), 8))
	f.update(retire(d.ID, 8))
	f.refused(store.ErrNotFound, retire(d.ID, 9))
	at := after(8)
	d.Owner, d.Digest, d.RetiredAt = "", "", &at
	f.same(read(f, func(r store.Reader) (store.Daemon, error) { return r.Daemon(f.ctx, d.ID) }), d)
	f.same(f.receipts("", d, kept), []store.Receipt{receiptOf(kept, z.zone, "loaded", 2)})
	f.same(f.found(store.DaemonQuery{}), []string{"kept"})
	f.same(f.found(store.DaemonQuery{State: store.DaemonRetired}), []string{"gone"})
	d.RetiredAt = nil
	f.reported(d) // it was not gone
	f.same(f.found(store.DaemonQuery{}), []string{"gone", "kept"})

	forget := func(before, limit int) (n int64) {
		f.Helper()
		f.update(func(tx store.Tx) (err error) {
			n, err = tx.ForgetDaemons(f.ctx, after(before), limit)
			return err
		})
		return n
	}
	f.same(forget(5, 10), int64(0))
	f.same(forget(8, 1), int64(1))
	f.same(f.found(store.DaemonQuery{}), []string{"kept"})
	f.same(forget(8, 10), int64(1))
	f.same(len(f.receipts("", d, kept)), 0)
}

func rollout(f *fixture) {
	z := f.published("zone")
	other := newID()
	put := func(name string, seen int, change func(*store.Receipt)) {
		d := daemon(name, seen)
		r := receiptOf(d, z.zone, "loaded", 2)
		r.VersionID, r.LoadedAt, r.Since = &z.first.ID, after(seen), after(seen)
		change(&r)
		f.reported(d, r)
	}
	put("loaded", 30, func(*store.Receipt) {})
	put("loaded later", 31, func(*store.Receipt) {})
	put("before", 30, func(r *store.Receipt) { r.Sequence = 1 })
	put("failed", 30, func(r *store.Receipt) { r.State, r.LoadedAt = "failed", time.Time{} })
	put("unreadable", 32, func(r *store.Receipt) { r.State, r.VersionID, r.Sequence = "failed", nil, 3 })
	put("lags", 30, func(r *store.Receipt) { r.VersionID, r.Sequence = &other, 0 })
	put("has another", 30, func(r *store.Receipt) { r.VersionID = &other })
	put("silent", 19, func(*store.Receipt) {})
	put("gone", 9, func(*store.Receipt) {})
	put("elsewhere", 30, func(r *store.Receipt) { r.ZoneID = other })
	q := store.RolloutQuery{ZoneID: z.zone, VersionID: z.first.ID, Sequence: 2, Governs: true, SilentBefore: after(20), GoneBefore: after(10)}
	counts := func() map[string]int {
		return read(f, func(r store.Reader) (map[string]int, error) { return r.Rollout(f.ctx, q) })
	}
	names := func(order store.RolloutOrder, limit int, classes ...string) []string {
		var names []string
		for _, r := range read(f, func(r store.Reader) ([]store.RolloutReceipt, error) {
			return r.RolloutReceipts(f.ctx, q, order, limit, classes...)
		}) {
			names = append(names, r.Name)
		}
		return names
	}
	f.same(counts(), map[string]int{"loaded": 2, "failed": 2, "lagging": 2, "other": 1, "silent": 1, "gone": 1})
	f.same(names(store.NewestLoad, 1, store.RolloutLoaded), []string{"loaded later"})
	f.same(names(store.NewestReport, 0, store.RolloutFailed), []string{"unreadable", "failed"})
	f.same(names(store.Furthest, 3, store.RolloutLagging, store.RolloutOther), []string{"lags", "before", "has another"})
	f.same(names(store.LastSeen, 0, store.RolloutSilent, store.RolloutGone), []string{"silent", "gone"})
	q.Governs = false // by version alone
	f.same(counts(), map[string]int{"loaded": 3, "failed": 1, "lagging": 1, "other": 2, "silent": 1, "gone": 1})
}
