package admin

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/bundle"
)

// forgetDaemonAfter is how long a daemon that reports nothing is still
// counted among a zone's daemons. One that was replaced under another id
// would otherwise be missed for ever.
const forgetDaemonAfter = 24 * time.Hour

// rolloutListed is how many daemons of each kind a status lists.
const rolloutListed = 20

// rollout is how far a zone's daemons are with a version.
type rollout struct {
	known int // daemons that ever reported for the zone
	// live are those of them that report still, wanted how many of these must have loaded it.
	live, wanted int
	share        float64
	counts       api.DaemonCounts
	body         api.Rollout

	// The receipt that speaks for all of its kind: the newest load, the
	// newest failure, the one that is furthest behind, the last to be heard.
	loaded, failed, lagging, silent *store.RolloutReceipt
}

// loadedShare is the share of a zone's daemons that makes an activation loaded.
func (s *Server) loadedShare(z store.Zone) (float64, error) {
	settings, err := zoneSettings(z)
	if err != nil || settings.LoadedShare == nil {
		return s.cfg.LoadedShare, err
	}
	return *settings.LoadedShare, nil
}

// wantedOf is how many of so many daemons a share is, rounded up. A share that
// binary fractions cannot hold exactly must not want one daemon more: 0.07 of
// 100 is 7.
func wantedOf(share float64, daemons int) int {
	return int(math.Ceil(share*float64(daemons) - 1e-9))
}

func readRollout(ctx context.Context, tx store.Reader, pointer store.Pointer, version string, share float64, now time.Time, timeout time.Duration) (*rollout, error) {
	q := store.RolloutQuery{
		ZoneID: pointer.ZoneID, VersionID: version, Sequence: pointer.Sequence, Governs: pointer.VersionID != nil && *pointer.VersionID == version,
		SilentBefore: now.Add(-timeout), GoneBefore: now.Add(-max(timeout, forgetDaemonAfter)),
	}
	n, err := tx.Rollout(ctx, q)
	if err != nil {
		return nil, err
	}
	r := &rollout{share: share, live: n[store.RolloutLoaded] + n[store.RolloutFailed] + n[store.RolloutLagging] + n[store.RolloutOther]}
	r.known = r.live + n[store.RolloutSilent] + n[store.RolloutGone]
	r.wanted = wantedOf(share, r.live)
	r.counts = api.DaemonCounts{Total: r.live + n[store.RolloutSilent], Loaded: n[store.RolloutLoaded], Failed: n[store.RolloutFailed], Lagging: n[store.RolloutLagging]}
	lists := map[string][]api.RolloutDaemon{}
	for _, l := range []struct {
		into    **store.RolloutReceipt
		list    string
		order   store.RolloutOrder
		classes []string
		reason  func(store.RolloutReceipt) string
	}{
		{&r.loaded, "", store.NewestLoad, []string{store.RolloutLoaded}, nil},
		{&r.failed, "failing", store.NewestReport, []string{store.RolloutFailed}, func(p store.RolloutReceipt) string { return reason(&p.Receipt) }},
		{&r.lagging, "lagging", store.Furthest, []string{store.RolloutLagging, store.RolloutOther}, func(p store.RolloutReceipt) string {
			return laggingReason(p.Receipt, pointer.Sequence)
		}},
		{&r.silent, "unreachable", store.LastSeen, []string{store.RolloutSilent, store.RolloutGone}, func(p store.RolloutReceipt) string {
			return "has not reported since " + p.LastSeenAt.Format(time.RFC3339)
		}},
	} {
		limit, there := rolloutListed, 0
		if l.reason == nil {
			limit = 1
		}
		for _, class := range l.classes {
			there += n[class]
		}
		if there == 0 {
			continue
		}
		list, err := tx.RolloutReceipts(ctx, q, l.order, limit, l.classes...)
		if err != nil {
			return nil, err
		}
		for i, p := range list {
			if i == 0 {
				*l.into = &list[0]
			}
			if l.reason == nil || p.Class == store.RolloutGone {
				continue
			}
			d := api.RolloutDaemon{ID: p.DaemonID, Name: p.Name, Sequence: p.Sequence, Reason: l.reason(p), Since: orNil(p.Since)}
			if p.Class == store.RolloutSilent {
				d.Since = &list[i].LastSeenAt
			}
			lists[l.list] = append(lists[l.list], d)
		}
	}
	r.body = api.Rollout{
		LoadedShare: share, Wanted: r.wanted, Reachable: r.live, Loaded: r.counts.Loaded,
		LaggingTotal: n[store.RolloutLagging] + n[store.RolloutOther], FailingTotal: n[store.RolloutFailed], UnreachableTotal: n[store.RolloutSilent],
		Lagging: orEmpty(lists["lagging"]), Failing: orEmpty(lists["failing"]), Unreachable: orEmpty(lists["unreachable"]),
	}
	// The only word there is of a version may be a failure that is an hour
	// old: better than to wait for ever.
	if r.live == 0 && r.silent != nil && r.silent.State == bundle.ReceiptFailed &&
		(q.Governs && r.silent.Sequence >= q.Sequence || !q.Governs && r.silent.VersionID != nil && *r.silent.VersionID == version) {
		r.failed = r.silent
	}
	return r, nil
}

