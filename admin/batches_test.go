package admin_test

import (
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/audit"
)

func TestBatchIsStoredOnce(t *testing.T) {
	p := newPlane(t, nil)
	zone := p.zone("one")
	s := p.shipper("d1")
	at := time.Now().Add(-time.Minute).Truncate(time.Microsecond)
	for i := range 10 {
		s.add(decision(zone, request(i), "allow", at.Add(time.Duration(i)*time.Second)))
	}
	for _, step := range []struct {
		name       string
		first, end int
		want       api.BatchAccepted
	}{
		{"first", 0, 4, api.BatchAccepted{Accepted: 4, NextOffset: 4}},
		{"the same", 0, 4, api.BatchAccepted{Duplicate: 4, NextOffset: 4}},
		{"part of it", 1, 3, api.BatchAccepted{Duplicate: 2, NextOffset: 4}},
		{"overlapping", 2, 7, api.BatchAccepted{Accepted: 3, Duplicate: 2, NextOffset: 7}},
		{"next", 7, 8, api.BatchAccepted{Accepted: 1, NextOffset: 8}},
		{"everything", 0, 10, api.BatchAccepted{Accepted: 2, Duplicate: 8, NextOffset: 10}},
	} {
		if got := s.ship(step.first, step.end); got != step.want {
			t.Errorf("%s: %+v, want %+v", step.name, got, step.want)
		}
	}
	events := p.listed(zone, "")
	if len(events) != 10 {
		t.Fatalf("%d events are stored", len(events))
	}
	for i, e := range events { // newest first
		r := s.records[9-i]
		if e.ID != r.ID || e.ZoneID != zone || e.EventType != "decision" || e.RequestID != r.RequestID || e.Decision != "allow" ||
			e.EvaluationStatus != "complete" || e.PolicySetID != "set" || e.PolicySetVersionID != "version" || e.ManifestSHA != "aa" || e.BundleSHA256 != "bb" ||
			string(e.DeterminingPoliciesJSON) != `[{"policy":"grants"}]` || string(e.DiagnosticsJSON) != `[]` || string(e.MetadataJSON) != `{"cache":"miss"}` ||
			!e.OccurredAt.Equal(r.OccurredAt) || e.IngestedAt.Before(at) {
			t.Errorf("event %d is %+v, the record was %+v", i, e, r)
		}
	}
	for name, want := range map[string]int64{"caracal.admin.audit.batches": 6, "caracal.admin.audit.records": 10, "caracal.admin.audit.duplicates": 16, "caracal.admin.audit.holes": 0} {
		if got := p.measured(name); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
}

func TestBatchAfterAHoleIsStored(t *testing.T) {
	p := newPlane(t, nil)
	zone := p.zone("one")
	s := p.shipper("d1")
	for i := range 10 {
		s.add(decision(zone, request(i), "allow", time.Now()))
	}
	s.ship(0, 3)
	if got, want := s.ship(6, 10), (api.BatchAccepted{Accepted: 4, NextOffset: 10}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if n := p.measured("caracal.admin.audit.holes"); n != 3 {
		t.Errorf("%d records are missed, want 3", n)
	}
	if n := len(p.listed(zone, "event_type=decision")); n != 7 {
		t.Errorf("%d decisions are stored, want 7", n)
	}
}

func TestGapsAreEvents(t *testing.T) {
	p := newPlane(t, nil)
	zone := p.zone("one")
	s := p.shipper("d1")
	s.add(decision(zone, request(0), "allow", time.Now()), audit.Record{
		ID: "gap-1", EventType: audit.EventGap, ZoneID: zone, Metadata: json.RawMessage(`{"count":17,"reason":"spool full"}`), OccurredAt: time.Now(),
	})
	s.all()
	gaps := p.listed(zone, "event_type=audit_gap")
	if len(gaps) != 1 || gaps[0].ID != "gap-1" || gaps[0].ZoneID != zone || string(gaps[0].MetadataJSON) != `{"count":17,"reason":"spool full"}` ||
		string(gaps[0].DiagnosticsJSON) != "[]" || string(gaps[0].DeterminingPoliciesJSON) != "[]" {
		t.Errorf("%+v", gaps)
	}
}

func TestDaemonsHaveTheirOwnOffsets(t *testing.T) {
	p := newPlane(t, nil)
	zone := p.zone("one")
	var wait sync.WaitGroup
	for _, name := range []string{"d1", "d2"} {
		s := p.shipper(name)
		for i := range 60 {
			s.add(decision(zone, name+request(i), "allow", time.Now()))
		}
		for range 2 { // each ships twice at once
			wait.Go(func() {
				for i := 0; i < 60; i += 10 {
					s.ship(i, i+10)
				}
			})
		}
	}
	wait.Wait()
	seen := map[string]int{}
	for _, e := range p.listed(zone, "") {
		seen[e.RequestID]++
	}
	if len(seen) != 120 {
		t.Errorf("%d requests are stored, want 120", len(seen))
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s is stored %d times", id, n)
		}
	}
	// A new epoch of a daemon begins at 0 again.
	s := p.shipper("d1")
	s.epoch = uuid.NewString()
	s.add(decision(zone, "again", "allow", time.Now()))
	if got, want := s.all(), (api.BatchAccepted{Accepted: 1, NextOffset: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestBrokenChain(t *testing.T) {
	p := newPlane(t, nil)
	zone := p.zone("one")
	s := p.shipper("d1")
	for i := range 6 {
		s.add(decision(zone, request(i), "allow", time.Now()))
	}
	s.ship(0, 3)
	mismatch := func(name string, a answer) {
		t.Helper()
		p.refused(a, 409, "chain_mismatch")
		var body struct {
			NextOffset *uint64 `json:"next_offset"`
		}
		if err := json.Unmarshal(a.body, &body); err != nil || body.NextOffset == nil || *body.NextOffset != 3 {
			t.Errorf("%s: %s, want next_offset 3", name, a.body)
		}
	}
	// Another daemon's history under this one's name.
	forged := p.shipper("d1")
	for i := range 6 {
		forged.add(decision(zone, "forged"+request(i), "allow", time.Now()))
	}
	mismatch("continuing another chain", p.call("POST", batchPath, root, forged.encoded(3, 6)))
	mismatch("overlapping another chain", p.call("POST", batchPath, root, forged.encoded(1, 6)))
	// Records that do not lead to the hash in the header, whose checksum is right.
	changed := s.encoded(3, 6)
	changed[72] ^= 1
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(crc32.Checksum(changed[:116], table), table, changed[120:120+len(s.daemon)])
	binary.BigEndian.PutUint32(changed[116:], sum)
	mismatch("broken within", p.call("POST", batchPath, root, changed))

	if got, want := s.ship(3, 6), (api.BatchAccepted{Accepted: 3, NextOffset: 6}); got != want {
		t.Errorf("the true chain: %+v, want %+v", got, want)
	}
	for _, e := range p.listed(zone, "") {
		if strings.HasPrefix(e.RequestID, "forged") {
			t.Errorf("stored %+v", e)
		}
	}
}

func TestBadBatches(t *testing.T) {
	p := newPlane(t, nil)
	zone, foreign := p.zone("one"), p.zone("other")
	s := p.shipper("d1")
	s.add(decision(zone, request(0), "allow", time.Now()), decision(foreign, request(1), "allow", time.Now()))
	good := s.encoded(0, 2)
	bound := p.token(zone, api.RoleDaemon)
	for name, c := range map[string]struct {
		token  string
		body   []byte
		status int
		code   string
	}{
		"empty":        {root, nil, 400, "invalid_batch"},
		"noise":        {root, []byte("not a batch at all"), 400, "invalid_batch"},
		"cut":          {root, good[:len(good)-3], 400, "invalid_batch"},
		"too long":     {root, make([]byte, 33<<20), 413, "payload_too_large"},
		"viewer":       {p.token("", api.RoleViewer), good, 403, "forbidden"},
		"auditor":      {p.token("", api.RoleAuditor), good, 403, "forbidden"},
		"foreign zone": {bound, good, 403, "forbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			p.t = t
			p.refused(p.call("POST", batchPath, c.token, c.body), c.status, c.code)
		})
	}
	p.t = t
	if n := len(p.listed(zone, "")) + len(p.listed(foreign, "")); n != 0 {
		t.Errorf("refused batches left %d events", n)
	}
	if a := p.call("POST", batchPath, bound, s.encoded(0, 1)); a.status != 200 {
		t.Errorf("its own zone: %d %s", a.status, a.body)
	}
}

// TestNothingHoldsADaemonUp ships records that make no sense and sees those
// behind them arrive.
func TestNothingHoldsADaemonUp(t *testing.T) {
	p := newPlane(t, nil)
	zone := p.zone("one")
	archived := p.zone("archived")
	if a := p.call("DELETE", "/v1/zones/"+archived, root, nil); a.status != 204 {
		t.Fatalf("deleting: %d %s", a.status, a.body)
	}
	twin := decision(zone, "twin", "allow", time.Now())
	again := decision(zone, "twin again", "allow", time.Now())
	again.ID = twin.ID
	poison := []audit.Record{
		decision("never-existed", "lost zone", "allow", time.Now()),
		decision("", "no zone", "allow", time.Now()),
		decision(archived, "archived zone", "allow", time.Now()),
		twin, again,
		{EventType: "decision", ZoneID: zone, RequestID: "bare"},
	}
	odd := decision(zone, "odd", "perhaps", time.Date(30000, 1, 1, 0, 0, 0, 0, time.UTC))
	odd.EventType = "two\nlines"
	garbled := decision(zone, "garbled", "deny", time.Now())
	garbled.Input, garbled.Metadata = json.RawMessage("{\"a\":"), json.RawMessage("\xff\x00")
	garbled.Diagnostics, garbled.DeterminingPolicies = json.RawMessage("[1] [2]"), json.RawMessage("nonsense")
	poison = append(poison, odd, garbled)
	s := p.shipper("d1")
	s.add(poison...)
	s.add(decision(zone, "behind", "allow", time.Now()))
	if got := s.all(); int(got.NextOffset) != len(s.records) {
		t.Errorf("%+v, want next_offset %d", got, len(s.records))
	}
	found := map[string]bool{}
	for _, e := range p.listed(zone, "") {
		found[e.RequestID] = true
	}
	for _, id := range []string{"twin", "bare", "odd", "garbled", "behind"} {
		if !found[id] {
			t.Errorf("%s is not in the audit", id)
		}
	}
	// Every way to read it goes on working.
	for _, format := range []string{"csv", "ndjson", "json"} {
		if a := p.call("GET", "/v1/zones/"+zone+"/audit?format="+format, root, nil); a.status != 200 {
			t.Errorf("%s: %d %s", format, a.status, a.body)
		}
	}
	e := must[api.Explain](p, 200, "GET", "/v1/zones/"+zone+"/audit/by-request/garbled/explain", root, nil)
	if len(e.Denied) != 1 || string(e.Denied[0].PolicyInput) != `"{\"a\":"` {
		t.Errorf("explain: %+v", e)
	}
}
