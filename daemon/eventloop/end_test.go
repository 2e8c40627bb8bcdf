package eventloop_test

import (
	"context"
	"errors"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/caracalai/caracald/daemon/eventloop"
)

// Who never reads the rest of an answer is given up.
func TestReaderThatStops(t *testing.T) {
	tcp(t, func(t *testing.T, network string) {
		e := start(t, network, func(c *eventloop.Config, e *echo) {
			c.Slow = 500 * time.Millisecond
			e.before = func(r *eventloop.Request) { r.Body = make([]byte, 24<<20) }
		})
		c := e.dial(t)
		c.send(post("a"))
		if b, err := c.r.Peek(1); err != nil || b[0] != 'H' {
			t.Fatal(b, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for e.server.GetOpenConnectionsCount() == 0 && ctx.Err() == nil { // until it has the connection
			runtime.Gosched()
		}
		if err := e.server.ShutdownWithContext(ctx); err != nil { // waits for its connections
			t.Error(err)
		}
	})
}

func TestSilentConnections(t *testing.T) {
	tcp(t, func(t *testing.T, network string) {
		e := start(t, network, func(c *eventloop.Config, _ *echo) { c.Idle, c.Slow = 40*time.Millisecond, 20*time.Millisecond })
		idle, used, partial := e.dial(t), e.dial(t), e.dial(t)
		used.send(post("a"))
		used.answer()
		partial.send(post("abc")[:10])
		for _, c := range []*caller{idle, used, partial} {
			c.gone()
		}
	})
}

func TestCallersThatGo(t *testing.T) {
	tcp(t, func(t *testing.T, network string) {
		e := start(t, network, nil)
		for i := range 50 {
			c := e.dial(t)
			switch i % 3 {
			case 0:
				c.send(post("abc")[:30])
			case 1:
				c.send(post("abc")) // and does not read the answer
			}
			if tcp, ok := c.Conn.(*net.TCPConn); ok && i%2 == 0 {
				_ = tcp.SetLinger(0) // a reset
			}
			_ = c.Close()
		}
		c := e.dial(t)
		c.send(post("still there"))
		if _, _, body := c.answer(); body != "still there" {
			t.Errorf("%q", body)
		}
		// Who has said all may still read the answer.
		c.send(post("last"))
		if tcp, ok := c.Conn.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
		if _, _, body := c.answer(); body != "last" {
			t.Errorf("%q", body)
		}
		c.gone()
	})
}

func TestShutdown(t *testing.T) {
	tcp(t, func(t *testing.T, network string) {
		e := start(t, network, nil)
		idle, begun := e.dial(t), e.dial(t)
		for _, c := range []*caller{idle, begun} {
			c.send(post("a"))
			c.answer()
		}
		text := post("begun")
		begun.send(text[:len(text)-1])
		probe := e.dial(t) // accepted after begun's bytes were there
		probe.send(post("a"))
		probe.answer()
		ended := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			ended <- e.l.Shutdown(ctx)
		}()
		idle.gone()
		probe.gone()
		select {
		case err := <-ended:
			t.Fatalf("ended with a request under way: %v", err)
		default:
		}
		begun.send(text[len(text)-1:])
		if resp, body := begun.response(); body != "begun" || !resp.Close {
			t.Errorf("%q, %v", body, resp)
		}
		begun.gone()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if _, err := net.Dial("tcp", e.l.Addr().String()); err == nil {
			t.Error("connections are still accepted")
		}
	})
}

func TestShutdownInTime(t *testing.T) {
	tcp(t, func(t *testing.T, network string) {
		e := start(t, network, nil)
		c := e.dial(t)
		c.send(post("a")[:40])
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := e.l.Shutdown(ctx); !errors.Is(err, context.Canceled) && err != nil {
			t.Error(err)
		}
		c.gone()
	})
}
