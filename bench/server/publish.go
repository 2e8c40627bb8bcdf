package server

import (
	"context"
	"fmt"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/client"
	"github.com/caracalai/caracald/bench/workload"
)

// Control is a control plane as people use it: through its API.
type Control struct {
	*Process
	client *client.Client
	// Daemon is the token of a daemon.
	Daemon string
}

// StartAdmin starts a control plane, on some processors as Start does it, and makes
// a daemon's token.
func StartAdmin(ctx context.Context, cfg Admin, on []int) (_ *Control, err error) {
	p, err := Start(ctx, RoleAdmin, cfg, on)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = joined(err, p.Stop())
		}
	}()
	c, err := client.New("http://"+p.Ready.Addr, p.Ready.Token)
	if err != nil {
		return nil, err
	}
	t, err := c.CreateToken(ctx, api.TokenCreate{Name: "bench", Roles: []string{api.RoleDaemon}})
	if err != nil {
		return nil, fmt.Errorf("making the daemon's token: %w", err)
	}
	return &Control{Process: p, client: c, Daemon: t.Secret}, nil
}

// Zone is a zone with a policy set.
type Zone struct {
	ID, set string
	// policies are by the names of modules.
	policies map[string]string
	control  *Control
}

// Version is a policy-set version that was published.
type Version struct{ ID, Bundle string }

// NewZone makes a zone and an empty policy set in it.
func (c *Control) NewZone(ctx context.Context, name string) (*Zone, error) {
	z, err := c.client.CreateZone(ctx, api.ZoneCreate{Name: name})
	if err != nil {
		return nil, fmt.Errorf("making a zone: %w", err)
	}
	set, err := c.client.CreatePolicySet(ctx, z.ID, api.PolicySetCreate{Name: "bench"})
	if err != nil {
		return nil, fmt.Errorf("making a policy set: %w", err)
	}
	return &Zone{ID: z.ID, set: set.ID, policies: map[string]string{}, control: c}, nil
}

// Publish makes a policy-set version of a workload's policy. Nothing is activated.
func (z *Zone) Publish(ctx context.Context, w *workload.Workload) (Version, error) {
	var ids []string
	for _, m := range w.Modules {
		id, err := z.version(ctx, m)
		if err != nil {
			return Version{}, err
		}
		ids = append(ids, id)
	}
	v, err := z.control.client.AddSetVersion(ctx, z.ID, z.set, ids...)
	if err != nil {
		return Version{}, fmt.Errorf("publishing a set version: %w", err)
	}
	return Version{ID: v.ID, Bundle: v.BundleSHA256}, nil
}

// version makes a new version of a policy, or the policy with its first one.
func (z *Zone) version(ctx context.Context, m workload.Module) (string, error) {
	if id, ok := z.policies[m.Name]; ok {
		v, err := z.control.client.AddPolicyVersion(ctx, z.ID, id, api.PolicyVersionCreate{Content: m.Content})
		if err != nil {
			return "", fmt.Errorf("adding a policy version: %w", err)
		}
		return v.ID, nil
	}
	p, err := z.control.client.CreatePolicy(ctx, z.ID, api.PolicyCreate{Name: m.Name, Content: m.Content})
	if err != nil {
		return "", fmt.Errorf("making a policy: %w", err)
	}
	z.policies[m.Name] = p.ID
	return p.VersionID, nil
}

// Activate moves the zone's pointer, and tells its new sequence.
func (z *Zone) Activate(ctx context.Context, v Version) (sequence int64, err error) {
	a, err := z.control.client.Activate(ctx, z.ID, z.set, api.ActivateRequest{VersionID: v.ID})
	if err != nil {
		return 0, fmt.Errorf("activating: %w", err)
	}
	return a.Sequence, nil
}

// NewActiveZone makes a zone in which a workload's policy is active.
func (c *Control) NewActiveZone(ctx context.Context, name string, w *workload.Workload) (*Zone, error) {
	z, err := c.NewZone(ctx, name)
	if err != nil {
		return nil, err
	}
	v, err := z.Publish(ctx, w)
	if err != nil {
		return nil, err
	}
	_, err = z.Activate(ctx, v)
	return z, err
}

// StartDaemon starts a daemon, on some processors as Start does it, that serves
// zones of this control plane.
func (c *Control) StartDaemon(ctx context.Context, d Daemon, on []int, zones ...*Zone) (*Process, error) {
	d.Admin, d.Token, d.Trust = c.Ready.Addr, c.Daemon, c.Ready.Trust
	for _, z := range zones {
		d.Zones = append(d.Zones, z.ID)
	}
	return Start(ctx, RoleCaracald, d, on)
}
