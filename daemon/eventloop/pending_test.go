package eventloop_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/caracalai/caracald/daemon/eventloop"
)

// keeper holds back the answers of groups until the test lets them.
type keeper struct{ held chan func() }

// kept starts a server of one loop whose answers wait for the test.
func kept(t *testing.T, network string) (*echo, *keeper) {
	t.Helper()
	k := &keeper{make(chan func(), 100)}
	return start(t, network, func(c *eventloop.Config, e *echo) {
		c.Loops, e.later, e.keep = 1, true, func(ready func()) { k.held <- ready }
	}), k
}

// next waits for the next group that is held back.
func (k *keeper) next(t *testing.T) (ready func()) {
	t.Helper()
	select {
	case ready = <-k.held:
	case <-time.After(patience):
		t.Fatal("no group was taken in")
	}
	return ready
}

// Whoever comes while others wait is taken in, and answered first where it is ready first.
func TestPendingHoldsNobodyUp(t *testing.T) {
	e, k := kept(t, "tcp")
	const callers = 5
	var all []*caller
	var ready []func()
	for i := range callers {
		c := e.dial(t)
		c.send(post(fmt.Sprint("first ", i)))
		all, ready = append(all, c), append(ready, k.next(t))
	}
	for i := callers - 1; i >= 0; i-- {
		ready[i]()
		if _, _, body := all[i].answer(); body != fmt.Sprint("first ", i) {
			t.Errorf("%q was the answer to %d", body, i)
		}
		all[i].send(post("again"))
		k.next(t)()
		if _, _, body := all[i].answer(); body != "again" {
			t.Errorf("%q", body)
		}
	}
	if n := e.behind.Load(); n != 0 {
		t.Errorf("the server behind answered %d", n)
	}
}

// What is sent while an answer waits is answered after it.
func TestSendingWhilePending(t *testing.T) {
	e, k := kept(t, "tcp")
	c, other := e.dial(t), e.dial(t)
	c.send(post("one"))
	ready := k.next(t)
	c.send(post("two"))
	for range 3 { // the loop has seen what came, and goes on
		other.send(post("other"))
		k.next(t)()
		other.answer()
	}
	ready()
	if _, _, body := c.answer(); body != "one" {
		t.Errorf("%q", body)
	}
	k.next(t)()
	if _, _, body := c.answer(); body != "two" {
		t.Errorf("%q", body)
	}
}

// Who goes while its answer waits leaves nothing behind, and who takes its place in
// the table of descriptors does not get the answer.
func TestGoingWhilePending(t *testing.T) {
	e, k := kept(t, "tcp")
	for i := range 20 {
		c := e.dial(t)
		c.send(post("gone"))
		ready := k.next(t)
		if conn, ok := c.Conn.(*net.TCPConn); ok && i%2 == 0 {
			_ = conn.SetLinger(0) // a reset
		}
		_ = c.Close()
		next := e.dial(t)
		next.send(post("next"))
		other := k.next(t)
		ready()
		other()
		if _, _, body := next.answer(); body != "next" {
			t.Fatalf("%q", body)
		}
	}
}

// Ending waits for answers that wait, as long as it is let.
func TestShutdownWhilePending(t *testing.T) {
	e, k := kept(t, "tcp")
	c, idle := e.dial(t), e.dial(t)
	idle.send(post("a"))
	k.next(t)()
	idle.answer()
	c.send(post("waits"))
	ready := k.next(t)
	ended := make(chan error, 1)
	go func() { ended <- e.l.Shutdown(t.Context()) }()
	idle.gone()
	select {
	case err := <-ended:
		t.Fatalf("ended with an answer that waits: %v", err)
	default:
	}
	ready()
	if resp, body := c.response(); body != "waits" || !resp.Close {
		t.Errorf("%q, %v", body, resp)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}

	e, k = kept(t, "tcp")
	c = e.dial(t)
	c.send(post("waits"))
	ready = k.next(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.l.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that it was late", err)
	}
	c.gone()
	ready() // comes too late, and does no harm
}

// Answers that become ready at any moment are all written.
func TestReadyAtAnyMoment(t *testing.T) {
	e := start(t, "tcp later", func(c *eventloop.Config, e *echo) {
		c.Loops = 1
		e.keep = func(ready func()) { ready() } // before the handler has returned
	})
	const callers, requests = 16, 500
	var all sync.WaitGroup
	for range callers {
		c := e.dial(t)
		all.Go(func() {
			for i := range requests {
				c.send(post(fmt.Sprint(i)))
				if _, _, body := c.answer(); body != fmt.Sprint(i) {
					t.Errorf("%q, want %d", body, i)
					return
				}
			}
		})
	}
	all.Wait()
}
