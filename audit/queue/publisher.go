package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/metric"

	"github.com/caracalai/caracald/audit"
)

// publishTimeout bounds the wait for the answer to one message.
const publishTimeout = 10 * time.Second

// Publisher is the sink that publishes a daemon's batches.
type Publisher struct {
	cfg        Config
	nc         *nats.Conn
	js         jetstream.JetStream
	duplicates metric.Int64Counter
	registered metric.Registration
	// underway ends the publishing that is under way, which a server may refuse
	// without an answer.
	underway atomic.Pointer[context.CancelCauseFunc]
}

var _ audit.Sink = (*Publisher)(nil)

// NewPublisher begins to connect. It does not wait until it is connected: until
// then Take fails, and the spool keeps what there is. An error is about the
// configuration.
func NewPublisher(cfg Config) (*Publisher, error) {
	if err := cfg.prepare(); err != nil {
		return nil, fmt.Errorf("audit queue configuration: %w", err)
	}
	p := &Publisher{cfg: cfg}
	m := cfg.MeterProvider.Meter(meterName)
	var err error
	p.duplicates, err = m.Int64Counter("caracal.audit.queue.duplicates", metric.WithUnit("{message}"),
		metric.WithDescription("Messages that the stream had already when they were published again."))
	if err != nil {
		return nil, err
	}
	connected, err := m.Int64ObservableGauge("caracal.audit.queue.connected", metric.WithUnit("1"), metric.WithDescription("1 while NATS is connected."))
	if err != nil {
		return nil, err
	}
	if p.nc, err = cfg.connect(daemonInbox, p.refuse); err != nil {
		return nil, err
	}
	p.registered, err = m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		up := int64(0)
		if p.nc.IsConnected() {
			up = 1
		}
		o.ObserveInt64(connected, up)
		return nil
	}, connected)
	if err == nil {
		p.js, err = jetstream.New(p.nc)
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// refuse ends a publishing for which the right is missing.
func (p *Publisher) refuse(err error) {
	if end := p.underway.Load(); end != nil && errors.Is(err, nats.ErrPermissionViolation) {
		(*end)(err)
	}
}

// Name is "nats".
func (p *Publisher) Name() string { return "nats" }

// Take publishes a batch and waits until the stream has it. Of one that is more
// than a message may hold it takes as much as fits.
func (p *Publisher) Take(ctx context.Context, daemonID string, b *audit.EncodedBatch) (next uint64, size int, err error) {
	subject, err := p.cfg.subject(daemonID)
	if err != nil {
		return 0, 0, err
	}
	for {
		data, err := b.Append(nil, daemonID)
		if err != nil {
			return 0, 0, fmt.Errorf("encoding a batch: %w", err)
		}
		err = p.publish(ctx, subject, messageID(daemonID, b), b.After, data)
		if err == nil {
			return b.Next(), len(data), nil
		}
		if !errors.Is(err, nats.ErrMaxPayload) && !errors.Is(err, jetstream.ErrStreamMessageExceedsMaximum) {
			return 0, 0, fmt.Errorf("publishing to %s: %w", subject, err)
		}
		if b.Count == 1 {
			return 0, 0, fmt.Errorf("%w: a record makes a message of %d bytes: %w", audit.ErrLimit, len(data), err)
		}
		if err := b.Cut(b.Count / 2); err != nil {
			return 0, 0, err
		}
	}
}

// messageID is what the stream finds duplicates by. Where a batch ends is part
// of it: after a crash of the machine a daemon may send a longer one from the
// same offset, and if that were dropped for the shorter one, the rest would be lost.
func messageID(daemonID string, b *audit.EncodedBatch) string {
	return fmt.Sprintf("%s/%s/%d-%d", daemonID, b.Epoch, b.First, b.Next())
}

func (p *Publisher) publish(ctx context.Context, subject, id string, after uint64, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	p.underway.Store(&end)
	defer p.underway.Store(nil)
	msg := &nats.Msg{Subject: subject, Data: data, Header: nats.Header{headerAfter: {strconv.FormatUint(after, 10)}}}
	// The stream's name makes sure that it was the stream that answered.
	ack, err := p.js.PublishMsg(ctx, msg, jetstream.WithMsgID(id), jetstream.WithExpectStream(p.cfg.Stream))
	if err != nil {
		if errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) {
			return fmt.Errorf("no stream takes it; a control plane that consumes the audit makes it: %w", err)
		}
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			return errors.Join(err, cause)
		}
		return err
	}
	if ack.Duplicate {
		p.duplicates.Add(ctx, 1)
	}
	return nil
}

// Close ends the connection.
func (p *Publisher) Close() error {
	p.nc.Close()
	if p.registered == nil {
		return nil
	}
	return p.registered.Unregister()
}
