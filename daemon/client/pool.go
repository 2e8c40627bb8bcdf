package client

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// pool keeps connections open between calls. The one used last is used next, so
// that few stay warm and the rest become old and are closed.
type pool struct {
	dial    func(ctx context.Context) (net.Conn, error)
	idleFor time.Duration
	// slots has one element for each call under way.
	slots chan struct{}

	mu     sync.Mutex
	idle   []*conn // in the order in which they became so
	closed bool
	reaper *time.Timer // nil while nothing is idle
}

// conn is one connection, used by one call at a time.
type conn struct {
	net.Conn
	// limit bounds what one answer may be read from.
	limit  io.LimitedReader
	reader *bufio.Reader
	// since is when it became idle.
	since time.Time
	// abort ends what is being read or written.
	abort func()
}

func newPool(dial func(ctx context.Context) (net.Conn, error), most int, idleFor time.Duration) *pool {
	return &pool{dial: dial, idleFor: idleFor, slots: make(chan struct{}, most)}
}

// enter waits until another call may be under way; leave is called after it.
func (p *pool) enter(ctx context.Context, deadline time.Time) error {
	select {
	case p.slots <- struct{}{}:
		return nil
	default:
	}
	late := time.NewTimer(time.Until(deadline))
	defer late.Stop()
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-late.C:
		return context.DeadlineExceeded
	}
}

func (p *pool) leave() { <-p.slots }

// kept takes an idle connection; nil where there is none.
func (p *pool) kept() (*conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	n := len(p.idle)
	if n == 0 || time.Since(p.idle[n-1].since) >= p.idleFor {
		return nil, nil
	}
	c := p.idle[n-1]
	p.idle[n-1] = nil
	p.idle = p.idle[:n-1]
	return c, nil
}

// fresh opens a connection.
func (p *pool) fresh(ctx context.Context, deadline time.Time) (*conn, error) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	nc, err := p.dial(ctx)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: nc, limit: io.LimitedReader{R: nc}}
	c.reader = bufio.NewReader(&c.limit)
	c.abort = func() { _ = nc.SetDeadline(time.Unix(1, 0)) } // fails only where it is closed
	return c, nil
}

// keep makes a connection idle.
func (p *pool) keep(c *conn) {
	c.since = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = c.Close()
		return
	}
	p.idle = append(p.idle, c)
	if p.reaper == nil {
		p.reaper = time.AfterFunc(p.idleFor, p.reap)
	}
}

// reap closes what was idle for too long.
func (p *pool) reap() {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := 0
	for old < len(p.idle) && time.Since(p.idle[old].since) >= p.idleFor {
		_ = p.idle[old].Close()
		old++
	}
	p.idle = append(p.idle[:0:0], p.idle[old:]...)
	if p.reaper = nil; len(p.idle) > 0 {
		p.reaper = time.AfterFunc(p.idleFor-time.Since(p.idle[0].since), p.reap)
	}
}

// drop closes everything that is idle.
func (p *pool) drop() error {
	p.mu.Lock()
	idle := p.idle
	p.idle = nil
	if p.reaper != nil {
		p.reaper.Stop()
		p.reaper = nil
	}
	p.mu.Unlock()
	var failed []error
	for _, c := range idle {
		failed = append(failed, c.Close())
	}
	return errors.Join(failed...)
}

func (p *pool) close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	return p.drop()
}
