package queue_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/caracalai/caracald/admin"
	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/sqlite"
	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/audit/queue"
	"github.com/caracalai/caracald/audit/queue/natstest"
)

func TestMain(m *testing.M) {
	natstest.Main()
	os.Exit(m.Run())
}

// patience bounds how long a test waits for what must happen.
const patience = 60 * time.Second

const (
	zone  = "z1"
	token = "bootstrap-secret-of-tests"
)

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("never happened: %s", what)
		}
	}
}

// logger writes to the test's log.
func logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// vault is a real control plane over a real store.
type vault struct {
	t      testing.TB
	server *admin.Server
	store  store.Store
}

func newVault(t testing.TB) *vault {
	t.Helper()
	st, err := sqlite.Open(t.Context(), t.TempDir(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	keys, err := admin.LoadOrCreateKeys(t.Context(), st, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s, err := admin.New(t.Context(), admin.Config{Store: st, Keys: keys, BootstrapToken: token, Logger: logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	return &vault{t, s, st}
}

// stored lists the request ids of a zone's decisions in the order in which they
// were stored, and sums up its gaps by reason.
func (v *vault) stored(zone string) (ids []string, gaps map[string]int) {
	v.t.Helper()
	gaps = map[string]int{}
	for seq := int64(0); ; {
		list, err := v.store.Events().Since(context.Background(), zone, seq, 500)
		if err != nil {
			v.t.Fatal(err)
		}
		for _, e := range list {
			seq = e.Seq
			if e.EventType == audit.EventDecision {
				ids = append(ids, e.RequestID)
				continue
			}
			var m struct {
				Count  int
				Reason string
			}
			if err := json.Unmarshal(e.Metadata, &m); err != nil {
				v.t.Fatal(err)
			}
			gaps[m.Reason] += m.Count
		}
		if len(list) < 500 {
			return ids, gaps
		}
	}
}

// holds waits until the zone's decisions are those of the numbers from to to, each
// once and in order.
func (v *vault) holds(from, to int) {
	v.t.Helper()
	eventually(v.t, fmt.Sprintf("%d records are stored", to-from), func() bool {
		ids, _ := v.stored(zone)
		return len(ids) >= to-from
	})
	ids, _ := v.stored(zone)
	if len(ids) != to-from {
		v.t.Fatalf("%d records are stored, want %d", len(ids), to-from)
	}
	for i, id := range ids {
		if want := request(from + i); id != want {
			v.t.Fatalf("record %d is %s, want %s", i, id, want)
		}
	}
}

func request(i int) string { return fmt.Sprintf("request-%06d", i) }

func record(i int, pad string) *audit.Record {
	input, _ := json.Marshal(map[string]string{"pad": pad})
	return &audit.Record{
		ID: uuid.Must(uuid.NewV7()).String(), EventType: audit.EventDecision, ZoneID: zone, RequestID: request(i), Decision: "allow", EvaluationStatus: "complete",
		Metadata: json.RawMessage("{}"), Input: input, OccurredAt: time.Now().UTC(),
	}
}

// spool is a daemon's spool with a number of records.
type spool struct {
	*audit.Spool
	t      testing.TB
	daemon string
	next   int
	pad    string
}

func newSpool(t testing.TB) *spool {
	t.Helper()
	s, err := audit.OpenSpool(audit.SpoolOptions{Dir: t.TempDir(), Durability: audit.SyncNone})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return &spool{Spool: s, t: t, daemon: uuid.Must(uuid.NewV7()).String()}
}

func (s *spool) add(n int) {
	s.t.Helper()
	for range n {
		if err := s.Append(record(s.next, s.pad)); err != nil {
			s.t.Fatal(err)
		}
		s.next++
	}
}

// read gives the next batch of n records at most.
func (s *spool) read(n int) *audit.EncodedBatch {
	s.t.Helper()
	b := new(audit.EncodedBatch)
	if err := s.NextEncoded(s.t.Context(), b, n, 0); err != nil {
		s.t.Fatal(err)
	}
	return b
}

func (s *spool) ack(next uint64) {
	s.t.Helper()
	if err := s.Ack(next); err != nil {
		s.t.Fatal(err)
	}
}

// ship hands everything to a sink, n records at a time, and tries again what fails.
func (s *spool) ship(sink audit.Sink, n int) {
	s.t.Helper()
	for s.Stats().Depth > 0 {
		b := s.read(n)
		var next uint64
		eventually(s.t, "a batch is taken", func() bool {
			var err error
			if next, _, err = sink.Take(s.t.Context(), s.daemon, b); err != nil {
				s.t.Log(err)
			}
			return err == nil
		})
		s.ack(next)
	}
}

func publisher(t testing.TB, urls string, change func(*queue.Config)) *queue.Publisher {
	t.Helper()
	cfg := queue.Config{URLs: strings.Split(urls, ","), Name: "test daemon", Logger: logger(t)}
	if change != nil {
		change(&cfg)
	}
	p, err := queue.NewPublisher(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// consume starts a consumer; stop ends it and waits for it.
func consume(t testing.TB, urls string, to audit.Receiver, change func(*queue.Config, *queue.ConsumerOptions)) (stop func()) {
	t.Helper()
	cfg := queue.Config{URLs: strings.Split(urls, ","), Name: "test admin", Logger: logger(t)}
	options := queue.ConsumerOptions{
		Receiver: to, AckWait: 2 * time.Second, EarlyWait: 30 * time.Millisecond, RetryMin: 10 * time.Millisecond, RetryMax: 200 * time.Millisecond,
	}
	if change != nil {
		change(&cfg, &options)
	}
	c, err := queue.NewConsumer(cfg, options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("the consumer does not end")
		}
	})
	t.Cleanup(stop)
	return stop
}

// client is an operator's connection.
func client(t testing.TB, url string) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url, nats.MaxReconnects(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// made waits until the consumers made the stream, and gives it.
func made(t testing.TB, js jetstream.JetStream) jetstream.Stream {
	t.Helper()
	var s jetstream.Stream
	eventually(t, "the stream and its consumer are made", func() bool {
		var err error
		if s, err = js.Stream(t.Context(), queue.DefaultStream); err != nil {
			return false
		}
		_, err = s.Consumer(t.Context(), queue.DefaultDurable)
		return err == nil
	})
	return s
}

// left is how many messages the stream has.
func left(t testing.TB, s jetstream.Stream) uint64 {
	t.Helper()
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Msgs
}

// receiverFunc is a Receiver that is a function.
type receiverFunc func(ctx context.Context, d audit.Delivery) error

func (f receiverFunc) Receive(ctx context.Context, d audit.Delivery) error { return f(ctx, d) }

// TestDelivery: what goes in comes out, each record once and in order, and the
// stream is empty then.
func TestDelivery(t *testing.T) {
	n := natstest.Start(t, "")
	v := newVault(t)
	consume(t, n.URL(), v.server, nil)
	p := publisher(t, n.URL(), nil)
	s := newSpool(t)
	s.add(500)
	s.NoteGap(zone, 7, "spool_full")
	s.ship(p, 40)
	v.holds(0, 500)
	eventually(t, "the gap is stored", func() bool {
		s.ship(p, 40)
		_, gaps := v.stored(zone)
		return gaps["spool_full"] == 7
	})
	stream := made(t, client(t, n.URL()))
	eventually(t, "every message is acknowledged", func() bool { return left(t, stream) == 0 })
	c := stream.CachedInfo().Config
	if c.Retention != jetstream.WorkQueuePolicy || c.Discard != jetstream.DiscardNew || c.Storage != jetstream.FileStorage || c.Duplicates != queue.DuplicateWindow {
		t.Errorf("the stream is %+v", c)
	}
}

// TestAsOverHTTP: what comes through the stream is stored and shown exactly as
// what comes over HTTP. Two zones get the same records, each by one of the ways.
func TestAsOverHTTP(t *testing.T) {
	n := natstest.Start(t, "")
	v := newVault(t)
	consume(t, n.URL(), v.server, nil)
	p := publisher(t, n.URL(), nil)
	ids := map[string]string{}
	spools := map[string]*spool{}
	for _, name := range []string{"over", "through"} {
		a := v.call("POST", "/v1/zones", fmt.Appendf(nil, `{"name":%q}`, name))
		var made struct{ ID string }
		if err := json.Unmarshal(a.Body.Bytes(), &made); err != nil || a.Code != 201 {
			t.Fatalf("making a zone: %d %s", a.Code, a.Body)
		}
		ids[name], spools[name] = made.ID, newSpool(t)
	}
	for i := range 20 {
		r := record(i, "")
		r.Decision = "deny"
		if i == 9 {
			r.EventType, r.Decision, r.Metadata = audit.EventGap, "", json.RawMessage(`{"count":3,"reason":"spool_full"}`)
		}
		for name, s := range spools {
			r.ZoneID = ids[name]
			if err := s.Append(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	spools["through"].ship(p, 6)
	for s := spools["over"]; s.Stats().Depth > 0; {
		b := s.read(6)
		data, err := b.Append(nil, s.daemon)
		if err != nil {
			t.Fatal(err)
		}
		if a := v.call("POST", "/v1/audit/batches", data); a.Code != 200 {
			t.Fatalf("over HTTP: %d %s", a.Code, a.Body)
		}
		s.ack(b.Next())
	}
	eventually(t, "all that came through the stream is stored", func() bool {
		got, gaps := v.stored(ids["through"])
		return len(got) == 19 && gaps["spool_full"] == 3
	})
	ingested := regexp.MustCompile(`"ingested_at":"[^"]*"`)
	for _, path := range []string{"/audit?format=ndjson", "/audit?event_type=audit_gap", "/audit/by-request/" + request(7), "/audit/by-request/" + request(7) + "/explain"} {
		said := map[string]string{}
		for name, id := range ids {
			a := v.call("GET", "/v1/zones/"+id+path, nil)
			if a.Code != 200 || !strings.Contains(a.Body.String(), id) {
				t.Fatalf("%s: %d %s", path, a.Code, a.Body)
			}
			said[name] = strings.ReplaceAll(ingested.ReplaceAllString(a.Body.String(), ""), id, "ZONE")
		}
		if said["over"] != said["through"] {
			t.Errorf("%s:\nover HTTP %s\nthrough the stream %s", path, said["over"], said["through"])
		}
	}
}

// call makes a call of the admin API.
func (v *vault) call(method, path string, body []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	v.server.Handler().ServeHTTP(w, r)
	return w
}

// TestLongerBatchFromTheSameOffset: a machine that crashed forgets what it had
// shipped, and sends a longer batch from the same offset within the window of
// duplicates. What it has more must not be dropped.
func TestLongerBatchFromTheSameOffset(t *testing.T) {
	n := natstest.Start(t, "")
	v := newVault(t)
	stop := consume(t, n.URL(), v.server, nil)
	p := publisher(t, n.URL(), nil)
	s := newSpool(t)
	s.add(5)
	take := func(b *audit.EncodedBatch) uint64 {
		t.Helper()
		var next uint64
		eventually(t, "a batch is taken", func() (ok bool) {
			var err error
			next, _, err = p.Take(t.Context(), s.daemon, b)
			return err == nil
		})
		return next
	}
	if next := take(s.read(0)); next != 5 {
		t.Fatalf("took up to %d, want 5", next)
	}
	take(s.read(0)) // the same: a duplicate
	stop()
	s.add(5)
	var b *audit.EncodedBatch
	eventually(t, "the longer batch can be read", func() bool { // not acknowledged, so from 0
		b = s.read(0)
		return b.Count == 10
	})
	if next := take(b); next != 10 {
		t.Fatalf("took up to %d, want 10", next)
	}
	s.ack(10)
	consume(t, n.URL(), v.server, nil)
	s.add(1)
	s.ship(p, 0)
	v.holds(0, 11)
}

// TestOutOfOrder: two consumers share the work, and some batches fail at first,
// so that those behind them come too early. Nothing is lost, doubled or out of order.
func TestOutOfOrder(t *testing.T) {
	n := natstest.Start(t, "")
	v := newVault(t)
	var mu sync.Mutex
	failed, early := map[string]bool{}, 0
	flaky := receiverFunc(func(ctx context.Context, d audit.Delivery) error {
		h, err := audit.DecodeBatchHeader(d.Batch)
		if err != nil {
			return err
		}
		mu.Lock()
		once := fmt.Sprint(h.DaemonID, h.First)
		fail := h.First%5 == 0 && !failed[once]
		failed[once] = true
		mu.Unlock()
		if fail {
			return errors.New("the store is away")
		}
		err = v.server.Receive(ctx, d)
		if errors.Is(err, audit.ErrEarly) {
			mu.Lock()
			early++
			mu.Unlock()
		}
		return err
	})
	p := publisher(t, n.URL(), nil)
	stop := consume(t, n.URL(), flaky, nil)
	made(t, client(t, n.URL()))
	stop()
	s := newSpool(t)
	s.add(300)
	s.ship(p, 3)
	for range 2 {
		consume(t, n.URL(), flaky, nil)
	}
	v.holds(0, 300)
	if _, gaps := v.stored(zone); len(gaps) > 0 {
		t.Errorf("gaps %v", gaps)
	}
	mu.Lock()
	defer mu.Unlock()
	if early == 0 {
		t.Error("no batch came early, so nothing was tried")
	}
	t.Logf("%d times early", early)
}

// TestHoles: records that were lost on the daemon's disk, or with the stream's
// messages, are a gap, and hold nothing up. Another daemon's messages are in between.
func TestHoles(t *testing.T) {
	for name, retention := range map[string]jetstream.RetentionPolicy{"work queue": jetstream.WorkQueuePolicy, "limits": jetstream.LimitsPolicy} {
		t.Run(name, func(t *testing.T) {
			n := natstest.Start(t, "")
			js := client(t, n.URL())
			_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: queue.DefaultStream, Subjects: []string{queue.DefaultSubject + ".>"}, Retention: retention})
			if err != nil {
				t.Fatal(err)
			}
			v := newVault(t)
			stop := consume(t, n.URL(), v.server, nil)
			stream := made(t, js)
			p := publisher(t, n.URL(), nil)
			s := newSpool(t)
			s.add(10)
			s.ship(p, 10)
			v.holds(0, 10)
			stop()

			// Somebody purges what nobody stored.
			s.add(4)
			s.ship(p, 0)
			if err := stream.Purge(t.Context()); err != nil {
				t.Fatal(err)
			}
			// A hole that the daemon tells of: it handed over what is below it.
			s.add(5)
			s.ship(p, 0)
			s.add(3)
			lost := s.read(0)
			s.ack(lost.Next())
			s.add(1)
			b := s.read(0)
			b.After = lost.First
			if next, _, err := p.Take(t.Context(), s.daemon, b); err != nil || next != b.Next() {
				t.Fatalf("took up to %d of %d: %v", next, b.Next(), err)
			}
			s.ack(b.Next())

			consume(t, n.URL(), v.server, nil)
			eventually(t, "the rest is stored", func() bool {
				ids, _ := v.stored(zone)
				return len(ids) == 16
			})
			ids, gaps := v.stored(zone)
			if gaps["records_never_received"] != 7 || ids[10] != request(14) || ids[15] != request(22) {
				t.Errorf("gaps %v, and records %s to %s", gaps, ids[10], ids[15])
			}
		})
	}
}

// TestSplit: batches that are more than a message may hold are split, and a
// record that is more by itself is refused by that name.
func TestSplit(t *testing.T) {
	n := natstest.Start(t, "max_payload: 8KB\n")
	v := newVault(t)
	consume(t, n.URL(), v.server, nil)
	p := publisher(t, n.URL(), nil)
	s := newSpool(t)
	for range 60 { // which does not compress
		s.pad = strings.Repeat(uuid.NewString(), 40)
		for i := range 8 {
			s.pad += uuid.NewString() + fmt.Sprint(i)
		}
		s.add(1)
	}
	s.ship(p, 60)
	v.holds(0, 60)

	var noise strings.Builder
	for noise.Len() < 40<<10 {
		noise.WriteString(uuid.NewString())
	}
	s.pad = noise.String()
	s.add(1)
	if _, _, err := p.Take(t.Context(), s.daemon, s.read(0)); !errors.Is(err, audit.ErrLimit) {
		t.Errorf("a record of %d bytes: %v, want ErrLimit", len(s.pad), err)
	}
}

// TestServerAway: while the server is away batches are refused at once, and
// afterwards everything arrives in order.
func TestServerAway(t *testing.T) {
	n := natstest.Start(t, "")
	v := newVault(t)
	consume(t, n.URL(), v.server, nil)
	p := publisher(t, n.URL(), nil)
	s := newSpool(t)
	s.add(50)
	s.ship(p, 10)
	v.holds(0, 50)
	for range 2 {
		n.Kill()
		s.add(50)
		if _, _, err := p.Take(t.Context(), s.daemon, s.read(10)); err == nil {
			t.Error("a batch was taken while there was no server")
		}
		n.Start()
		s.ship(p, 10)
		v.holds(0, s.next)
	}
}
