package client_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/daemon"
	"github.com/caracalai/caracald/daemon/client"
	"github.com/caracalai/caracald/daemon/client/clienttest"
)

// BenchmarkDecide measures a decision of a real daemon, which leaves writing its
// audit to the system so that it is not the disk that is measured: by this
// package, and by net/http as people would use it.
func BenchmarkDecide(b *testing.B) {
	rig := clienttest.Start(b, func(cfg *daemon.Config) { cfg.SpoolDurability = audit.SyncNone })
	rig.Activate(map[string]string{"grants": grants})
	in := asks(rig.Zone, "read")
	raw := encoded(b, in)
	for _, at := range []struct{ name, addr string }{{"tcp", rig.URL}, {"unix", "unix://" + rig.Socket}} {
		b.Run(at.name, func(b *testing.B) {
			c := newClient(b, client.Config{Addr: at.addr})
			run := func(name string, ask func(ctx context.Context) error) {
				b.Run(name, func(b *testing.B) { repeat(b, context.Background(), ask) })
				b.Run(name+"/parallel", func(b *testing.B) {
					b.ReportAllocs()
					b.SetParallelism(8)
					b.RunParallel(func(p *testing.PB) {
						ctx, cancel := context.WithCancel(context.Background())
						defer cancel()
						for p.Next() {
							if err := ask(ctx); err != nil {
								b.Error(err)
							}
						}
					})
				})
			}
			run("client", func(ctx context.Context) error {
				d, err := c.Decide(ctx, in)
				return allowed(d.Allowed(), err)
			})
			run("client-json", func(ctx context.Context) error {
				d, err := c.DecideJSON(ctx, raw)
				return allowed(d.Allowed(), err)
			})
			run("net-http", plain(at.addr, raw))
		})
	}
}

// repeat asks again and again with a context that can end, as that of a handler.
func repeat(b *testing.B, ctx context.Context, ask func(ctx context.Context) error) {
	b.ReportAllocs()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for b.Loop() {
		if err := ask(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCallerAlone measures what a call costs the caller: who answers has
// the answer ready and allocates nothing.
func BenchmarkCallerAlone(b *testing.B) {
	text := object(goodAnswer("z1", "r1"))
	said := []byte("HTTP/1.1 200 OK\r\nServer: caracald\r\nContent-Type: application/json\r\nX-Request-Id: r1\r\nContent-Length: " +
		strconv.Itoa(len(text)) + "\r\n\r\n" + text)
	addr := listener(b, func(_ int, c net.Conn) {
		r := bufio.NewReader(c)
		length := 0
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return
			}
			if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
				length = 0
				for _, digit := range bytes.TrimSpace(value) {
					length = 10*length + int(digit-'0')
				}
			}
			if len(line) > 2 {
				continue
			}
			if _, err := r.Discard(length); err != nil {
				return
			}
			if _, err := c.Write(said); err != nil {
				return
			}
		}
	})
	in := asks("z1", "read")
	raw := encoded(b, in)
	c := newClient(b, client.Config{Addr: addr})
	ctx := client.WithRequestID(context.Background(), "r1")
	b.Run("client", func(b *testing.B) {
		repeat(b, ctx, func(ctx context.Context) error {
			d, err := c.Decide(ctx, in)
			return allowed(d.Allowed(), err)
		})
	})
	b.Run("client-json", func(b *testing.B) {
		repeat(b, ctx, func(ctx context.Context) error {
			d, err := c.DecideJSON(ctx, raw)
			return allowed(d.Allowed(), err)
		})
	})
	b.Run("net-http", func(b *testing.B) { repeat(b, ctx, plain(addr, raw)) })
}

func allowed(ok bool, err error) error {
	if err == nil && !ok {
		err = errors.New("denied")
	}
	return err
}

// plain asks with net/http and encoding/json, and checks nothing but the decision.
func plain(addr string, raw []byte) func(ctx context.Context) error {
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	url := addr
	if path, ok := strings.CutPrefix(addr, "unix://"); ok {
		url = "http://localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
	}
	h := &http.Client{Transport: transport}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/decide", bytes.NewReader(raw))
		if err != nil {
			return err
		}
		resp, err := h.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		data, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		var d client.Decision
		if err := json.Unmarshal(data, &d); err != nil {
			return err
		}
		return allowed(d.Allowed(), nil)
	}
}

// BenchmarkBatch measures a batch of 32 decisions.
func BenchmarkBatch(b *testing.B) {
	rig := clienttest.Start(b, func(cfg *daemon.Config) { cfg.SpoolDurability = audit.SyncNone })
	rig.Activate(map[string]string{"grants": grants})
	c := newClient(b, client.Config{Addr: "unix://" + rig.Socket})
	inputs := make([]*client.Input, 32)
	for i := range inputs {
		inputs[i] = asks(rig.Zone, "read")
	}
	b.ReportAllocs()
	for b.Loop() {
		list, err := c.DecideBatch(context.Background(), inputs)
		if err != nil || !list[31].Allowed() {
			b.Fatal(err)
		}
	}
}
