package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/caracalai/caracald/admin/store"
)

const (
	// tailPage is how many events of a tail are read at once.
	tailPage = 200
	// tailHeartbeat is the time after which a quiet tail sends a comment, so
	// that both ends notice when the other is gone.
	tailHeartbeat = 15 * time.Second
)

// tail sends a zone's events as they arrive. Each client reads the store at
// its own pace, from the last event it was sent, so that a slow one holds up
// nobody and whoever comes back loses nothing.
func (s *Server) tail(w http.ResponseWriter, c *call) error {
	ctx, zone := c.r.Context(), c.zone()
	filter, err := eventFilter(c.r.URL.Query())
	if err != nil {
		return err
	}
	last, err := s.tailStart(ctx, c)
	if err != nil {
		return err
	}
	if !s.hub.enter() {
		return tooMany(w)
	}
	defer s.hub.leave()
	s.metrics.tails.Add(ctx, 1)
	defer s.metrics.tails.Add(context.WithoutCancel(ctx), -1)
	waiter := s.hub.tails.add([]string{zone})
	defer s.hub.tails.remove(waiter)

	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // proxies that buffer would hold events back
	stream := eventStream{w: w, conn: http.NewResponseController(w)}
	// A client that loses the connection before the first event comes back to here.
	stream.write("id: %d\n", last)
	stream.comment("following")
	heartbeat := time.NewTicker(s.hub.heartbeat)
	defer heartbeat.Stop()
	for stream.err == nil {
		rows, err := s.store.Events().Since(ctx, zone, last, tailPage)
		if err != nil {
			if ctx.Err() == nil { // the client comes back and resumes
				s.log.Error("a tail of the audit broke off", "zone", zone, "request_id", c.requestID, "error", err)
			}
			return nil
		}
		for _, row := range rows {
			last = row.Seq
			if filter.matches(row) {
				stream.event(row)
			}
		}
		if len(rows) > 0 {
			stream.flush()
		}
		if len(rows) == tailPage && ctx.Err() == nil { // there is likely more
			select {
			case <-s.hub.stopping:
				return nil
			default:
				continue
			}
		}
		select {
		case <-waiter.wake:
			s.hub.tails.take(waiter)
		case <-heartbeat.C:
			stream.comment("still here")
		case <-ctx.Done():
			return nil
		case <-s.hub.stopping:
			return nil
		}
	}
	return nil
}

// tailStart finds the event that a tail follows.
func (s *Server) tailStart(ctx context.Context, c *call) (int64, error) {
	from := c.r.Header.Get("Last-Event-ID")
	if from == "" {
		from = c.r.URL.Query().Get("since_id")
	}
	if from == "" {
		last, err := s.store.Events().LastSeq(ctx, c.zone())
		if err != nil {
			return 0, fmt.Errorf("reading the newest event: %w", err)
		}
		return last, nil
	}
	last, err := strconv.ParseInt(from, 10, 64)
	if err != nil || last < 0 {
		return 0, invalidQuery("since_id", "and Last-Event-ID must be the id of an event that a tail sent")
	}
	return last, nil
}

// eventStream writes server-sent events. After a failure it does nothing.
type eventStream struct {
	w    http.ResponseWriter
	conn *http.ResponseController
	err  error
}

func (s *eventStream) event(e store.Event) {
	data, err := encode(eventBody(e)) // ends with a newline and has no other
	if err != nil {
		s.err = fmt.Errorf("encoding event %s: %w", e.ID, err)
		return
	}
	s.write("id: %d\nevent: %s\ndata: %s\n", e.Seq, e.EventType, data)
}

func (s *eventStream) comment(text string) {
	s.write(": %s\n\n", text)
	s.flush()
}

func (s *eventStream) write(format string, args ...any) {
	if s.err != nil {
		return
	}
	extendDeadline(s.w, writeTimeout)
	_, s.err = fmt.Fprintf(s.w, format, args...)
}

func (s *eventStream) flush() {
	if s.err != nil {
		return
	}
	if err := s.conn.Flush(); !errors.Is(err, http.ErrNotSupported) {
		s.err = err
	}
}
