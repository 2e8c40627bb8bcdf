package eventloop

import (
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// maxGroup bounds how many requests are answered together. The first of them
	// waits for the last.
	maxGroup = 32
	// roomBytes is where a loop reads requests, and readBytes the most that it
	// reads at once.
	roomBytes = 256 << 10
	readBytes = 32 << 10
)

// What a loop is asked to do.
const (
	serving  = iota
	stopping // end when no request is under way
	stopped  // end
)

// loop serves some connections. Only run touches what mu does not guard.
type loop struct {
	l      *listener
	handle Handler

	poll   *os.File // of epoll
	raw    syscall.RawConn
	wakeup int // an eventfd, which poll has too

	mu    sync.Mutex
	conns map[int]*conn
	asked int

	ended chan struct{}

	last    bool // answers end their connections
	most    int  // how many requests the next group may have
	events  [maxGroup]unix.EpollEvent
	ready   int                // how many of events count
	look    func(uintptr) bool // epoll, bound once
	room    []byte
	group   []*Request
	members []member
	free    []*Request
}

// conn is a connection that asks in the plainest form.
type conn struct {
	fd int
	// partial is the beginning of a request.
	partial []byte
	// since is when the connection became silent, or its request began.
	since time.Time
}

// member is a connection whose request is in a group, and what came behind it.
type member struct {
	c     *conn
	extra []byte
}

func newLoop(l *listener) (lp *loop, err error) {
	lp = &loop{l: l, wakeup: -1, conns: map[int]*conn{}, ended: make(chan struct{}), room: make([]byte, 0, roomBytes), most: maxGroup}
	defer func() {
		if err != nil {
			lp.release()
		}
	}()
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	// Nonblocking is what makes the runtime's poller take it.
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	lp.poll = os.NewFile(uintptr(fd), "epoll")
	if lp.raw, err = lp.poll.SyscallConn(); err != nil {
		return nil, err
	}
	if lp.wakeup, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	if err := lp.control(unix.EPOLL_CTL_ADD, lp.wakeup); err != nil {
		return nil, err
	}
	lp.handle, lp.look = l.cfg.NewHandler(), lp.epoll
	return lp, nil
}

// release gives back what newLoop took.
func (lp *loop) release() {
	if lp.poll != nil {
		_ = lp.poll.Close()
	}
	if lp.wakeup >= 0 {
		_ = unix.Close(lp.wakeup)
	}
}

func (lp *loop) control(what, fd int) error {
	var err error
	if failed := lp.raw.Control(func(of uintptr) {
		err = os.NewSyscallError("epoll_ctl", unix.EpollCtl(int(of), what, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}))
	}); failed != nil {
		return failed
	}
	return err
}

// add takes a connection over.
func (lp *loop) add(fd int) {
	lp.mu.Lock()
	defer lp.mu.Unlock()
	if lp.asked != serving || lp.control(unix.EPOLL_CTL_ADD, fd) != nil {
		_ = unix.Close(fd)
		return
	}
	lp.conns[fd] = &conn{fd: fd, since: time.Now()}
}

// stop asks the loop to end, one way or the other.
func (lp *loop) stop(how int) {
	lp.mu.Lock()
	defer lp.mu.Unlock()
	lp.asked = max(lp.asked, how)
	lp.wake()
}

func (lp *loop) wake() {
	_, _ = unix.Write(lp.wakeup, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// run serves until the loop is stopped.
func (lp *loop) run() {
	defer close(lp.ended)
	defer lp.release()
	var ready [maxGroup]*conn
	for {
		n := lp.wait()
		now := time.Now()
		woken := false
		lp.mu.Lock()
		for i := range lp.events[:n] {
			fd := int(lp.events[i].Fd)
			ready[i] = lp.conns[fd]
			woken = woken || fd == lp.wakeup
		}
		asked := lp.asked
		lp.mu.Unlock()
		lp.last = asked != serving
		for _, c := range ready[:n] {
			if c != nil {
				lp.read(c, now)
			}
		}
		lp.answer(now)
		if woken {
			var count [8]byte
			_, _ = unix.Read(lp.wakeup, count[:])
			lp.sweep(now, asked)
		}
		if lp.last {
			lp.mu.Lock()
			left := len(lp.conns)
			lp.mu.Unlock()
			if left == 0 {
				return
			}
		}
	}
}

// wait returns how many connections are ready. The goroutine sleeps in the
// runtime's poller, which is told by epoll that epoll has something.
func (lp *loop) wait() int {
	lp.ready = 0
	if lp.raw.Read(lp.look) != nil {
		return 0
	}
	return lp.ready
}

// epoll asks which connections are ready, and tells whether any is.
func (lp *loop) epoll(fd uintptr) bool {
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(&lp.events[0])), uintptr(lp.most), 0, 0, 0)
		switch errno {
		case 0:
			lp.ready = int(n)
			return n > 0
		case unix.EINTR: // to wait now would be to wait for what is there already
		default:
			return true // the descriptor is there, so nothing comes of this
		}
	}
}

