//go:build !unix

package audit

import (
	"errors"
	"fmt"
	"os"
)

// lockFile refuses: without a lock two processes could write one spool.
func lockFile(name string) (*os.File, error) {
	return nil, fmt.Errorf("locking %s: %w", name, errors.ErrUnsupported)
}

func unlockFile(f *os.File) error { return f.Close() }
