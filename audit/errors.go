package audit

import (
	"errors"
	"fmt"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrSpoolFull: the record does not fit into SpoolOptions.MaxBytes until
	// records that were acknowledged make room.
	ErrSpoolFull = errors.New("audit spool is full")
	// ErrSpoolFailed: the disk refused a write or an fsync. The spool tries
	// again by itself with a new segment.
	ErrSpoolFailed = errors.New("audit spool failed")
	// ErrFormat: bytes are not what the format says.
	ErrFormat = errors.New("malformed audit data")
	// ErrChain: well-formed records do not continue the hash chain.
	ErrChain = errors.New("audit hash chain is broken")
	// ErrVersion: a batch is of a version that this code does not know yet.
	// It is an ErrFormat too.
	ErrVersion = fmt.Errorf("%w: unknown version", ErrFormat)
	// ErrLimit: a size or count is over its limit.
	ErrLimit = errors.New("audit data over its limit")
	// ErrLocked: another process, or another Spool in this one, has the directory.
	ErrLocked = errors.New("audit spool is in use by another process")
	// ErrClosed: the spool was closed.
	ErrClosed = errors.New("audit spool is closed")
)
