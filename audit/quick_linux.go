//go:build linux && (amd64 || arm64)

package audit

import (
	"io"
	"os"
	"syscall"
	"unsafe"
)

// quickFile writes without telling Go's scheduler that it may block. What is left
// to the operating system is a copy of a few microseconds; telling the scheduler
// wakes its monitor each time, which then looks around fifty times, and took a
// tenth of a daemon's time under load. Where a write does block, because the system
// is behind with writing, one of the processors that Go uses waits with it.
type quickFile struct {
	*os.File
	fd uintptr
}

// quick is a file for writes that are left to the operating system.
func quick(f file) file {
	of, ok := f.(*os.File)
	if !ok { // a test's
		return f
	}
	raw, err := of.SyscallConn()
	if err != nil {
		return f
	}
	q := &quickFile{File: of}
	if err := raw.Control(func(fd uintptr) { q.fd = fd }); err != nil {
		return f
	}
	return q
}

func (f *quickFile) WriteAt(b []byte, at int64) (n int, err error) {
	for n < len(b) {
		wrote, _, errno := syscall.RawSyscall6(syscall.SYS_PWRITE64, f.fd, uintptr(unsafe.Pointer(&b[n])), uintptr(len(b)-n), uintptr(at)+uintptr(n), 0, 0)
		switch {
		case errno == syscall.EINTR:
			continue
		case errno != 0:
			return n, &os.PathError{Op: "write", Path: f.Name(), Err: errno}
		case wrote == 0:
			return n, &os.PathError{Op: "write", Path: f.Name(), Err: io.ErrUnexpectedEOF}
		}
		n += int(wrote)
	}
	return n, nil
}
