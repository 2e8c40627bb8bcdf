package loader

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// eachThread is how many connections make one more thread worth its while, as
	// long as there are processors for it.
	eachThread = 8
	// patience is how long a thread waits at once for an answer, in milliseconds. It
	// bounds how long a collection of garbage waits for the thread.
	patience = 1
)

// saturate lets each caller ask as soon as it was answered. With a goroutine for each,
// the runtime's scheduler, poller and monitor take more of the processors that
// the server shares than asking does; so a few threads wait for the answers of all.
func saturate(ctx context.Context, callers []*caller, end time.Time, grace time.Duration) error {
	n := max(1, min(runtime.GOMAXPROCS(0), len(callers)/eachThread))
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		of := callers[i*len(callers)/n : (i+1)*len(callers)/n]
		all.Go(func() { errs[i] = saturateThread(ctx, of, end, grace) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func saturateThread(ctx context.Context, callers []*caller, end time.Time, grace time.Duration) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("making an epoll: %w", err)
	}
	defer func() { _ = unix.Close(poll) }()
	asking := make([]asker, len(callers))
	waiting := 0
	for i := range asking {
		a := &asking[i]
		*a = asker{caller: callers[i], poll: poll, number: int32(i), grace: grace}
		defer a.hangUp()
		if a.next(ctx, end) {
			waiting++
		}
	}
	events := make([]unix.EpollEvent, len(asking))
	for waiting > 0 && ctx.Err() == nil {
		n, errno := wait(poll, events)
		if errno != 0 && errno != unix.EINTR {
			return fmt.Errorf("waiting for answers: %w", errno)
		}
		for _, e := range events[:n] {
			if a := &asking[e.Fd]; a.answered() && !a.next(ctx, end) {
				waiting--
			}
		}
		if n == 0 && time.Since(end) > grace {
			for i := range asking {
				if a := &asking[i]; a.waits {
					a.count(a.since, fmt.Errorf("no answer %v after the end of the load", grace))
				}
			}
			return nil
		}
	}
	return nil // that the context ended is told by whoever has it
}

// asker is a caller whose connection the runtime's poller does not have.
type asker struct {
	*caller
	poll   int
	number int32 // among those of its thread
	grace  time.Duration

	file    *os.File // nil where there is no connection
	fd      int      // of file
	waits   bool
	since   time.Time
	allowed int    // inputs of the request
	answer  []byte // what has come of it
	reader  bytes.Reader
}

// next makes requests until one is on its way, which it tells, or the load is over.
func (a *asker) next(ctx context.Context, end time.Time) bool {
	for {
		a.since = time.Now()
		if !a.since.Before(end) || ctx.Err() != nil {
			return false
		}
		err := a.send(ctx)
		if err == nil {
			a.waits = true
			return true
		}
		a.hangUp()
		a.count(a.since, err)
	}
}

func (a *asker) send(ctx context.Context) error {
	if a.file == nil {
		if err := a.call(ctx); err != nil {
			return err
		}
	}
	a.allowed, a.answer = a.compose(), a.answer[:0]
	for left := a.request; len(left) > 0; {
		n, _, errno := syscall.RawSyscall(unix.SYS_WRITE, uintptr(a.fd), uintptr(unsafe.Pointer(unsafe.SliceData(left))), uintptr(len(left)))
		switch errno {
		case 0:
			left = left[n:]
		case unix.EINTR:
		default:
			return fmt.Errorf("sending: %w", errno)
		}
	}
	return nil
}

// call connects, and takes the connection from the runtime's poller. Reads and writes of
// it block, and only as long as grace: what is read is there, and what is written mostly
// has room.
func (a *asker) call(ctx context.Context) error {
	if a.conn == nil {
		if err := a.connect(ctx); err != nil {
			return err
		}
	}
	defer a.close() // its duplicate is the connection
	duplicated, ok := a.conn.(interface{ File() (*os.File, error) })
	if !ok {
		return fmt.Errorf("a connection without a descriptor: %T", a.conn)
	}
	file, err := duplicated.File()
	if err != nil {
		return err
	}
	a.file, a.fd = file, int(file.Fd()) // which makes it block
	longest := unix.NsecToTimeval(a.grace.Nanoseconds())
	return errors.Join(
		unix.SetsockoptTimeval(a.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &longest),
		unix.SetsockoptTimeval(a.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &longest),
		unix.EpollCtl(a.poll, unix.EPOLL_CTL_ADD, a.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: a.number}),
	)
}

func (a *asker) hangUp() {
	if a.file != nil {
		_ = a.file.Close()
		a.file = nil
	}
}

// answered takes in what has come, and tells whether that ends the answer.
func (a *asker) answered() bool {
	if cap(a.answer)-len(a.answer) < 1024 {
		a.answer = append(make([]byte, 0, 2*cap(a.answer)+4096), a.answer...)
	}
	room := a.answer[len(a.answer):cap(a.answer)]
	n, _, errno := syscall.RawSyscall(unix.SYS_READ, uintptr(a.fd), uintptr(unsafe.Pointer(unsafe.SliceData(room))), uintptr(len(room)))
	var err error
	switch {
	case errno == unix.EINTR:
		return false
	case errno != 0:
		err = fmt.Errorf("receiving: %w", errno)
	case n == 0:
		err = fmt.Errorf("receiving: %w", io.ErrUnexpectedEOF)
	default:
		a.answer = a.answer[:len(a.answer)+int(n)]
		a.reader.Reset(a.answer)
		a.in.Reset(&a.reader)
		err = a.resp.Read(a.in)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return false // more is to come
		}
	}
	if err != nil || a.resp.ConnectionClose() {
		a.hangUp()
	}
	if err == nil {
		err = a.judge(a.allowed)
	}
	a.waits = false
	a.count(a.since, err)
	return true
}

// wait asks which connections have something, without the runtime knowing that it
// waits: its monitor would take the processor from the thread, and give it back,
// again and again.
func wait(poll int, events []unix.EpollEvent) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(poll), uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), patience, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
