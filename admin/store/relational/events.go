package relational

import (
	"encoding/json"

	"github.com/google/uuid"

	"github.com/caracalai/caracald/admin/store"
)

// What indexes and queries know of the events' values.
const (
	TypeDecision  = "decision"
	typeGap       = "audit_gap" // records a hole
	DecisionAllow = "allow"
)

// EventColumns are what ScanEvent scans, of events e and their streams s.
const EventColumns = `e.seq, e.id, e.zone_id, e.event_type, e.request_id, e.decision, e.evaluation_status, e.policy_set_id,
		e.policy_set_version_id, e.manifest_sha256, e.bundle_sha256, e.pointer_sequence, e.determining_policies, e.diagnostics,
		e.metadata, e.input, e.occurred_at, e.ingested_at, s.daemon_id, s.epoch, e.stream_offset`

// ScanEvent scans an event.
func ScanEvent(r Row, e *store.Event) error {
	var determining, diagnostics, metadata, input []byte
	err := r.Scan(Num(&e.Seq), &e.ID, &e.ZoneID, &e.EventType, &e.RequestID, &e.Decision, &e.EvaluationStatus, &e.PolicySetID,
		&e.PolicySetVersionID, &e.ManifestSHA256, &e.BundleSHA256, Num(&e.PointerSequence), &determining, &diagnostics,
		&metadata, &input, Moment{&e.OccurredAt}, Moment{&e.IngestedAt}, &e.DaemonID, &e.Epoch, Num(&e.Offset))
	e.DeterminingPolicies, e.Diagnostics, e.Metadata, e.Input = determining, diagnostics, metadata, input
	return err
}

// rowOverhead is about what a row and its index entries take beside its texts.
const rowOverhead = 250

// EventSize is about how many bytes a stored event takes.
func EventSize(ev *store.Event) int64 {
	return rowOverhead + int64(len(ev.ID)+2*len(ev.ZoneID)+2*len(ev.RequestID)+len(ev.PolicySetID)+len(ev.PolicySetVersionID)+
		len(ev.ManifestSHA256)+len(ev.BundleSHA256)+len(ev.DeterminingPolicies)+len(ev.Diagnostics)+len(ev.Metadata)+len(ev.Input))
}

// Gaps are the events that record the offsets from next to a batch's first as
// never received, one in each zone of the batch: nobody can say any more which
// zones they were of.
func Gaps(b store.EventBatch, next uint64) ([]store.Event, error) {
	metadata, err := json.Marshal(map[string]any{
		"count": b.First - next, "reason": "records_never_received", "daemon_id": b.DaemonID, "epoch": b.Epoch, "first_offset": next,
	})
	if err != nil {
		return nil, err
	}
	var gaps []store.Event
	told := map[string]bool{}
	for _, ev := range b.Events {
		if told[ev.ZoneID] {
			continue
		}
		told[ev.ZoneID] = true
		id, err := uuid.NewV7()
		if err != nil {
			return nil, err
		}
		gaps = append(gaps, store.Event{ID: id.String(), ZoneID: ev.ZoneID, EventType: typeGap, Metadata: metadata,
			OccurredAt: b.At, IngestedAt: b.At, Offset: next})
	}
	return gaps, nil
}
