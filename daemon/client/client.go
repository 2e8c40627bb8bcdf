// Package client asks a caracald daemon for decisions. A security token service
// links it and asks before it mints a token.
//
// It fails closed. Whatever goes wrong (the deadline passes, nobody listens, the
// daemon refuses, the answer cannot be read, uses a word that is not known or
// is about another zone or request) is an error, and the Decision beside the
// error is a deny. So is the zero Decision. Only [Decision.Allowed] means yes.
//
// It speaks HTTP/1.1 over connections that are kept open, to a TCP address or a
// Unix socket, and imports nothing but the standard library. net/http is used
// to read answers; its Transport is not, because it hands each request to two
// other goroutines, does not say whether a failed request may have been
// answered in part, and follows proxies and redirects, which have no place
// between an STS and its daemon.
//
// The daemon's API is described in the repository's README.
package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// Defaults of Config.
const (
	// DefaultAddr is where a daemon listens by convention.
	DefaultAddr = "http://127.0.0.1:8181"
	// DefaultTimeout is long for a decision, which takes well below a
	// millisecond and then one write of the audit to disk.
	DefaultTimeout = 2 * time.Second
	// DefaultMaxConnections is far below what a daemon serves at once by
	// default (1,024), so that several clients can share one.
	DefaultMaxConnections = 128
	// DefaultIdleTimeout is less than the daemon's two minutes, so that it is
	// mostly the client who ends a connection.
	DefaultIdleTimeout = 90 * time.Second
	// DefaultMaxAnswerBytes has room for a batch of 1,000 talkative answers.
	DefaultMaxAnswerBytes = 16 << 20
)

// Config is what a client needs. Zero values take the defaults.
type Config struct {
	// Addr is the daemon: http://HOST:PORT, https://HOST:PORT, or unix:///PATH
	// (unix:PATH is taken too) for a Unix socket. Default DefaultAddr.
	Addr string
	// Token is the bearer token that a daemon asks for on TCP; "" for none.
	Token string
	// Timeout bounds a whole call, waiting for a connection included. A
	// deadline of the call's context that is sooner goes before it. Default
	// DefaultTimeout.
	Timeout time.Duration
	// MaxConnections bounds the connections, and so the calls under way; more
	// wait. Default DefaultMaxConnections.
	MaxConnections int
	// IdleTimeout is how long an unused connection is kept. Default DefaultIdleTimeout.
	IdleTimeout time.Duration
	// MaxAnswerBytes bounds an answer. Default DefaultMaxAnswerBytes.
	MaxAnswerBytes int64
	// TLS is used for https; nil trusts the system's authorities.
	TLS *tls.Config
	// Inject adds headers to each call from its context, such as W3C
	// traceparent, which the daemon puts into the audit record. With
	// OpenTelemetry it is one line:
	//
	//	func(ctx context.Context, h client.Headers) { otel.GetTextMapPropagator().Inject(ctx, h) }
	//
	// It may be called at once by several goroutines. nil adds nothing.
	Inject func(ctx context.Context, h Headers)
}

// Client asks one daemon. Its methods may be used by many goroutines at once.
type Client struct {
	cfg  Config
	pool *pool
	// heads are the parts of requests that do not change.
	decide, batch, ready []byte
}

// New makes a client. It does not connect: the daemon may come later.
func New(cfg Config) (*Client, error) {
	if cfg.Addr == "" {
		cfg.Addr = DefaultAddr
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.MaxConnections == 0 {
		cfg.MaxConnections = DefaultMaxConnections
	}
	if cfg.IdleTimeout == 0 {
		cfg.IdleTimeout = DefaultIdleTimeout
	}
	if cfg.MaxAnswerBytes == 0 {
		cfg.MaxAnswerBytes = DefaultMaxAnswerBytes
	}
	if cfg.Timeout < 0 || cfg.MaxConnections < 0 || cfg.IdleTimeout < 0 || cfg.MaxAnswerBytes < 0 {
		return nil, errors.New("a decision client: Timeout, MaxConnections, IdleTimeout and MaxAnswerBytes cannot be negative")
	}
	if !headerValue(cfg.Token) {
		return nil, errors.New("a decision client: Token has characters that no header can carry")
	}
	at, err := parseAddr(cfg.Addr, cfg.TLS)
	if err != nil {
		return nil, fmt.Errorf("a decision client: Addr: %w", err)
	}
	c := &Client{cfg: cfg, pool: newPool(at.dial, cfg.MaxConnections, cfg.IdleTimeout)}
	head := func(method, path string) []byte {
		b := []byte(method + " " + at.base + path + " HTTP/1.1\r\nHost: " + at.host + "\r\nUser-Agent: caracal-decide-go\r\nAccept: application/json\r\n")
		if cfg.Token != "" {
			b = append(b, "Authorization: Bearer "+cfg.Token+"\r\n"...)
		}
		return b
	}
	c.decide, c.batch, c.ready = head("POST", "/v1/decide"), head("POST", "/v1/decide/batch"), head("GET", "/readyz")
	return c, nil
}

// Close closes the unused connections, and the others once their calls are
// answered. Calls after it fail with ErrClosed.
func (c *Client) Close() error { return c.pool.close() }

// endpoint is what an address leads to.
type endpoint struct {
	dial func(ctx context.Context) (net.Conn, error)
	// host is the Host header; base is put before paths.
	host, base string
}

func parseAddr(addr string, secure *tls.Config) (endpoint, error) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		path = strings.TrimPrefix(path, "//")
		if path == "" {
			return endpoint{}, fmt.Errorf("%q names no socket", addr)
		}
		return endpoint{host: "localhost", dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}, nil
	}
	u, err := url.Parse(addr)
	if err != nil {
		return endpoint{}, err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return endpoint{}, fmt.Errorf("%q is not like http://HOST:PORT, https://HOST:PORT or unix:///PATH", addr)
	}
	at := endpoint{host: u.Host, base: strings.TrimRight(u.EscapedPath(), "/")}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	target := net.JoinHostPort(u.Hostname(), port)
	at.dial = func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", target) }
	if u.Scheme == "https" {
		secure = secure.Clone()
		if secure == nil {
			secure = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		dialer := &tls.Dialer{Config: secure}
		at.dial = func(ctx context.Context) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", target) }
	}
	return at, nil
}
