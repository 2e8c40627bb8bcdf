package queue

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/caracalai/caracald/audit"
)

const (
	// earlyPoll is how often a batch that came early looks whether its time has come.
	earlyPoll = 20 * time.Millisecond
	// earlyMost is the longest that it is left before it is looked at again.
	earlyMost = 2 * time.Second
	// newerWait is how long a batch that only newer code can read is left.
	newerWait = time.Minute
)

// intake is what is in hand between two failures of the connection.
type intake struct {
	c        *Consumer
	ctx      context.Context
	stream   jetstream.Stream
	consumer jetstream.Consumer
	work     *sync.WaitGroup
}

// lane holds the messages of one daemon that are in hand here; they are dealt
// with one at a time, in the stream's order.
type lane struct {
	subject string
	waiting []held
	// arrived is told of each message that is added.
	arrived chan struct{}
}

// held is a message in hand.
type held struct {
	msg jetstream.Msg
	// place is its sequence in the stream, delivered how often it was delivered.
	place, delivered uint64
	stored           time.Time // when the stream took it
}

// take puts a message into its lane.
func (q *intake) take(msg jetstream.Msg) {
	c := q.c
	meta, err := msg.Metadata()
	if err != nil { // not from a stream, so nobody waits for an answer
		c.cfg.Logger.Error("a message without a place in the stream was passed over", "subject", msg.Subject(), "error", err)
		<-c.inHand
		return
	}
	if meta.NumDelivered > 1 {
		c.metrics.redeliveries.Add(q.ctx, 1)
	}
	h := held{msg: msg, place: meta.Sequence.Stream, delivered: meta.NumDelivered, stored: meta.Timestamp}
	c.mu.Lock()
	defer c.mu.Unlock()
	l, ok := c.lanes[msg.Subject()]
	if !ok {
		l = &lane{subject: msg.Subject(), arrived: make(chan struct{}, 1)}
		c.lanes[l.subject] = l
		q.work.Go(func() { q.run(l) })
	}
	c.here[h.place] = msg
	l.waiting = append(l.waiting, h)
	byPlace(l.waiting)
	select {
	case l.arrived <- struct{}{}:
	default:
	}
}

// first takes the message that is first in the stream out of a lane, and ends
// the lane when there is none.
func (c *Consumer) first(l *lane) (held, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(l.waiting) == 0 {
		delete(c.lanes, l.subject)
		return held{}, false
	}
	h := l.waiting[0]
	l.waiting = l.waiting[1:]
	return h, true
}

// putBack returns a message to its lane.
func (c *Consumer) putBack(l *lane, h held) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.waiting = append(l.waiting, h)
	byPlace(l.waiting)
}

// rest takes all messages out of a lane.
func (c *Consumer) rest(l *lane) []held {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := l.waiting
	l.waiting = nil
	return all
}

// run deals with a lane's messages until there are no more.
func (q *intake) run(l *lane) {
	c := q.c
	var early time.Time // since when the lane waits for a batch that is not here
	for {
		h, ok := c.first(l)
		if !ok {
			return
		}
		if q.ctx.Err() != nil {
			q.back(l, h, "failed", 0)
			continue
		}
		err := q.receive(h, false)
		if errors.Is(err, audit.ErrEarly) && !early.IsZero() && time.Since(early) >= c.options.EarlyWait && q.settled(h) {
			err = q.receive(h, true)
		}
		switch {
		case err == nil:
			early = time.Time{}
			c.count(q.ctx, "stored")
			c.metrics.delay.Record(q.ctx, max(0, time.Since(h.stored)).Seconds())
			q.done(h, h.msg.Ack())
		case errors.Is(err, audit.ErrPoison):
			early = time.Time{}
			q.terminate(h, err)
		case errors.Is(err, audit.ErrVersion):
			c.cfg.Logger.Error("an audit batch is of a newer version than this control plane knows; it waits for one that does", "subject", l.subject, "sequence", h.place, "error", err)
			q.back(l, h, "failed", newerWait)
		case errors.Is(err, audit.ErrEarly) && early.IsZero():
			early = time.Now()
			fallthrough
		case errors.Is(err, audit.ErrEarly) && time.Since(early) < c.options.EarlyWait:
			c.putBack(l, h)
			q.waitFor(l)
		case errors.Is(err, audit.ErrEarly):
			early = time.Time{}
			c.cfg.Logger.Debug("an audit batch came before the one it follows, and is given back", "subject", l.subject, "sequence", h.place, "delivered", h.delivered)
			q.back(l, h, "early", min(c.again(h.delivered), earlyMost))
		default:
			early = time.Time{}
			c.cfg.Logger.Warn("an audit batch could not be stored, and is given back", "subject", l.subject, "sequence", h.place, "delivered", h.delivered, "error", err)
			q.back(l, h, "failed", c.again(h.delivered))
		}
	}
}

