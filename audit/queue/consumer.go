package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/caracalai/caracald/audit"
)

// DefaultDurable is the name of the consumer that all control planes share.
const DefaultDurable = "caracal-admin"

const (
	// maxAckPending bounds the messages that all replicas together have in hand.
	maxAckPending = 256
	// maxInHand bounds those of one replica, in number; each is at most as large
	// as the server's largest message.
	maxInHand = 32
	// maxReceiving bounds the batches that are stored at once.
	maxReceiving = 4
	// setupTimeout bounds one call to JetStream's API.
	setupTimeout = 10 * time.Second
	// infoEvery is how often the consumer's state is asked for.
	infoEvery = 10 * time.Second
)

// ConsumerOptions are what a Consumer needs beside a Config.
type ConsumerOptions struct {
	// Receiver stores the batches. Required.
	Receiver audit.Receiver
	// Replicas and MaxBytes are those of a stream that is made here. Defaults 1,
	// and 0 for no bound but the account's.
	Replicas int
	MaxBytes int64
	// AckWait is after how long a message goes to somebody else when whoever has
	// it says nothing more; who lives says so three times in it. Default 10 s.
	AckWait time.Duration
	// EarlyWait is how long a batch waits in place for the one before it, which
	// another replica may be storing, before it is given back. Default 250 ms.
	EarlyWait time.Duration
	// RetryMin and RetryMax bound the pauses after failures. Defaults 200 ms and 15 s.
	RetryMin, RetryMax time.Duration
	// ReceiveTimeout bounds the storing of one batch. Default 30 s.
	ReceiveTimeout time.Duration
}

func (o *ConsumerOptions) prepare() error {
	if o.Receiver == nil {
		return errors.New("the field Receiver is required")
	}
	if o.Replicas < 0 || o.Replicas > 5 {
		return fmt.Errorf("the field Replicas: is %d; it must be 1 to 5", o.Replicas)
	}
	if o.MaxBytes < 0 {
		return errors.New("MaxBytes: is negative")
	}
	o.Replicas = max(o.Replicas, 1)
	if o.MaxBytes == 0 {
		o.MaxBytes = -1
	}
	for _, d := range []struct {
		value    *time.Duration
		byItself time.Duration
	}{
		{&o.AckWait, 10 * time.Second}, {&o.EarlyWait, 250 * time.Millisecond}, {&o.RetryMin, 200 * time.Millisecond},
		{&o.RetryMax, 15 * time.Second}, {&o.ReceiveTimeout, 30 * time.Second},
	} {
		if *d.value <= 0 {
			*d.value = d.byItself
		}
	}
	return nil
}

// Consumer takes batches from the stream and has them stored. Any number of
// consumers share the work; messages of one daemon may be in the hands of
// several at once.
type Consumer struct {
	cfg     Config
	options ConsumerOptions
	metrics consumerMetrics
	// pending and unacknowledged are the consumer's state on the server.
	pending, unacknowledged atomic.Int64
	// receiving has a place for each batch that may be stored at once, inHand one
	// for each message.
	receiving, inHand chan struct{}

	mu    sync.Mutex
	lanes map[string]*lane
	// here are the messages in hand, by their place in the stream.
	here map[uint64]jetstream.Msg
}

type consumerMetrics struct {
	deliveries   metric.Int64Counter
	redeliveries metric.Int64Counter
	lost         metric.Int64Counter
	delay        metric.Float64Histogram
}

// NewConsumer checks the configuration; it does not connect.
func NewConsumer(cfg Config, options ConsumerOptions) (*Consumer, error) {
	err := cfg.prepare()
	if err == nil {
		err = options.prepare()
	}
	if err != nil {
		return nil, fmt.Errorf("audit queue configuration: %w", err)
	}
	c := &Consumer{
		cfg: cfg, options: options, lanes: map[string]*lane{}, here: map[uint64]jetstream.Msg{},
		receiving: make(chan struct{}, maxReceiving), inHand: make(chan struct{}, maxInHand),
	}
	return c, nil
}

