package daemon

import (
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caracalai/caracald/bundle"
)

// signedPointer is a verified pointer.
type signedPointer struct {
	pointer bundle.Pointer
	// loading belongs to whoever loads it; nil once it is loaded.
	loading *toLoad
}

// toLoad is what loading a pointer takes.
type toLoad struct {
	statement bundle.Statement // zero where the pointer names no bundle
	raw       bundle.SignedPointer
	// spread is the time over which its bundle is to be fetched by all who were
	// told of it.
	spread time.Duration
}

// refused is a pointer that could not be verified. Nothing in it is believed;
// it is only remembered so that it is not asked for again at once.
type refused struct {
	held   bundle.Held
	detail string
	until  time.Time
}

// zone is one zone of the daemon: what it serves, and what it should.
type zone struct {
	id string
	// outcomes counts its decisions, and pointers the new ones that were taken in.
	outcomes outcomes
	pointers atomic.Int64
	// current is what answers; nil until something was loaded.
	current atomic.Pointer[snapshot]

	// loading is held by whoever brings the zone to its wanted pointer; moved
	// tells that one that it has changed.
	loading sync.Mutex
	moved   chan struct{}

	mu sync.Mutex
	// wanted is the newest verified pointer; nil where there is none.
	wanted *signedPointer
	// busy is the one that is being loaded.
	busy *signedPointer
	// failure says why wanted could not be loaded, "" where it was; where there is
	// none, why what was kept is not served.
	failure string
	// seen is the highest sequence ever verified.
	seen int64
	// refused is the last pointer offered that was not good, nil where a good one followed.
	refused *refused
}

func newZone(id string) *zone {
	return &zone{id: id, outcomes: outcomes{zone: id}, seen: noSequence, moved: make(chan struct{}, 1)}
}

// want notes a verified pointer. It tells whether that is news: a higher
// sequence, or the same one renewed. stale tells that it contradicts what was
// verified before, which no honest admin side does.
func (z *zone) want(p *signedPointer) (news, stale bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if p.pointer.Sequence < z.seen {
		return false, true
	}
	if z.wanted != nil && p.pointer.Sequence == z.wanted.pointer.Sequence {
		if !sameVersion(&p.pointer, &z.wanted.pointer) {
			return false, true // one sequence names one version
		}
		if !p.pointer.IssuedAt.After(z.wanted.pointer.IssuedAt) {
			return false, false
		}
	}
	if z.wanted == nil {
		z.failure = ""
	}
	z.wanted, z.seen, z.refused = p, p.pointer.Sequence, nil
	select {
	case z.moved <- struct{}{}:
	default:
	}
	return true, false
}

func sameVersion(a, b *bundle.Pointer) bool {
	same := func(x, y *string) bool { return (x == nil) == (y == nil) && (x == nil || *x == *y) }
	return same(a.PolicySetID, b.PolicySetID) && same(a.PolicySetVersionID, b.PolicySetVersionID) &&
		a.ManifestSHA256 == b.ManifestSHA256 && a.BundleSHA256 == b.BundleSHA256
}

// refuse notes that a pointer was not good, and for how long it is not to be
// asked for again. It tells whether that is news, and whether the pointer came
// though it was not asked for.
func (z *zone) refuse(raw bundle.SignedPointer, cause error, now, until time.Time) (news, unasked bool) {
	r := &refused{held: bundle.Held{Sequence: max(0, raw.Sequence), IssuedAt: bundle.ClaimedIssue(raw.Pointer)}, detail: cause.Error(), until: until}
	z.mu.Lock()
	defer z.mu.Unlock()
	before := z.refused
	z.refused = r
	if before == nil || before.held != r.held {
		return true, false
	}
	return before.detail != r.detail, now.Before(before.until)
}

// settle forgets a refused pointer that was asked for again at a time, and was
// not offered any more. It tells whether there was one.
func (z *zone) settle(asked time.Time) bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.refused == nil || asked.Before(z.refused.until) {
		return false
	}
	z.refused = nil
	return true
}

// goal is the pointer to load, and the highest sequence seen.
func (z *zone) goal() (*signedPointer, int64) {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.wanted, z.seen
}

// outcome notes how loading p ended; it is ignored when p is wanted no more.
func (z *zone) outcome(p *signedPointer, failure string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.wanted == p {
		z.failure = failure
	}
}

// detail says why the newest pointer is not served. The caller holds mu.
func (z *zone) detail() string {
	if z.refused != nil {
		return z.refused.detail
	}
	return z.failure
}

// receipt reports the zone; ok is false while there is nothing to report.
func (z *zone) receipt() (r bundle.Receipt, ok bool) {
	z.mu.Lock()
	wanted, failure, refused := z.wanted, z.failure, z.refused
	z.mu.Unlock()
	serving := z.current.Load()
	r = bundle.Receipt{ZoneID: z.id, State: bundle.ReceiptLoaded, ServingSequence: noSequence}
	if serving != nil {
		r.ServingSequence, r.ServingVersionID = serving.pointer.Sequence, serving.pointer.PolicySetVersionID
	}
	switch {
	case refused != nil: // of which only the sequence it came with can be told
		r.State, r.Detail, r.Sequence = bundle.ReceiptFailed, refused.detail, refused.held.Sequence
		return r, true
	case failure != "" && wanted != nil:
		r.State, r.Detail = bundle.ReceiptFailed, failure
		name(&r, &wanted.pointer)
		return r, true
	case serving != nil:
		name(&r, serving.pointer)
		r.LoadedAt = serving.loadedAt
		return r, true
	}
	return r, false
}

// name fills in the version that a receipt is about.
func name(r *bundle.Receipt, p *bundle.Pointer) {
	r.Sequence, r.PolicySetVersionID, r.ManifestSHA256, r.BundleSHA256 = p.Sequence, p.PolicySetVersionID, p.ManifestSHA256, p.BundleSHA256
}

// held says which pointer of the zone needs not be sent again. until is zero
// where the pointer was verified; otherwise it was refused, and is to be asked
// for again then.
func (z *zone) held(now time.Time) (h bundle.Held, until time.Time, ok bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.refused != nil && now.Before(z.refused.until) {
		return z.refused.held, z.refused.until, true
	}
	if z.wanted == nil {
		return bundle.Held{}, time.Time{}, false
	}
	return bundle.Held{Sequence: z.wanted.pointer.Sequence, IssuedAt: z.wanted.pointer.IssuedAt}, time.Time{}, true
}

// begin and end surround the loading of a pointer, so that its bundle is kept
// meanwhile.
func (z *zone) begin(p *signedPointer) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.busy = p
}

func (z *zone) end() { z.begin(nil) }

// needs adds the hashes of the bundles that the zone needs.
func (z *zone) needs(hashes map[string]bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, p := range []*signedPointer{z.wanted, z.busy} {
		if p != nil {
			hashes[p.pointer.BundleSHA256] = true
		}
	}
	if s := z.current.Load(); s != nil {
		hashes[s.pointer.BundleSHA256] = true
	}
}

// zoneFile is how the state directory keeps a zone: the pointer that was loaded
// last, as it was signed, and the highest sequence seen.
type zoneFile struct {
	Seen    int64           `json:"seen"`
	Pointer json.RawMessage `json:"pointer"`
	Bundle  json.RawMessage `json:"bundle"`
}
