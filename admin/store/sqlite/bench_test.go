package sqlite_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/caracalai/caracald/admin/store"
)

// benchEvents is how many events benchmarks read among, 200,000 unless
// CARACALD_BENCH_EVENTS says otherwise.
func benchEvents(b *testing.B) int {
	text := os.Getenv("CARACALD_BENCH_EVENTS")
	if text == "" {
		return 200_000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

const benchBatch = 1000

// eventsBatch is a batch as daemons send it: inputs of some hundred bytes, request ids in no order.
func eventsBatch(first int, requests *[]string) store.EventBatch {
	batch := store.EventBatch{DaemonID: "daemon", Epoch: "epoch", First: uint64(first), At: start}
	for i := range benchBatch {
		request := uuid.NewString()
		*requests = append(*requests, request)
		batch.Events = append(batch.Events, store.Event{
			ID: uuid.Must(uuid.NewV7()).String(), ZoneID: "018f0000-0000-7000-8000-000000000000", EventType: "decision", RequestID: request,
			Decision: "allow", EvaluationStatus: "complete", PolicySetID: "018f0000-0000-7000-8000-000000000001",
			PolicySetVersionID: "018f0000-0000-7000-8000-000000000002", ManifestSHA256: fmt.Sprintf("%064d", 1), BundleSHA256: fmt.Sprintf("%064d", 2),
			DeterminingPolicies: json.RawMessage(`[{"policy":"resource-grants","policy_id":"018f0000-0000-7000-8000-000000000003"}]`),
			Diagnostics:         json.RawMessage(`[]`), Metadata: json.RawMessage(`{"cache":"hit"}`),
			Input:      json.RawMessage(fmt.Sprintf(`{"schema_version":"2026-05-20","principal":{"type":"agent","id":"agent-%d"},"context":{"requested_scopes":["payments:read"],"pad":%q}}`, i, fmt.Sprintf("%0200d", i))),
			OccurredAt: start.Add(time.Duration(first+i) * time.Millisecond),
		})
	}
	return batch
}

// BenchmarkByRequest looks requests up among many.
func BenchmarkByRequest(b *testing.B) {
	s := open(b, b.TempDir())
	var requests []string
	for n := 0; n < benchEvents(b); n += benchBatch {
		if _, err := s.Events().Append(b.Context(), eventsBatch(n, &requests)); err != nil {
			b.Fatal(err)
		}
	}
	i := 0
	for b.Loop() {
		i = (i + 7919) % len(requests)
		list, err := s.Events().ByRequest(b.Context(), "018f0000-0000-7000-8000-000000000000", requests[i])
		if err != nil || len(list) != 1 {
			b.Fatalf("%d events, %v", len(list), err)
		}
	}
}

// BenchmarkAppendEvents stores durable batches of 1,000 events; events/s is what counts.
func BenchmarkAppendEvents(b *testing.B) {
	s := open(b, b.TempDir())
	var requests []string
	n := 0
	for b.Loop() {
		b.StopTimer()
		batch := eventsBatch(n, &requests)
		b.StartTimer()
		if _, err := s.Events().Append(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		n += benchBatch
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}
