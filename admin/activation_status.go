package admin

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/bundle"
)

// States of api.Outbox and api.STSStatus.
const (
	outboxPending    = "pending"
	outboxDispatched = "dispatched"

	stsLoaded        = "loaded"
	stsNotLoaded     = "not_loaded"
	stsNotConfigured = "not_configured"
	stsUnreachable   = "unreachable"
	stsFailed        = "failed"
)

// forgetDaemonAfter is how long a daemon that reports nothing is still
// counted among a zone's daemons. One that was replaced under another id
// would otherwise be missed for ever.
const forgetDaemonAfter = 24 * time.Hour

// recentActivations is how many activations are looked through for the one of
// a version that is not active any more.
const recentActivations = 500

func activationStatusRoutes() []route {
	return []route{
		reads("/v1/zones/{zone}/policy-sets/{set}/activation-status", "policy_set.activation_status",
			"Tell how far an activation got: the pointer, the outbox, the daemons", anyone, []parameter{
				{name: "version_id", description: "the version asked about; without it, that of outbox_id, else the set's active one, else its newest"},
				{name: "outbox_id", description: "the activation asked about, as activating it answered"},
			}, (*Server).activationStatus),
	}
}

func (s *Server) activationStatus(ctx context.Context, c *call) (api.ActivationStatus, error) {
	var status api.ActivationStatus
	err := s.store.View(ctx, func(tx store.Reader) error {
		set, err := tx.PolicySet(ctx, c.zone(), c.path("set"))
		if err != nil {
			return missing(err, "policy_set", c.path("set"))
		}
		pointer, err := tx.Pointer(ctx, set.ZoneID)
		if err != nil {
			return fmt.Errorf("reading the pointer: %w", err)
		}
		recent, err := tx.Activations(ctx, set.ZoneID, recentActivations, store.Cursor{})
		if err != nil {
			return fmt.Errorf("reading the activations: %w", err)
		}
		version, activation, err := askedVersion(ctx, tx, c, set, recent)
		if err != nil {
			return err
		}
		receipts, err := tx.Receipts(ctx, set.ZoneID)
		if err != nil {
			return fmt.Errorf("reading the receipts: %w", err)
		}
		status = api.ActivationStatus{
			ZoneID: set.ZoneID, PolicySetID: set.ID, VersionID: version.ID,
			Active:          pointer.VersionID != nil && *pointer.VersionID == version.ID,
			ActiveVersionID: pointer.VersionID,
			ManifestSHA256:  version.ManifestSHA256,
			Outbox:          outboxBody(activation),
		}
		rollout := newRollout(pointer, version.ID, receipts, c.now, s.cfg.HeartbeatTimeout)
		status.Daemons = rollout.counts
		status.STS = rollout.sts(c.now, recent)
		status.PropagationStatus = propagation(status)
		return nil
	})
	return status, err
}

// askedVersion finds the version and the activation that a call asks about.
// The activation is nil where the version was not activated lately.
func askedVersion(ctx context.Context, tx store.Reader, c *call, set store.PolicySet, recent []store.Activation) (store.SetVersion, *store.Activation, error) {
	q := c.r.URL.Query()
	id := q.Get("version_id")
	var activation *store.Activation
	if outbox := q.Get("outbox_id"); outbox != "" {
		a, err := tx.Activation(ctx, set.ZoneID, outbox)
		if err != nil {
			return store.SetVersion{}, nil, missing(err, "outbox", outbox)
		}
		if a.VersionID == nil || a.PolicySetID == nil || *a.PolicySetID != set.ID || id != "" && *a.VersionID != id {
			return store.SetVersion{}, nil, invalidQuery("outbox_id", "is of another version's activation")
		}
		id, activation = *a.VersionID, &a
	}
	if id == "" && set.ActiveVersionID != nil {
		id = *set.ActiveVersionID
	}
	if id == "" {
		newest, err := tx.SetVersions(ctx, set.ZoneID, set.ID, 1, store.Cursor{})
		if err != nil {
			return store.SetVersion{}, nil, fmt.Errorf("reading the set's newest version: %w", err)
		}
		if len(newest) == 0 {
			return store.SetVersion{}, nil, refuse(http.StatusNotFound, "policy_set_version_not_found", "policy set %s has no version yet", set.ID)
		}
		id = newest[0].ID
	}
	version, err := tx.SetVersion(ctx, set.ZoneID, set.ID, id)
	if err != nil {
		return store.SetVersion{}, nil, missing(err, "policy_set_version", id)
	}
	for i, a := range recent { // newest first
		if activation == nil && a.VersionID != nil && *a.VersionID == id {
			activation = &recent[i]
		}
	}
	return version, activation, nil
}

