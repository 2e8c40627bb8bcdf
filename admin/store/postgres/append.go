package postgres

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/google/uuid"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/relational"
)

// stream is where a daemon's epoch stands.
type stream struct {
	id   int64
	next uint64
	hash []byte
}

func scanStream(r relational.Row, s *stream) error {
	return r.Scan(relational.Num(&s.id), relational.Num(&s.next), &s.hash)
}

// Append stores a batch's records from the first that is not stored yet.
func (e *events) Append(ctx context.Context, b store.EventBatch) (store.AppendResult, error) {
	if len(b.Events) == 0 {
		next, err := e.NextOffset(ctx, b.DaemonID, b.Epoch)
		return store.AppendResult{NextOffset: next}, err
	}
	if b.First > math.MaxInt64-uint64(len(b.Events)) {
		return store.AppendResult{}, fmt.Errorf("storing a batch of daemon %s: there is no offset %d", b.DaemonID, b.First)
	}
	var result store.AppendResult
	err := e.makePartitions(ctx, b)
	if err == nil {
		err = write(ctx, e.appends, func(t *session) (err error) {
			result, err = appendBatch(ctx, t, b)
			return err
		})
	}
	if err != nil {
		return store.AppendResult{}, fmt.Errorf("storing a batch of daemon %s: %w", b.DaemonID, err)
	}
	if result.Accepted > 0 {
		e.added.Raise()
		select {
		case e.stored <- struct{}{}:
		default:
		}
	}
	return result, nil
}

// openStream finds the batch's stream, or begins it, and locks it: batches of
// one stream wait for each other.
func openStream(ctx context.Context, t *session, b store.EventBatch) (stream, error) {
	_, err := t.Exec(ctx, `INSERT INTO streams (daemon_id, epoch, next_offset, hash) VALUES (?, ?, 0, ?) ON CONFLICT DO NOTHING`,
		b.DaemonID, b.Epoch, make([]byte, len(b.PrevHash)))
	if err != nil {
		return stream{}, err
	}
	return relational.One(ctx, t, scanStream, `SELECT id, next_offset, hash FROM streams WHERE daemon_id = ? AND epoch = ? FOR UPDATE`, b.DaemonID, b.Epoch)
}

func appendBatch(ctx context.Context, t *session, b store.EventBatch) (store.AppendResult, error) {
	s, err := openStream(ctx, t, b)
	if err != nil {
		return store.AppendResult{}, err
	}
	result := store.AppendResult{NextOffset: max(s.next, b.First+uint64(len(b.Events)))}
	if b.First == s.next && !bytes.Equal(b.PrevHash[:], s.hash) {
		return result, fmt.Errorf("at offset %d: %w", b.First, store.ErrChain)
	}
	if result.NextOffset == s.next {
		result.Duplicate = len(b.Events)
		return result, nil
	}
	var list []store.Event
	if b.First > s.next {
		result.Hole = b.First - s.next
		if list, err = relational.Gaps(b, s.next); err != nil {
			return result, err
		}
	}
	for i, ev := range b.Events {
		ev.Offset = b.First + uint64(i)
		if ev.Offset < s.next {
			result.Duplicate++
			continue
		}
		ev.IngestedAt = b.At
		list = append(list, ev)
		result.Accepted++
	}
	for i := range list {
		list[i].ZoneID, list[i].ID = keepable(list[i].ZoneID), keepable(list[i].ID)
	}
	if err := addSizes(ctx, t, list); err != nil {
		return result, err
	}
	if err := insertEvents(ctx, t, s.id, list); err != nil {
		return result, err
	}
	_, err = t.Exec(ctx, `UPDATE streams SET next_offset = ?, hash = ? WHERE id = ?`, int64(result.NextOffset), b.Hash[:], s.id)
	return result, err
}

// addSizes adds what is going to be inserted to the sums, and locks each zone's:
// in the order of their ids, so that no two batches wait for each other.
func addSizes(ctx context.Context, t *session, list []store.Event) error {
	type size struct{ events, bytes int64 }
	zones := map[string]size{}
	for i := range list {
		z := zones[list[i].ZoneID]
		zones[list[i].ZoneID] = size{z.events + 1, z.bytes + relational.EventSize(&list[i])}
	}
	for _, zone := range slices.Sorted(maps.Keys(zones)) {
		_, err := t.Exec(ctx, `INSERT INTO zone_sizes (zone_id, events, bytes) VALUES (?, ?, ?)
			ON CONFLICT (zone_id) DO UPDATE SET events = zone_sizes.events + excluded.events, bytes = zone_sizes.bytes + excluded.bytes`,
			zone, zones[zone].events, zones[zone].bytes)
		if err != nil {
			return err
		}
	}
	return nil
}

