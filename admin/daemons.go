package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/bundle"
)

const (
	// zonesListed is how many zones of each daemon a list has.
	zonesListed = 20
	// versionsListed is how many versions of the software the fleet's summary has.
	versionsListed = 50
	// maxLabelFilters is how many labels a list can be filtered by.
	maxLabelFilters = 16
)

// daemonStates are those that a list can be filtered by.
var daemonStates = []string{api.DaemonHealthy, api.DaemonLagging, api.DaemonFailing, api.DaemonUnreachable, api.DaemonRetired}

func daemonRoutes() []route {
	filters := []parameter{
		{name: "state", description: "only daemons in this state; retired ones are only listed where they are asked for", enum: daemonStates},
		{name: "label", description: "only daemons with this label, name=value", repeated: true},
		{name: "q", description: "only daemons whose name, id or version has this in it"},
	}
	anywhere := append([]parameter{{name: "zone", description: "only daemons that report for this zone; states are those in it"}}, filters...)
	return []route{
		reads("/v1/daemons", "daemon.list", "List the daemons with their state and what they have loaded", anyone, append(anywhere, paging...), (*Server).listDaemons),
		reads("/v1/daemons/{daemon}", "daemon.get", "Read a daemon with all of its zones", anyone, nil, (*Server).getDaemon),
		writes(http.MethodDelete, "/v1/daemons/{daemon}", "daemon.retire",
			"Retire a daemon that is gone: it counts no more, and is bound to no token; one that reports again is back", admins, http.StatusNoContent, (*Server).retireDaemon),
		reads("/v1/fleet", "fleet.get", "Count the daemons by state and version", anyone, anywhere, (*Server).getFleet),
		reads("/v1/zones/{zone}/daemons", "daemon.list_of_zone", "List the daemons of a zone", anyone, append(filters, paging...), (*Server).listDaemons),
	}
}

// daemonQuery reads the filters of a call.
func (s *Server) daemonQuery(c *call) (store.DaemonQuery, error) {
	v := c.r.URL.Query()
	q := store.DaemonQuery{
		ZoneID: cmp.Or(c.zone(), v.Get("zone")), State: v.Get("state"), Text: v.Get("q"), Labels: map[string]string{},
		SilentBefore: c.now.Add(-s.cfg.HeartbeatTimeout),
	}
	switch {
	case q.ZoneID != "" && !bundle.ValidID(q.ZoneID):
		return q, invalidQuery("zone", "is no zone's id")
	case q.ZoneID == "":
		q.ZoneID = c.actor.zone
	case !c.actor.reaches(q.ZoneID):
		return q, refuse(http.StatusForbidden, "forbidden", "this token does not reach the zone")
	}
	if q.State != "" && !slices.Contains(daemonStates, q.State) {
		return q, invalidQuery("state", "must be one of %s", strings.Join(daemonStates, ", "))
	}
	if len(q.Text) > maxDaemonText {
		return q, invalidQuery("q", "is longer than %d bytes", maxDaemonText)
	}
	for _, text := range v["label"] {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" || len(name) > maxDaemonText || len(value) > maxDaemonText {
			return q, invalidQuery("label", "must be name=value, each in at most %d bytes", maxDaemonText)
		}
		if old, twice := q.Labels[name]; twice && old != value {
			return q, invalidQuery("label", "asks for two values of %q, and a daemon has one", name)
		}
		q.Labels[name] = value
	}
	if len(q.Labels) > maxLabelFilters {
		return q, invalidQuery("label", "is there more than %d times", maxLabelFilters)
	}
	return q, nil
}

// listDaemons lists daemons by id: when one was last seen changes all the time,
// and pages ordered by it would skip some and repeat others.
func (s *Server) listDaemons(ctx context.Context, c *call) (api.Page[api.Daemon], error) {
	var page api.Page[api.Daemon]
	limit, after, err := c.page()
	if err != nil {
		return page, err
	}
	q, err := s.daemonQuery(c)
	if err != nil {
		return page, err
	}
	q.Limit, q.After = limit+1, after.ID
	var rows []store.DaemonState
	zones := map[string][]store.WantedReceipt{}
	err = s.store.View(ctx, func(tx store.Reader) (err error) {
		if rows, err = tx.Daemons(ctx, q); err != nil {
			return err
		}
		var ids []string
		for _, d := range rows[:min(len(rows), limit)] {
			ids = append(ids, d.ID)
		}
		receipts, err := tx.Receipts(ctx, ids, q.ZoneID, zonesListed)
		for _, r := range receipts {
			zones[r.DaemonID] = append(zones[r.DaemonID], r)
		}
		return err
	})
	if err != nil {
		return page, fmt.Errorf("reading the daemons: %w", err)
	}
	body := func(d store.DaemonState) (api.Daemon, error) { return s.daemonBody(d, zones[d.ID]) }
	return paged(rows, limit, body, func(d store.DaemonState) store.Cursor { return store.Cursor{ID: d.ID} })
}

