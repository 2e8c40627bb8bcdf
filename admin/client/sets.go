package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/caracalai/caracald/admin/api"
)

// PolicySets lists a zone's policy sets.
func (c *Client) PolicySets(ctx context.Context, zone string, at Page) (api.Page[api.PolicySet], error) {
	return get[api.Page[api.PolicySet]](ctx, c, path("v1", "zones", zone, "policy-sets"), at.query())
}

// PolicySet reads a policy set.
func (c *Client) PolicySet(ctx context.Context, zone, id string) (api.PolicySet, error) {
	return get[api.PolicySet](ctx, c, path("v1", "zones", zone, "policy-sets", id), nil)
}

// CreatePolicySet creates a policy set.
func (c *Client) CreatePolicySet(ctx context.Context, zone string, req api.PolicySetCreate) (api.PolicySet, error) {
	return send[api.PolicySet](ctx, c, http.MethodPost, path("v1", "zones", zone, "policy-sets"), nil, req)
}

// DeletePolicySet archives a set; a zone that it governs denies everything from then on.
func (c *Client) DeletePolicySet(ctx context.Context, zone, id string) error {
	_, err := c.call(ctx, http.MethodDelete, path("v1", "zones", zone, "policy-sets", id), nil, nil)
	return err
}

// SetVersions lists a set's versions.
func (c *Client) SetVersions(ctx context.Context, zone, set string, at Page) (api.Page[api.PolicySetVersion], error) {
	return get[api.Page[api.PolicySetVersion]](ctx, c, path("v1", "zones", zone, "policy-sets", set, "versions"), at.query())
}

// SetVersion reads a set version with its manifest and policies.
func (c *Client) SetVersion(ctx context.Context, zone, set, version string) (api.PolicySetVersion, error) {
	return get[api.PolicySetVersion](ctx, c, path("v1", "zones", zone, "policy-sets", set, "versions", version), nil)
}

// AddSetVersion makes a version of a set from policy versions, in order.
func (c *Client) AddSetVersion(ctx context.Context, zone, set string, policyVersionIDs ...string) (api.PolicySetVersion, error) {
	req := api.PolicySetVersionCreate{Manifest: []api.ManifestEntry{}}
	for _, id := range policyVersionIDs {
		req.Manifest = append(req.Manifest, api.ManifestEntry{PolicyVersionID: id})
	}
	return send[api.PolicySetVersion](ctx, c, http.MethodPost, path("v1", "zones", zone, "policy-sets", set, "versions"), nil, req)
}

// Simulate evaluates inputs by a version. Nothing changes.
func (c *Client) Simulate(ctx context.Context, zone, set string, req api.SimulateRequest) (api.Simulation, error) {
	return send[api.Simulation](ctx, c, http.MethodPost, path("v1", "zones", zone, "policy-sets", set, "simulate"), nil, req)
}

// Replay makes a zone's recent decisions again by a version, and tells which come
// out otherwise. Nothing changes.
func (c *Client) Replay(ctx context.Context, zone, set string, req api.ReplayRequest) (api.Replay, error) {
	return send[api.Replay](ctx, c, http.MethodPost, path("v1", "zones", zone, "policy-sets", set, "replay"), nil, req)
}

// Activate moves the zone's pointer to a version.
func (c *Client) Activate(ctx context.Context, zone, set string, req api.ActivateRequest) (api.Activated, error) {
	return send[api.Activated](ctx, c, http.MethodPost, path("v1", "zones", zone, "policy-sets", set, "activate"), nil, req)
}

// Active reads what governs a zone.
func (c *Client) Active(ctx context.Context, zone string) (api.Active, error) {
	return get[api.Active](ctx, c, path("v1", "zones", zone, "active"), nil)
}

// Activations lists a zone's activations.
func (c *Client) Activations(ctx context.Context, zone string, at Page) (api.Page[api.Activation], error) {
	return get[api.Page[api.Activation]](ctx, c, path("v1", "zones", zone, "activations"), at.query())
}

// ActivationStatus tells how far an activation has come. outbox may be "".
func (c *Client) ActivationStatus(ctx context.Context, zone, set, version, outbox string) (api.ActivationStatus, error) {
	q := url.Values{"version_id": {version}}
	if outbox != "" {
		q.Set("outbox_id", outbox)
	}
	return get[api.ActivationStatus](ctx, c, path("v1", "zones", zone, "policy-sets", set, "activation-status"), q)
}

// statusPause and statusPauseMost are the time between two looks of WaitLoaded,
// at first and in the end: a large fleet takes a while, and each look costs the
// control plane something.
const (
	statusPause     = 100 * time.Millisecond
	statusPauseMost = time.Second
)

// WaitLoaded waits until as many daemons as the zone wants have loaded an activated version. seen, if
// not nil, is told every status. It fails when the version could not be loaded
// or is active no more, and when ctx ends.
func (c *Client) WaitLoaded(ctx context.Context, zone, set, version, outbox string, seen func(api.ActivationStatus)) (api.ActivationStatus, error) {
	pause := statusPause
	tick := time.NewTimer(pause)
	defer tick.Stop()
	for {
		st, err := c.ActivationStatus(ctx, zone, set, version, outbox)
		if err != nil {
			return st, err
		}
		if seen != nil {
			seen(st)
		}
		switch {
		case st.PropagationStatus == api.PropagationLoaded:
			return st, nil
		case st.PropagationStatus == api.PropagationFailed:
			return st, fmt.Errorf("the version could not be loaded: %s", st.STS.Detail)
		case !st.Active:
			return st, fmt.Errorf("version %s is not active", version)
		}
		select {
		case <-ctx.Done():
			return st, fmt.Errorf("waiting for the daemons, which are %q: %w", st.PropagationStatus, ctx.Err())
		case <-tick.C:
			pause = min(pause*5/4, statusPauseMost)
			tick.Reset(pause)
		}
	}
}
