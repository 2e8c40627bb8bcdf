package admin

import (
	"context"
	"slices"
	"strings"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
)

func daemonRoutes() []route {
	return []route{
		reads("/v1/daemons", "daemon.list", "List the daemons with what they have loaded", anyone, paging, (*Server).listDaemons),
		reads("/v1/zones/{zone}/daemons", "daemon.list_of_zone", "List the daemons of a zone", anyone, paging, (*Server).listZoneDaemons),
	}
}

func (s *Server) listDaemons(ctx context.Context, c *call) (api.Page[api.Daemon], error) {
	return s.daemonPage(ctx, c, c.actor.zone)
}

func (s *Server) listZoneDaemons(ctx context.Context, c *call) (api.Page[api.Daemon], error) {
	return s.daemonPage(ctx, c, c.zone())
}

// daemonPage lists the daemons that reported for a zone, or all where zone is
// "", ordered by id: when a daemon was last seen changes all the time, and
// pages ordered by it would skip some and repeat others.
func (s *Server) daemonPage(ctx context.Context, c *call, zone string) (api.Page[api.Daemon], error) {
	var page api.Page[api.Daemon]
	limit, after, err := c.page()
	if err != nil {
		return page, err
	}
	var known []store.Daemon
	var receipts []store.Receipt
	err = s.store.View(ctx, func(tx store.Reader) (err error) {
		if known, err = tx.Daemons(ctx); err != nil {
			return err
		}
		receipts, err = tx.Receipts(ctx, zone)
		return err
	})
	if err != nil {
		return page, err
	}
	zones := map[string][]api.DaemonZone{}
	for _, r := range receipts {
		zones[r.DaemonID] = append(zones[r.DaemonID], daemonZoneBody(r))
	}
	known = slices.DeleteFunc(known, func(d store.Daemon) bool {
		return d.ID <= after.ID || zone != "" && zones[d.ID] == nil
	})
	slices.SortFunc(known, func(a, b store.Daemon) int { return strings.Compare(a.ID, b.ID) })
	body := func(d store.Daemon) (api.Daemon, error) {
		out := api.Daemon{ID: d.ID, Name: d.Name, Version: d.Version, Labels: d.Labels, LastSeenAt: d.LastSeenAt, Zones: zones[d.ID]}
		if out.Labels == nil {
			out.Labels = map[string]string{}
		}
		if out.Zones == nil {
			out.Zones = []api.DaemonZone{}
		}
		slices.SortFunc(out.Zones, func(a, b api.DaemonZone) int { return strings.Compare(a.ZoneID, b.ZoneID) })
		return out, nil
	}
	return paged(known, limit, body, func(d store.Daemon) store.Cursor { return store.Cursor{ID: d.ID} })
}

func daemonZoneBody(r store.Receipt) api.DaemonZone {
	z := api.DaemonZone{
		ZoneID: r.ZoneID, State: r.State, Sequence: r.Sequence, PolicySetVersionID: r.VersionID,
		ManifestSHA256: r.ManifestSHA256, BundleSHA256: r.BundleSHA256, Detail: r.Detail,
	}
	if !r.LoadedAt.IsZero() {
		z.LoadedAt = &r.LoadedAt
	}
	return z
}
