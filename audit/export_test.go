package audit

import (
	"errors"
	"os"
	"time"
)

// Faults decides, for tests, which operations of a spool's disk fail. A nil
// function never fails.
type Faults struct {
	// Create, Write, Sync and Truncate get the file's name; Create is also
	// asked for renames onto the name.
	Create, Write, Sync, Truncate func(name string) error
	// Wrote is told of every write that went well.
	Wrote func(name string)
	// Maps says that segments may lie in memory, where writing to them does not fail.
	Maps bool
	// Free is the room on the disk, in bytes.
	Free func() int64
}

// WithFaults makes a spool use a disk with faults, and try again after delay.
func WithFaults(o SpoolOptions, f *Faults, delay time.Duration) SpoolOptions {
	o.disk, o.retryDelay = faultyDisk{faults: f}, delay
	return o
}

// WithSyncPause makes reading a spool wait for no longer between two syncs.
func WithSyncPause(o SpoolOptions, pause time.Duration) SpoolOptions {
	o.syncPause = pause
	return o
}

// Unprimed makes a spool append plain frames only.
func Unprimed(o SpoolOptions) SpoolOptions {
	o.unprimed = true
	return o
}

type faultyDisk struct {
	osDisk
	faults *Faults
}

func ask(f func(string) error, name string) error {
	if f == nil {
		return nil
	}
	return f(name)
}

func (d faultyDisk) open(name string, flag int) (file, error) {
	if flag&os.O_CREATE != 0 {
		if err := ask(d.faults.Create, name); err != nil {
			return nil, err
		}
	}
	f, err := d.osDisk.open(name, flag)
	if err != nil {
		return nil, err
	}
	return faultyFile{file: f, name: name, faults: d.faults}, nil
}

func (d faultyDisk) rename(from, to string) error {
	if err := ask(d.faults.Create, to); err != nil {
		return err
	}
	return d.osDisk.rename(from, to)
}

func (d faultyDisk) mmap(f file, size int64) ([]byte, error) {
	of, ok := f.(faultyFile)
	if !ok || !d.faults.Maps {
		return nil, errors.ErrUnsupported
	}
	return d.osDisk.mmap(of.file, size)
}

func (d faultyDisk) free(dir string) (int64, error) {
	if d.faults.Free == nil {
		return d.osDisk.free(dir)
	}
	return d.faults.Free(), nil
}

type faultyFile struct {
	file
	name   string
	faults *Faults
}

// WriteAt leaves half of what it should write when it fails, as a full disk does.
func (f faultyFile) WriteAt(p []byte, off int64) (int, error) {
	if err := ask(f.faults.Write, f.name); err != nil {
		n, writeErr := f.file.WriteAt(p[:len(p)/2], off)
		if writeErr != nil {
			return n, writeErr
		}
		return n, err
	}
	n, err := f.file.WriteAt(p, off)
	if err == nil && f.faults.Wrote != nil {
		f.faults.Wrote(f.name)
	}
	return n, err
}

func (f faultyFile) Sync() error {
	if err := ask(f.faults.Sync, f.name); err != nil {
		return err
	}
	return f.file.Sync()
}

func (f faultyFile) Truncate(size int64) error {
	if err := ask(f.faults.Truncate, f.name); err != nil {
		return err
	}
	return f.file.Truncate(size)
}

// Queued is how many records wait for the committer.
func Queued(s *Spool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue)
}
