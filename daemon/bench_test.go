package daemon_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/policy"
	"github.com/caracalai/caracald/telemetry"
)

// BenchmarkDecide asks a daemon over sixteen connections, one request at a time on
// each, beside a handler that only answers. The daemon's records go to its spool
// as the operating system takes them, and stay there.
func BenchmarkDecide(b *testing.B) {
	content, input := reference(b)
	if _, err := policy.ParseInput(input); err != nil {
		b.Fatal(err)
	}
	b.Run("ceiling", func(b *testing.B) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		answer := bytes.Repeat([]byte("x"), 250)
		s := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {
			_ = ctx.PostBody()
			ctx.SetBody(answer)
		}}
		go func() {
			if err := s.Serve(l); err != nil {
				b.Error(err)
			}
		}()
		ask(b, "tcp", l.Addr().String(), input)
		if err := s.Shutdown(); err != nil {
			b.Error(err)
		}
	})
	for _, bytes := range []int64{0, 64 << 20} {
		p := newPlane(b)
		p.takeNoAudit()
		v := p.publish("z1", 1, content)
		p.activate("z1", &v)
		cfg := configOf(b, p)
		cfg.CacheBytes, cfg.SpoolDurability, cfg.SpoolMaxBytes = bytes, audit.SyncNone, 8<<30
		observed, err := telemetry.Start(b.Context(), "caracald", "bench")
		if err != nil {
			b.Fatal(err)
		}
		cfg.MeterProvider, cfg.TracerProvider = observed.Meters, observed.Tracers
		cfg.RetryMin, cfg.RetryMax = time.Hour, time.Hour
		cfg.DecideSocket = filepath.Join(b.TempDir(), "decide.sock")
		n := startReady(b, cfg)
		b.Run(fmt.Sprintf("tcp/cache=%d", bytes), func(b *testing.B) { ask(b, "tcp", n.d.Addr().String(), input) })
		b.Run(fmt.Sprintf("unix/cache=%d", bytes), func(b *testing.B) { ask(b, "unix", cfg.DecideSocket, input) })
		n.stop()
		if err := observed.Stop(context.Background()); err != nil {
			b.Error(err)
		}
	}
}

// ask sends b.N requests over sixteen connections.
func ask(b *testing.B, network, address string, input []byte) {
	request := fmt.Appendf(nil, "POST /v1/decide HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(input), input)
	var left atomic.Int64
	left.Store(int64(b.N))
	var work sync.WaitGroup
	b.ReportAllocs()
	before := processorTime(b)
	b.ResetTimer()
	for range 16 {
		work.Go(func() {
			c, err := net.Dial(network, address)
			if err != nil {
				b.Error(err)
				return
			}
			defer c.Close()
			r := bufio.NewReader(c)
			for left.Add(-1) >= 0 {
				if _, err := c.Write(request); err != nil {
					b.Error(err)
					return
				}
				if err := discardResponse(r); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
	b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// processorTime is what the process has used, of the loader and the daemon alike:
// unlike the time that passes, it is the same on a busy machine.
func processorTime(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// discardResponse reads one response, which has to be good.
func discardResponse(r *bufio.Reader) error {
	length := 0
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && !bytes.Contains(line, []byte(" 200 ")) {
			return fmt.Errorf("answered %q", line)
		}
		if len(line) <= 2 {
			break
		}
		if name, value, _ := bytes.Cut(line, []byte(": ")); string(name) == "Content-Length" {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	_, err := io.CopyN(io.Discard, r, int64(length))
	return err
}
