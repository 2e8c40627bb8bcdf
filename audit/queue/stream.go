package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// DuplicateWindow is how long a stream that is made here remembers message ids.
// It saves work only: who stores the records tells duplicates by their offsets,
// however late they come.
const DuplicateWindow = 2 * time.Minute

// ErrUnsafeStream: a stream of the name is there, and could drop messages that
// nobody stored, or hold others.
var ErrUnsafeStream = errors.New("the stream is not fit for audit")

// ensureStream makes the stream where there is none, and otherwise checks it.
// What is there is left as it is.
func (c *Consumer) ensureStream(ctx context.Context, js jetstream.JetStream) (jetstream.Stream, error) {
	s, err := js.Stream(ctx, c.cfg.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = js.CreateStream(ctx, c.wantedStream())
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another replica was faster
			s, err = js.Stream(ctx, c.cfg.Stream)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the stream %s: %w", c.cfg.Stream, err)
	}
	have := s.CachedInfo().Config
	if wrong := c.unsafe(&have); len(wrong) > 0 {
		return nil, fmt.Errorf("the stream %s: %w: %w", c.cfg.Stream, ErrUnsafeStream, errors.Join(wrong...))
	}
	if have.Replicas < c.options.Replicas {
		c.cfg.Logger.Warn("the audit stream has fewer replicas than wanted", "stream", have.Name, "replicas", have.Replicas, "wanted", c.options.Replicas)
	}
	if have.MaxAge > 0 {
		c.cfg.Logger.Warn("the audit stream forgets messages by age, also those that nobody stored", "stream", have.Name, "max_age", have.MaxAge)
	}
	return s, nil
}

// wantedStream is a queue that keeps each message until it is acknowledged, and
// refuses more when it is full, so that the daemons' spools keep them.
func (c *Consumer) wantedStream() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        c.cfg.Stream,
		Description: "Audit batches of caracald daemons",
		Subjects:    []string{c.cfg.Subject + ".*"},
		Retention:   jetstream.WorkQueuePolicy,
		Discard:     jetstream.DiscardNew,
		Storage:     jetstream.FileStorage,
		MaxBytes:    c.options.MaxBytes,
		Replicas:    c.options.Replicas,
		Duplicates:  DuplicateWindow,
	}
}

// unsafe says by what a stream could lose messages.
func (c *Consumer) unsafe(s *jetstream.StreamConfig) (wrong []error) {
	refuse := func(bad bool, what string) {
		if bad {
			wrong = append(wrong, errors.New(what))
		}
	}
	whole := c.cfg.Subject + ".*"
	refuse(!slices.Contains(s.Subjects, whole) && !slices.Contains(s.Subjects, c.cfg.Subject+".>"), "its subjects must have "+whole)
	refuse(s.Storage != jetstream.FileStorage, "its storage must be file")
	refuse(s.Retention == jetstream.InterestPolicy, "its retention must be workqueue or limits; by interest it drops what comes while there is no consumer")
	refuse(s.NoAck, "it must acknowledge messages")
	refuse(s.PersistMode != jetstream.DefaultPersistMode, "its persist mode must be the default")
	limited := s.MaxMsgs > 0 || s.MaxBytes > 0 || s.MaxMsgsPerSubject > 0
	refuse(limited && s.Discard != jetstream.DiscardNew, "its discard policy must be new, because it has a limit")
	refuse(s.MaxMsgsPerSubject > 0 && !s.DiscardNewPerSubject, "its limit for each subject must discard new messages")
	return wrong
}
