package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"sync"

	"github.com/valyala/fasthttp"

	"github.com/caracalai/caracald/bench/peer"
	"github.com/caracalai/caracald/bench/workload"
)

// answerBytes is the size of what the ceiling answers.
const answerBytes = 250

// ceiling reads the body and answers fixed bytes: what an HTTP server can
// reach that decides nothing.
func ceiling(ctx context.Context, _ json.RawMessage, ready func(Ready) error) error {
	answer := bytes.Repeat([]byte("x"), answerBytes)
	return fast(ctx, ready, func(c *fasthttp.RequestCtx) {
		if len(c.PostBody()) == 0 {
			c.SetStatusCode(fasthttp.StatusBadRequest)
			return
		}
		c.SetBody(answer)
	})
}

// Policy names the workload whose policy a server has.
type Policy struct {
	Workload string `json:"workload,omitempty"`
	// Zones have a policy each; without them there is one.
	Zones []PolicyZone `json:"zones,omitempty"`
	// Dir is an empty directory that the server may use.
	Dir string `json:"dir,omitempty"`
}

// PolicyZone is a zone, and the label of its variant of the reference workload.
type PolicyZone struct {
	ID    string `json:"id"`
	Label string `json:"label"`
}

func (p Policy) find() (*workload.Workload, error) {
	w := workload.Find(p.Workload)
	if w == nil {
		return nil, fmt.Errorf("there is no workload %q", p.Workload)
	}
	return w, nil
}

func read[T any](config json.RawMessage) (T, error) {
	var v T
	if err := json.Unmarshal(config, &v); err != nil {
		return v, fmt.Errorf("reading the configuration: %w", err)
	}
	return v, nil
}

// engine is this project's engine behind the bare server: no zones, no ids,
// no metrics, and no record.
func engine(ctx context.Context, config json.RawMessage, ready func(Ready) error) error {
	cfg, err := read[Policy](config)
	if err != nil {
		return err
	}
	w, err := cfg.find()
	if err != nil {
		return err
	}
	worker, err := peer.CaracalWorkers(ctx, w)
	if err != nil {
		return err
	}
	workers := sync.Pool{New: func() any { return worker() }}
	return fast(ctx, ready, func(c *fasthttp.RequestCtx) {
		p := workers.Get().(*peer.Peer)
		defer workers.Put(p)
		body, err := p.Answer(c.Response.Body()[:0], c.PostBody())
		if err != nil {
			c.Error(err.Error(), fasthttp.StatusBadRequest)
			return
		}
		c.SetContentType("application/json")
		c.SetBody(body)
	})
}

func fast(ctx context.Context, ready func(Ready) error, handler fasthttp.RequestHandler) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := &fasthttp.Server{Handler: handler}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	if err := ready(Ready{Addr: l.Addr().String()}); err != nil {
		return err
	}
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		// Callers that keep connections are not waited for: the process ends.
		return l.Close()
	}
}
