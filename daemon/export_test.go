package daemon

import (
	runtime "runtime/metrics"
	"time"
)

// VitalEnd is the end of the bucket that a duration is counted in.
func VitalEnd(took time.Duration) float64 { return vitalEnd(vitalBucket(took)) }

// Garbage is how much garbage there may be, in percent of what is in use.
func Garbage() uint64 {
	s := []runtime.Sample{{Name: "/gc/gogc:percent"}}
	runtime.Read(s)
	return s[0].Value.Uint64()
}
