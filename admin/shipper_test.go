package admin_test

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/audit"
)

const batchPath = "/v1/audit/batches"

// shipper is a daemon's chain of audit records and ships any part of it.
type shipper struct {
	p             *plane
	daemon, epoch string
	records       []audit.Record
	hashes        [][32]byte // before each record, and after the last
}

func (p *plane) shipper(daemon string) *shipper {
	return &shipper{p: p, daemon: daemon, epoch: uuid.NewSHA1(uuid.NameSpaceOID, []byte(daemon)).String(), hashes: [][32]byte{{}}}
}

// decision makes the record of a decision.
func decision(zone, request, outcome string, at time.Time) audit.Record {
	return audit.Record{
		ID: uuid.Must(uuid.NewV7()).String(), EventType: audit.EventDecision, ZoneID: zone, RequestID: request,
		Decision: outcome, EvaluationStatus: "complete", PolicySetID: "set", PolicySetVersionID: "version",
		ManifestSHA256: "aa", BundleSHA256: "bb", Sequence: 7,
		DeterminingPolicies: json.RawMessage(`[{"policy":"grants"}]`), Diagnostics: json.RawMessage(`[]`),
		Metadata: json.RawMessage(`{"cache":"miss"}`), Input: json.RawMessage(`{"action":{"id":"read"}}`), OccurredAt: at.UTC(),
	}
}

// add continues the chain.
func (s *shipper) add(records ...audit.Record) {
	s.p.t.Helper()
	for _, r := range records {
		data, err := audit.AppendRecord(nil, &r)
		if err != nil {
			s.p.t.Fatal(err)
		}
		s.hashes = append(s.hashes, audit.ChainHash(s.hashes[len(s.hashes)-1], uint64(len(s.records)), data))
		s.records = append(s.records, r)
	}
}

// encoded is the batch of the records from first up to, not including, end.
func (s *shipper) encoded(first, end int) []byte {
	s.p.t.Helper()
	data, err := audit.EncodeBatch(nil, s.daemon, audit.Batch{
		Epoch: s.epoch, First: uint64(first), PrevHash: s.hashes[first], Hash: s.hashes[end], Records: s.records[first:end],
	})
	if err != nil {
		s.p.t.Fatal(err)
	}
	return data
}

// ship sends a batch that must be accepted.
func (s *shipper) ship(first, end int) api.BatchAccepted {
	s.p.t.Helper()
	return must[api.BatchAccepted](s.p, 200, "POST", batchPath, root, s.encoded(first, end))
}

// all ships everything there is.
func (s *shipper) all() api.BatchAccepted {
	s.p.t.Helper()
	return s.ship(0, len(s.records))
}

// request names a request.
func request(i int) string { return fmt.Sprintf("req-%05d", i) }

// listed reads all pages of a zone's audit, newest first.
func (p *plane) listed(zone, query string) []api.Event {
	p.t.Helper()
	var all []api.Event
	cursor := ""
	for {
		page := must[api.Page[api.Event]](p, 200, "GET", "/v1/zones/"+zone+"/audit?"+query+cursor, root, nil)
		all = append(all, page.Items...)
		if page.NextCursor == nil {
			return all
		}
		cursor = "&cursor=" + *page.NextCursor
	}
}
