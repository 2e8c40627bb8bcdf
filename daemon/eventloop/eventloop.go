// Package eventloop serves the plainest form of a request of HTTP/1.1, one POST
// to one path, from a loop for each processor, and leaves all else to a server
// that takes the whole of HTTP.
//
// A server with a goroutine for each connection pays, for each request, a read
// that finds nothing, a goroutine that is put to sleep and woken, and timers. A
// loop asks the kernel once which of its connections have a request, reads them
// all, has them answered together and writes the answers.
//
// The loops read a closed form of request (see [Parse]). At the first byte that
// is outside of it the connection, with all that was read of it, is what the
// listener's Accept returns, so that the server behind decides what to make of
// it: chunked bodies, other methods and paths, pipelining, what is malformed. So
// nothing has to be right twice.
//
// Only Linux has the loops. Elsewhere every connection goes to the server behind.
package eventloop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Handler takes in requests that came in together. It fills the Answer of each,
// the whole of an HTTP response, or sets Elsewhere. Where it gives something that is
// pending, answers are filled when that ends, and the loop goes on meanwhile; the
// requests' bytes are the loop's again as soon as the handler returns.
//
// It tells whether it was quick: where it was not, fewer requests wait for each
// other from then on.
type Handler func(group []*Request) (p Pending, quick bool)

// Pending are requests whose answers wait for something, such as a disk.
type Pending interface {
	// Ready tells whether End returns at once. The handler's wake is to be called
	// when it has become so.
	Ready() bool
	// End fills the Answer of each request of the group but those that are answered
	// elsewhere. Close may have been set meanwhile. It is called once, by the loop.
	End()
}

// Config says what the loops serve. Path, MaxBody, Loops and NewHandler are required.
type Config struct {
	// Path is the only one that the loops serve.
	Path string
	// MaxBody bounds a body, in bytes; requests with a longer one are left to the
	// server behind.
	MaxBody int
	// Loops is the number of loops, each of which answers one group at a time.
	Loops int
	// NewHandler makes the handler of one loop, which never calls it from two
	// goroutines at once. wake makes the loop look whether what is pending is ready;
	// it may be called by anybody, at any time, and returns at once.
	NewHandler func(wake func()) Handler
	// MaxConns bounds the connections that are open at once, those among them that the
	// server behind has; who comes then is accepted when one has ended. It does not
	// bound those of a listener that has no loops. 0 is no bound.
	MaxConns int
	// Exhausted is told why no connection can be accepted for now, once each time that
	// begins. It may be nil, and is to return soon.
	Exhausted func(error)
	// Idle is how long a connection may be silent between requests, and Slow how
	// long the rest of a request may take to come; 2 minutes and 30 s when zero.
	Idle, Slow time.Duration
}

func (c *Config) check() error {
	switch {
	case c.Path == "" || c.Path[0] != '/':
		return errors.New("the path of an event loop does not begin with a slash")
	case c.MaxBody <= 0 || c.Loops <= 0 || c.MaxConns < 0:
		return errors.New("the bounds of an event loop are not positive")
	case c.NewHandler == nil:
		return errors.New("an event loop has no handler")
	}
	if c.Idle == 0 {
		c.Idle = 2 * time.Minute
	}
	if c.Slow == 0 {
		c.Slow = 30 * time.Second
	}
	if c.Exhausted == nil {
		c.Exhausted = func(error) {}
	}
	return nil
}

// Listener takes connections from another listener and serves those that ask in
// the plainest form. Accept returns the others.
type Listener interface {
	net.Listener
	// Shutdown closes the listener and connections without a request, answers
	// requests that have begun to come in, and returns when there are none, or with
	// the context's error when that is done first.
	Shutdown(ctx context.Context) error
}

// patient is a listener that waits while the system has no room for a connection. It may
// be closed again, as it is by a server and by who shuts the loops down.
type patient struct {
	net.Listener
	exhausted func(error)
	closing   sync.Once
	err       error
}

// acceptRest is how long it is waited before it is asked again for a connection that
// there was no room for.
const acceptRest = 50 * time.Millisecond

// Accept fails for good only. Servers take an error to be that, and would end because
// somebody has opened many connections.
func (l *patient) Accept() (net.Conn, error) {
	for told := false; ; told = true {
		c, err := l.Listener.Accept()
		if err == nil || !slices.ContainsFunc(noRoom, func(e error) bool { return errors.Is(err, e) }) {
			return c, err
		}
		if !told {
			l.exhausted(err)
		}
		time.Sleep(acceptRest)
	}
}

// noRoom are the errors that pass, by accept(2): no descriptors of the process or the
// system are left, or no memory of the network's.
var noRoom = []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM}

func (l *patient) Close() error {
	l.closing.Do(func() { l.err = l.Listener.Close() })
	return l.err
}

// passing is a listener without loops.
type passing struct{ patient }

func (l *passing) Shutdown(context.Context) error { return l.Close() }

// left is a connection that the loops leave to the server behind, with what they
// read of it.
type left struct {
	net.Conn
	// slow bounds how long unsent may take.
	slow time.Duration
	// unsent is written first, read is read first.
	unsent, read []byte
	// back gives the connection back to the loops, where they can have it; it has read
	// ahead what data has.
	back func(c net.Conn, data []byte)
	// over is called once, when the connection is closed without being given back.
	over   func()
	ending sync.Once
}

func (c *left) Close() error {
	c.ending.Do(c.over)
	return c.Conn.Close()
}

// Returnable tells whether a connection that Accept returned may go to Return.
func Returnable(c net.Conn) bool {
	l, ok := c.(*left)
	return ok && l.back != nil
}

// Return gives a Returnable connection back to the loops, after the server behind has
// answered what it was left for. ahead is where that server reads it, through a buffer
// of its own: where it has read of the next request, that is left to it too.
func Return(c net.Conn, ahead io.Reader) error {
	l, ok := c.(*left)
	if !ok || l.back == nil {
		return errors.New("the connection does not come from an event loop")
	}
	// So that only what is in the buffer is read.
	if err := l.SetReadDeadline(time.Unix(1, 0)); err != nil {
		return err
	}
	data, err := io.ReadAll(ahead)
	if err == nil {
		err = io.EOF
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("taking a connection back: %w", err)
	}
	if err := l.SetDeadline(time.Time{}); err != nil {
		return err
	}
	l.ending.Do(func() {}) // it goes on
	l.back(l.Conn, data)
	return nil
}

func (c *left) Read(b []byte) (int, error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	if len(c.read) > 0 {
		n := copy(b, c.read)
		if c.read = c.read[n:]; len(c.read) == 0 {
			c.read = nil
		}
		return n, nil
	}
	return c.Conn.Read(b)
}

func (c *left) Write(b []byte) (int, error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// flush sends what a loop could not, in its time: a server only bounds what it
// writes itself.
func (c *left) flush() error {
	if len(c.unsent) == 0 {
		return nil
	}
	if err := c.SetWriteDeadline(time.Now().Add(c.slow)); err != nil {
		return err
	}
	for len(c.unsent) > 0 {
		n, err := c.Conn.Write(c.unsent)
		c.unsent = c.unsent[n:]
		if err != nil {
			return err
		}
	}
	c.unsent = nil
	return c.SetWriteDeadline(time.Time{})
}
