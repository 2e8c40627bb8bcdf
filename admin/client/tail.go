package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/caracalai/caracald/admin/api"
)

// TailEvent is an audit event with the id after which a tail can be taken up.
type TailEvent struct {
	ID string
	api.Event
}

// Tail follows a zone's audit as it comes in, after the event of the id last;
// "" begins with what comes from now on. Where the connection is lost it is
// made again, and goes on after the last event seen, so that none is missed or
// comes twice. It ends with ctx, or with an error that no other try would mend.
func (c *Client) Tail(ctx context.Context, zone, last string) iter.Seq2[TailEvent, error] {
	return func(yield func(TailEvent, error) bool) {
		pause := c.backOff()
		for {
			err := c.tailOnce(ctx, zone, last, func(e TailEvent) bool {
				pause.Reset()
				last = e.ID
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

func (c *Client) tailOnce(ctx context.Context, zone, last string, take func(TailEvent) bool) error {
	header := []string{"Accept", "text/event-stream"}
	if last != "" {
		header = append(header, "Last-Event-ID", last)
	}
	body, err := c.stream(ctx, path("v1", "zones", zone, "audit", "tail"), nil, header...)
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
