package daemon_test

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/caracalai/caracald/daemon"
)

// swept gives both ends of a connection, the first of which has swept deadlines.
func swept(t *testing.T) (accepted, dialled net.Conn) {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := daemon.NewSweptListener(inner)
	t.Cleanup(func() { _ = l.Close() })
	if dialled, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dialled.Close() })
	if accepted, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = accepted.Close() })
	return accepted, dialled
}

// far is ahead enough for a deadline to be swept, rather than the connection's own.
const far = 2*daemon.SweepInterval + 200*time.Millisecond

// A deadline that passes ends a read that waits, and one that is pushed on before
// does not. After it passed, a later one makes the connection good again.
func TestSweptDeadlines(t *testing.T) {
	for _, ahead := range []time.Duration{far, 10 * time.Millisecond, -time.Second} {
		c, other := swept(t)
		for range 3 {
			if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
		}
		set := time.Now()
		if err := c.SetReadDeadline(set.Add(ahead)); err != nil {
			t.Fatal(err)
		}
		one := make([]byte, 1)
		if _, err := c.Read(one); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("a read past its deadline, %v ahead, gave %v", ahead, err)
		}
		if took := time.Since(set); took < ahead {
			t.Fatalf("the deadline, %v ahead, ended the read after %v", ahead, took)
		}
		if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := other.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(one); err != nil {
			t.Fatalf("after a deadline, %v ahead, passed and another was set: %v", ahead, err)
		}
	}
}

// A deadline that is pushed on while a read waits is not enforced.
func TestSweptDeadlineIsPushedOn(t *testing.T) {
	c, other := swept(t)
	if err := c.SetDeadline(time.Now().Add(far)); err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		read <- err
	}()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	// A second connection with the same deadline, not pushed on, tells when the
	// first one's would have been enforced.
	d, _ := swept(t)
	if err := d.SetReadDeadline(time.Now().Add(far + daemon.SweepInterval)); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	if _, err := other.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := <-read; err != nil {
		t.Fatalf("a read whose deadline was pushed on gave %v", err)
	}
}

// A peer that takes nothing is given up at the deadline of writing.
func TestSweptWriteDeadline(t *testing.T) {
	c, _ := swept(t)
	if err := c.SetWriteDeadline(time.Now().Add(far)); err != nil {
		t.Fatal(err)
	}
	much := make([]byte, 1<<20)
	for {
		if _, err := c.Write(much); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			return
		}
	}
}
