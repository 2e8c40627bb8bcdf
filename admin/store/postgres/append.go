package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/relational"
)

// stream is where a daemon's epoch stands.
type stream struct {
	// place is the batch of the stream, by its place among the others.
	place, id int64
	next      uint64
	hash      []byte
}

func scanStream(r relational.Row, s *stream) error {
	return r.Scan(relational.Num(&s.place), relational.Num(&s.id), relational.Num(&s.next), &s.hash)
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
	err := e.makePartitions(ctx, b)
	var result store.AppendResult
	if err == nil {
		result, err = e.appender.Append(ctx, b)
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

// errNoStream is that the stream of a batch was not begun yet.
var errNoStream = errors.New("a stream is not begun")

// appendTogether stores batches of different streams in one transaction.
func (e *events) appendTogether(ctx context.Context, batches []store.EventBatch) (out []relational.Appended, err error) {
	for range 2 {
		err = write(ctx, e.appends, func(t *session) (err error) {
			out, err = appendBatches(ctx, t, batches)
			return err
		})
		if !errors.Is(err, errNoStream) {
			return out, err
		}
		if err := e.beginStreams(ctx, batches); err != nil {
			return nil, err
		}
	}
	return nil, err
}

// beginStreams begins the streams of batches that continue nothing, where they
// are not there. It is a transaction of its own, once in a stream's life:
// whoever stores batches locks streams in the order of their ids, and must not
// wait for one that another has just made while it holds some.
func (e *events) beginStreams(ctx context.Context, batches []store.EventBatch) error {
	var daemons, epochs []string
	for _, b := range batches {
		daemons, epochs = append(daemons, keepable(b.DaemonID)), append(epochs, keepable(b.Epoch))
	}
	_, err := e.appends.Exec(ctx, `INSERT INTO streams (daemon_id, epoch, next_offset, hash)
		SELECT DISTINCT b.daemon_id, b.epoch, 0, $3::BYTEA FROM unnest($1::TEXT[], $2::TEXT[]) AS b (daemon_id, epoch) ORDER BY 1, 2
		ON CONFLICT DO NOTHING`, daemons, epochs, make([]byte, len(batches[0].PrevHash)))
	if err != nil {
		return fmt.Errorf("beginning streams: %w", because(ctx, translate(err)))
	}
	return nil
}

// lockStreams finds the batches' streams, by the batches' places, and locks
// them: batches of one stream wait for each other.
func lockStreams(ctx context.Context, t *session, batches []store.EventBatch) (map[int]stream, error) {
	places := make([]int64, len(batches))
	daemons, epochs := make([]string, len(batches)), make([]string, len(batches))
	for i, b := range batches {
		places[i], daemons[i], epochs[i] = int64(i), keepable(b.DaemonID), keepable(b.Epoch)
	}
	list, err := relational.Many(ctx, t, scanStream, `SELECT b.place, s.id, s.next_offset, s.hash
		FROM unnest(?::BIGINT[], ?::TEXT[], ?::TEXT[]) AS b (place, daemon_id, epoch) JOIN streams s ON s.daemon_id = b.daemon_id AND s.epoch = b.epoch
		ORDER BY s.id FOR UPDATE OF s`, places, daemons, epochs)
	if err != nil {
		return nil, err
	}
	streams := make(map[int]stream, len(list))
	for _, s := range list {
		streams[int(s.place)] = s
	}
	return streams, nil
}

// streamed is an event and the stream it came by.
type streamed struct {
	store.Event
	stream int64
}

func appendBatches(ctx context.Context, t *session, batches []store.EventBatch) ([]relational.Appended, error) {
	streams, err := lockStreams(ctx, t, batches)
	if err != nil {
		return nil, err
	}
	out := make([]relational.Appended, len(batches))
	var list []streamed
	var moved []int // batches that have something new
	for i, b := range batches {
		s, begun := streams[i]
		if !begun {
			s.hash = make([]byte, len(b.PrevHash))
		}
		if b.First == s.next && !bytes.Equal(b.PrevHash[:], s.hash) {
			out[i].Err = fmt.Errorf("at offset %d: %w", b.First, store.ErrChain)
			continue
		}
		if !begun {
			return nil, errNoStream
		}
		var added []store.Event
		if out[i].Result, added, err = news(s, b); err != nil {
			return nil, err
		}
		if len(added) > 0 {
			moved = append(moved, i)
		}
		for _, ev := range added {
			ev.ZoneID, ev.ID = keepable(ev.ZoneID), keepable(ev.ID)
			list = append(list, streamed{ev, s.id})
		}
	}
	if len(list) == 0 {
		return out, nil
	}
	if err := addSizes(ctx, t, list); err != nil {
		return nil, err
	}
	last, err := insertEvents(ctx, t, list)
	if err != nil {
		return nil, err
	}
	var end pgx.Batch // in one round trip
	zones := slices.Sorted(maps.Keys(last))
	seqs := make([]int64, len(zones))
	for i, zone := range zones {
		seqs[i] = last[zone]
	}
	end.Queue(`UPDATE zone_sizes z SET last_seq = b.seq FROM unnest($1::TEXT[], $2::BIGINT[]) AS b (zone_id, seq) WHERE z.zone_id = b.zone_id`, zones, seqs)
	ids, nexts, hashes := make([]int64, len(moved)), make([]int64, len(moved)), make([][]byte, len(moved))
	for n, i := range moved {
		ids[n], nexts[n], hashes[n] = streams[i].id, int64(out[i].Result.NextOffset), batches[i].Hash[:]
	}
	end.Queue(`UPDATE streams s SET next_offset = b.next, hash = b.hash FROM unnest($1::BIGINT[], $2::BIGINT[], $3::BYTEA[]) AS b (id, next, hash) WHERE s.id = b.id`, ids, nexts, hashes)
	if err := t.t.SendBatch(ctx, &end).Close(); err != nil {
		return nil, t.refused(err)
	}
	return out, nil
}

// news are the events of a batch that its stream does not have, after those that
// record a hole before them.
func news(s stream, b store.EventBatch) (result store.AppendResult, list []store.Event, err error) {
	result.NextOffset = max(s.next, b.First+uint64(len(b.Events)))
	if result.NextOffset == s.next {
		result.Duplicate = len(b.Events)
		return result, nil, nil
	}
	if b.First > s.next {
		result.Hole = b.First - s.next
		if list, err = relational.Gaps(b, s.next); err != nil {
			return result, nil, err
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
	return result, list, nil
}

// addSizes adds what is going to be inserted to the sums, and locks each zone's:
// in the order of their ids, so that no two transactions wait for each other.
func addSizes(ctx context.Context, t *session, list []streamed) error {
	type size struct{ events, bytes int64 }
	sums := map[string]size{}
	for i := range list {
		z := sums[list[i].ZoneID]
		sums[list[i].ZoneID] = size{z.events + 1, z.bytes + relational.EventSize(&list[i].Event)}
	}
	zones := slices.Sorted(maps.Keys(sums))
	events, bytes := make([]int64, len(zones)), make([]int64, len(zones))
	for i, zone := range zones {
		events[i], bytes[i] = sums[zone].events, sums[zone].bytes
	}
	_, err := t.Exec(ctx, `INSERT INTO zone_sizes (zone_id, events, bytes)
		SELECT b.zone_id, b.events, b.bytes FROM unnest(?::TEXT[], ?::BIGINT[], ?::BIGINT[]) WITH ORDINALITY AS b (zone_id, events, bytes, position) ORDER BY b.position
		ON CONFLICT (zone_id) DO UPDATE SET events = zone_sizes.events + excluded.events, bytes = zone_sizes.bytes + excluded.bytes`, zones, events, bytes)
	return err
}

const insertEventsQuery = `INSERT INTO events (id, zone_id, event_type, request_id, decision, evaluation_status, policy_set_id,
		policy_set_version_id, manifest_sha256, bundle_sha256, pointer_sequence, determining_policies, diagnostics, metadata, input,
		occurred_at, ingested_at, stream_offset, bytes, stream)
	SELECT b.id, b.zone_id, b.event_type, b.request_id, b.decision, b.evaluation_status, b.policy_set_id, b.policy_set_version_id,
		b.manifest_sha256, b.bundle_sha256, b.pointer_sequence, b.determining_policies, b.diagnostics, b.metadata, b.input,
		b.occurred_at, b.ingested_at, b.stream_offset, b.bytes, b.stream
	FROM unnest($1::TEXT[], $2::TEXT[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::TEXT[], $7::TEXT[], $8::TEXT[], $9::TEXT[], $10::TEXT[],
		$11::BIGINT[], $12::BYTEA[], $13::BYTEA[], $14::BYTEA[], $15::BYTEA[], $16::BIGINT[], $17::BIGINT[], $18::BIGINT[], $19::BIGINT[], $20::BIGINT[])
		WITH ORDINALITY AS b (id, zone_id, event_type, request_id, decision, evaluation_status, policy_set_id,
		policy_set_version_id, manifest_sha256, bundle_sha256, pointer_sequence, determining_policies, diagnostics, metadata, input,
		occurred_at, ingested_at, stream_offset, bytes, stream, position)
	ORDER BY b.position
	ON CONFLICT (zone_id, occurred_at, id) DO NOTHING
	RETURNING stream, zone_id, event_type, stream_offset, seq`

// place tells which event was stored.
type place struct {
	stream     int64
	zone, kind string
	offset     uint64
}

// insertEvents stores events in their order; one whose place in the list is
// taken gets another id. It gives the last seq of each zone.
func insertEvents(ctx context.Context, t *session, list []streamed) (map[string]int64, error) {
	last := map[string]int64{}
	for attempt := 0; len(list) > 0; attempt++ {
		if attempt == 3 {
			return nil, fmt.Errorf("%d events have no id of their own", len(list))
		}
		stored := map[place]bool{}
		rows, err := t.t.Query(ctx, insertEventsQuery, eventArrays(list)...)
		if err != nil {
			return nil, t.refused(err)
		}
		for rows.Next() {
			var p place
			var seq int64
			if err := rows.Scan(&p.stream, &p.zone, &p.kind, relational.Num(&p.offset), &seq); err != nil {
				rows.Close()
				return nil, err
			}
			stored[p] = true
			last[p.zone] = max(last[p.zone], seq)
		}
		if err := rows.Err(); err != nil {
			return nil, t.refused(err)
		}
		if len(stored) == len(list) {
			return last, nil
		}
		list = slices.DeleteFunc(list, func(e streamed) bool { return stored[place{e.stream, e.ZoneID, keepable(e.EventType), e.Offset}] })
		for i := range list {
			id, err := uuid.NewV7()
			if err != nil {
				return nil, err
			}
			list[i].ID = id.String()
		}
	}
	return last, nil
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
func eventArrays(list []streamed) []any {
	texts := make([][]string, 10)
	documents := make([][][]byte, 4)
	numbers := make([][]int64, 6)
	for i := range list {
		e := &list[i]
		for n, text := range [...]string{e.ID, e.ZoneID, e.EventType, e.RequestID, e.Decision, e.EvaluationStatus, e.PolicySetID,
			e.PolicySetVersionID, e.ManifestSHA256, e.BundleSHA256} {
			texts[n] = append(texts[n], keepable(text))
		}
		for n, document := range [...][]byte{e.DeterminingPolicies, e.Diagnostics, e.Metadata, e.Input} {
			documents[n] = append(documents[n], document)
		}
		for n, number := range [...]int64{e.PointerSequence, relational.Micros(e.OccurredAt), relational.Micros(e.IngestedAt), int64(e.Offset),
			relational.EventSize(&e.Event), e.stream} {
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
	return args
}