// laggingReason says why a daemon that reports counts as behind.
func laggingReason(r store.Receipt, wanted int64) string {
	text := fmt.Sprintf("is at sequence %d, not at %d", r.Sequence, wanted)
	if r.Sequence >= wanted {
		text = fmt.Sprintf("has another version at sequence %d", r.Sequence)
	}
	if r.State == bundle.ReceiptFailed {
		text += ": " + reason(&r)
	}
	return text
}

// orNil is a time's pointer, nil for the zero time.
func orNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// orEmpty is a list that is not null in JSON.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// sts puts the rollout into words.
func (r *rollout) sts(now time.Time, recent []store.Activation) api.STSStatus {
	switch {
	case r.known == 0:
		return api.STSStatus{State: stsNotConfigured, Detail: "no daemon has reported for this zone yet"}
	case r.failed != nil:
		return r.spoken(stsFailed, r.failed, now, recent,
			fmt.Sprintf("daemon %s could not load sequence %d: %s", r.failed.DaemonID, r.failed.Sequence, reason(&r.failed.Receipt)))
	case r.live == 0:
		return r.spoken(stsUnreachable, r.silent, now, recent,
			fmt.Sprintf("no daemon of this zone has reported since %s", r.silent.LastSeenAt.Format(time.RFC3339)))
	case r.counts.Loaded < r.wanted:
		detail := fmt.Sprintf("%d of %d live daemons have loaded it; daemon %s is at sequence %d", r.counts.Loaded, r.live, r.lagging.DaemonID, r.lagging.Sequence)
		if r.wanted < r.live {
			detail = fmt.Sprintf("%d of %d live daemons have loaded it, %d are wanted; daemon %s is at sequence %d",
				r.counts.Loaded, r.live, r.wanted, r.lagging.DaemonID, r.lagging.Sequence)
		}
		return r.spoken(stsNotLoaded, r.lagging, now, recent, detail)
	case r.counts.Loaded < r.live:
		return r.spoken(stsLoaded, r.loaded, now, recent, fmt.Sprintf("%d of %d live daemons have loaded it, of which %d are wanted", r.counts.Loaded, r.live, r.wanted))
	}
	return r.spoken(stsLoaded, r.loaded, now, recent, fmt.Sprintf("all %d live daemons have loaded it", r.live))
}

// spoken describes what the daemon of a receipt has loaded.
func (r *rollout) spoken(state string, receipt *store.RolloutReceipt, now time.Time, recent []store.Activation, detail string) api.STSStatus {
	status := api.STSStatus{State: state, Loaded: state == stsLoaded, Detail: detail}
	if receipt.State == bundle.ReceiptFailed { // it goes on with what it had
		status.PolicySetVersionID = receipt.ServingVersionID
		for _, a := range recent {
			if receipt.ServingVersionID != nil && a.Sequence == receipt.ServingSequence && a.ManifestSHA256 != "" {
				status.ManifestSHA256 = &a.ManifestSHA256
			}
		}
		return status
	}
	status.PolicySetVersionID = receipt.VersionID
	if receipt.ManifestSHA256 != "" {
		status.ManifestSHA256 = &receipt.ManifestSHA256
	}
	if !receipt.LoadedAt.IsZero() {
		age := max(0, now.Sub(receipt.LoadedAt).Seconds()) // the daemon's clock may be ahead of ours
		status.LoadedAt, status.AgeSeconds = &receipt.LoadedAt, &age
	}
	return status
}

func reason(r *store.Receipt) string {
	if r.Detail == "" {
		return "it gave no reason"
	}
	return r.Detail
}
