package daemon

import (
	runtime "runtime/metrics"
	"time"
)

// VitalEnd is the end of the bucket that a duration is counted in.
func VitalEnd(took time.Duration) float64 { return vitalEnd(vitalBucket(took)) }

// Cheap tells whether policies whose evaluations took so long do without the cache.
func Cheap(evaluations ...time.Duration) bool {
	var s snapshot
	for _, took := range evaluations {
		s.took(took)
	}
	return s.cheap()
}

// Garbage is how much garbage there may be, in percent of what is in use.
func Garbage() uint64 {
	s := []runtime.Sample{{Name: "/gc/gogc:percent"}}
	runtime.Read(s)
	return s[0].Value.Uint64()
}
