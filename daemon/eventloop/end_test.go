package eventloop_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/caracalai/caracald/daemon/eventloop"
)

// Who never reads the rest of an answer is given up.
func TestReaderThatStops(t *testing.T) {
	tcp(t, func(t *testing.T, network string) {
		closed := make(chan struct{}, 1)
		e := start(t, network, func(c *eventloop.Config, e *echo) {
			c.Slow = 20 * time.Millisecond
			e.before = func(r *eventloop.Request) { r.Body = make([]byte, 24<<20) }
			e.state = func(_ net.Conn, s fasthttp.ConnState) {
				if s == fasthttp.StateClosed {
					closed <- struct{}{}
				}
			}
		})
		c := e.dial(t)
		c.send(post("a"))
		if b, err := c.r.Peek(1); err != nil || b[0] != 'H' {
			t.Fatal(b, err)
		}
		select {
		case <-closed:
		case <-time.After(patience):
			t.Error("the connection is not given up")
		}
	})
}

func TestSilentConnections(t *testing.T) {
	tcp(t, func(t *testing.T, network string) {
		e := start(t, network, func(c *eventloop.Config, _ *echo) { c.Idle, c.Slow = 40*time.Millisecond, 20*time.Millisecond })
		idle, partial := e.dial(t), e.dial(t)
		_, _ = io.WriteString(partial, post("abc")[:10]) // unless it is closed already
		used := e.dial(t)
		for { // until one is answered before it is closed
			if _, err := io.WriteString(used, post("a")); err == nil {
				if resp, err := http.ReadResponse(used.r, nil); err == nil {
					if data, err := io.ReadAll(resp.Body); err != nil || string(data) != "a" {
						t.Fatalf("%q, %v", data, err)
					}
					break
				}
			}
			used = e.dial(t)
		}
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
		// Connections are dealt out to the loops in turn: one more for each, accepted after
		// begun's bytes were there, so that its loop has read them.
		probes := []*caller{e.dial(t), e.dial(t)}
		for _, c := range probes {
			c.send(post("a"))
			c.answer()
		}
		ended := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			ended <- e.l.Shutdown(ctx)
		}()
		for _, c := range append(probes, idle) { // until each loop knows
			c.gone()
		}
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