func (s *Server) getDaemon(ctx context.Context, c *call) (api.Daemon, error) {
	var body api.Daemon
	err := s.store.View(ctx, func(tx store.Reader) error {
		d, err := tx.Daemon(ctx, c.path("daemon"))
		if err != nil {
			return missing(err, "daemon", c.path("daemon"))
		}
		receipts, err := tx.Receipts(ctx, []string{d.ID}, c.actor.zone, 0)
		if err != nil {
			return err
		}
		if c.actor.zone != "" && len(receipts) == 0 { // it is of other zones
			return missing(store.ErrNotFound, "daemon", d.ID)
		}
		body, err = s.daemonBody(store.DaemonState{Daemon: d, State: stateOf(d, receipts, c.now.Add(-s.cfg.HeartbeatTimeout))}, receipts)
		return err
	})
	return body, err
}

// stateOf works a daemon's state out as the store does.
func stateOf(d store.Daemon, receipts []store.WantedReceipt, silentBefore time.Time) string {
	failing := d.FailingSince != nil
	lagging := false
	for _, r := range receipts {
		failing = failing || couldNotLoad(r)
		lagging = lagging || r.Sequence < r.WantedSequence
	}
	switch {
	case d.RetiredAt != nil:
		return store.DaemonRetired
	case d.LastSeenAt.Before(silentBefore):
		return store.DaemonUnreachable
	case failing:
		return store.DaemonFailing
	case lagging:
		return store.DaemonLagging
	}
	return store.DaemonHealthy
}

func couldNotLoad(r store.WantedReceipt) bool { return r.State == bundle.ReceiptFailed }

func (s *Server) getFleet(ctx context.Context, c *call) (api.Fleet, error) {
	fleet := api.Fleet{Versions: []api.FleetVersion{}}
	q, err := s.daemonQuery(c)
	if err != nil {
		return fleet, err
	}
	var counts []store.DaemonCount
	err = s.store.View(ctx, func(tx store.Reader) (err error) {
		counts, err = tx.CountDaemons(ctx, q)
		return err
	})
	if err != nil {
		return fleet, fmt.Errorf("counting the daemons: %w", err)
	}
	into := map[string]*int{
		store.DaemonHealthy: &fleet.States.Healthy, store.DaemonLagging: &fleet.States.Lagging,
		store.DaemonFailing: &fleet.States.Failing, store.DaemonUnreachable: &fleet.States.Unreachable, store.DaemonRetired: &fleet.States.Retired,
	}
	versions := map[string]int{}
	for _, n := range counts {
		fleet.Daemons += n.Daemons
		versions[n.Version] += n.Daemons
		if state := into[n.State]; state != nil {
			*state += n.Daemons
		}
	}
	for version, n := range versions {
		fleet.Versions = append(fleet.Versions, api.FleetVersion{Version: version, Daemons: n})
	}
	slices.SortFunc(fleet.Versions, func(a, b api.FleetVersion) int {
		return cmp.Or(cmp.Compare(b.Daemons, a.Daemons), cmp.Compare(a.Version, b.Version))
	})
	fleet.Versions = fleet.Versions[:min(len(fleet.Versions), versionsListed)]
	return fleet, nil
}

func (s *Server) retireDaemon(ctx context.Context, c *call, _ *nothing) (commit[nothing], error) {
	if err := everywhere(c); err != nil {
		return nil, err
	}
	id := c.path("daemon")
	return func(tx store.Tx) (effect[nothing], error) {
		d, err := tx.Daemon(ctx, id)
		if err == nil {
			err = tx.RetireDaemon(ctx, id, c.now)
		}
		if errors.Is(err, store.ErrNotFound) && d.RetiredAt != nil {
			return effect[nothing]{}, refuse(http.StatusConflict, "daemon_retired", "daemon %s is retired already", id)
		}
		if err != nil {
			return effect[nothing]{}, missing(err, "daemon", id)
		}
		// A heartbeat that was gathered before is not noted after this: the stored owner is another.
		s.fleet.retired(id)
		return effect[nothing]{subject: subject{entityType: "daemon", entityID: id, payload: map[string]string{"name": d.Name, "reported_by": d.Owner}}}, nil
	}, nil
}

