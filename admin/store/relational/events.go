package relational

import (
	"encoding/json"
	"time"

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

// CountQuery counts decisions; source is the events e, with the index to be taken
// where one is named. Daemons are looked up for groups, not for each event.
func CountQuery(q store.EventCountQuery, source string) (string, []any) {
	since, step := Micros(q.Since), q.Step.Microseconds()
	query := `SELECT c.step, s.daemon_id, c.decision, c.evaluation_status, c.n, c.last_at, c.delay FROM (
		SELECT (e.occurred_at - CAST(? AS BIGINT)) / CAST(? AS BIGINT) AS step, e.stream AS stream, e.decision AS decision,
			e.evaluation_status AS evaluation_status, CAST(count(*) AS BIGINT) AS n, max(e.occurred_at) AS last_at,
			CAST(sum(e.ingested_at - e.occurred_at) AS BIGINT) AS delay
		FROM ` + source + ` WHERE e.zone_id = ? AND e.occurred_at >= ? AND e.occurred_at < ? AND e.event_type = '` + TypeDecision + `'
		GROUP BY 1, 2, 3, 4) c JOIN streams s ON s.id = c.stream ORDER BY c.step, s.daemon_id, s.epoch, c.decision, c.evaluation_status`
	return query, []any{since, step, q.ZoneID, since, Micros(q.Until)}
}

// ScanCount scans a row of CountQuery.
func ScanCount(q store.EventCountQuery) func(Row, *store.EventCount) error {
	return func(r Row, c *store.EventCount) error {
		var step, delay int64
		if err := r.Scan(Num(&step), &c.DaemonID, &c.Decision, &c.EvaluationStatus, Num(&c.Count), Moment{&c.LastAt}, Num(&delay)); err != nil {
			return err
		}
		c.At = q.Since.Add(time.Duration(step) * q.Step).UTC()
		c.ShippedAfter = time.Duration(delay) * time.Microsecond
		return nil
	}
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
