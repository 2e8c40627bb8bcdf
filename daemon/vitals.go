package daemon

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caracalai/caracald/bundle"
)

// Durations are counted by their power of two in nanoseconds and the three bits
// after it: a bucket's end is at most an eighth above what fell into it.
const (
	vitalBits   = 3
	vitalFirst  = 10 // below 1 µs is the first bucket
	vitalPowers = 25 // and from 2^35 ns, 34 s, on the last
	vitalCount  = vitalPowers << vitalBits
)

// vitalsWindow is the shortest time that rates are worked out for: reports that
// follow each other sooner say the same.
const vitalsWindow = 5 * time.Second

// vitals count what a daemon says of itself. Counting costs one atomic addition.
type vitals struct {
	started   time.Time
	durations [vitalCount]atomic.Uint64

	mu     sync.Mutex
	at     time.Time // of the sample before
	counts [vitalCount]uint64
	hits   uint64
	misses uint64
	// rates are those of the newest window.
	rates bundle.DaemonStatus
}

func newVitals(now time.Time) *vitals { return &vitals{started: now, at: time.Now()} }

func vitalBucket(took time.Duration) int {
	n := uint64(max(took, 0))
	power := bits.Len64(n) - 1
	switch {
	case power < vitalFirst:
		return 0
	case power >= vitalFirst+vitalPowers:
		return vitalCount - 1
	}
	return (power-vitalFirst)<<vitalBits | int(n>>(power-vitalBits))&(1<<vitalBits-1)
}

// vitalEnd is where a bucket ends, in seconds.
func vitalEnd(bucket int) float64 {
	power, part := bucket>>vitalBits+vitalFirst, bucket&(1<<vitalBits-1)
	return float64((uint64(1)<<vitalBits+uint64(part)+1)<<(power-vitalBits)) / 1e9
}

// decided counts an answered decision.
func (v *vitals) decided(took time.Duration) { v.durations[vitalBucket(took)].Add(1) }

// sample gives the rates of the time since the sample before.
func (v *vitals) sample(now time.Time, least time.Duration, hits, misses uint64) bundle.DaemonStatus {
	v.mu.Lock()
	defer v.mu.Unlock()
	window := now.Sub(v.at)
	if window < least {
		return v.rates
	}
	var fresh [vitalCount]uint64
	total := uint64(0)
	for i := range fresh {
		n := v.durations[i].Load()
		fresh[i], v.counts[i] = n-v.counts[i], n
		total += fresh[i]
	}
	r := bundle.DaemonStatus{WindowSeconds: window.Seconds(), DecisionsPerSecond: float64(total) / window.Seconds()}
	if total > 0 {
		r.LatencyP50Seconds, r.LatencyP99Seconds = quantile(&fresh, total, 50), quantile(&fresh, total, 99)
	}
	if looked := hits - v.hits + misses - v.misses; looked > 0 {
		share := float64(hits-v.hits) / float64(looked)
		r.CacheHitShare = &share
	}
	v.at, v.hits, v.misses, v.rates = now, hits, misses, r
	return r
}

// quantile is the end of the bucket that holds the percentile.
func quantile(counts *[vitalCount]uint64, total, percent uint64) *float64 {
	rank := (total*percent + 99) / 100
	for i, n := range counts {
		if n >= rank {
			end := vitalEnd(i)
			return &end
		}
		rank -= n
	}
	return nil // nothing was counted
}

// status is what the daemon says of itself.
func (d *Daemon) status() *bundle.DaemonStatus {
	cached, spool := d.cache.Stats(), d.spool.Stats()
	s := d.vitals.sample(time.Now(), min(vitalsWindow, d.cfg.Heartbeat/2), cached.Hits, cached.Misses)
	s.StartedAt, s.UptimeSeconds = d.vitals.started.UTC(), max(0, d.cfg.Now().Sub(d.vitals.started).Seconds())
	s.SpoolRecords, s.SpoolBytes, s.SpoolMaxBytes, s.AuditGaps = int64(spool.Depth), spool.Bytes, spool.MaxBytes, int64(spool.Gaps)
	s.Ready, s.AuditKept = d.isReady.Load(), !d.unkept.Load()
	switch {
	case !s.Ready:
		s.Detail = "it is not ready: " + d.unready()
	case !s.AuditKept && spool.Failed != nil:
		s.Detail = fmt.Sprintf("audit records cannot be kept: %v", spool.Failed)
	case !s.AuditKept:
		s.Detail = fmt.Sprintf("audit records cannot be kept: the spool has %d of at most %d bytes", spool.Bytes, spool.MaxBytes)
	}
	return &s
}

// unready says why the daemon is not ready.
func (d *Daemon) unready() string {
	var missing []string
	for id, z := range *d.zones.Load() {
		if z.current.Load() == nil {
			missing = append(missing, id)
		}
	}
	if len(missing) == 0 {
		return "the admin side has not told which zones there are"
	}
	slices.Sort(missing)
	const most = 5
	more := ""
	if len(missing) > most {
		more = fmt.Sprintf(" and %d more", len(missing)-most)
		missing = missing[:most]
	}
	return "nothing is loaded for zone " + strings.Join(missing, ", ") + more
}
