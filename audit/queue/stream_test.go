package queue_test

import (
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/caracalai/caracald/audit/queue"
	"github.com/caracalai/caracald/audit/queue/natstest"
)

// TestUnsafeStreams: a stream that could lose messages is not used.
func TestUnsafeStreams(t *testing.T) {
	n := natstest.Start(t, "")
	js := client(t, n.URL())
	v := newVault(t)
	subjects := []string{queue.DefaultSubject + ".*"}
	for name, c := range map[string]struct {
		cfg  jetstream.StreamConfig
		fits bool
	}{
		"memory":      {cfg: jetstream.StreamConfig{Subjects: subjects, Storage: jetstream.MemoryStorage}},
		"interest":    {cfg: jetstream.StreamConfig{Subjects: subjects, Retention: jetstream.InterestPolicy}},
		"discard old": {cfg: jetstream.StreamConfig{Subjects: subjects, MaxBytes: 1 << 20}},
		"per subject": {cfg: jetstream.StreamConfig{Subjects: subjects, MaxMsgsPerSubject: 5, Discard: jetstream.DiscardNew}},
		"elsewhere":   {cfg: jetstream.StreamConfig{Subjects: []string{"other.*"}}},
		"no answers":  {cfg: jetstream.StreamConfig{Subjects: subjects, NoAck: true}},
		"limits":      {cfg: jetstream.StreamConfig{Subjects: subjects}, fits: true},
	} {
		t.Run(name, func(t *testing.T) {
			c.cfg.Name = queue.DefaultStream
			eventually(t, "the stream is made", func() bool { // one of the name may still be being removed
				_, err := js.CreateStream(t.Context(), c.cfg)
				return err == nil
			})
			defer func() {
				if err := js.DeleteStream(t.Context(), queue.DefaultStream); err != nil {
					t.Error(err)
				}
			}()
			said := &lines{}
			stop := consume(t, n.URL(), v.server, func(cfg *queue.Config, _ *queue.ConsumerOptions) { cfg.Logger = logTo(said) })
			defer stop()
			want := "not fit for audit"
			if c.fits {
				want = "audit is consumed"
			}
			eventually(t, "the log says: "+want, func() bool { return strings.Contains(said.String(), want) })
		})
	}
}

// lines collects a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestConfiguration(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for want, cfg := range map[string]queue.Config{
		"URLs": {}, "Stream": {URLs: []string{"nats://x"}, Stream: "a b"}, "Subject": {URLs: []string{"nats://x"}, Subject: "a.>"},
		"CredsFile": {URLs: []string{"nats://x"}, CredsFile: missing}, "CAFile": {URLs: []string{"nats://x"}, CAFile: missing},
		"CertFile": {URLs: []string{"nats://x"}, CertFile: missing},
	} {
		if _, err := queue.NewPublisher(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s named", cfg, err, want)
		}
	}
	good := queue.Config{URLs: []string{"nats://127.0.0.1:1"}}
	for want, o := range map[string]queue.ConsumerOptions{
		"Receiver": {}, "Replicas": {Receiver: receiverFunc(nil), Replicas: 7}, "MaxBytes": {Receiver: receiverFunc(nil), MaxBytes: -1},
	} {
		if _, err := queue.NewConsumer(good, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s named", o, err, want)
		}
	}
	// A daemon whose id cannot be part of a subject.
	p, err := queue.NewPublisher(good)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	s := newSpool(t)
	s.add(1)
	if _, _, err := p.Take(t.Context(), "a.>", s.read(0)); err == nil || !strings.Contains(err.Error(), "daemon id") {
		t.Errorf("%v", err)
	}
}

func logTo(l *lines) *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
