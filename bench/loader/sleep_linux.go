package loader

import (
	"syscall"
	"time"
)

// sleep waits by the system's clock: time.Sleep of an idle process is late by up
// to a millisecond, as its poller counts in these, and that would be more than
// what is measured.
func sleep(d time.Duration) {
	for d > 0 {
		wait, left := syscall.NsecToTimespec(int64(d)), syscall.Timespec{}
		if syscall.Nanosleep(&wait, &left) == nil {
			return
		}
		d = time.Duration(left.Nano()) // a signal came
	}
}
