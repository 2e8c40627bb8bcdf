package daemon

import (
	"net"
	"sync"
	"time"
)

// sweepInterval is how often connections are looked through for deadlines that
// have passed, and so how late one may be noticed.
const sweepInterval = time.Second

// sweptListener gives connections whose deadlines cost no timer.
//
// The server pushes a connection's deadlines on with every request, three times.
// Each time the runtime would change a timer, and the first change after it looked
// at its timers wakes a thread that sleeps in the network poller, so that it sleeps
// no longer than to the new time: a system call and a switch of threads for a
// request, which is more than evaluating a policy takes. Here a deadline is only
// noted, and one goroutine for all connections looks now and then which have passed.
type sweptListener struct {
	net.Listener

	mu   sync.Mutex
	open map[*sweptConn]struct{}
	// sweeping is true while a goroutine looks through the connections.
	sweeping bool
}

func newSweptListener(l net.Listener) *sweptListener {
	return &sweptListener{Listener: l, open: map[*sweptConn]struct{}{}}
}

func (l *sweptListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	s := &sweptConn{Conn: c, l: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[s] = struct{}{}
	if !l.sweeping {
		l.sweeping = true
		go l.sweep()
	}
	return s, nil
}

// sweep enforces deadlines for as long as there are connections.
func (l *sweptListener) sweep() {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	var open []*sweptConn
	for now := range tick.C {
		open = open[:0]
		l.mu.Lock()
		for c := range l.open {
			open = append(open, c)
		}
		l.sweeping = len(open) > 0
		l.mu.Unlock()
		if len(open) == 0 {
			return
		}
		for i, c := range open {
			c.mu.Lock()
			c.read.enforce(now, c.Conn.SetReadDeadline)
			c.write.enforce(now, c.Conn.SetWriteDeadline)
			c.mu.Unlock()
			open[i] = nil
		}
	}
}

// sweptConn is a connection of a sweptListener.
type sweptConn struct {
	net.Conn
	l *sweptListener

	mu          sync.Mutex
	read, write noted
}

func (c *sweptConn) Close() error {
	c.l.mu.Lock()
	delete(c.l.open, c)
	c.l.mu.Unlock()
	return c.Conn.Close()
}

func (c *sweptConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read.set(t, c.Conn.SetReadDeadline)
}

func (c *sweptConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.write.set(t, c.Conn.SetWriteDeadline)
}

func (c *sweptConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.read.set(t, c.Conn.SetReadDeadline); err != nil {
		return err
	}
	return c.write.set(t, c.Conn.SetWriteDeadline)
}

// noted is a deadline for one direction.
type noted struct {
	// at is when it passes; zero for never, or where the connection knows it.
	at time.Time
	// told is that the connection itself has one.
	told bool
}

// set notes a deadline. One that is near is the connection's own affair, as nobody
// may look for a while.
func (n *noted) set(t time.Time, tell func(time.Time) error) error {
	if near := !t.IsZero() && time.Until(t) < 2*sweepInterval; near {
		n.at, n.told = time.Time{}, true
		return tell(t)
	}
	n.at = t
	if n.told {
		n.told = false
		return tell(time.Time{})
	}
	return nil
}

// enforce ends what waits on a connection where the deadline has passed.
func (n *noted) enforce(now time.Time, tell func(time.Time) error) {
	if !n.at.IsZero() && now.After(n.at) {
		n.told = tell(n.at) == nil // otherwise it is closed
		n.at = time.Time{}
	}
}