// read takes in what a connection has sent.
func (lp *loop) read(c *conn, now time.Time) {
	if roomBytes-len(lp.room) < readBytes {
		lp.answer(now)
	}
	began := len(lp.room)
	n, errno := read(c.fd, lp.room[began:min(began+readBytes, roomBytes)])
	switch {
	case errno == unix.EAGAIN, errno == unix.EINTR:
		return
	case errno != 0, n == 0:
		lp.end(c)
		return
	}
	data := lp.room[began : began+n : began+n]
	if len(c.partial) > 0 {
		c.partial = append(c.partial, data...)
		data = c.partial
	} else {
		lp.room = lp.room[:began+n]
	}
	r := lp.request()
	length, verdict := Parse(data, lp.l.cfg.Path, lp.l.cfg.MaxBody, r)
	switch verdict {
	case Whole:
		lp.group = append(lp.group, r)
		lp.members = append(lp.members, member{c, data[length:]})
		return
	case More:
		if len(c.partial) == 0 {
			c.partial, c.since = slices.Clone(data), now
			lp.room = lp.room[:began]
		}
	case Other:
		lp.leave(c, nil, data)
	}
	lp.free = append(lp.free, r)
}

func (lp *loop) request() *Request {
	if n := len(lp.free); n > 0 {
		r := lp.free[n-1]
		lp.free = lp.free[:n-1]
		return r
	}
	return new(Request)
}

// answer has the group answered and writes the answers.
func (lp *loop) answer(now time.Time) {
	if len(lp.group) == 0 {
		lp.room = lp.room[:0]
		return
	}
	for _, r := range lp.group {
		r.Answer, r.Close, r.Elsewhere = r.Answer[:0], lp.last, false
	}
	if lp.handle(lp.group) {
		lp.most = min(lp.most+1, maxGroup)
	} else {
		lp.most = max(len(lp.group)/2, 1)
	}
	for i, r := range lp.group {
		c, extra := lp.members[i].c, lp.members[i].extra
		c.since = now
		if r.Elsewhere {
			lp.leave(c, nil, slices.Concat(r.whole, extra))
		} else if n, errno := write(c.fd, r.Answer); errno != 0 && errno != unix.EAGAIN && errno != unix.EINTR {
			lp.end(c)
		} else if n < len(r.Answer) || len(extra) > 0 && !r.Close { // a slow reader, or one who does not wait for answers
			lp.leave(c, r.Answer[n:], extra)
		} else if r.Close {
			lp.end(c)
		}
		c.partial = nil
		lp.members[i] = member{}
		if cap(r.Answer) > readBytes {
			r.Answer = nil
		}
	}
	lp.free = append(lp.free, lp.group...)
	lp.group, lp.members, lp.room = lp.group[:0], lp.members[:0], lp.room[:0]
}

// leave gives a connection to the server behind, with copies of what is to be
// written first and was read already.
func (lp *loop) leave(c *conn, unsent, data []byte) {
	lp.forget(c)
	f := os.NewFile(uintptr(c.fd), "connection")
	nc, err := net.FileConn(f)
	_ = f.Close() // nc has a duplicate
	if err != nil {
		return
	}
	out := &left{Conn: nc, slow: lp.l.cfg.Slow, unsent: slices.Clone(unsent), read: slices.Clone(data)}
	go lp.l.leave(out) // who accepts may take its time
}

// end closes a connection.
func (lp *loop) end(c *conn) {
	lp.forget(c)
	_ = unix.Close(c.fd)
}

func (lp *loop) forget(c *conn) {
	lp.mu.Lock()
	defer lp.mu.Unlock()
	delete(lp.conns, c.fd)
	_ = lp.control(unix.EPOLL_CTL_DEL, c.fd)
}

// sweep closes connections that were silent for too long, and when the loop is
// to end those without a request.
func (lp *loop) sweep(now time.Time, asked int) {
	lp.mu.Lock()
	var over []*conn
	for _, c := range lp.conns {
		most := lp.l.cfg.Idle
		if len(c.partial) > 0 {
			most = lp.l.cfg.Slow
		}
		if now.Sub(c.since) > most || asked == stopped || asked == stopping && len(c.partial) == 0 {
			over = append(over, c)
		}
	}
	lp.mu.Unlock()
	for _, c := range over {
		lp.end(c)
	}
}

// read and write do not tell the runtime that they may block, because on these
// descriptors they do not.
func read(fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

func write(fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
