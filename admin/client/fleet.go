package client

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/caracalai/caracald/admin/api"
)

// DaemonFilter says which daemons are meant; zero fields do not filter, but that
// retired daemons are only meant where State asks for them.
type DaemonFilter struct {
	// Zone is the id of a zone that they report for; states are those in it.
	Zone string
	// State is one of the api.Daemon constants.
	State string
	// Labels are those that they have.
	Labels map[string]string
	// Text is in their name, id or version.
	Text string
}

func (f DaemonFilter) query(q url.Values) url.Values {
	if q == nil {
		q = url.Values{}
	}
	for name, value := range map[string]string{"zone": f.Zone, "state": f.State, "q": f.Text} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Labels)) {
		q.Add("label", name+"="+f.Labels[name])
	}
	return q
}

// Daemons lists the daemons that have reported, by id; zone "" is every zone's.
func (c *Client) Daemons(ctx context.Context, zone string, at Page) (api.Page[api.Daemon], error) {
	return c.FindDaemons(ctx, DaemonFilter{Zone: zone}, at)
}

// FindDaemons lists the daemons that are meant, by id.
func (c *Client) FindDaemons(ctx context.Context, f DaemonFilter, at Page) (api.Page[api.Daemon], error) {
	if zone := f.Zone; zone != "" {
		f.Zone = ""
		return get[api.Page[api.Daemon]](ctx, c, path("v1", "zones", zone, "daemons"), f.query(at.query()))
	}
	return get[api.Page[api.Daemon]](ctx, c, "/v1/daemons", f.query(at.query()))
}

// Daemon reads a daemon with all of its zones.
func (c *Client) Daemon(ctx context.Context, id string) (api.Daemon, error) {
	return get[api.Daemon](ctx, c, path("v1", "daemons", id), nil)
}

// RetireDaemon retires a daemon that is gone: it counts no more, and the next
// token or certificate to report for it has it. One that reports again is back.
func (c *Client) RetireDaemon(ctx context.Context, id string) error {
	_, err := c.call(ctx, http.MethodDelete, path("v1", "daemons", id), nil, nil)
	return err
}

// Fleet counts the daemons that are meant, by state and version.
func (c *Client) Fleet(ctx context.Context, f DaemonFilter) (api.Fleet, error) {
	return get[api.Fleet](ctx, c, "/v1/fleet", f.query(nil))
}
