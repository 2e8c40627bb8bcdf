package daemon

import (
	"net"
	"time"
)

// SweepInterval is how late a deadline may be noticed.
const SweepInterval = sweepInterval

// NewSweptListener lets tests have connections whose deadlines are swept.
func NewSweptListener(l net.Listener) net.Listener { return newSweptListener(l) }

// VitalEnd is the end of the bucket that a duration is counted in.
func VitalEnd(took time.Duration) float64 { return vitalEnd(vitalBucket(took)) }
