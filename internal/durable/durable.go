// Package durable writes files that are there whole or not at all, and that stay
// when the power goes: every directory in which this project keeps state writes
// its small files this way.
package durable

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// unfinished is how the name of a file begins that is being written.
const unfinished = ".tmp-"

// Replace makes a file hold data, whatever was there before, and returns when
// that is durable. Others see the old file or the new one.
func Replace(path string, data []byte, mode fs.FileMode) error {
	return write(path, data, mode, os.Rename)
}

// Create puts a file where there is none, and returns when it is durable. Where
// there is one, the error matches fs.ErrExist and the file stays as it is; of
// several that create it at once, in any process, one does.
//
// On a file system that can neither link nor rename without replacing, others may
// see the file empty before it is whole, and a kill may leave it so.
func Create(path string, data []byte, mode fs.FileMode) error {
	return write(path, data, mode, func(temp, path string) (err error) {
		for _, put := range ways {
			if err = put(temp, path); err == nil || errors.Is(err, fs.ErrExist) {
				return err
			}
		}
		return err
	})
}

// way gives a file a name that nothing has yet. Create tries the ways in order: not
// every file system can do the first ones, as FAT and many network shares have no links.
type way = func(temp, path string) error

// claim has whoever makes the empty file replace it.
func claim(temp, path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Rename(temp, path))
}

// write writes beside the name and lets put give it the name.
func write(path string, data []byte, mode fs.FileMode, put func(temp, path string) error) (err error) {
	dir := filepath.Dir(path)
	// Not os.CreateTemp, whose files have the mode 0600 without regard to the umask.
	f, err := os.OpenFile(filepath.Join(dir, unfinished+rand.Text()), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer func() {
		if e := os.Remove(f.Name()); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := put(f.Name(), path); err != nil {
		return err
	}
	return SyncDirectory(dir)
}

// SyncDirectory makes durable which names a directory has.
func SyncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Sweep removes what writing into a directory left behind when the process was
// killed. Nobody may be writing there.
func Sweep(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, unfinished+"*"))
	if err != nil {
		return err
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("removing an unfinished file: %w", err)
		}
	}
	return nil
}
