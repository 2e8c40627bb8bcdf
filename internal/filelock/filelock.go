// Package filelock keeps what is on disk for one process at a time.
package filelock

import "errors"

// ErrLocked: another process, or somebody else in this one, has the lock.
var ErrLocked = errors.New("in use by another process")
