package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

// maxHeaderBytes bounds the header of an answer.
const maxHeaderBytes = 64 << 10

// keptBytes is the size above which a buffer is not kept for the next call.
const keptBytes = 1 << 20

// answer is what a request was answered.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// requests are buffers in which requests are put together.
var requests = sync.Pool{New: func() any { b := make([]byte, 0, 4096); return &b }}

// ask makes a request and reads its answer, by the deadline. Its errors match
// ErrUnavailable, ErrBadAnswer or ErrClosed.
func (c *Client) ask(ctx context.Context, head []byte, requestID string, body []byte) (*answer, error) {
	deadline := time.Now().Add(c.cfg.Timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	buf, ok := requests.Get().(*[]byte)
	if !ok { // the pool holds nothing else
		buf = new([]byte)
	}
	defer func() {
		if cap(*buf) <= keptBytes {
			requests.Put(buf)
		}
	}()
	*buf = c.appendRequest(ctx, (*buf)[:0], head, requestID, body)
	a, err := c.exchange(ctx, deadline, *buf, requestID)
	switch {
	case err == nil:
		return a, nil
	case ctx.Err() != nil:
		err = unavailable(ctx.Err())
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		err = unavailable(context.DeadlineExceeded)
	case errors.Is(err, ErrClosed), errors.Is(err, ErrBadAnswer):
	default:
		err = unavailable(err)
	}
	return nil, fmt.Errorf("asking the daemon at %s: %w", c.cfg.Addr, err)
}

func (c *Client) appendRequest(ctx context.Context, b, head []byte, requestID string, body []byte) []byte {
	b = append(b, head...)
	if c.cfg.Inject != nil {
		var list []header
		c.cfg.Inject(ctx, Headers{&list})
		for _, h := range list {
			b = append(append(append(append(b, h.name...), ": "...), h.value...), "\r\n"...)
		}
	}
	b = append(append(append(b, "X-Request-Id: "...), requestID...), "\r\n"...)
	if body == nil {
		return append(b, "\r\n"...)
	}
	b = append(b, "Content-Type: application/json\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	return append(append(b, "\r\n\r\n"...), body...)
}

// exchange sends a request over a kept connection, or a new one.
//
// It sends a request twice in one case only: a connection that had served
// before ended without a byte of an answer. That is what a connection looks like
// which the daemon closed while it was idle, because it was old or the daemon
// was restarted, and then nobody has read the request. It can also be that the
// daemon decided and died before it answered. Deciding changes nothing but the
// audit, so asking again is still safe; the audit may then have two records,
// which the X-Request-Id that both requests bear shows to be one call. A
// timeout is never followed by a second request, nor is a connection that could
// not be opened: the caller has waited, and a deny now is better than one later.
func (c *Client) exchange(ctx context.Context, deadline time.Time, request []byte, requestID string) (*answer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := c.pool.enter(ctx, deadline); err != nil {
		return nil, fmt.Errorf("waiting for one of %d connections: %w", c.cfg.MaxConnections, err)
	}
	defer c.pool.leave()
	cn, err := c.pool.kept()
	if err != nil {
		return nil, err
	}
	if cn != nil {
		a, err := c.over(ctx, cn, deadline, request, requestID)
		if !errors.Is(err, errUnanswered) || ctx.Err() != nil || !time.Now().Before(deadline) {
			return a, err
		}
		// The others are likely as stale as this one.
		_ = c.pool.drop() // they are of no use, whether they can be closed or not
	}
	if cn, err = c.pool.fresh(ctx, deadline); err != nil {
		return nil, err
	}
	return c.over(ctx, cn, deadline, request, requestID)
}

// errUnanswered is matched when a connection ended without a byte of an answer.
var errUnanswered = errors.New("the connection ended unanswered")

// over sends a request over a connection, and keeps or closes that.
func (c *Client) over(ctx context.Context, cn *conn, deadline time.Time, request []byte, requestID string) (*answer, error) {
	if err := cn.SetDeadline(deadline); err != nil {
		_ = cn.Close() // it is of no use any more
		return nil, fmt.Errorf("%w: %w", errUnanswered, err)
	}
	// Without a Done channel there is nothing that could end the call early. A
	// deadline alone would not need this either, but it cannot be told apart.
	calm := func() bool { return true }
	if ctx.Done() != nil {
		calm = context.AfterFunc(ctx, cn.abort)
	}
	a, whole, err := c.roundTrip(cn, request, requestID)
	if untouched := calm(); !untouched || !whole || err != nil {
		_ = cn.Close() // what it had to say was read, or is of no use
		return a, err
	}
	c.pool.keep(cn)
	return a, nil
}

// roundTrip writes a request and reads its answer. whole tells whether the
// connection can be used again.
func (c *Client) roundTrip(cn *conn, request []byte, requestID string) (a *answer, whole bool, err error) {
	cn.limit.N = maxHeaderBytes + c.cfg.MaxAnswerBytes
	_, unsent := cn.Write(request)
	// A daemon that refuses a long body answers before it has read it all, so
	// there may be an answer although writing failed.
	if _, err := cn.reader.Peek(1); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err = errors.Join(err, unsent); errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, false, err
		}
		return nil, false, fmt.Errorf("%w: %w", errUnanswered, err)
	}
	resp, err := http.ReadResponse(cn.reader, nil)
	if err != nil {
		return nil, false, cn.broken(err)
	}
	body, err := c.readBody(resp)
	if err != nil {
		return nil, false, cn.broken(err)
	}
	a = &answer{status: resp.StatusCode, header: resp.Header, body: body}
	// A connection whose answers may be out of step with the requests is not used
	// again: one with an interim or an unasked answer, or the answer to another request.
	inStep := a.status >= 200 && cn.reader.Buffered() == 0 && a.header.Get("X-Request-Id") == requestID
	return a, inStep && unsent == nil && !resp.Close, nil
}

var errTooLong = errors.New("the answer is too long")

func (c *Client) readBody(resp *http.Response) ([]byte, error) {
	most := c.cfg.MaxAnswerBytes
	if resp.ContentLength > most {
		return nil, errTooLong
	}
	if resp.ContentLength >= 0 {
		body := make([]byte, resp.ContentLength)
		_, err := io.ReadFull(resp.Body, body)
		return body, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	if err == nil && int64(len(body)) > most {
		err = errTooLong
	}
	return body, err
}

// broken tells an answer that broke off from one that is none.
func (cn *conn) broken(err error) error {
	var failed net.Error
	switch {
	case cn.limit.N <= 0:
		err = errTooLong
	case errors.As(err, &failed), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the answer broke off: %w", err)
	}
	return badAnswer("%w", err)
}
