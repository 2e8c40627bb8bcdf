package audit

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/caracalai/caracald/internal/durable"
)

// disk is what the spool asks of a file system: the real one, or in tests one
// that fails.
type disk interface {
	// open opens for reading and writing, and creates when asked to.
	open(name string, flag int) (file, error)
	rename(from, to string) error
	remove(name string) error
	// syncDir makes the names in a directory durable.
	syncDir(dir string) error
	// mmap gives the first size bytes of a file as memory that is shared with it.
	mmap(f file, size int64) ([]byte, error)
	// free is how many bytes more there is room for where a directory is.
	free(dir string) (int64, error)
}

type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
	Truncate(size int64) error
	Stat() (os.FileInfo, error)
}

type osDisk struct{}

func (osDisk) open(name string, flag int) (file, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err // not a typed nil
	}
	return f, nil
}

func (osDisk) rename(from, to string) error { return os.Rename(from, to) }
func (osDisk) remove(name string) error     { return os.Remove(name) }
func (osDisk) syncDir(dir string) error     { return durable.SyncDirectory(dir) }

// replaceFile makes name hold data, wholly or not at all, and durably: write
// beside it, fsync, rename over it, fsync the directory.
func replaceFile(d disk, name string, data []byte) error {
	temp := name + ".tmp"
	if err := writeFile(d, temp, data); err != nil {
		return err
	}
	if err := d.rename(temp, name); err != nil {
		return fmt.Errorf("renaming %s: %w", temp, err)
	}
	if err := d.syncDir(filepath.Dir(name)); err != nil {
		return fmt.Errorf("making %s durable: %w", name, err)
	}
	return nil
}

// writeFile makes a file that holds data, durably, or none.
func writeFile(d disk, name string, data []byte) error {
	f, err := d.open(name, os.O_CREATE|os.O_TRUNC|os.O_RDWR)
	if err != nil {
		return fmt.Errorf("creating %s: %w", name, err)
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = d.remove(name) // the error that matters is the one above
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}
