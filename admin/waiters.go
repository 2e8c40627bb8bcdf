package admin

import "sync"

// waiters are the requests that wait for something to happen in a zone. A
// zone that moves wakes those that wait for it, or for all, and no others.
type waiters struct {
	mu     sync.Mutex
	byZone map[string]map[*waiter]struct{}
	all    map[*waiter]struct{}
}

// waiter is one waiting request.
type waiter struct {
	zones []string // nil: all
	// wake holds a value while zones moved that were not taken.
	wake chan struct{}

	// moved and crowd are guarded by waiters.mu. crowd is how many were woken at
	// the same time for one of the zones that moved, at most.
	moved map[string]struct{}
	crowd int
}

func newWaiters() *waiters {
	return &waiters{byZone: map[string]map[*waiter]struct{}{}, all: map[*waiter]struct{}{}}
}

// add begins to wait for the zones; nil waits for every zone. What moves from
// now on is kept for the waiter until it is removed.
func (ws *waiters) add(zones []string) *waiter {
	w := &waiter{zones: zones, wake: make(chan struct{}, 1)}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if zones == nil {
		ws.all[w] = struct{}{}
	}
	for _, zone := range zones {
		set := ws.byZone[zone]
		if set == nil {
			set = map[*waiter]struct{}{}
			ws.byZone[zone] = set
		}
		set[w] = struct{}{}
	}
	return w
}

func (ws *waiters) remove(w *waiter) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.all, w)
	for _, zone := range w.zones {
		delete(ws.byZone[zone], w)
		if len(ws.byZone[zone]) == 0 {
			delete(ws.byZone, zone)
		}
	}
}

// move wakes who waits for one of the zones and tells how many that were.
func (ws *waiters) move(zones []string) int {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	woken := 0
	tell := func(set map[*waiter]struct{}, zone string, crowd int) {
		for w := range set {
			if w.moved == nil {
				w.moved = map[string]struct{}{}
			}
			w.crowd = max(w.crowd, crowd)
			w.moved[zone] = struct{}{}
			select {
			case w.wake <- struct{}{}:
				woken++
			default: // it knows already, and has not come to look yet
			}
		}
	}
	for _, zone := range zones {
		crowd := len(ws.byZone[zone]) + len(ws.all)
		tell(ws.byZone[zone], zone, crowd)
		tell(ws.all, zone, crowd)
	}
	return woken
}

// take gives the zones that moved since the last take, and how many were woken
// with the waiter.
func (ws *waiters) take(w *waiter) (zones []string, crowd int) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	zones = make([]string, 0, len(w.moved))
	for zone := range w.moved {
		zones = append(zones, zone)
	}
	clear(w.moved)
	crowd, w.crowd = w.crowd, 0
	return zones, crowd
}

// waited lists the zones that are waited for by name.
func (ws *waiters) waited() []string {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	zones := make([]string, 0, len(ws.byZone))
	for zone := range ws.byZone {
		zones = append(zones, zone)
	}
	return zones
}
