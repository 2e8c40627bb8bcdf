package loader

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/valyala/fasthttp"

	"github.com/caracalai/caracald/bench/workload"
)

// ErrWrong is matched by the failure of an answer with another decision than
// the input was made for.
var ErrWrong = errors.New("a wrong decision")

// caller is one connection. It asks one request after another, in buffers that
// it keeps.
type caller struct {
	target  Target
	conn    net.Conn
	in      *bufio.Reader
	inputs  *workload.Source
	rand    *rand.Rand
	head    []byte // of each request, up to its id
	request []byte
	body    []byte
	resp    fasthttp.Response

	answered, failed int64
	failure          error
	latency          *hdrhistogram.Histogram
}

func dial(ctx context.Context, t Target, seed uint64) (*caller, error) {
	inputs := t.Workload.Inputs
	if t.Cerbos {
		inputs = t.Workload.CerbosInputs
	}
	c := &caller{target: t, inputs: inputs(seed, t.Zones...), rand: rand.New(rand.NewPCG(seed, 11)), latency: histogram()}
	c.head = fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nX-Request-Id: ", t.Path)
	return c, c.connect(ctx)
}

func (c *caller) connect(ctx context.Context) error {
	network := c.target.Network
	if network == "" {
		network = "tcp"
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, c.target.Addr)
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", c.target.Addr, err)
	}
	c.conn = conn
	if c.in == nil {
		c.in = bufio.NewReaderSize(nil, 8192)
	}
	c.in.Reset(conn)
	return nil
}

func (c *caller) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// count counts an answer to a request that was due at a time.
func (c *caller) count(due time.Time, err error) {
	// A histogram that cannot hold a value holds the largest it can.
	took := min(time.Since(due), longest)
	_ = c.latency.RecordValue(int64(took))
	if err == nil {
		c.answered++
		return
	}
	c.fail(err)
}

// fail counts a failure. A wrong decision is told rather than any other.
func (c *caller) fail(err error) {
	c.failed++
	if !errors.Is(c.failure, ErrWrong) {
		c.failure = err
	}
}

func (c *caller) exchange() error {
	if c.conn == nil {
		if err := c.connect(context.Background()); err != nil {
			return err
		}
	}
	allowed := c.compose()
	if _, err := c.conn.Write(c.request); err != nil {
		c.close()
		return err
	}
	if err := c.resp.Read(c.in); err != nil {
		c.close()
		return err
	}
	if c.resp.ConnectionClose() {
		c.close()
	}
	return c.judge(allowed)
}

// compose makes the next request, and tells how many of its inputs are to be allowed.
func (c *caller) compose() (allowed int) {
	allowed = c.fill()
	b := append(c.request[:0], c.head...)
	b = workload.AppendID(b, c.rand)
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(c.body)), 10)
	b = append(b, "\r\n\r\n"...)
	b = append(b, c.body...)
	c.request = b
	return allowed
}

// judge tells what is wrong with the answer.
func (c *caller) judge(allowed int) error {
	if status := c.resp.StatusCode(); status != fasthttp.StatusOK {
		return fmt.Errorf("status %d: %.200s", status, c.resp.Body())
	}
	if c.target.Blind {
		return nil
	}
	return c.check(c.resp.Body(), allowed)
}

// fill makes the body and tells how many of its inputs are to be allowed.
func (c *caller) fill() (allowed int) {
	c.body = c.body[:0]
	switch {
	case c.target.Batch > 0:
		c.body = append(c.body, `{"inputs":[`...)
	case c.target.Wrapped:
		c.body = append(c.body, `{"input":`...)
	}
	for i := range max(1, c.target.Batch) {
		if i > 0 {
			c.body = append(c.body, ',')
		}
		var allow bool
		if c.body, allow = c.inputs.Next(c.body); allow {
			allowed++
		}
	}
	switch {
	case c.target.Batch > 0:
		c.body = append(c.body, "]}"...)
	case c.target.Wrapped:
		c.body = append(c.body, '}')
	}
	return allowed
}

var (
	allowing       = []byte(`"decision":"allow"`)
	denying        = []byte(`"decision":"deny"`)
	cerbosAllowing = []byte(`"EFFECT_ALLOW"`)
	cerbosDenying  = []byte(`"EFFECT_DENY"`)
)

// check compares an answer with how many inputs of the request are to be allowed.
func (c *caller) check(answer []byte, allowed int) error {
	allowing, denying := allowing, denying
	if c.target.Cerbos {
		allowing, denying = cerbosAllowing, cerbosDenying
	}
	if c.target.Batch == 0 {
		want := denying
		if allowed == 1 {
			want = allowing
		}
		if bytes.Contains(answer, want) {
			return nil
		}
	} else if bytes.Count(answer, allowing) == allowed && bytes.Count(answer, denying) == c.target.Batch-allowed {
		return nil
	}
	return fmt.Errorf("%w: %.300s for %.1000s", ErrWrong, answer, c.body)
}
