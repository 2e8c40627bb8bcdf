package daemon

import "net"

// SweepInterval is how late a deadline may be noticed.
const SweepInterval = sweepInterval

// NewSweptListener lets tests have connections whose deadlines are swept.
func NewSweptListener(l net.Listener) net.Listener { return newSweptListener(l) }
