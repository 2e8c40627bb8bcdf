package eventloop

import (
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
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

	mu     sync.Mutex
	conns  map[int]*conn
	asked  int
	due    bool // a sweep
	closed bool // wakeup is

	ended chan struct{}
	// watched says that a group is pending, so that who makes it ready wakes the loop.
	watched atomic.Bool

	last    bool // answers end their connections
	most    int  // how many requests the next group may have
	events  [maxGroup]unix.EpollEvent
	ready   int                // how many of events count
	look    func(uintptr) bool // epoll, bound once
	room    []byte
	coming  *group   // that is being read
	pending []*group // whose answers wait for something
	groups  []*group // to use again
	free    []*Request
}

// group are requests that are answered together.
type group struct {
	requests []*Request
	members  []member
	pending  Pending
}

// conn is a connection that asks in the plainest form.
type conn struct {
	fd int
	// partial is the beginning of a request.
	partial []byte
	// since is when the connection became silent, or its request began.
	since time.Time
	// busy says that its request is in a group that is pending, and unwatched that
	// epoll does not have it because something came of it meanwhile.
	busy, unwatched bool
	// gone says that it was closed.
	gone bool
}

// member is a connection whose request is in a group, and what came behind it.
type member struct {
	c     *conn
	extra []byte
}

func newLoop(l *listener) (lp *loop, err error) {
	lp = &loop{l: l, wakeup: -1, conns: map[int]*conn{}, ended: make(chan struct{}), room: make([]byte, 0, roomBytes), most: maxGroup, coming: new(group)}
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
	// By its edge, so that nobody has to read how often it was written.
	if err := lp.control(unix.EPOLL_CTL_ADD, lp.wakeup, unix.EPOLLIN|unix.EPOLLET); err != nil {
		return nil, err
	}
	lp.handle, lp.look = l.cfg.NewHandler(lp.wake), lp.epoll
	return lp, nil
}

// release gives back what newLoop took.
func (lp *loop) release() {
	if lp.poll != nil {
		_ = lp.poll.Close()
	}
	lp.mu.Lock()
	defer lp.mu.Unlock()
	lp.closed = true
	if lp.wakeup >= 0 {
		_ = unix.Close(lp.wakeup)
	}
}

func (lp *loop) control(what, fd int, events uint32) error {
	var err error
	if failed := lp.raw.Control(func(of uintptr) {
		err = os.NewSyscallError("epoll_ctl", unix.EpollCtl(int(of), what, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}))
	}); failed != nil {
		return failed
	}
	return err
}

// add takes a connection over.
func (lp *loop) add(fd int) {
	lp.mu.Lock()
	defer lp.mu.Unlock()
	if lp.asked != serving || lp.control(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN) != nil {
		_ = unix.Close(fd)
		lp.l.exit()
		return
	}
	lp.conns[fd] = &conn{fd: fd, since: time.Now()}
}

// ask makes the loop look for connections that were silent for too long and, unless
// how is serving, end one way or the other.
func (lp *loop) ask(how int) {
	lp.mu.Lock()
	defer lp.mu.Unlock()
	lp.asked, lp.due = max(lp.asked, how), true
	lp.signal()
}

// wake makes the loop look whether what is pending is ready, where anything is.
func (lp *loop) wake() {
	if !lp.watched.CompareAndSwap(true, false) {
		return
	}
	lp.mu.Lock()
	defer lp.mu.Unlock()
	lp.signal()
}

var one = [8]byte{1}

// signal wakes the loop. The caller holds mu.
func (lp *loop) signal() {
	if !lp.closed {
		_, _ = write(lp.wakeup, one[:])
	}
}