// measure makes the instruments; stop forgets them.
func (c *Consumer) measure() (stop func() error, err error) {
	m := c.cfg.MeterProvider.Meter(meterName)
	var failed [6]error
	c.metrics.deliveries, failed[0] = m.Int64Counter("caracal.audit.queue.deliveries", metric.WithUnit("{message}"),
		metric.WithDescription("Messages taken from the stream, by outcome: stored, early (given back until the one before it is stored), failed (given back) or terminated."))
	c.metrics.redeliveries, failed[1] = m.Int64Counter("caracal.audit.queue.redeliveries", metric.WithUnit("{message}"),
		metric.WithDescription("Messages taken that were delivered before."))
	c.metrics.lost, failed[2] = m.Int64Counter("caracal.audit.queue.terminated_records", metric.WithUnit("{record}"),
		metric.WithDescription("Audit records in messages that can never be stored, as far as they say, by reason."))
	c.metrics.delay, failed[3] = m.Float64Histogram("caracal.audit.queue.delay", metric.WithUnit("s"),
		metric.WithDescription("Time from when a message was in the stream until its records were stored."),
		metric.WithExplicitBucketBoundaries(5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1, 5, 15, 60, 300, 3600))
	pending, err4 := m.Int64ObservableGauge("caracal.audit.queue.pending", metric.WithUnit("{message}"),
		metric.WithDescription("Messages in the stream that nobody has taken yet."))
	waiting, err5 := m.Int64ObservableGauge("caracal.audit.queue.unacknowledged", metric.WithUnit("{message}"),
		metric.WithDescription("Messages that control planes have taken and not acknowledged."))
	failed[4], failed[5] = err4, err5
	if err := errors.Join(failed[:]...); err != nil {
		return nil, err
	}
	registered, err := m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(pending, c.pending.Load())
		o.ObserveInt64(waiting, c.unacknowledged.Load())
		return nil
	}, pending, waiting)
	if err != nil {
		return nil, err
	}
	return registered.Unregister, nil
}

