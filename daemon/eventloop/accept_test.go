package eventloop_test

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caracalai/caracald/daemon/eventloop"
)

// short is a listener of a system that has run out of something a few times.
type short struct {
	*net.TCPListener
	of   error
	left atomic.Int32
}

func (s *short) Accept() (net.Conn, error) {
	if s.left.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", s.of)}
	}
	return s.TCPListener.Accept()
}

// Somebody who takes all descriptors does not end the server.
func TestNoDescriptors(t *testing.T) {
	for _, of := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		for _, way := range []string{"with loops", "without loops"} {
			t.Run(of.Error()+" "+way, func(t *testing.T) {
				var told atomic.Int32
				e := start(t, "tcp", func(c *eventloop.Config, e *echo) {
					c.Exhausted = func(err error) {
						if !errors.Is(err, of) {
							t.Errorf("told of %v", err)
						}
						told.Add(1)
					}
					e.wrap = func(l net.Listener) net.Listener {
						s := &short{TCPListener: l.(*net.TCPListener), of: of}
						s.left.Store(3)
						if way == "with loops" {
							return s
						}
						return struct{ net.Listener }{s} // without a descriptor
					}
				})
				c := e.dial(t)
				c.send(post("a"))
				if status, _, _ := c.answer(); status != 200 {
					t.Errorf("answered %d", status)
				}
				if n := told.Load(); n != 1 {
					t.Errorf("told %d times", n)
				}
			})
		}
	}
}

// Other errors are for good, and the server behind is told.
func TestListenerFails(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &short{TCPListener: inner.(*net.TCPListener), of: syscall.EINVAL}
	s.left.Store(1)
	l, err := eventloop.Listen(s, eventloop.Config{Path: "/echo", MaxBody: 1, Loops: 1, NewHandler: new(echo).handler})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Accept(); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("got %v", err)
	}
	if err := l.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// No more connections are open than may be, wherever they are served, and each that
// ends makes room, once.
func TestMaxConns(t *testing.T) {
	const most = 3
	ends := map[string]func(c *caller){
		"by the caller": func(c *caller) { _ = c.Close() },
		"by the loop": func(c *caller) {
			c.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nConnection: close\r\n\r\na")
			c.answer()
			c.gone()
		},
		"behind": func(c *caller) {
			c.send("DELETE /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			c.answer()
			c.gone()
		},
		"after it was back": func(c *caller) { c.send("GET /x HTTP/1.1\r\nHost: x\r\n\r\n"); c.answer(); _ = c.Close() },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			full := make(chan error, 100)
			e := start(t, "tcp", func(c *eventloop.Config, _ *echo) {
				c.MaxConns, c.Exhausted = most, func(err error) { full <- err }
			})
			var open []*caller
			for range most {
				c := e.dial(t)
				c.send(post("a"))
				c.answer()
				open = append(open, c)
			}
			for range 3 * most {
				select {
				case err := <-full:
					if err == nil {
						t.Error("it is not told why")
					}
				case <-time.After(patience):
					t.Fatal("there is no bound")
				}
				next := e.dial(t) // which waits in the listener's queue
				next.send(post("next"))
				before := e.loops.Load()
				open[1].send(post("a"))
				open[1].answer()
				if got := e.loops.Load() - before; got != 1 {
					t.Fatalf("%d answers, while one may be asked for", got)
				}
				end(open[0])
				next.answer()
				open = append(open[1:], next)
			}
		})
	}
}
