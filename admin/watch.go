package admin

import (
	"context"
	"errors"
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

// watchPath is where daemons watch.
const watchPath = "/v1/pointers/watch"

func watchRoutes() []route {
	rt := raw(http.MethodPost, watchPath, "pointer.watch", "Wait for the zones' signed pointers to move; 204 when the wait ends and none did",
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
// once or as soon as there are any. Whatever is below it on the stack while it
// waits is there once for each daemon, so it is little.
func (s *Server) watch(w http.ResponseWriter, c *call) error {
	want, wait, err := s.asked(c)
	if err != nil {
		return err
	}
	if newer := s.hub.newer(want.held, want.zones); len(newer) > 0 {
		return s.tell(w, newer, 0)
	}
	if wait == 0 {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if !s.hub.enter() {
		return tooMany(w)
	}
	waiter := s.hub.polls.add(want.zones)
	s.metrics.watchers.Add(c.r.Context(), 1)
	defer s.leave(c, waiter)
	extendDeadline(w, wait+writeTimeout)
	newer, crowd, err := s.await(c.r.Context(), want, waiter, wait)
	switch {
	case errors.Is(err, errStopping):
		return stopping(w)
	case err != nil:
		return err
	case len(newer) == 0:
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return s.tell(w, newer, crowd)
}

// leave ends what watch began when it waited.
func (s *Server) leave(c *call, waiter *waiter) {
	s.hub.polls.remove(waiter)
	s.metrics.watchers.Add(context.WithoutCancel(c.r.Context()), -1)
	s.hub.leave()
}

var errStopping = errors.New("stopping")

// await waits until something is newer than what is held, and gives it with how
// many were woken for the same; nothing when the wait is over.
func (s *Server) await(ctx context.Context, want wanted, waiter *waiter, wait time.Duration) (newer []bundle.SignedPointer, crowd int, err error) {
	end := time.NewTimer(wait)
	defer end.Stop()
	moved := want.zones // what moved before we waited counts too
	for {
		if newer := s.hub.newer(want.held, moved); len(newer) > 0 {
			return newer, crowd, nil
		}
		select {
		case <-waiter.wake:
			moved, crowd = s.hub.polls.take(waiter)
		case <-end.C:
			return nil, 0, nil
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		case <-s.hub.stopping:
			return nil, 0, errStopping
		}
	}
}

// asked reads a watch request, and how long it may wait.
func (s *Server) asked(c *call) (want wanted, wait time.Duration, err error) {
	body, err := readBody(c.r, maxBody)
	if err != nil {
		return want, 0, err
	}
	req := &bundle.WatchRequest{WaitSeconds: defaultWait}
	if err := decodeBody(body, req); err != nil {
		return want, 0, err
	}
	if want, err = s.wanted(c.r.Context(), c.actor, req); err != nil {
		return want, 0, err
	}
	if !s.hub.running.Load() { // nobody follows the store for us
		err = s.hub.refresh(c.r.Context())
	}
	return want, time.Duration(req.WaitSeconds) * time.Second, err
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
