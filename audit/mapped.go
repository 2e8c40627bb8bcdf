package audit

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"unsafe"
)

// mapped is a segment's file that was written ahead and lies in memory: its bytes
// are the operating system's copy of it, so what is stored there is with the
// operating system, as after a write, and survives the process. Only that no system
// call is needed, which costs as much as all else about a record.
//
// It is closed, and its memory with it, only by who holds the spool's reading:
// readers look into the memory without any other lock.
type mapped struct {
	file
	memory []byte
	// spoilt says that something was left in it that was not told to anybody, so
	// that it must not become another segment.
	spoilt bool
	// faulty says that the memory is not to be had; the file tells what is left.
	faulty atomic.Bool
}

// mapFile maps the first size bytes of a file, which it is to have.
func mapFile(d disk, f file, size int64) (*mapped, error) {
	memory, err := d.mmap(f, size)
	if err != nil {
		return nil, fmt.Errorf("mapping a segment: %w", err)
	}
	return &mapped{file: f, memory: memory}, nil
}

// within gives the n bytes from a position on, nil where they are not in memory.
func (m *mapped) within(at, n int64) []byte {
	if m == nil || m.faulty.Load() || at < 0 || n > int64(len(m.memory))-at {
		return nil
	}
	return m.memory[at:][:n:n]
}

// WriteAt stores what lies in memory as a whole, and writes what does not.
func (m *mapped) WriteAt(b []byte, at int64) (n int, err error) {
	to := m.within(at, int64(len(b)))
	if to == nil {
		return m.file.WriteAt(b, at)
	}
	defer m.guard(debug.SetPanicOnFault(true), &err)
	return copy(to, b), nil
}

// Close gives the memory back and closes the file; again, it does nothing.
func (m *mapped) Close() error {
	if m.file == nil {
		return nil
	}
	err := unmap(m.memory)
	if closeErr := m.file.Close(); err == nil {
		err = closeErr
	}
	m.file, m.memory = nil, nil
	return err
}

// guard makes an error of a fault in the memory, where it is deferred, and is given what
// debug.SetPanicOnFault(true) returned: the disk could not give what lies there, or has
// no room for it, or somebody has cut the file off. Otherwise it would end the process.
func (m *mapped) guard(before bool, err *error) {
	debug.SetPanicOnFault(before)
	if r := recover(); r != nil {
		*err = m.faulted(r)
	}
}

// faulted is the error of a fault in the memory. It panics again for all else.
func (m *mapped) faulted(r any) error {
	fault, ok := r.(interface {
		runtime.Error
		Addr() uintptr
	})
	if ok && m != nil && len(m.memory) > 0 {
		if begin := uintptr(unsafe.Pointer(unsafe.SliceData(m.memory))); fault.Addr()-begin < uintptr(len(m.memory)) {
			m.faulty.Store(true)
			return fmt.Errorf("%w: the disk does not give what lies in memory: %w", ErrSpoolFailed, fault)
		}
	}
	panic(r)
}
