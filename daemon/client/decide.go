package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
)

// bodies are buffers in which inputs are encoded.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func newBody() *bytes.Buffer {
	b, ok := bodies.Get().(*bytes.Buffer)
	if !ok { // the pool holds nothing else
		return new(bytes.Buffer)
	}
	b.Reset()
	return b
}

func keepBody(b *bytes.Buffer) {
	if b.Cap() <= keptBytes {
		bodies.Put(b)
	}
}

// Decide asks for a decision. Whenever the error is not nil, the Decision is a deny.
func (c *Client) Decide(ctx context.Context, in *Input) (Decision, error) {
	if in == nil {
		return denied(""), invalidInput("it is nil")
	}
	body := newBody()
	defer keepBody(body)
	if err := in.encode(newEncoder(body)); err != nil {
		return denied(""), err
	}
	return c.decideOne(ctx, in.Principal.ZoneID, body.Bytes())
}

// DecideJSON asks for a decision on an input that is JSON already; its bytes are
// sent and audited as they are. Whenever the error is not nil, the Decision is a deny.
func (c *Client) DecideJSON(ctx context.Context, input json.RawMessage) (Decision, error) {
	zone, err := zoneOf(input)
	if err != nil {
		return denied(""), err
	}
	return c.decideOne(ctx, zone, input)
}

func (c *Client) decideOne(ctx context.Context, zone string, body []byte) (Decision, error) {
	id, err := requestID(ctx)
	if err != nil {
		return denied(""), err
	}
	a, err := c.ask(ctx, c.decide, id, body)
	if err != nil {
		return denied(id), err
	}
	if a.status != http.StatusOK {
		return denied(id), refusal(a, id)
	}
	if !json.Valid(a.body) {
		return denied(id), badAnswer("it is not JSON")
	}
	return readDecision(a.body, zone, id)
}

// Outcome is what one input of a batch came to. Whenever Err is not nil, the
// Decision is a deny.
type Outcome struct {
	Decision
	Err error
}

// DecideBatch asks for decisions on several inputs in one call; each is a
// decision of its own. There is one Outcome for each input, in order, always:
// where the call as a whole fails, each has its error and denies.
func (c *Client) DecideBatch(ctx context.Context, inputs []*Input) ([]Outcome, error) {
	body := newBody()
	defer keepBody(body)
	zones := make([]string, len(inputs))
	e := newEncoder(body)
	body.WriteString(`{"inputs":[`)
	for i, in := range inputs {
		if i > 0 {
			body.WriteByte(',')
		}
		err := invalidInput("it is nil")
		if in != nil {
			zones[i] = in.Principal.ZoneID
			err = in.encode(e)
		}
		if err != nil {
			return failed(len(inputs), "", fmt.Errorf("input %d: %w", i, err))
		}
	}
	body.WriteString(`]}`)
	return c.decideAll(ctx, zones, body.Bytes())
}

// DecideBatchJSON is DecideBatch for inputs that are JSON already.
func (c *Client) DecideBatchJSON(ctx context.Context, inputs []json.RawMessage) ([]Outcome, error) {
	body := newBody()
	defer keepBody(body)
	zones := make([]string, len(inputs))
	body.WriteString(`{"inputs":[`)
	for i, in := range inputs {
		if i > 0 {
			body.WriteByte(',')
		}
		zone, err := zoneOf(in)
		if err != nil {
			return failed(len(inputs), "", fmt.Errorf("input %d: %w", i, err))
		}
		zones[i] = zone
		body.Write(in)
	}
	body.WriteString(`]}`)
	return c.decideAll(ctx, zones, body.Bytes())
}

// failed is the outcome of a batch that failed as a whole.
func failed(n int, requestID string, err error) ([]Outcome, error) {
	list := make([]Outcome, n)
	for i := range list {
		list[i] = Outcome{denied(requestID), err}
	}
	return list, err
}

func (c *Client) decideAll(ctx context.Context, zones []string, body []byte) ([]Outcome, error) {
	id, err := requestID(ctx)
	if err != nil {
		return failed(len(zones), "", err)
	}
	if len(zones) == 0 {
		return nil, nil
	}
	a, err := c.ask(ctx, c.batch, id, body)
	if err != nil {
		return failed(len(zones), id, err)
	}
	if a.status != http.StatusOK {
		return failed(len(zones), id, refusal(a, id))
	}
	list, err := readBatch(a.body, zones, id)
	if err != nil {
		return failed(len(zones), id, err)
	}
	return list, nil
}

// readBatch reads the answer to a batch.
func readBatch(body []byte, zones []string, requestID string) ([]Outcome, error) {
	if !json.Valid(body) {
		return nil, badAnswer("it is not JSON")
	}
	var results []byte
	found := 0
	members(body, func(name, value []byte) bool {
		if string(name) == "results" {
			results, found = value, found+1
		}
		return true
	})
	if found != 1 {
		return nil, badAnswer("it has not one array of results")
	}
	list := make([]Outcome, 0, len(zones))
	n := 0
	array := elements(results, func(value []byte) bool {
		if n < len(zones) {
			list = append(list, readOutcome(value, zones[n], requestID))
		}
		n++
		return true
	})
	if !array || n != len(zones) {
		return nil, badAnswer("it has %d results for %d inputs", n, len(zones))
	}
	return list, nil
}

// readOutcome reads one answer of a batch: a decision, or a refusal.
func readOutcome(value []byte, zone, requestID string) Outcome {
	var refused, decided bool
	members(value, func(name, _ []byte) bool {
		refused = refused || string(name) == "error"
		decided = decided || string(name) == "decision"
		return true
	})
	if !refused || decided {
		d, err := readDecision(value, zone, requestID)
		if err == nil && refused {
			d, err = denied(requestID), badAnswer("it is a decision and a refusal")
		}
		return Outcome{d, err}
	}
	var e errorBody
	if err := json.Unmarshal(value, &e); err != nil || e.Code == "" {
		return Outcome{denied(requestID), badAnswer("a refusal cannot be read")}
	}
	return Outcome{denied(requestID), &Error{Status: statusOf[e.Code], Code: e.Code, Description: e.Description, RequestID: requestID}}
}

// Ready asks whether the daemon is ready to decide: it has loaded its zones. An
// STS can make it part of its own readiness.
func (c *Client) Ready(ctx context.Context) error {
	id, err := requestID(ctx)
	if err != nil {
		return err
	}
	a, err := c.ask(ctx, c.ready, id, nil)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return refusal(a, id)
	}
	return nil
}