// waitFor waits for a while, or until a message is added to the lane.
func (q *intake) waitFor(l *lane) {
	select {
	case <-l.arrived:
	case <-time.After(earlyPoll):
	case <-q.ctx.Done():
	}
}

// receive has a batch stored. It is not interrupted when the consumer ends: what
// was begun is finished.
func (q *intake) receive(h held, settled bool) error {
	c := q.c
	c.receiving <- struct{}{}
	defer func() { <-c.receiving }()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(q.ctx), c.options.ReceiveTimeout)
	defer cancel()
	d := audit.Delivery{DaemonID: c.cfg.daemonOf(h.msg.Subject()), Batch: h.msg.Data(), Settled: settled}
	if header, err := audit.DecodeBatchHeader(d.Batch); err == nil {
		// Who does not say what went before has handed over all before the batch.
		d.After = header.First
		if after, err := strconv.ParseUint(h.msg.Headers().Get(headerAfter), 10, 64); err == nil {
			d.After = min(after, header.First)
		}
	}
	return c.options.Receiver.Receive(ctx, d)
}

// settled tells whether nothing that is before a message in the stream, and of
// the same daemon, can come any more: all was acknowledged or terminated, or has
// gone from the stream.
func (q *intake) settled(h held) bool {
	ctx, cancel := context.WithTimeout(q.ctx, setupTimeout)
	defer cancel()
	first, err := q.stream.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(h.msg.Subject()))
	if err == nil && first.Sequence >= h.place {
		return true
	}
	if err != nil {
		q.c.cfg.Logger.Debug("the first message of a daemon cannot be read", "subject", h.msg.Subject(), "error", err)
	}
	// In a stream that keeps messages after they were acknowledged.
	info, err := q.consumer.Info(ctx)
	if err != nil {
		q.c.cfg.Logger.Debug("the consumer's state cannot be read", "error", err)
		return false
	}
	return info.AckFloor.Stream+1 >= h.place
}

// terminate ends a message that can never be stored.
func (q *intake) terminate(h held, cause error) {
	reason, records := "poison", 0
	var p *audit.Poison
	if errors.As(cause, &p) {
		reason, records = p.Reason, p.Records
	}
	q.c.count(q.ctx, "terminated")
	q.c.metrics.lost.Add(q.ctx, int64(records), metric.WithAttributes(attribute.String("reason", reason)))
	q.c.cfg.Logger.Error("an audit batch can never be stored and was terminated", "subject", h.msg.Subject(), "sequence", h.place,
		"message_id", h.msg.Headers().Get(jetstream.MsgIDHeader), "reason", reason, "records", records, "error", cause)
	q.done(h, h.msg.TermWithReason(reason))
}

// back gives a message back, and with it all that follow it in the lane.
func (q *intake) back(l *lane, h held, outcome string, after time.Duration) {
	for _, one := range append([]held{h}, q.c.rest(l)...) {
		q.c.count(q.ctx, outcome)
		q.c.giveBack(one.msg, after)
		q.c.letGo(one.place)
	}
}

// done lets go of a message that was answered.
func (q *intake) done(h held, err error) {
	if err != nil {
		q.c.cfg.Logger.Debug("a message could not be answered; it comes again", "subject", h.msg.Subject(), "sequence", h.place, "error", err)
	}
	q.c.letGo(h.place)
}
