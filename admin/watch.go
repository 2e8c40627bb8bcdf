package admin

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/caracalai/caracald/bundle"
)

// Bounds of WatchRequest.WaitSeconds.
const (
	defaultWait = 30
	maxWait     = 60
)

func watchRoutes() []route {
	rt := raw(http.MethodPost, "/v1/pointers/watch", "pointer.watch", "Wait for the zones' signed pointers to move; 204 when the wait ends and none did",
		daemons, nil, "application/json", new(bundle.WatchResponse), (*Server).watch)
	rt.request = new(bundle.WatchRequest)
	rt.others = []otherAnswer{{status: http.StatusNoContent}}
	return []route{rt}
}

// wanted is what a watcher watches and holds.
type wanted struct {
	// zones are the watched ones; nil is every zone.
	zones []string
	held  map[string]bundle.Held
}

// watch answers the pointers that are newer than what the daemon holds, at
// once or as soon as there are any.
func (s *Server) watch(w http.ResponseWriter, c *call) error {
	ctx := c.r.Context()
	body, err := readBody(c.r, maxBody)
	if err != nil {
		return err
	}
	req := &bundle.WatchRequest{WaitSeconds: defaultWait}
	if err := decodeBody(body, req); err != nil {
		return err
	}
	want, err := s.wanted(ctx, c.actor, req)
	if err != nil {
		return err
	}
	if !s.hub.running.Load() { // nobody follows the store for us
		if err := s.hub.refresh(ctx); err != nil {
			return err
		}
	}
	if newer := s.hub.newer(want.held, want.zones); len(newer) > 0 {
		return s.tell(w, newer, 0)
	}
	if req.WaitSeconds == 0 {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if !s.hub.enter() {
		return tooMany(w)
	}
	defer s.hub.leave()
	s.metrics.watchers.Add(ctx, 1)
	defer s.metrics.watchers.Add(context.WithoutCancel(ctx), -1)
	waiter := s.hub.polls.add(want.zones)
	defer s.hub.polls.remove(waiter)
	extendDeadline(w, time.Duration(req.WaitSeconds)*time.Second+writeTimeout)

	end := time.NewTimer(time.Duration(req.WaitSeconds) * time.Second)
	defer end.Stop()
	moved, crowd := want.zones, 0 // what moved before we waited counts too
	for {
		if newer := s.hub.newer(want.held, moved); len(newer) > 0 {
			return s.tell(w, newer, crowd)
		}
		select {
		case <-waiter.wake:
			moved, crowd = s.hub.polls.take(waiter)
		case <-end.C:
			w.WriteHeader(http.StatusNoContent)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-s.hub.stopping:
			return stopping(w)
		}
	}
}

// wanted checks a watch request: the zones exist and the daemon may see them.
func (s *Server) wanted(ctx context.Context, a actor, req *bundle.WatchRequest) (wanted, error) {
	if req.WaitSeconds < 0 || req.WaitSeconds > maxWait {
		return wanted{}, invalidBody("/wait_seconds", "must be 0 to %d", maxWait)
	}
	if len(req.Zones) == 0 {
		return wanted{}, invalidBody("/zones", "is required")
	}
	all, some, err := bundle.ParseZones(req.Zones)
	if err != nil {
		return wanted{}, invalidBody("/zones", "is wrong: %v", err)
	}
	if all && a.zone == "" {
		return wanted{held: req.Have}, nil
	}
	if all { // every zone that the token reaches is one
		some = map[string]int64{a.zone: -1}
		if have, ok := req.Have[a.zone]; ok {
			some[a.zone] = have.Sequence
		}
	}
	if len(some) == 0 {
		return wanted{}, invalidBody("/zones", "names no zone")
	}
	want := wanted{zones: make([]string, 0, len(some)), held: make(map[string]bundle.Held, len(some))}
	for zone := range some {
		want.zones = append(want.zones, zone)
	}
	slices.Sort(want.zones) // so that the same request is refused for the same zone
	for _, zone := range want.zones {
		if !a.reaches(zone) {
			return wanted{}, refuse(http.StatusForbidden, "forbidden", "this token does not reach zone %s", zone)
		}
		known, err := s.hub.knows(ctx, zone)
		if err != nil {
			return wanted{}, err
		}
		if !known {
			return wanted{}, noZone(zone)
		}
		want.held[zone] = bundle.Held{Sequence: some[zone]}
		if have := req.Have[zone]; have.Sequence == some[zone] {
			want.held[zone] = have
		}
	}
	return want, nil
}

func noZone(zone string) *problem {
	return refuse(http.StatusNotFound, "zone_not_found", "there is no zone %.128s here", zone)
}

// tooMany refuses a request that would wait.
func tooMany(w http.ResponseWriter) error {
	w.Header().Set("Retry-After", "1")
	return refuse(http.StatusServiceUnavailable, "too_many_watchers", "as many requests wait as may; try again soon")
}

// stopping refuses to wait any longer.
func stopping(w http.ResponseWriter) error {
	w.Header().Set("Retry-After", "1")
	return refuse(http.StatusServiceUnavailable, "shutting_down", "the control plane is going down; try again soon")
}

// writeTimeout bounds how long a client may take to accept what it is sent
// on a request that lasts.
const writeTimeout = 30 * time.Second

// extendDeadline lets an answer take longer than the server lets others.
func extendDeadline(w http.ResponseWriter, d time.Duration) {
	conn := http.NewResponseController(w)
	// A writer without deadlines has none to extend.
	_ = conn.SetWriteDeadline(time.Now().Add(d))
	_ = conn.SetReadDeadline(time.Time{})
}
