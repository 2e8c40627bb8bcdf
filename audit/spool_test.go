package audit_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/caracalai/caracald/audit"
)

func testRecord(i int) *audit.Record {
	return &audit.Record{
		ID: fmt.Sprintf("id-%d", i), EventType: audit.EventDecision, ZoneID: "zone", RequestID: fmt.Sprint(i),
		Decision: "deny", EvaluationStatus: "complete", Sequence: 7,
		Input:      []byte(`{"principal":{"zone_id":"zone"}}`),
		OccurredAt: time.Unix(1700000000, int64(i)).UTC(),
	}
}

func TestSmoke(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []audit.Durability{audit.SyncGroup, audit.SyncEach, audit.SyncNone} {
		s, err := audit.OpenSpool(audit.SpoolOptions{Dir: dir, Durability: d, SegmentBytes: 3000})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				for i := range 20 {
					if err := s.Append(testRecord(g*100 + i)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		s.NoteGap("z", 3, "why")
		n := 0
		for n < 161 {
			b, err := s.Next(context.Background(), 30, 0)
			if err != nil {
				t.Fatal(err)
			}
			n += len(b.Records)
			data, err := audit.EncodeBatch(nil, "d", b)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := audit.DecodeBatch(data, audit.BatchLimits{}); err != nil {
				t.Fatal(err)
			}
			if err := s.Ack(b.Next()); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%+v", s.Stats())
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
