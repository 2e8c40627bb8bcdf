package eventloop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// listener takes connections in, and gives each to a loop or to who calls Accept.
type listener struct {
	patient
	cfg   Config
	loops []*loop
	// places has one thing for each open connection; nil where they are not bounded.
	places chan struct{}

	others   chan net.Conn
	failures chan error
	closed   chan struct{}
	closing  sync.Once
}

// Listen has loops serve the connections of a listener for TCP or a Unix socket,
// which it closes when it is closed. Connections of other listeners, TLS above
// all, go to the server behind.
func Listen(inner net.Listener, c Config) (_ Listener, err error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if _, plain := inner.(syscall.Conn); !plain {
		return &passing{patient{Listener: inner, exhausted: c.Exhausted}}, nil
	}
	l := &listener{patient: patient{Listener: inner, exhausted: c.Exhausted}, cfg: c, others: make(chan net.Conn), failures: make(chan error), closed: make(chan struct{})}
	if c.MaxConns > 0 {
		l.places = make(chan struct{}, c.MaxConns)
	}
	defer func() {
		if err != nil {
			for _, lp := range l.loops {
				lp.release()
			}
		}
	}()
	for range c.Loops {
		lp, err := newLoop(l)
		if err != nil {
			return nil, fmt.Errorf("starting an event loop: %w", err)
		}
		l.loops = append(l.loops, lp)
	}
	for _, lp := range l.loops {
		go lp.run()
	}
	go l.take()
	go l.tick(max(min(c.Idle, c.Slow)/8, time.Millisecond))
	return l, nil
}

// take accepts connections and deals them out to the loops in turn.
func (l *listener) take() {
	for next := 0; l.enter(); next++ {
		c, err := l.patient.Accept()
		if err != nil {
			l.exit()
			select {
			case l.failures <- err: // whoever calls Accept knows what to make of it
			case <-l.closed:
				return
			}
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		fd, err := detach(c)
		if err != nil {
			l.leave(&left{Conn: c, slow: l.cfg.Slow, over: l.exit})
			continue
		}
		l.loops[next%len(l.loops)].add(fd)
	}
}

// errFull is why nothing is accepted when there are as many connections as there may be.
var errFull = errors.New("as many connections are open as there may be")

// enter waits until there may be another connection. It tells false when the listener
// is closed.
func (l *listener) enter() bool {
	if l.places == nil {
		return true
	}
	select {
	case l.places <- struct{}{}:
		return true
	default:
		l.exhausted(errFull)
	}
	select {
	case l.places <- struct{}{}:
		return true
	case <-l.closed:
		return false
	}
}

// exit is called once for each connection that has ended.
func (l *listener) exit() {
	if l.places != nil {
		<-l.places
	}
}

// tick lets the loops look for connections that were silent for too long.
func (l *listener) tick(every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			for _, lp := range l.loops {
				lp.ask(serving)
			}
		case <-l.closed:
			return
		}
	}
}

// detach takes a connection from the runtime's poller, which would otherwise be
// woken for each of its requests.
func detach(c net.Conn) (fd int, err error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return -1, errors.New("the connection has no descriptor")
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return -1, err
	}
	var dup error
	if err := raw.Control(func(of uintptr) { fd, dup = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return -1, err
	}
	if dup != nil {
		return -1, dup
	}
	_ = c.Close() // the duplicate is the connection
	return fd, nil
}

// leave gives a connection to whoever calls Accept.
func (l *listener) leave(c net.Conn) {
	select {
	case l.others <- c:
	case <-l.closed:
		_ = c.Close()
	}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.others:
		return c, nil
	case err := <-l.failures:
		return nil, err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.closing.Do(func() { close(l.closed) })
	return l.patient.Close()
}

func (l *listener) Shutdown(ctx context.Context) error {
	failed := l.Close()
	for _, lp := range l.loops {
		lp.ask(stopping)
	}
	late := false
	for _, lp := range l.loops {
		select {
		case <-lp.ended:
		case <-ctx.Done():
			late = true
			lp.ask(stopped)
			<-lp.ended
		}
	}
	if late {
		failed = errors.Join(failed, fmt.Errorf("waiting for requests that had begun: %w", ctx.Err()))
	}
	return failed
}
