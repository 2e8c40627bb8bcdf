package queue_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/audit/queue"
	"github.com/caracalai/caracald/audit/queue/natstest"
)

// serves has a daemon report that it serves a zone.
func (v *vault) serves(daemon string) {
	v.t.Helper()
	err := v.store.Update(v.t.Context(), func(tx store.Tx) error {
		now := time.Now().UTC().Truncate(time.Microsecond)
		if _, err := tx.Zone(v.t.Context(), zone); errors.Is(err, store.ErrNotFound) {
			if err := tx.InsertZone(v.t.Context(), store.Zone{ID: zone, Name: zone, Slug: zone, Settings: json.RawMessage("{}"), CreatedAt: now, UpdatedAt: now}); err != nil {
				return err
			}
		}
		if err := tx.PutDaemon(v.t.Context(), store.Daemon{ID: daemon, LastSeenAt: now}); err != nil {
			return err
		}
		return tx.PutReceipt(v.t.Context(), store.Receipt{DaemonID: daemon, ZoneID: zone, State: "loaded", LoadedAt: now, ReportedAt: now})
	})
	if err != nil {
		v.t.Fatal(err)
	}
}

// TestPoison: messages that can never be stored are terminated with a reason
// that the server tells of, counted as gaps once, and hold nothing up.
func TestPoison(t *testing.T) {
	n := natstest.Start(t, "")
	v := newVault(t)
	stop := consume(t, n.URL(), v.server, nil)
	js := client(t, n.URL())
	stream := made(t, js)
	stop()
	told := make(chan string, 100)
	_, err := js.Conn().Subscribe("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED."+queue.DefaultStream+".>", func(m *nats.Msg) {
		var a struct {
			Reason string `json:"reason"`
		}
		if err := json.Unmarshal(m.Data, &a); err != nil {
			t.Error(err)
		}
		told <- a.Reason
	})
	if err != nil {
		t.Fatal(err)
	}
	p := publisher(t, n.URL(), nil)
	one, other := newSpool(t), newSpool(t)
	v.serves(one.daemon)
	put := func(daemon string, data []byte) {
		t.Helper()
		if _, err := js.Publish(t.Context(), queue.DefaultSubject+"."+daemon, data); err != nil {
			t.Fatal(err)
		}
	}
	one.add(4)
	one.ship(p, 2)

	put(one.daemon, []byte("no batch at all"))
	other.next = 1000
	other.add(3)
	foreign, err := other.read(0).Append(nil, other.daemon)
	if err != nil {
		t.Fatal(err)
	}
	put(one.daemon, foreign)
	// A second daemon that uses the first one's id, as after copying a machine.
	twin := newSpool(t)
	twin.daemon, twin.next = one.daemon, 2000
	twin.add(8)
	b := twin.read(0)
	b.Epoch = one.Epoch()
	if err := b.Cut(4); err != nil {
		t.Fatal(err)
	}
	twin.ack(4)
	b = twin.read(0)
	b.Epoch = one.Epoch()
	forged, err := b.Append(nil, one.daemon)
	if err != nil {
		t.Fatal(err)
	}
	put(one.daemon, forged)
	one.add(3)
	one.ship(p, 0)

	stop = consume(t, n.URL(), v.server, nil)
	v.holds(0, 7)
	got := map[string]int{}
	for range 3 {
		select {
		case reason := <-told:
			got[reason]++
		case <-time.After(patience):
			t.Fatalf("the server told of %v only", got)
		}
	}
	if got["malformed"] != 1 || got["wrong_daemon"] != 1 || got["chain_mismatch"] != 1 {
		t.Errorf("the server told of %v", got)
	}
	eventually(t, "the stream is empty", func() bool { return left(t, stream) == 0 })
	_, gaps := v.stored(zone)
	if gaps["malformed"] != 1 || gaps["wrong_daemon"] != 3 || gaps["chain_mismatch"] != 4 || len(gaps) != 3 {
		t.Errorf("gaps %v", gaps)
	}
	// The same again is no further gap.
	put(one.daemon, forged)
	put(one.daemon, []byte("no batch at all"))
	one.add(1)
	one.ship(p, 0)
	v.holds(0, 8)
	if _, again := v.stored(zone); again["malformed"] != 1 || again["chain_mismatch"] > 4 {
		t.Errorf("gaps %v after the same again", again)
	}
	stop()
}

