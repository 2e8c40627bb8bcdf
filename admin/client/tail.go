package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"strings"
	"time"

	"github.com/caracalai/caracald/admin/api"
)

// TailEvent is an audit event with the id after which a tail can be taken up.
type TailEvent struct {
	ID string
	api.Event
}

// TailQuery filters what a tail shows; zero fields do not.
type TailQuery struct {
	Decision, EventType string
	// Last is the id of the event to go on after; "" begins with what comes from now on.
	Last string
}

// Tail follows a zone's audit as it comes in. Where the connection is lost it is
// made again, and goes on after the last event seen, so that none is missed or
// comes twice. It ends with ctx, or with an error that no other try would mend.
func (c *Client) Tail(ctx context.Context, zone string, q TailQuery) iter.Seq2[TailEvent, error] {
	return func(yield func(TailEvent, error) bool) {
		pause := c.backOff()
		for {
			err := c.tailOnce(ctx, zone, q, func(e TailEvent) bool {
				pause.Reset()
				q.Last = e.ID
				return yield(e, nil)
			})
			var answer *Error
			switch {
			case errors.Is(err, errStop):
				return
			case ctx.Err() != nil:
				return
			case errors.As(err, &answer) && answer.Status < 500 && answer.Status != 429:
				yield(TailEvent{}, err)
				return
			}
			t := time.NewTimer(pause.NextBackOff())
			select {
			case <-ctx.Done():
				t.Stop()
				return
			case <-t.C:
			}
		}
	}
}

// errStop is that whoever takes the events wants no more.
var errStop = errors.New("enough")

// maxTailLine bounds one line of the stream.
const maxTailLine = 32 << 20

func (c *Client) tailOnce(ctx context.Context, zone string, q TailQuery, take func(TailEvent) bool) error {
	header := []string{"Accept", "text/event-stream"}
	if q.Last != "" {
		header = append(header, "Last-Event-ID", q.Last)
	}
	filter := url.Values{}
	for name, value := range map[string]string{"decision": q.Decision, "event_type": q.EventType} {
		if value != "" {
			filter.Set(name, value)
		}
	}
	body, err := c.stream(ctx, path("v1", "zones", zone, "audit", "tail"), filter, header...)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 64<<10), maxTailLine)
	var id string
	var data strings.Builder
	for lines.Scan() {
		line := lines.Text()
		if line == "" { // the end of an event
			if data.Len() > 0 {
				e := TailEvent{ID: id}
				if err := json.Unmarshal([]byte(data.String()), &e.Event); err != nil {
					return fmt.Errorf("reading an event of the tail: %w", err)
				}
				if !take(e) {
					return errStop
				}
			}
			data.Reset()
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "id":
			id = value
		case "data":
			if data.Len() > 0 {
				data.WriteByte('\n')
			}
			data.WriteString(value)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.ErrUnexpectedEOF
}
