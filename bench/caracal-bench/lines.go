package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"
)

// lineDeadline is when a call that was not answered has failed.
const lineDeadline = watchWait*time.Second + fleetPatience

// clearLine speaks HTTP/1.1 in the clear, at as little cost as can be.
type clearLine struct {
	crowd *crowd
	conn  net.Conn
	in    *bufio.Reader
}

func (l *clearLine) close() { _ = l.conn.Close() }

func (l *clearLine) call(_ context.Context, method, path string, body []byte) (status int, answer []byte, err error) {
	if err := l.conn.SetDeadline(time.Now().Add(lineDeadline)); err != nil {
		return 0, nil, err
	}
	head := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n", method, path, l.crowd.token)
	if body != nil {
		head = fmt.Appendf(head, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	if _, err := l.conn.Write(fmt.Appendf(head, "\r\n%s", body)); err != nil {
		return 0, nil, err
	}
	resp := fasthttp.AcquireResponse()
	defer fasthttp.ReleaseResponse(resp)
	if err := resp.Read(l.in); err != nil {
		return 0, nil, err
	}
	l.crowd.speaks("HTTP/1.1")
	return resp.StatusCode(), append([]byte(nil), resp.Body()...), nil
}

// speaks notes the protocol that is measured.
func (c *crowd) speaks(protocol string) {
	if c.protocol.Load() == nil {
		c.protocol.CompareAndSwap(nil, &protocol)
	}
}

// secureLine is a client as a daemon has it: net/http over TLS, which settles on
// HTTP/2. It has one connection, which is made with the first call.
type secureLine struct {
	crowd  *crowd
	client *http.Client
}

func newSecureLine(c *crowd, n int) *secureLine {
	config := c.secure.Clone()
	config.ServerName, config.NextProtos = "localhost", []string{"h2", "http/1.1"}
	return &secureLine{c, &http.Client{Transport: &http.Transport{
		// The handshake is made under the bound of connections being made, like a dial.
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return c.handshake(ctx, n, config)
		},
		MaxIdleConnsPerHost: 8,
		IdleConnTimeout:     90 * time.Second,
		ForceAttemptHTTP2:   true,
	}}}
}

func (l *secureLine) close() { l.client.CloseIdleConnections() }

func (l *secureLine) call(ctx context.Context, method, path string, body []byte) (status int, answer []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, lineDeadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "https://localhost"+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+l.crowd.token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := l.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if answer, err = io.ReadAll(resp.Body); err != nil {
		return 0, nil, err
	}
	l.crowd.speaks(resp.Proto + ", " + tls.VersionName(resp.TLS.Version))
	return resp.StatusCode, answer, nil
}
