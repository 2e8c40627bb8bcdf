package daemon_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/audit/files"
	"github.com/caracalai/caracald/daemon"
)

// picky is a sink that refuses what it is told to, and hands the rest to a real one.
type picky struct {
	audit.Sink
	mu sync.Mutex
	// refuse gives the error of a batch, by its first record.
	refuse func(first audit.Record) error
	// most is how many records it takes at once, 0 for all.
	most  int
	taken []audit.Record
}

func (p *picky) Take(ctx context.Context, daemonID string, b *audit.EncodedBatch) (uint64, int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.most > 0 {
		if err := b.Cut(p.most); err != nil {
			return 0, 0, err
		}
	}
	batch, err := b.Decode()
	if err != nil {
		return 0, 0, err
	}
	if err := p.refuse(batch.Records[0]); err != nil {
		return 0, 0, err
	}
	next, size, err := p.Sink.Take(ctx, daemonID, b)
	if err == nil {
		p.taken = append(p.taken, batch.Records...)
	}
	return next, size, err
}

func (p *picky) records() []audit.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.taken)
}

// TestSinkRefusals: a record that a sink can never take is a gap with a reason,
// and holds nothing up; what fails is tried again, in order.
func TestSinkRefusals(t *testing.T) {
	real, err := files.Open(files.Options{Path: filepath.Join(t.TempDir(), "audit.ndjson")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = real.Close() })
	calls := 0
	s := &picky{Sink: real, most: 1}
	s.refuse = func(first audit.Record) error {
		switch first.RequestID {
		case "large":
			return fmt.Errorf("%w: said by the test", audit.ErrLimit)
		case "rejected":
			return fmt.Errorf("%w: said by the test", audit.ErrRejected)
		}
		if calls++; calls%3 == 1 {
			return errors.New("away")
		}
		return nil
	}
	reader := metric.NewManualReader()
	p, n, _ := one(t, func(c *daemon.Config) {
		c.AuditSink = s
		c.MeterProvider = metric.NewMeterProvider(metric.WithReader(reader))
	})
	var order []string
	for i := range 20 {
		id := fmt.Sprint("r", i)
		switch i {
		case 5:
			id = "large"
		case 11:
			id = "rejected"
		default:
			order = append(order, id)
		}
		n.decide(inputOf("z1", "read", ""), "X-Request-Id", id)
	}
	gaps := func() (all []string) {
		for _, r := range s.records() {
			if r.EventType == audit.EventGap {
				all = append(all, string(r.Metadata))
			}
		}
		slices.Sort(all)
		return all
	}
	p.wait("every record and the gaps to be taken", func() bool { return len(s.records()) == 20 || touched(p) })
	var got []string
	for _, r := range s.records() {
		if r.EventType == audit.EventDecision {
			got = append(got, r.RequestID)
		}
	}
	if !slices.Equal(got, order) {
		t.Errorf("got %v, want %v", got, order)
	}
	if want := []string{`{"count":1,"reason":"rejected_by_sink"}`, `{"count":1,"reason":"too_large"}`}; !slices.Equal(gaps(), want) {
		t.Errorf("gaps %v", gaps())
	}
	p.mu.Lock()
	if len(p.records) != 0 {
		t.Errorf("the admin side has %d records", len(p.records))
	}
	p.mu.Unlock()
	measured := map[string]float64{}
	p.wait("the records to be counted", func() bool {
		measured = sums(t, reader)
		return measured["caracal.daemon.audit_shipped sink=file"] == 20 || touched(p)
	})
	if measured["caracal.daemon.audit_ship_failures sink=file"] == 0 || measured["caracal.daemon.audit_lag"] != 0 {
		t.Errorf("measured %v", measured)
	}
}

// noise is a member of an input, of so many bytes that no others are like.
func noise(bytes int) string {
	b := make([]byte, bytes/2)
	_, _ = rand.Read(b)
	return fmt.Sprintf(`,"pad":"%x"`, b)
}

// Something on the way to the admin side that takes no long bodies holds nothing up:
// batches become shorter, and only a record that does not pass by itself is a gap.
func TestShortBodies(t *testing.T) {
	const most = 8 << 10
	p, n, _ := one(t, nil)
	p.takeNoAudit() // until there is more than one body
	want := map[string]bool{}
	for i := range 40 {
		size := 1 << 10
		if i == 17 {
			size = 64 << 10
		}
		got := n.decide(inputOf("z1", "read", noise(size)))
		want[got.DecisionID] = i != 17
	}
	var refused atomic.Int32
	p.misbehave(func(r *http.Request) int {
		if r.URL.Path == "/v1/audit/batches" && r.ContentLength > most {
			refused.Add(1)
			return http.StatusRequestEntityTooLarge
		}
		return 0
	})
	p.wait("all records but one, and a gap", func() bool { return len(p.records) == len(want) || touched(p) })
	for id, kept := range want {
		if _, ok := p.kept()[id]; ok != kept {
			t.Errorf("record %s: kept %t", id, ok)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gaps != 1 || refused.Load() == 0 {
		t.Errorf("%d records are missing, %d bodies were refused", p.gaps, refused.Load())
	}
}

// boastful is a sink that says it has more than it was given.
type boastful struct {
	audit.Sink
	away atomic.Bool
}

func (s *boastful) Take(ctx context.Context, daemonID string, b *audit.EncodedBatch) (uint64, int, error) {
	if s.away.Load() {
		return 0, 0, errors.New("away")
	}
	if err := b.Cut(1); err != nil {
		return 0, 0, err
	}
	next, size, err := s.Sink.Take(ctx, daemonID, b)
	return next + 1000, size, err
}

// Only what was handed over counts as shipped.
func TestSinkBoasts(t *testing.T) {
	real, err := files.Open(files.Options{Path: filepath.Join(t.TempDir(), "audit.ndjson")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = real.Close() })
	picked := &picky{Sink: real, refuse: func(audit.Record) error { return nil }}
	s := &boastful{Sink: picked}
	s.away.Store(true)
	p, n, _ := one(t, func(c *daemon.Config) { c.AuditSink = s })
	var want []string
	for range 5 {
		want = append(want, n.decide(inputOf("z1", "read", "")).DecisionID)
	}
	s.away.Store(false)
	p.wait("every record to be taken", func() bool { return len(picked.records()) >= len(want) || touched(p) })
	var got []string
	for _, r := range picked.records() {
		got = append(got, r.ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