// run serves until the loop is stopped.
func (lp *loop) run() {
	defer close(lp.ended)
	defer lp.release()
	var ready [maxGroup]*conn
	for {
		n := lp.wait()
		now := time.Now()
		lp.mu.Lock()
		for i := range lp.events[:n] {
			ready[i] = lp.conns[int(lp.events[i].Fd)]
		}
		asked, due := lp.asked, lp.due
		lp.due = false
		lp.mu.Unlock()
		lp.last = asked != serving
		for _, c := range ready[:n] {
			if c != nil {
				lp.read(c, now)
			}
		}
		lp.take(now)
		lp.settle(false)
		if due {
			lp.sweep(now, asked)
		}
		if lp.last {
			lp.mu.Lock()
			left := len(lp.conns)
			lp.mu.Unlock()
			if left == 0 {
				lp.settle(true) // of connections that are closed
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
	if c.busy {
		// Whoever sends before the answer waits for it. Epoll would tell of it again
		// and again, of an end even when it is asked for nothing.
		_ = lp.control(unix.EPOLL_CTL_DEL, c.fd, 0)
		c.unwatched = true
		return
	}
	if roomBytes-len(lp.room) < readBytes {
		lp.take(now)
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
		lp.coming.requests = append(lp.coming.requests, r)
		lp.coming.members = append(lp.coming.members, member{c, data[length:]})
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

// take has the handler take in what was read, and writes the answers that there are.
func (lp *loop) take(now time.Time) {
	g := lp.coming
	if len(g.requests) == 0 {
		lp.room = lp.room[:0]
		return
	}
	for _, r := range g.requests {
		r.Answer, r.Close, r.Elsewhere = r.Answer[:0], lp.last, false
	}
	pending, quick := lp.handle(g.requests)
	if quick {
		lp.most = min(lp.most+1, maxGroup)
	} else {
		lp.most = max(len(g.requests)/2, 1)
	}
	if pending == nil {
		lp.write(g, now)
		lp.room = lp.room[:0]
		return
	}
	for i, r := range g.requests {
		m := &g.members[i]
		if r.Elsewhere { // while there are its bytes
			lp.leave(m.c, nil, slices.Concat(r.whole, m.extra))
		} else {
			m.c.busy, m.extra = true, slices.Clone(m.extra)
		}
		m.c.partial = nil
	}
	g.pending, lp.room = pending, lp.room[:0]
	lp.pending = append(lp.pending, g)
	if n := len(lp.groups); n > 0 {
		lp.coming, lp.groups = lp.groups[n-1], lp.groups[:n-1]
	} else {
		lp.coming = new(group)
	}
}

// settle ends groups that are ready, or all of them, and writes their answers.
func (lp *loop) settle(all bool) {
	for range 2 { // whoever makes one ready after the second look sees that it is watched
		if len(lp.pending) == 0 {
			return
		}
		left := lp.pending[:0]
		for _, g := range lp.pending {
			if all || g.pending.Ready() {
				lp.finish(g)
			} else {
				left = append(left, g)
			}
		}
		clear(lp.pending[len(left):])
		lp.pending = left
		lp.watched.Store(len(left) > 0)
	}
}

// finish ends a group that was pending.
func (lp *loop) finish(g *group) {
	for _, r := range g.requests {
		r.Close = lp.last
	}
	g.pending.End()
	g.pending = nil
	lp.write(g, time.Now())
	lp.groups = append(lp.groups, g)
}

// write writes the answers of a group, which is empty then.
func (lp *loop) write(g *group, now time.Time) {
	for i, r := range g.requests {
		c, extra := g.members[i].c, g.members[i].extra
		g.members[i] = member{}
		c.since, c.busy = now, false
		if c.gone {
			continue
		}
		if r.Elsewhere {
			lp.leave(c, nil, slices.Concat(r.whole, extra))
		} else if n, errno := write(c.fd, r.Answer); errno != 0 && errno != unix.EAGAIN && errno != unix.EINTR {
			lp.end(c)
		} else if n < len(r.Answer) || len(extra) > 0 && !r.Close { // a slow reader, or one who does not wait for answers
			lp.leave(c, r.Answer[n:], extra)
		} else if r.Close || c.unwatched && !lp.watch(c) {
			lp.end(c)
		}
		c.partial = nil
		if cap(r.Answer) > readBytes {
			r.Answer = nil
		}
	}
	lp.free = append(lp.free, g.requests...)
	g.requests, g.members = g.requests[:0], g.members[:0]
}

// watch makes epoll tell of a connection again.
func (lp *loop) watch(c *conn) bool {
	c.unwatched = false
	return lp.control(unix.EPOLL_CTL_ADD, c.fd, unix.EPOLLIN) == nil
}

// leave gives a connection to the server behind, with copies of what is to be
// written first and was read already.
func (lp *loop) leave(c *conn, unsent, data []byte) {
	lp.forget(c)
	lp.hand(c.fd, slices.Clone(unsent), slices.Clone(data))
}

// hand gives a descriptor to the server behind.
func (lp *loop) hand(fd int, unsent, data []byte) {
	f := os.NewFile(uintptr(fd), "connection")
	nc, err := net.FileConn(f)
	_ = f.Close() // nc has a duplicate
	if err != nil {
		lp.l.exit()
		return
	}
	go lp.l.leave(&left{Conn: nc, slow: lp.l.cfg.Slow, unsent: unsent, read: data, back: lp.back, over: lp.l.exit}) // who accepts may take its time
}

// back takes a connection over again, of which data was read ahead.
func (lp *loop) back(c net.Conn, data []byte) {
	fd, err := detach(c)
	switch {
	case err != nil:
		_ = c.Close()
		lp.l.exit()
	case len(data) > 0:
		lp.hand(fd, nil, data)
	default:
		lp.add(fd)
	}
}

// end closes a connection.
func (lp *loop) end(c *conn) {
	lp.forget(c)
	_ = unix.Close(c.fd)
	lp.l.exit()
}

func (lp *loop) forget(c *conn) {
	lp.mu.Lock()
	defer lp.mu.Unlock()
	c.gone = true
	delete(lp.conns, c.fd)
	_ = lp.control(unix.EPOLL_CTL_DEL, c.fd, 0)
}

// sweep closes connections that were silent for too long, and when the loop is
// to end those without a request.
func (lp *loop) sweep(now time.Time, asked int) {
	lp.mu.Lock()
	var over []*conn
	for _, c := range lp.conns {
		if c.busy && asked != stopped { // it waits for its answer
			continue
		}
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
