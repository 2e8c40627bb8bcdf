//go:build !unix

package filelock

import (
	"errors"
	"fmt"
	"os"
)

// Lock refuses: without a lock two processes could write one file.
func Lock(name string) (*os.File, error) {
	return nil, fmt.Errorf("locking %s: %w", name, errors.ErrUnsupported)
}

// Unlock closes a lock.
func Unlock(f *os.File) error { return f.Close() }
