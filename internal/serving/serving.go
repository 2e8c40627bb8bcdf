// Package serving is how a control plane and a mirror serve HTTP to thousands of
// daemons, each of which holds a connection for as long as it lives.
package serving

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// headerTimeout bounds how long a caller may take to send a request's header.
	headerTimeout = 10 * time.Second
	// handshakeTimeout bounds the handshake of TLS.
	handshakeTimeout = 10 * time.Second
)

// New makes a server.
func New(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
}

// Secure makes a listener of TLS, for HTTP/2 and HTTP/1.1, out of another.
//
// Its connections have shaken hands before they are accepted. A server would do that
// where it then serves the connection, on a stack that has to grow for the handshake
// and stays as large for as long as the connection lives: 8 kB of each.
func Secure(l net.Listener, config *tls.Config) net.Listener {
	config = config.Clone()
	config.NextProtos = []string{"h2", "http/1.1"}
	ctx, cancel := context.WithCancel(context.Background())
	s := &secure{Listener: tls.NewListener(l, config), ctx: ctx, cancel: cancel, shaken: make(chan net.Conn), failed: make(chan error)}
	s.work.Go(s.run)
	return s
}

type secure struct {
	net.Listener
	// ctx ends when the listener is closed.
	ctx    context.Context
	cancel context.CancelFunc
	shaken chan net.Conn
	failed chan error
	work   sync.WaitGroup
}

func (s *secure) run() {
	for {
		conn, err := s.Listener.Accept()
		if err == nil {
			s.work.Go(func() { s.shake(conn) })
			continue
		}
		// Whoever accepts knows what can be tried again, and pauses.
		select {
		case s.failed <- err:
		case <-s.ctx.Done():
			return
		}
	}
}

func (s *secure) shake(conn net.Conn) {
	if c, ok := conn.(*tls.Conn); ok {
		ctx, cancel := context.WithTimeout(s.ctx, handshakeTimeout)
		defer cancel()
		// A failed handshake fails again for the server, which logs it, and answers
		// those who speak HTTP in the clear.
		_ = c.HandshakeContext(ctx)
	}
	select {
	case s.shaken <- conn:
	case <-s.ctx.Done():
		_ = conn.Close() // nobody will serve it
	}
}

// Accept gives the next connection that has shaken hands.
func (s *secure) Accept() (net.Conn, error) {
	select {
	case conn := <-s.shaken:
		return conn, nil
	case err := <-s.failed:
		return nil, err
	case <-s.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close ends listening, and the handshakes under way.
func (s *secure) Close() error {
	s.cancel()
	err := s.Listener.Close()
	s.work.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
