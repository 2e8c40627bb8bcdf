package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/bundle"
)

// hub holds the newest pointer of every zone in memory and wakes the requests
// that wait: the long polls for pointers and the tails of the audit.
//
// Reading the pointers needs no lock on the store's side and none between the
// polls; what a poll compares is as new as the last refresh, which the
// store's change notice begins.
type hub struct {
	store   store.Store
	max     int64
	metrics *metrics
	// heartbeat is tailHeartbeat.
	heartbeat time.Duration

	// polls wait for pointers, tails for audit events.
	polls, tails *waiters
	fetches      *fetches
	// open counts the requests that wait now.
	open atomic.Int64
	// started is true once Run was called, running while it follows the store.
	started, running atomic.Bool
	// stopping is closed when waiting requests must end.
	stopping chan struct{}
	stopOnce sync.Once

	// refreshing makes refreshes follow each other, so that an older reading
	// never replaces a newer one.
	refreshing sync.Mutex
	// publishing makes one goroutine at a time empty the outbox.
	publishing sync.Mutex
	// tailed is the newest Seq that the tails of a zone were told of; it
	// belongs to the loop that follows the store.
	tailed map[string]int64

	mu       sync.RWMutex
	pointers map[string]published
}

// published is a zone's newest pointer as daemons get it.
type published struct {
	store.Pointer
	// bundle is the signature of the bundle the pointer names, nil where it names none.
	bundle json.RawMessage
}

func newHub(ctx context.Context, st store.Store, max, fetchRate int, m *metrics) (*hub, error) {
	h := &hub{
		store: st, max: int64(max), metrics: m, heartbeat: tailHeartbeat,
		polls: newWaiters(), tails: newWaiters(),
		fetches:  newFetches(fetchRate),
		stopping: make(chan struct{}),
		tailed:   map[string]int64{},
		pointers: map[string]published{},
	}
	return h, h.refresh(ctx)
}

// refresh reads the pointers anew and wakes the polls whose zones moved.
func (h *hub) refresh(ctx context.Context) error {
	h.refreshing.Lock()
	defer h.refreshing.Unlock()
	h.mu.RLock()
	before := h.pointers
	h.mu.RUnlock()
	signatures := make(map[string]json.RawMessage, len(before))
	for _, p := range before {
		if p.bundle != nil {
			signatures[p.BundleSHA256] = p.bundle
		}
	}
	after := make(map[string]published, len(before))
	var moved []string
	err := h.store.View(ctx, func(tx store.Reader) error {
		all, err := tx.Pointers(ctx)
		if err != nil {
			return fmt.Errorf("reading the pointers: %w", err)
		}
		for _, p := range all {
			old, known := before[p.ZoneID]
			if !known || p.Sequence != old.Sequence || !p.IssuedAt.Equal(old.IssuedAt) {
				moved = append(moved, p.ZoneID)
			}
			now := published{Pointer: p}
			if p.BundleSHA256 != "" {
				if signatures[p.BundleSHA256] == nil {
					b, err := tx.Bundle(ctx, p.BundleSHA256)
					if err != nil {
						return fmt.Errorf("reading bundle %s of zone %s: %w", p.BundleSHA256, p.ZoneID, err)
					}
					signatures[p.BundleSHA256] = b.Envelope
				}
				now.bundle = signatures[p.BundleSHA256]
			}
			after[p.ZoneID] = now
		}
		return nil
	})
	if err != nil {
		return err
	}
	h.mu.Lock()
	h.pointers = after
	h.mu.Unlock()
	h.metrics.zones.Store(int64(len(after)))
	h.metrics.moved(ctx, len(moved), h.polls.move(moved))
	return nil
}

// knows tells whether a zone has a pointer. One that the hub has not heard of
// yet, because it was made a moment ago, is looked for in the store.
func (h *hub) knows(ctx context.Context, zone string) (bool, error) {
	if _, ok := h.pointer(zone); ok {
		return true, nil
	}
	err := h.store.View(ctx, func(tx store.Reader) error {
		_, err := tx.Pointer(ctx, zone)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading the pointer of zone %s: %w", zone, err)
	}
	return true, h.refresh(ctx)
}

func (h *hub) pointer(zone string) (published, bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	p, ok := h.pointers[zone]
	return p, ok
}

// newer lists the pointers, ordered by zone, that are newer than what is held.
// zones bounds the search; nil searches every zone.
func (h *hub) newer(held map[string]bundle.Held, zones []string) []bundle.SignedPointer {
	h.mu.RLock()
	pointers := h.pointers // never changed once it is here
	h.mu.RUnlock()
	var found []bundle.SignedPointer
	look := func(p published) {
		have, ok := held[p.ZoneID]
		switch {
		case !ok, p.Sequence > have.Sequence:
		case p.Sequence == have.Sequence && !have.IssuedAt.IsZero() && p.IssuedAt.After(have.IssuedAt):
		default:
			return
		}
		found = append(found, bundle.SignedPointer{ZoneID: p.ZoneID, Sequence: p.Sequence, Pointer: p.Envelope, Bundle: p.bundle})
	}
	if zones == nil {
		for _, p := range pointers {
			look(p)
		}
	}
	for _, zone := range zones {
		if p, ok := pointers[zone]; ok {
			look(p)
		}
	}
	slices.SortFunc(found, func(a, b bundle.SignedPointer) int { return strings.Compare(a.ZoneID, b.ZoneID) })
	return found
}

// enter takes one of the places for waiting requests; false when all are
// taken. Each place is given back with leave.
func (h *hub) enter() bool {
	if h.open.Add(1) > h.max {
		h.open.Add(-1)
		return false
	}
	return true
}

func (h *hub) leave() { h.open.Add(-1) }

// stop ends all waiting, for good.
func (h *hub) stop() { h.stopOnce.Do(func() { close(h.stopping) }) }

// followEvents wakes the tails of the zones that have events they were not
// told of. Only one goroutine may call it.
func (h *hub) followEvents(ctx context.Context) error {
	waited := h.tails.waited()
	told := make(map[string]int64, len(waited))
	var failures []error
	var moved []string
	for _, zone := range waited {
		seq, err := h.store.Events().LastSeq(ctx, zone)
		if err != nil {
			failures = append(failures, fmt.Errorf("reading the newest event of zone %s: %w", zone, err))
			continue
		}
		told[zone] = seq
		if seq > h.tailed[zone] {
			moved = append(moved, zone)
		}
	}
	h.tailed = told
	h.tails.move(moved)
	return errors.Join(failures...)
}
