package daemon

import (
	"encoding/json"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/policy"
)

// snapshot is everything that a request of a zone needs, verified and compiled.
// It is immutable: a request loads it once and sees one version whole.
type snapshot struct {
	// generation is another for each set version that is loaded; renewals of
	// the pointer keep it, and with it what was cached.
	generation uint64
	pointer    bundle.Pointer
	// set is nil where nothing is active.
	set      *policy.Set
	loadedAt time.Time
	// identity is the tail of every answer, from "zone_id" to the closing brace.
	identity []byte
	// replayable tells whether the policies read none of the masked paths.
	replayable bool
}

func newSnapshot(generation uint64, p bundle.Pointer, set *policy.Set, loadedAt time.Time) *snapshot {
	s := &snapshot{generation: generation, pointer: p, set: set, loadedAt: loadedAt, replayable: true}
	for _, path := range p.Settings.AuditMask {
		if set != nil && set.ReadsInput(path) {
			s.replayable = false
		}
	}
	b := append([]byte(nil), `,"zone_id":`...)
	b = strconv.AppendQuote(b, p.ZoneID) // ids are plain ASCII
	b = append(b, `,"policy_set_id":`...)
	b = appendOptional(b, p.PolicySetID)
	b = append(b, `,"policy_set_version_id":`...)
	b = appendOptional(b, p.PolicySetVersionID)
	b = append(b, `,"manifest_sha256":`...)
	b = appendOptional(b, orNil(p.ManifestSHA256))
	b = append(b, `,"bundle_sha256":`...)
	b = appendOptional(b, orNil(p.BundleSHA256))
	s.identity = append(b, '}')
	return s
}

func orNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func appendOptional(b []byte, id *string) []byte {
	if id == nil {
		return append(b, "null"...)
	}
	return strconv.AppendQuote(b, *id)
}

// signedPointer is a verified pointer with the envelopes it came in.
type signedPointer struct {
	pointer   bundle.Pointer
	statement bundle.Statement // zero where the pointer names no bundle
	raw       bundle.SignedPointer
}

// zone is one zone of the daemon: what it serves, and what it should.
type zone struct {
	id string
	// current is what answers; nil until something was loaded.
	current atomic.Pointer[snapshot]

	// loading is held by whoever brings the zone to its wanted pointer.
	loading sync.Mutex

	mu sync.Mutex
	// wanted is the newest verified pointer; nil where there is none.
	wanted *signedPointer
	// failure says why wanted could not be loaded, "" where it was.
	failure string
	// seen is the highest sequence ever verified, -1 for none.
	seen int64
	// answered tells that the admin side told of this zone since the start.
	answered bool
}

// want notes a verified pointer. It tells whether that is news: a higher
// sequence, or the same one renewed. stale tells that it is older than what was
// seen before, which no honest admin side does.
func (z *zone) want(p *signedPointer) (news, stale bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.answered = true
	if p.pointer.Sequence < z.seen {
		return false, true
	}
	if z.wanted != nil && p.pointer.Sequence == z.wanted.pointer.Sequence {
		if !sameVersion(p.pointer, z.wanted.pointer) {
			return false, true // one sequence names one version
		}
		if !p.pointer.IssuedAt.After(z.wanted.pointer.IssuedAt) {
			return false, false
		}
	}
	z.wanted = p
	z.seen = p.pointer.Sequence
	return true, false
}

func sameVersion(a, b bundle.Pointer) bool {
	same := func(x, y *string) bool { return (x == nil) == (y == nil) && (x == nil || *x == *y) }
	return same(a.PolicySetID, b.PolicySetID) && same(a.PolicySetVersionID, b.PolicySetVersionID) &&
		a.ManifestSHA256 == b.ManifestSHA256 && a.BundleSHA256 == b.BundleSHA256
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

// receipt reports the zone; ok is false while there is nothing to report.
func (z *zone) receipt() (r bundle.Receipt, ok bool) {
	z.mu.Lock()
	wanted, failure := z.wanted, z.failure
	z.mu.Unlock()
	serving := z.current.Load()
	r = bundle.Receipt{ZoneID: z.id, State: bundle.ReceiptLoaded, ServingSequence: -1}
	if serving != nil {
		r.ServingSequence, r.ServingVersionID = serving.pointer.Sequence, serving.pointer.PolicySetVersionID
	}
	switch {
	case failure != "" && wanted != nil:
		p := wanted.pointer
		r.State, r.Detail = bundle.ReceiptFailed, failure
		r.Sequence, r.PolicySetVersionID, r.ManifestSHA256, r.BundleSHA256 = p.Sequence, p.PolicySetVersionID, p.ManifestSHA256, p.BundleSHA256
		return r, true
	case serving != nil:
		p := serving.pointer
		r.Sequence, r.PolicySetVersionID, r.ManifestSHA256, r.BundleSHA256 = p.Sequence, p.PolicySetVersionID, p.ManifestSHA256, p.BundleSHA256
		r.LoadedAt = serving.loadedAt
		return r, true
	}
	return r, false
}

// Status answers GET /v1/zones/{z}/status.
type Status struct {
	ZoneID string `json:"zone_id"`
	// Loaded tells whether the zone answers: by a version, or, where
	// PolicySetVersionID is null, with the denial that nothing is active.
	Loaded             bool       `json:"loaded"`
	PolicySetID        *string    `json:"policy_set_id"`
	PolicySetVersionID *string    `json:"policy_set_version_id"`
	ManifestSHA256     *string    `json:"manifest_sha256"`
	BundleSHA256       *string    `json:"bundle_sha256"`
	Sequence           int64      `json:"sequence"`
	LoadedAt           *time.Time `json:"loaded_at"`
	AgeSeconds         *float64   `json:"age_seconds"`
	// Stale tells that the pointer has expired, so that the admin side may have
	// said something else since.
	Stale     bool       `json:"stale"`
	ExpiresAt *time.Time `json:"expires_at"`
	// WantedSequence is that of the newest verified pointer. While it differs
	// from Sequence, Detail says why that one is not loaded.
	WantedSequence int64  `json:"wanted_sequence"`
	Detail         string `json:"detail"`
}

func (z *zone) status(now time.Time) Status {
	z.mu.Lock()
	st := Status{ZoneID: z.id, Sequence: -1, WantedSequence: z.seen, Detail: z.failure}
	z.mu.Unlock()
	s := z.current.Load()
	if s == nil {
		return st
	}
	p := s.pointer
	age := now.Sub(s.loadedAt).Seconds()
	st.Loaded, st.Sequence = true, p.Sequence
	st.PolicySetID, st.PolicySetVersionID = p.PolicySetID, p.PolicySetVersionID
	st.ManifestSHA256, st.BundleSHA256 = orNil(p.ManifestSHA256), orNil(p.BundleSHA256)
	st.LoadedAt, st.AgeSeconds = &s.loadedAt, &age
	st.Stale, st.ExpiresAt = !now.Before(p.ExpiresAt), &p.ExpiresAt
	return st
}

// held says which pointer of the zone the daemon has verified.
func (z *zone) held() (bundle.Held, bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.wanted == nil {
		return bundle.Held{}, false
	}
	return bundle.Held{Sequence: z.wanted.pointer.Sequence, IssuedAt: z.wanted.pointer.IssuedAt}, true
}

// zoneFile is how the state directory keeps a zone: the pointer that was loaded
// last, as it was signed, and the highest sequence seen.
type zoneFile struct {
	Seen    int64           `json:"seen"`
	Pointer json.RawMessage `json:"pointer"`
	Bundle  json.RawMessage `json:"bundle"`
}
