package admin

import (
	"context"
	"fmt"
	"net/http"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
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
		zone, err := tx.Zone(ctx, set.ZoneID)
		if err != nil {
			return missing(err, "zone", set.ZoneID)
		}
		share, err := s.loadedShare(zone)
		if err != nil {
			return err
		}
		rollout, err := readRollout(ctx, tx, pointer, version.ID, share, c.now, s.cfg.HeartbeatTimeout)
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
		status.Daemons, status.Rollout = rollout.counts, rollout.body
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