func (s *Server) daemonBody(d store.DaemonState, receipts []store.WantedReceipt) (api.Daemon, error) {
	out := api.Daemon{
		ID: d.ID, Name: d.Name, Version: d.Version, Labels: d.Labels, State: d.State, FirstSeenAt: orNil(d.FirstSeenAt), LastSeenAt: d.LastSeenAt,
		RetiredAt: d.RetiredAt, Zones: make([]api.DaemonZone, 0, len(receipts)),
	}
	if out.Labels == nil {
		out.Labels = map[string]string{}
	}
	if d.Owner != "" {
		out.ReportedBy = &d.Owner
	}
	var said *bundle.DaemonStatus
	if err := json.Unmarshal(d.Status, &said); err != nil {
		return out, fmt.Errorf("reading the status of daemon %s: %w", d.ID, err)
	}
	if said != nil {
		health := api.DaemonHealth(*said)
		out.Status = &health
	}
	for _, r := range receipts {
		out.ZonesTotal = r.Zones
		out.Zones = append(out.Zones, daemonZoneBody(r))
	}
	out.Reason, out.Since = s.explainState(out, d, receipts)
	return out, nil
}

// explainState says why a daemon's state is what it is, and since when. What
// failed comes first among the receipts, then what is behind.
func (s *Server) explainState(out api.Daemon, d store.DaemonState, receipts []store.WantedReceipt) (reasons string, since *time.Time) {
	switch d.State {
	case store.DaemonRetired:
		return "it was retired, and has not reported since", d.RetiredAt
	case store.DaemonUnreachable:
		return fmt.Sprintf("it has not reported for longer than %v", s.cfg.HeartbeatTimeout), &out.LastSeenAt
	case store.DaemonFailing:
		if d.FailingSince != nil {
			reasons = "it says that it is not ready"
			if out.Status != nil && out.Status.Detail != "" {
				reasons = out.Status.Detail
			}
			return reasons, d.FailingSince
		}
		for _, r := range receipts {
			if couldNotLoad(r) {
				return fmt.Sprintf("zone %s: could not load sequence %d: %s", r.ZoneID, r.Sequence, reason(&r.Receipt)), orNil(r.Since)
			}
		}
	case store.DaemonLagging:
		for _, r := range receipts {
			if r.Sequence < r.WantedSequence {
				return fmt.Sprintf("zone %s: %s", r.ZoneID, laggingReason(r.Receipt, r.WantedSequence)), orNil(r.WantedSince)
			}
		}
	case store.DaemonHealthy: // since it loaded the last thing
		newest := time.Time{}
		for _, r := range receipts {
			if r.Since.After(newest) {
				newest = r.Since
			}
		}
		return "", orNil(newest)
	}
	return "", nil
}

func daemonZoneBody(r store.WantedReceipt) api.DaemonZone {
	return api.DaemonZone{
		ZoneID: r.ZoneID, State: r.State, Sequence: r.Sequence, PolicySetVersionID: r.VersionID,
		ManifestSHA256: r.ManifestSHA256, BundleSHA256: r.BundleSHA256, ServingSequence: r.ServingSequence, Detail: r.Detail,
		LoadedAt: orNil(r.LoadedAt), WantedSequence: r.WantedSequence, Behind: max(0, r.WantedSequence-r.Sequence), Since: orNil(r.Since),
	}
}

// observeFleet registers the gauge of the daemons. Every control plane of a
// store counts the same daemons.
func (s *Server) observeFleet() error {
	_, err := s.cfg.MeterProvider.Meter("github.com/caracalai/caracald/admin").Int64ObservableGauge("caracal.admin.daemons",
		metric.WithUnit("{daemon}"), metric.WithDescription("Daemons that are known, by state; retired ones are left out."),
		metric.WithInt64Callback(func(ctx context.Context, o metric.Int64Observer) error {
			counts, err := s.fleet.states(ctx)
			for state, n := range counts {
				o.Observe(int64(n), metric.WithAttributes(attribute.String("state", state)))
			}
			return err
		}))
	return err
}
