// Package loader asks a server over HTTP: as fast as it answers (closed loop),
// or at a fixed rate (open loop), where the time of each request counts from
// when it was due and not from when the loader came to send it. So a server
// that stalls is charged for all who would have asked meanwhile.
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
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/valyala/fasthttp"

	"github.com/caracalai/caracald/bench/workload"
)

// Target is a server and what it is asked.
type Target struct {
	// Addr is its host and port, Path what is posted to.
	Addr, Path string
	// Wrapped puts the input into {"input": ...}, as OPA's API has it.
	Wrapped bool
	// Blind takes any answer with status 200, of a server that decides nothing.
	Blind bool
	// Workload gives the inputs, in Zones.
	Workload *workload.Workload
	Zones    []string
	// Header is added to each request: whole lines, each ended by \r\n.
	Header string
}

// Load is how much is asked. Equal seeds ask the same.
type Load struct {
	Seed        uint64
	Connections int
	Duration    time.Duration
	// Rate is the number of requests that are due each second; 0 is as many as
	// are answered.
	Rate float64
}

// Result is what came of it.
type Result struct {
	// Answered counts right answers. Failed counts the others, and Failure is
	// one of their reasons.
	Answered, Failed int64
	Failure          error
	Elapsed          time.Duration
	// Latency is in nanoseconds, of all requests.
	Latency *hdrhistogram.Histogram
}

// Rate is the number of right answers each second.
func (r *Result) Rate() float64 { return float64(r.Answered) / r.Elapsed.Seconds() }

// Run asks until the load's duration is over. With a rate it also ends, unmet
// requests counted as failed, when it is three times as late.
func Run(ctx context.Context, t Target, l Load) (*Result, error) {
	callers := make([]*caller, l.Connections)
	for i := range callers {
		c, err := dial(ctx, t, l.Seed<<16|uint64(i))
		if err != nil {
			return nil, err
		}
		defer c.close()
		callers[i] = c
	}
	var due atomic.Int64 // the number of the next request
	start := time.Now()
	end := start.Add(l.Duration)
	total := int64(l.Rate * l.Duration.Seconds())
	var all sync.WaitGroup
	for _, c := range callers {
		all.Go(func() {
			if l.Rate == 0 {
				for now := time.Now(); now.Before(end) && ctx.Err() == nil; now = time.Now() {
					c.ask(now)
				}
				return
			}
			for n := due.Add(1) - 1; n < total && ctx.Err() == nil; n = due.Add(1) - 1 {
				when := start.Add(time.Duration(float64(n) / l.Rate * float64(time.Second)))
				if wait := time.Until(when); wait > 0 {
					time.Sleep(wait)
				} else if -wait > 3*l.Duration {
					c.fail(errors.New("the server is far behind the rate"))
					continue
				}
				c.ask(when)
			}
		})
	}
	all.Wait()
	r := &Result{Elapsed: time.Since(start), Latency: histogram()}
	for _, c := range callers {
		r.Answered += c.answered
		r.Failed += c.failed
		if c.failure != nil {
			r.Failure = c.failure
		}
		r.Latency.Merge(c.latency)
	}
	return r, ctx.Err()
}

// histogram takes up to a minute, with three digits.
func histogram() *hdrhistogram.Histogram { return hdrhistogram.New(1000, int64(time.Minute), 3) }

// caller is one connection. It asks one request after another.
type caller struct {
	target  Target
	conn    net.Conn
	in      *bufio.Reader
	inputs  *workload.Source
	rand    *rand.Rand
	request []byte
	body    []byte
	resp    fasthttp.Response

	answered, failed int64
	failure          error
	latency          *hdrhistogram.Histogram
}

func dial(ctx context.Context, t Target, seed uint64) (*caller, error) {
	c := &caller{target: t, inputs: t.Workload.Inputs(seed, t.Zones...), rand: rand.New(rand.NewPCG(seed, 11)), latency: histogram()}
	return c, c.connect(ctx)
}

func (c *caller) connect(ctx context.Context) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", c.target.Addr)
	if err != nil {
		return fmt.Errorf("connecting to %s: %w", c.target.Addr, err)
	}
	c.conn, c.in = conn, bufio.NewReaderSize(conn, 8192)
	return nil
}

func (c *caller) close() {
	if c.conn != nil {
		_ = c.conn.Close()
	}
}

var (
	allowed = []byte(`"decision":"allow"`)
	denied  = []byte(`"decision":"deny"`)
)

// ask makes one request that was due at a time.
func (c *caller) ask(due time.Time) {
	err := c.exchange()
	// A histogram that cannot hold a value holds the largest it can.
	took := min(time.Since(due), time.Minute-time.Nanosecond)
	_ = c.latency.RecordValue(int64(took))
	if err == nil {
		c.answered++
		return
	}
	c.fail(err)
}

func (c *caller) fail(err error) {
	c.failed++
	c.failure = err
}

func (c *caller) exchange() error {
	if c.conn == nil {
		if err := c.connect(context.Background()); err != nil {
			return err
		}
	}
	var allow bool
	c.body = c.body[:0]
	if c.target.Wrapped {
		c.body = append(c.body, `{"input":`...)
	}
	c.body, allow = c.inputs.Next(c.body)
	if c.target.Wrapped {
		c.body = append(c.body, '}')
	}
	b := append(c.request[:0], "POST "...)
	b = append(b, c.target.Path...)
	b = append(b, " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nX-Request-Id: "...)
	b = workload.AppendID(b, c.rand)
	b = append(b, "\r\n"...)
	b = append(b, c.target.Header...)
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, int64(len(c.body)), 10)
	b = append(b, "\r\n\r\n"...)
	b = append(b, c.body...)
	c.request = b
	if _, err := c.conn.Write(b); err != nil {
		return c.lost(err)
	}
	if err := c.resp.Read(c.in); err != nil {
		return c.lost(err)
	}
	if c.resp.ConnectionClose() {
		c.close()
		c.conn = nil
	}
	if status := c.resp.StatusCode(); status != fasthttp.StatusOK {
		return fmt.Errorf("status %d: %.200s", status, c.resp.Body())
	}
	want := denied
	if allow {
		want = allowed
	}
	if !c.target.Blind && !bytes.Contains(c.resp.Body(), want) {
		return fmt.Errorf("a wrong decision: %.300s for %s", c.resp.Body(), c.body)
	}
	return nil
}

// lost gives up a connection.
func (c *caller) lost(err error) error {
	c.close()
	c.conn = nil
	return err
}
