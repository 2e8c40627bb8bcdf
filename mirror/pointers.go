package mirror

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caracalai/caracald/bundle"
)

// signed is a verified pointer as it came.
type signed struct {
	pointer bundle.Pointer
	raw     bundle.SignedPointer
}

// zone is what is known of one zone.
type zone struct {
	// accepted is the newest verified pointer, shown the one that daemons are
	// told; the first waits for its bundle before it becomes the second.
	accepted, shown *signed
	// refused is a pointer that was not good, until when it is not asked for again.
	refused *refused
	// showing is held by whoever brings a bundle for the zone.
	showing sync.Mutex
}

type refused struct {
	held  bundle.Held
	until time.Time
}

// pointers are those of every zone, and who waits for them.
type pointers struct {
	mu    sync.Mutex
	zones map[string]*zone
	// known counts the zones shown: a grant that was given when it was another
	// may lack one.
	known   int
	waiters map[*waiter]struct{}
	// stopping is closed when waiting must end.
	stopping chan struct{}
}

// waiter is one daemon's long poll.
type waiter struct {
	// zones are the watched ones. all tells that the daemon wants every zone
	// that it reaches, so that a new one is news to it too.
	zones map[string]bool
	all   bool
	wake  chan struct{}   // holds a value while something moved
	moved map[string]bool // guarded by pointers.mu
}

func newPointers() *pointers {
	return &pointers{zones: map[string]*zone{}, waiters: map[*waiter]struct{}{}, stopping: make(chan struct{})}
}

// stop ends all waiting, for good.
func (p *pointers) stop() { close(p.stopping) }

// zone gives the zone of an id, and makes it when it is new.
func (p *pointers) zone(id string) *zone {
	p.mu.Lock()
	defer p.mu.Unlock()
	z := p.zones[id]
	if z == nil {
		z = new(zone)
		p.zones[id] = z
	}
	return z
}

// accept notes a verified pointer. It tells whether that is news; contradicts
// tells that it is older than, or other than, what was verified before.
func (p *pointers) accept(s *signed) (news, contradicts bool) {
	z := p.zone(s.pointer.ZoneID)
	p.mu.Lock()
	defer p.mu.Unlock()
	if before := z.accepted; before != nil {
		was, is := before.pointer, s.pointer
		switch {
		case is.Sequence < was.Sequence:
			return false, true
		case is.Sequence == was.Sequence && is.BundleSHA256 != was.BundleSHA256:
			return false, true
		case is.Sequence == was.Sequence && !is.IssuedAt.After(was.IssuedAt):
			return false, false
		}
	}
	z.accepted, z.refused = s, nil
	return true, false
}

// show tells daemons of a pointer, unless a newer one is shown.
func (p *pointers) show(s *signed) {
	z := p.zone(s.pointer.ZoneID)
	p.mu.Lock()
	defer p.mu.Unlock()
	before := z.shown
	if before != nil && (before.pointer.Sequence > s.pointer.Sequence || before.pointer.Sequence == s.pointer.Sequence && !s.pointer.IssuedAt.After(before.pointer.IssuedAt)) {
		return
	}
	z.shown = s
	if before == nil {
		p.known++
	}
	for w := range p.waiters {
		watched := w.zones[s.pointer.ZoneID]
		if watched {
			w.moved[s.pointer.ZoneID] = true
		}
		if watched || before == nil && w.all {
			select {
			case w.wake <- struct{}{}:
			default:
			}
		}
	}
}

// next is the accepted pointer of a zone where daemons were not told of it, else nil.
func (p *pointers) next(id string) *signed {
	z := p.zone(id)
	p.mu.Lock()
	defer p.mu.Unlock()
	if z.accepted == z.shown {
		return nil
	}
	return z.accepted
}

// refuse notes a pointer that was not good.
func (p *pointers) refuse(raw bundle.SignedPointer, issued, until time.Time) {
	z := p.zone(raw.ZoneID)
	p.mu.Lock()
	defer p.mu.Unlock()
	z.refused = &refused{held: bundle.Held{Sequence: max(0, raw.Sequence), IssuedAt: issued}, until: until}
}

// have says what needs not be sent again. soonest is when a refused pointer is
// to be asked for again; zero where there is none.
func (p *pointers) have(now time.Time) (have map[string]bundle.Held, soonest time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	have = make(map[string]bundle.Held, len(p.zones))
	for id, z := range p.zones {
		if r := z.refused; r != nil && now.Before(r.until) {
			have[id] = r.held
			if soonest.IsZero() || r.until.Before(soonest) {
				soonest = r.until
			}
		} else if z.accepted != nil {
			have[id] = bundle.Held{Sequence: z.accepted.pointer.Sequence, IssuedAt: z.accepted.pointer.IssuedAt}
		}
	}
	return have, soonest
}

// shown lists the pointers that daemons are told.
func (p *pointers) shown() []*signed {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*signed
	for _, z := range p.zones {
		if z.shown != nil {
			all = append(all, z.shown)
		}
	}
	return all
}

// count tells how many zones are shown.
func (p *pointers) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known
}

// knows tells whether a zone is shown.
func (p *pointers) knows(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.zones[id] != nil && p.zones[id].shown != nil
}

// bundles are the hashes of those that pointers name, shown or waiting to be.
func (p *pointers) bundles() map[string]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	named := make(map[string]bool, len(p.zones))
	for _, z := range p.zones {
		for _, s := range []*signed{z.accepted, z.shown} {
			if s != nil {
				named[s.pointer.BundleSHA256] = true
			}
		}
	}
	return named
}

// newer lists the shown pointers of zones that are newer than what is held,
// ordered by zone.
func (p *pointers) newer(zones map[string]bool, held map[string]bundle.Held) []bundle.SignedPointer {
	p.mu.Lock()
	var found []bundle.SignedPointer
	for id := range zones {
		z := p.zones[id]
		if z == nil || z.shown == nil {
			continue
		}
		is := z.shown.pointer
		have, ok := held[id]
		renewed := is.Sequence == have.Sequence && !have.IssuedAt.IsZero() && is.IssuedAt.After(have.IssuedAt)
		if !ok || is.Sequence > have.Sequence || renewed {
			found = append(found, z.shown.raw)
		}
	}
	p.mu.Unlock()
	slices.SortFunc(found, func(a, b bundle.SignedPointer) int { return strings.Compare(a.ZoneID, b.ZoneID) })
	return found
}

// wait begins to wait; false when as many wait as may.
func (p *pointers) wait(w *waiter, most int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiters) >= most {
		return false
	}
	p.waiters[w] = struct{}{}
	return true
}

// take gives the zones that moved since the last take.
func (p *pointers) take(w *waiter) map[string]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	moved := w.moved
	w.moved = map[string]bool{}
	return moved
}

func (p *pointers) leave(w *waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiters, w)
}

func (p *pointers) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiters)
}
