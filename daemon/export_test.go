package daemon

import "time"

// VitalEnd is the end of the bucket that a duration is counted in.
func VitalEnd(took time.Duration) float64 { return vitalEnd(vitalBucket(took)) }