const insertEventsQuery = `INSERT INTO events (id, zone_id, event_type, request_id, decision, evaluation_status, policy_set_id,
		policy_set_version_id, manifest_sha256, bundle_sha256, pointer_sequence, determining_policies, diagnostics, metadata, input,
		occurred_at, ingested_at, stream_offset, bytes, stream)
	SELECT b.id, b.zone_id, b.event_type, b.request_id, b.decision, b.evaluation_status, b.policy_set_id, b.policy_set_version_id,
		b.manifest_sha256, b.bundle_sha256, b.pointer_sequence, b.determining_policies, b.diagnostics, b.metadata, b.input,
		b.occurred_at, b.ingested_at, b.stream_offset, b.bytes, $20
	FROM unnest($1::TEXT[], $2::TEXT[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::TEXT[], $7::TEXT[], $8::TEXT[], $9::TEXT[], $10::TEXT[],
		$11::BIGINT[], $12::BYTEA[], $13::BYTEA[], $14::BYTEA[], $15::BYTEA[], $16::BIGINT[], $17::BIGINT[], $18::BIGINT[], $19::BIGINT[])
		WITH ORDINALITY AS b (id, zone_id, event_type, request_id, decision, evaluation_status, policy_set_id,
		policy_set_version_id, manifest_sha256, bundle_sha256, pointer_sequence, determining_policies, diagnostics, metadata, input,
		occurred_at, ingested_at, stream_offset, bytes, position)
	ORDER BY b.position
	ON CONFLICT (zone_id, occurred_at, id) DO NOTHING
	RETURNING zone_id, event_type, stream_offset, seq`

// place tells which of a batch's events was stored.
type place struct {
	zone, kind string
	offset     uint64
}

// insertEvents stores events in their order; one whose place in the list is
// taken gets another id.
func insertEvents(ctx context.Context, t *session, stream int64, list []store.Event) error {
	last := map[string]int64{} // of each zone
	for attempt := 0; len(list) > 0; attempt++ {
		if attempt == 3 {
			return fmt.Errorf("%d events have no id of their own", len(list))
		}
		stored := map[place]bool{}
		rows, err := t.t.Query(ctx, insertEventsQuery, eventArrays(list, stream)...)
		if err != nil {
			return t.refused(err)
		}
		for rows.Next() {
			var p place
			var seq int64
			if err := rows.Scan(&p.zone, &p.kind, relational.Num(&p.offset), &seq); err != nil {
				rows.Close()
				return err
			}
			stored[p] = true
			last[p.zone] = max(last[p.zone], seq)
		}
		if err := rows.Err(); err != nil {
			return t.refused(err)
		}
		list = slices.DeleteFunc(list, func(e store.Event) bool { return stored[place{e.ZoneID, keepable(e.EventType), e.Offset}] })
		for i := range list {
			id, err := uuid.NewV7()
			if err != nil {
				return err
			}
			list[i].ID = id.String()
		}
	}
	for _, zone := range slices.Sorted(maps.Keys(last)) {
		if _, err := t.Exec(ctx, `UPDATE zone_sizes SET last_seq = ? WHERE zone_id = ?`, last[zone], zone); err != nil {
			return err
		}
	}
	return nil
}

// refused keeps what the database refused.
func (s *session) refused(err error) error {
	err = translate(err)
	if s.failed == nil {
		s.failed = err
	}
	return err
}

// eventArrays are the arguments of insertEventsQuery: an array for each column.
func eventArrays(list []store.Event, stream int64) []any {
	texts := make([][]string, 10)
	documents := make([][][]byte, 4)
	numbers := make([][]int64, 5)
	for i := range list {
		e := &list[i]
		for n, text := range []string{e.ID, e.ZoneID, e.EventType, e.RequestID, e.Decision, e.EvaluationStatus, e.PolicySetID,
			e.PolicySetVersionID, e.ManifestSHA256, e.BundleSHA256} {
			texts[n] = append(texts[n], keepable(text))
		}
		for n, document := range [][]byte{e.DeterminingPolicies, e.Diagnostics, e.Metadata, e.Input} {
			documents[n] = append(documents[n], document)
		}
		for n, number := range []int64{e.PointerSequence, relational.Micros(e.OccurredAt), relational.Micros(e.IngestedAt), int64(e.Offset),
			relational.EventSize(e)} {
			numbers[n] = append(numbers[n], number)
		}
	}
	args := make([]any, 0, 20)
	for _, column := range texts {
		args = append(args, column)
	}
	args = append(args, numbers[0])
	for _, column := range documents {
		args = append(args, column)
	}
	for _, column := range numbers[1:] {
		args = append(args, column)
	}
	return append(args, stream)
}