// TestNewerVersion: a batch of a newer version waits for a control plane that knows it.
func TestNewerVersion(t *testing.T) {
	n := natstest.Start(t, "")
	v := newVault(t)
	js := client(t, n.URL())
	said := &lines{}
	stop := consume(t, n.URL(), v.server, func(cfg *queue.Config, _ *queue.ConsumerOptions) { cfg.Logger = logTo(said) })
	stream := made(t, js)
	s := newSpool(t)
	s.add(1)
	data, err := s.read(0).Append(nil, s.daemon)
	if err != nil {
		t.Fatal(err)
	}
	data[8] = 9
	if _, err := js.Publish(t.Context(), queue.DefaultSubject+"."+s.daemon, data); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the log tells of the version", func() bool { return strings.Contains(said.String(), "newer version") })
	stop()
	if left(t, stream) != 1 {
		t.Error("the batch is gone")
	}
}

// documented is the example of a NATS configuration in docs/audit-sinks.md.
func documented(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "audit-sinks.md"))
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile("(?s)```conf\n(.*?)```").FindSubmatch(page)
	if match == nil {
		t.Fatal("docs/audit-sinks.md has no configuration of NATS")
	}
	return string(match[1])
}

// TestDocumentedPermissions runs the example of the documentation: a daemon can
// publish as itself only and read nothing, a control plane can do its work.
func TestDocumentedPermissions(t *testing.T) {
	const id = "0192e4a0-0000-7000-8000-000000000001"
	n := natstest.Start(t, documented(t))
	as := func(user string) string { return strings.Replace(n.URL(), "nats://", "nats://"+user+"@", 1) }
	v := newVault(t)
	consume(t, as("control-plane:change-me-2"), v.server, nil)
	s := newSpool(t)
	s.daemon = id
	p := publisher(t, as("daemon-1:change-me-1"), nil)
	s.add(20)
	s.ship(p, 5)
	v.holds(0, 20)

	other := newSpool(t)
	other.add(1)
	if _, _, err := p.Take(t.Context(), other.daemon, other.read(0)); err == nil || !strings.Contains(strings.ToLower(err.Error()), "permissions violation") {
		t.Errorf("publishing as another daemon: %v", err)
	}
	nc, err := nats.Connect(as("daemon-1:change-me-1"), nats.PermissionErrOnSubscribe(true))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(500*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Stream(t.Context(), queue.DefaultStream); err == nil {
		t.Error("a daemon may look at the stream")
	}
	for _, subject := range []string{queue.DefaultSubject + ".>", "_INBOX_CARACAL_ADMIN.>", "_INBOX.>"} {
		sub, err := nc.SubscribeSync(subject)
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		if _, err := sub.NextMsg(patience); !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("a daemon may read %s: %v", subject, err)
		}
	}
	if _, err := nats.Connect(n.URL()); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("without a password: %v", err)
	}
}

func TestReceiverSeesWhatTheSubjectSays(t *testing.T) {
	v := newVault(t)
	s := newSpool(t)
	s.add(1)
	data, err := s.read(0).Append(nil, s.daemon)
	if err != nil {
		t.Fatal(err)
	}
	var p *audit.Poison
	err = v.server.Receive(t.Context(), audit.Delivery{DaemonID: uuid.NewString(), Batch: data})
	if !errors.As(err, &p) || !errors.Is(err, audit.ErrPoison) || p.Reason != "wrong_daemon" || p.Records != 1 {
		t.Errorf("%v", err)
	}
	err = v.server.Receive(t.Context(), audit.Delivery{DaemonID: s.daemon, Batch: data, After: 5})
	if !errors.Is(err, audit.ErrEarly) {
		t.Errorf("%v, want ErrEarly", err)
	}
	for range 2 {
		if err := v.server.Receive(t.Context(), audit.Delivery{DaemonID: s.daemon, Batch: data, After: 5, Settled: true}); err != nil {
			t.Error(err)
		}
	}
	v.holds(0, 1)
}