func outboxBody(a *store.Activation) *api.Outbox {
	if a == nil {
		return nil
	}
	out := &api.Outbox{ID: a.ID, State: outboxPending, Attempts: a.Attempts, DispatchedAt: a.DispatchedAt}
	if a.DispatchedAt != nil {
		out.State = outboxDispatched
	}
	if a.LastError != "" {
		out.LastError = &a.LastError
	}
	return out
}

// propagation sums a status up. What daemons report counts for more than what
// the outbox says of the way to them.
func propagation(status api.ActivationStatus) string {
	switch {
	case !status.Active:
		return api.PropagationWaitingForActivation
	case status.STS.State == stsFailed:
		return api.PropagationFailed
	case status.STS.State == stsLoaded:
		return api.PropagationLoaded
	case status.Outbox != nil && status.Outbox.State == outboxPending:
		return api.PropagationWaitingForOutbox
	}
	return api.PropagationWaitingForSTS
}

// rollout is how far a zone's daemons are with a version.
type rollout struct {
	pointer store.Pointer
	version string
	known   int // daemons that ever reported for the zone
	live    int // of those, the ones that report still
	counts  api.DaemonCounts

	// The receipt that speaks for all of its kind: the newest load, the
	// newest failure, the one that is furthest behind, the last to be heard.
	loaded, failed, lagging, silent *store.Receipt
}

func newRollout(pointer store.Pointer, version string, receipts []store.Receipt, now time.Time, timeout time.Duration) *rollout {
	r := &rollout{pointer: pointer, version: version, known: len(receipts)}
	for i := range receipts {
		receipt := &receipts[i]
		age := now.Sub(receipt.ReportedAt)
		if age > timeout {
			if age <= forgetDaemonAfter {
				r.counts.Total++
			}
			if r.silent == nil || receipt.ReportedAt.After(r.silent.ReportedAt) {
				r.silent = receipt
			}
			continue
		}
		r.counts.Total++
		r.live++
		switch {
		case r.loads(receipt):
			r.counts.Loaded++
			if r.loaded == nil || receipt.LoadedAt.After(r.loaded.LoadedAt) {
				r.loaded = receipt
			}
		case r.fails(receipt):
			r.counts.Failed++
			if r.failed == nil || receipt.ReportedAt.After(r.failed.ReportedAt) {
				r.failed = receipt
			}
		default:
			if receipt.Sequence < pointer.Sequence {
				r.counts.Lagging++
			}
			if r.lagging == nil || receipt.Sequence < r.lagging.Sequence {
				r.lagging = receipt
			}
		}
	}
	// The only word there is of a version may be a failure that is an hour
	// old: better than to wait for ever.
	if r.live == 0 && r.silent != nil && r.fails(r.silent) {
		r.failed = r.silent
	}
	return r
}

// governs tells whether the pointer names the version.
func (r *rollout) governs() bool {
	return r.pointer.VersionID != nil && *r.pointer.VersionID == r.version
}

// loads tells whether a daemon has the version loaded, under the pointer as it
// is where that names the version.
func (r *rollout) loads(receipt *store.Receipt) bool {
	return receipt.State == bundle.ReceiptLoaded && receipt.VersionID != nil && *receipt.VersionID == r.version &&
		(!r.governs() || receipt.Sequence >= r.pointer.Sequence)
}

// fails tells whether a daemon could not load the version. A pointer that it
// could not even read has a sequence and no version.
func (r *rollout) fails(receipt *store.Receipt) bool {
	if receipt.State != bundle.ReceiptFailed {
		return false
	}
	if r.governs() {
		return receipt.Sequence >= r.pointer.Sequence
	}
	return receipt.VersionID != nil && *receipt.VersionID == r.version
}

// sts puts the rollout into words.
func (r *rollout) sts(now time.Time, recent []store.Activation) api.STSStatus {
	switch {
	case r.known == 0:
		return api.STSStatus{State: stsNotConfigured, Detail: "no daemon has reported for this zone yet"}
	case r.failed != nil:
		return r.spoken(stsFailed, r.failed, now, recent,
			fmt.Sprintf("daemon %s could not load sequence %d: %s", r.failed.DaemonID, r.failed.Sequence, reason(r.failed)))
	case r.live == 0:
		return r.spoken(stsUnreachable, r.silent, now, recent,
			fmt.Sprintf("no daemon of this zone has reported since %s", r.silent.ReportedAt.Format(time.RFC3339)))
	case r.lagging != nil:
		return r.spoken(stsNotLoaded, r.lagging, now, recent,
			fmt.Sprintf("%d of %d live daemons have loaded it; daemon %s is at sequence %d", r.counts.Loaded, r.live, r.lagging.DaemonID, r.lagging.Sequence))
	}
	return r.spoken(stsLoaded, r.loaded, now, recent, fmt.Sprintf("all %d live daemons have loaded it", r.live))
}

// spoken describes what the daemon of a receipt has loaded.
func (r *rollout) spoken(state string, receipt *store.Receipt, now time.Time, recent []store.Activation, detail string) api.STSStatus {
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
