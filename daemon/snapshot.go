package daemon

import (
	"bytes"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/policy"
)

// snapshot is everything that a request of a zone needs, verified and compiled.
// It is immutable, but for how long evaluating was found to take: a request loads
// it once and sees one version whole.
type snapshot struct {
	// generation is another for each set version that is loaded; renewals of
	// the pointer keep it, and with it what was cached. It is 0 where nothing
	// was loaded.
	generation uint64
	pointer    *bundle.Pointer // of the signed one, which the zone keeps too
	// set is nil where nothing is active.
	set *policy.Set
	// loadedAt is when the version was loaded; renewals keep it.
	loadedAt time.Time
	// identity is the tail of every answer, from "zone_id" to the closing brace.
	identity []byte
	// read are the masked paths that a policy may read: where one of them was
	// masked, the record's input does not give the same decision again.
	read map[string]bool
	// slowness counts evaluations that took long, less those that did not, and
	// cheapness those that took next to nothing, less many for each that did not.
	slowness, cheapness atomic.Int32
}

// Evaluations that take over slowEvaluation are slow. A single one may be the
// machine's doing; slowMost that were not made up for are the policies'.
const (
	slowEvaluation = time.Millisecond
	slowMost       = 4
)

// An evaluation that takes no more than cheapEvaluation is done before the cache
// would have been asked and, where it did not know, been told: by measurement about
// two microseconds for each decision, beside the time that keys and answers push
// other things out of the processor's own caches. Policies are cheap while cheapMost
// more evaluations were than cheapLoss for each that was not.
const (
	cheapEvaluation = 4 * time.Microsecond
	cheapMost       = 64
	cheapLoss       = 8
)

// cheap tells whether the policies decide as soon as the cache would.
func (s *snapshot) cheap() bool { return s.cheapness.Load() >= cheapMost }

// slow tells whether the policies take so long that nothing else should wait for them.
func (s *snapshot) slow() bool { return s.slowness.Load() >= slowMost }

// took notes how long an evaluation took. Concurrent ones may be lost, which only
// delays what follows.
func (s *snapshot) took(d time.Duration) {
	switch n := s.cheapness.Load(); {
	case d > cheapEvaluation:
		if n > 0 {
			s.cheapness.Store(max(n-cheapLoss, 0))
		}
	case n < 2*cheapMost:
		s.cheapness.Store(n + 1)
	}
	switch n := s.slowness.Load(); {
	case d > 10*slowEvaluation:
		s.slowness.Store(min(n+slowMost/2, slowMost))
	case d > slowEvaluation:
		s.slowness.Store(min(n+1, slowMost))
	case n > 0:
		s.slowness.Store(n - 1)
	}
}

// tookLonger notes that an evaluation would have held others up, and was broken off.
func (s *snapshot) tookLonger() { s.slowness.Store(slowMost) }

// newSnapshot makes the snapshot of a verified pointer. It refuses settings
// that could not be honoured.
func newSnapshot(generation uint64, p *bundle.Pointer, set *policy.Set, loadedAt time.Time) (*snapshot, error) {
	if _, _, err := audit.Mask([]byte("{}"), p.Settings.AuditMask, []byte{0}); err != nil {
		return nil, fmt.Errorf("the zone's settings: %w", err)
	}
	s := &snapshot{generation: generation, pointer: p, set: set, loadedAt: loadedAt}
	for _, path := range p.Settings.AuditMask {
		if set != nil && set.ReadsInput(path) {
			if s.read == nil {
				s.read = map[string]bool{}
			}
			s.read[path] = true
		}
	}
	b := append(make([]byte, 0, 512), `,"zone_id":`...)
	b = strconv.AppendQuote(b, p.ZoneID) // ids are plain ASCII
	b = append(b, `,"policy_set_id":`...)
	b = appendOptional(b, p.PolicySetID)
	b = append(b, `,"policy_set_version_id":`...)
	b = appendOptional(b, p.PolicySetVersionID)
	b = append(b, `,"manifest_sha256":`...)
	b = appendOptional(b, orNil(p.ManifestSHA256))
	b = append(b, `,"bundle_sha256":`...)
	b = appendOptional(b, orNil(p.BundleSHA256))
	s.identity = bytes.Clone(append(b, '}')) // without room to grow
	return s, nil
}

// noSequence stands for the sequence of a zone that has no pointer.
const noSequence = -1

// unloaded stands for a zone of which nothing was loaded. Nobody knows what its
// settings would mask, so its records do not hold inputs.
func unloaded(zone string) *snapshot {
	s, err := newSnapshot(0, &bundle.Pointer{ZoneID: zone, Sequence: noSequence, Settings: bundle.ZoneSettings{AuditInputs: inputsHashed}}, nil, time.Time{})
	if err != nil { // it has no paths that could be wrong
		panic(err)
	}
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