// Run consumes until ctx ends, and then returns nil after what it has in hand is
// stored or given back. A server that is away, a stream that is not fit and
// whatever else fails is logged and tried again; only a configuration that
// cannot be used is an error.
func (c *Consumer) Run(ctx context.Context) (err error) {
	stop, err := c.measure()
	if err != nil {
		return fmt.Errorf("making the metrics: %w", err)
	}
	defer func() { err = errors.Join(err, stop()) }()
	nc, err := c.cfg.connect(adminInbox, func(error) {})
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval, pause.Multiplier = c.options.RetryMin, c.options.RetryMax, 2
	pause.Reset()
	for {
		err := c.consume(ctx, js, pause.Reset)
		if ctx.Err() != nil {
			c.flush(nc)
			return nil
		}
		wait := pause.NextBackOff()
		c.cfg.Logger.Warn("audit cannot be consumed from NATS", "error", err, "again_in", wait)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// flush hands the last acknowledgements over to the server.
func (c *Consumer) flush(nc *nats.Conn) {
	if !nc.IsConnected() {
		return
	}
	if err := nc.FlushTimeout(time.Second); err != nil {
		c.cfg.Logger.Debug("the last acknowledgements may be lost; the messages come again", "error", err)
	}
}

// consume takes messages until something fails or ctx ends.
func (c *Consumer) consume(ctx context.Context, js jetstream.JetStream, well func()) error {
	setup, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	stream, err := c.ensureStream(setup, js)
	if err != nil {
		return err
	}
	consumer, err := stream.CreateOrUpdateConsumer(setup, jetstream.ConsumerConfig{
		Durable:       DefaultDurable,
		Description:   "Control planes that store audit",
		AckPolicy:     jetstream.AckExplicitPolicy,
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckWait:       c.options.AckWait,
		MaxDeliver:    -1,
		MaxAckPending: maxAckPending,
		FilterSubject: c.cfg.Subject + ".*",
	})
	if err != nil {
		return fmt.Errorf("the consumer %s: %w", DefaultDurable, err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(maxInHand/2), jetstream.PullExpiry(5*time.Second), jetstream.WithMessagesErrOnMissingHeartbeat(true))
	if err != nil {
		return fmt.Errorf("asking for messages: %w", err)
	}
	well()
	c.cfg.Logger.Info("audit is consumed from NATS", "stream", c.cfg.Stream, "consumer", DefaultDurable)
	ctx, end := context.WithCancel(ctx)
	var work sync.WaitGroup
	work.Go(func() { c.watch(ctx, consumer) })
	work.Go(func() { c.keep(ctx) })
	q := &intake{c: c, ctx: ctx, stream: stream, consumer: consumer, work: &work}
	for {
		var msg jetstream.Msg
		if msg, err = messages.Next(jetstream.NextContext(ctx)); err != nil {
			break
		}
		select {
		case c.inHand <- struct{}{}:
			q.take(msg)
		case <-ctx.Done():
			c.giveBack(msg, 0)
		}
	}
	end()
	// What was sent already and not taken goes to others at once.
	messages.Drain()
	for {
		msg, err := messages.Next(jetstream.NextMaxWait(time.Second))
		if err != nil {
			break
		}
		c.giveBack(msg, 0)
	}
	work.Wait()
	return err
}

// watch keeps the figures of the consumer on the server.
func (c *Consumer) watch(ctx context.Context, consumer jetstream.Consumer) {
	tick := time.NewTicker(infoEvery)
	defer tick.Stop()
	for {
		ask, cancel := context.WithTimeout(ctx, setupTimeout)
		info, err := consumer.Info(ask)
		cancel()
		if err == nil {
			c.pending.Store(int64(info.NumPending))
			c.unacknowledged.Store(int64(info.NumAckPending))
		} else if ctx.Err() == nil {
			c.cfg.Logger.Debug("the consumer's state cannot be read", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// keep tells the server that what is in hand is being worked on.
func (c *Consumer) keep(ctx context.Context) {
	tick := time.NewTicker(c.options.AckWait / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		c.mu.Lock()
		held := slices.Collect(maps.Values(c.here))
		c.mu.Unlock()
		for _, msg := range held {
			if err := msg.InProgress(); err != nil && !errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
				c.cfg.Logger.Debug("a message may go to somebody else", "subject", msg.Subject(), "error", err)
			}
		}
	}
}

// letGo ends having a message in hand.
func (c *Consumer) letGo(place uint64) {
	c.mu.Lock()
	delete(c.here, place)
	c.mu.Unlock()
	<-c.inHand
}

// giveBack has a message delivered again, to anybody, after a while.
func (c *Consumer) giveBack(msg jetstream.Msg, after time.Duration) {
	err := msg.NakWithDelay(after)
	if after <= 0 {
		err = msg.Nak()
	}
	if err != nil {
		c.cfg.Logger.Debug("a message could not be given back; it comes again by itself", "subject", msg.Subject(), "error", err)
	}
}

func (c *Consumer) count(ctx context.Context, outcome string) {
	c.metrics.deliveries.Add(ctx, 1, metric.WithAttributes(attribute.String("outcome", outcome)))
}

// again is how long a message that was delivered so often is left before the
// next time.
func (c *Consumer) again(delivered uint64) time.Duration {
	return min(c.options.RetryMin<<min(max(delivered, 1)-1, 10), c.options.RetryMax)
}

// byPlace orders messages as the stream has them.
func byPlace(list []held) {
	slices.SortFunc(list, func(a, b held) int {
		switch {
		case a.place < b.place:
			return -1
		case a.place > b.place:
			return 1
		}
		return 0
	})
}
