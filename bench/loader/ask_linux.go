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
	// patience is how long a thread waits at once for an answer. It bounds how long a
	// collection of garbage waits for the thread.
	patience = time.Millisecond
)

// saturate lets each caller ask as soon as it was answered. With a goroutine for each,
// the runtime's scheduler, poller and monitor take more of the processors that
// the server shares than asking does; so a few threads wait for the answers of all.
func saturate(ctx context.Context, callers []*caller, start time.Time, l Load) error {
	n := max(1, min(runtime.GOMAXPROCS(0), len(callers)/eachThread))
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		of := callers[i*len(callers)/n : (i+1)*len(callers)/n]
		all.Go(func() {
			errs[i] = withThread(of, l.Grace, func(t *thread) error { return t.saturate(ctx, start.Add(l.Duration)) })
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// pace asks at a rate: a connection that is free takes the next request that is
// due. Where none is, requests wait, and count from when they were due. One thread
// is quick enough for that, and what it takes itself is charged to the server.
func pace(ctx context.Context, callers []*caller, start time.Time, l Load) error {
	return withThread(callers, l.Grace, func(t *thread) error { return t.pace(ctx, schedule{start, l}) })
}

// thread asks over several connections.
type thread struct {
	poll    int
	asking  []asker
	waiting int // of asking, for answers
	events  []unix.EpollEvent
}

// withThread has f use a thread of its own.
func withThread(callers []*caller, grace time.Duration, f func(*thread) error) error {
	ended := make(chan error)
	go func() {
		// It ends with the goroutine, so that nobody gets it as it is made here.
		runtime.LockOSThread()
		ended <- func() error {
			if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil { // else it wakes 50 µs late
				return fmt.Errorf("asking for timers without slack: %w", err)
			}
			poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
			if err != nil {
				return fmt.Errorf("making an epoll: %w", err)
			}
			defer func() { _ = unix.Close(poll) }()
			t := &thread{poll: poll, asking: make([]asker, len(callers)), events: make([]unix.EpollEvent, len(callers))}
			for i, c := range callers {
				t.asking[i] = asker{caller: c, poll: poll, number: int32(i), grace: grace}
				defer t.asking[i].hangUp()
			}
			return f(t)
		}()
	}()
	return <-ended
}

// saturate asks over each connection as soon as it is free.
func (t *thread) saturate(ctx context.Context, end time.Time) error {
	next := func(a *asker) {
		for now := time.Now(); now.Before(end) && ctx.Err() == nil; now = time.Now() {
			if t.ask(ctx, a, now) {
				return
			}
		}
	}
	for i := range t.asking {
		next(&t.asking[i])
	}
	for t.waiting > 0 && ctx.Err() == nil {
		n, err := t.wait(patience)
		if err != nil {
			return err
		}
		for _, e := range t.events[:n] {
			if a := &t.asking[e.Fd]; t.answered(a) {
				next(a)
			}
		}
		if n == 0 && t.overdue(end) {
			return nil
		}
	}
	return nil // that the context ended is told by whoever has it
}

// pace asks when it is due.
func (t *thread) pace(ctx context.Context, s schedule) error {
	free := make(chan *asker, len(t.asking)) // by turns, so that all connections are used
	for i := range t.asking {
		free <- &t.asking[i]
	}
	total := s.requests()
	end := s.due(total)
	for n := int64(0); (n < total || t.waiting > 0) && ctx.Err() == nil; {
		now := time.Now()
		for ; n < total && len(free) > 0 && !s.due(n).After(now); n++ {
			a := <-free
			if err := s.givenUp(n, now); err != nil {
				a.fail(err)
			} else if t.ask(ctx, a, s.due(n)) {
				continue
			}
			free <- a
		}
		most := patience
		if n < total && len(free) > 0 {
			most = min(most, max(0, time.Until(s.due(n))))
		}
		got, err := t.wait(most)
		if err != nil {
			return err
		}
		for _, e := range t.events[:got] {
			if a := &t.asking[e.Fd]; t.answered(a) {
				free <- a
			}
		}
		if got == 0 && len(free) < len(t.asking) && now.Sub(end) > lateness*s.load.Duration && t.overdue(end) {
			for ; n < total; n++ {
				t.asking[0].fail(errors.New("the server does not answer"))
			}
			return nil
		}
	}
	return nil
}

// ask makes a request that was due at a time, and tells whether it is on its way.
func (t *thread) ask(ctx context.Context, a *asker, due time.Time) bool {
	a.since = due
	if err := a.send(ctx); err != nil {
		a.hangUp()
		a.count(due, err)
		return false
	}
	a.waits = true
	t.waiting++
	return true
}

// answered takes in what has come for an asker, and tells whether that ends the answer.
func (t *thread) answered(a *asker) bool {
	if !a.waits { // the server has ended a connection that it was not asked over
		a.hangUp()
		return false
	}
	if !a.receive() {
		return false
	}
	a.waits = false
	t.waiting--
	return true
}

// overdue gives up what was not answered long after a load's end, and tells whether
// it is as late as that.
func (t *thread) overdue(end time.Time) bool {
	for i := range t.asking {
		a := &t.asking[i]
		if time.Since(end) <= a.grace {
			return false
		}
		if a.waits {
			a.hangUp()
			a.count(a.since, fmt.Errorf("no answer %v after the end of the load", a.grace))
			a.waits = false
			t.waiting--
		}
	}
	return true
}

// wait returns how many of events have something, and waits for that no longer than
// told. The runtime does not know that it waits: its monitor would take the processor
// from the thread, and give it back, again and again.
func (t *thread) wait(most time.Duration) (int, error) {
	if most < time.Millisecond { // epoll counts in these
		ready := unix.PollFd{Fd: int32(t.poll), Events: unix.POLLIN}
		timeout := unix.NsecToTimespec(most.Nanoseconds())
		_, _, errno := syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&ready)), 1, uintptr(unsafe.Pointer(&timeout)), 0, 0, 0)
		if errno != 0 && errno != unix.EINTR {
			return 0, fmt.Errorf("waiting for answers: %w", errno)
		}
		if ready.Revents == 0 {
			return 0, nil
		}
		most = 0
	}
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(t.poll), uintptr(unsafe.Pointer(unsafe.SliceData(t.events))), uintptr(len(t.events)), uintptr(most.Milliseconds()), 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case unix.EINTR:
		return 0, nil
	}
	return 0, fmt.Errorf("waiting for answers: %w", errno)
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

// receive takes in what has come, and tells whether that ends the answer.
func (a *asker) receive() bool {
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
	a.count(a.since, err)
	return true
}
