package audit

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// mapsSegments says that segments may lie in memory here.
const mapsSegments = true

func (osDisk) mmap(f file, size int64) ([]byte, error) {
	of, ok := f.(*os.File)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	raw, err := of.SyscallConn()
	if err != nil {
		return nil, err
	}
	var memory []byte
	var mapErr error
	if err := raw.Control(func(fd uintptr) {
		memory, mapErr = unix.Mmap(int(fd), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}); err != nil {
		return nil, err
	}
	return memory, mapErr
}

func unmap(memory []byte) error { return unix.Munmap(memory) }
