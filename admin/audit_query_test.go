package admin_test

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/audit"
)

func TestAuditFilters(t *testing.T) {
	p := newPlane(t, nil)
	zone, other := p.zone("one"), p.zone("other")
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s := p.shipper("d1")
	for i := range 20 {
		outcome := "allow"
		if i%4 == 0 {
			outcome = "deny"
		}
		s.add(decision(zone, request(i/2), outcome, start.Add(time.Duration(i)*time.Minute)))
	}
	s.add(decision(other, request(0), "deny", start), audit.Record{ID: "gap", EventType: audit.EventGap, ZoneID: zone, OccurredAt: start.Add(time.Hour)})
	s.all()
	at := func(minute int) string { return start.Add(time.Duration(minute) * time.Minute).Format(time.RFC3339) }
	for query, want := range map[string]int{
		"":                         21,
		"decision=deny":            5,
		"decision=allow":           15,
		"event_type=audit_gap":     1,
		"event_type=decision":      20,
		"request_id=" + request(3): 2,
		"request_id=" + request(2) + "&decision=deny": 1,
		"request_id=none":                    0,
		"since=" + at(10):                    11,
		"until=" + at(10):                    10,
		"since=" + at(5) + "&until=" + at(8): 3,
		"since=" + at(5) + "&until=" + at(8) + "&decision=deny": 0,
		"limit=3":                3 * 7,
		"limit=3&decision=allow": 15,
	} {
		events := p.listed(zone, query)
		if len(events) != want {
			t.Errorf("%q: %d events, want %d", query, len(events), want)
		}
		for i := 1; i < len(events); i++ {
			if events[i].OccurredAt.After(events[i-1].OccurredAt) {
				t.Errorf("%q: event %d is newer than the one before", query, i)
			}
		}
	}
	auditor := p.token(zone, api.RoleAuditor)
	if a := p.call("GET", "/v1/zones/"+zone+"/audit", auditor, nil); a.status != 200 {
		t.Errorf("an auditor is answered %d %s", a.status, a.body)
	}
	p.refused(p.call("GET", "/v1/zones/"+other+"/audit", auditor, nil), 403, "forbidden")
	p.refused(p.call("GET", "/v1/zones/"+zone+"/audit", p.token("", api.RoleViewer), nil), 403, "forbidden")
	p.refused(p.call("GET", "/v1/zones/nowhere/audit", root, nil), 404, "zone_not_found")
	for _, bad := range []string{"since=yesterday", "until=1", "decision=maybe", "limit=0", "limit=501", "limit=x", "cursor=!", "format=xml", "event_type=a%20b"} {
		e := p.refused(p.call("GET", "/v1/zones/"+zone+"/audit?"+bad, root, nil), 400, "invalid_query")
		if name, _, _ := strings.Cut(bad, "="); !strings.Contains(e.Description, name) {
			t.Errorf("%s: %q does not name it", bad, e.Description)
		}
	}
}

func TestAuditPagesHoldEventsOfOneInstantApart(t *testing.T) {
	p := newPlane(t, nil)
	zone := p.zone("one")
	at := time.Now()
	s := p.shipper("d1")
	for i := range 50 {
		s.add(decision(zone, request(i), "allow", at))
	}
	s.all()
	seen := map[string]bool{}
	for _, e := range p.listed(zone, "limit=7") {
		if seen[e.RequestID] {
			t.Errorf("%s is repeated", e.RequestID)
		}
		seen[e.RequestID] = true
	}
	if len(seen) != 50 {
		t.Errorf("%d of 50 events are listed", len(seen))
	}
}

func TestAuditOutlivesItsZone(t *testing.T) {
	p := newPlane(t, nil)
	zone := p.zone("one")
	s := p.shipper("d1")
	s.add(decision(zone, "rid", "deny", time.Now()))
	s.all()
	if a := p.call("DELETE", "/v1/zones/"+zone, root, nil); a.status != 204 {
		t.Fatalf("deleting: %d %s", a.status, a.body)
	}
	p.refused(p.call("GET", "/v1/zones/"+zone, root, nil), 404, "zone_not_found")
	if n := len(p.listed(zone, "")); n != 1 {
		t.Errorf("%d events are listed", n)
	}
	if e := must[api.Explain](p, 200, "GET", "/v1/zones/"+zone+"/audit/by-request/rid/explain", root, nil); e.FinalDecision != "deny" {
		t.Errorf("explained as %+v", e)
	}
}

func TestExplain(t *testing.T) {
	p := newPlane(t, nil)
	zone, other := p.zone("one"), p.zone("other")
	at := time.Now().Truncate(time.Microsecond)
	// Numbers, white space, escapes and the order of names must all survive.
	input := "{ \"b\" : 1.0,\n\t\"a\":[1e2 , \"\\u0041<&>\"] , \"big\":12345678901234567890 }"
	s := p.shipper("d1")
	records := []audit.Record{
		decision(zone, "rid", "deny", at), decision(zone, "rid", "allow", at.Add(time.Second)), decision(zone, "rid", "deny", at.Add(2*time.Second)),
		decision(zone, "rid", "allow", at.Add(3*time.Second)),
		{ID: "gap", EventType: audit.EventGap, ZoneID: zone, RequestID: "rid", OccurredAt: at.Add(4 * time.Second)},
		decision(other, "rid", "deny", at), decision(zone, "another", "deny", at),
	}
	records[0].Input = json.RawMessage(input)
	records[0].EvaluationStatus = "partial"
	records[0].Diagnostics = json.RawMessage(`[{"reason":"no_rule_matched"}]`)
	records[0].Metadata = json.RawMessage(`{"denied":[],"masked":["/b"],"x":1}`)
	records[2].Input = nil // only its hash was kept
	s.add(records...)
	s.all()
	path := "/v1/zones/" + zone + "/audit/by-request/rid"

	events := must[[]api.Event](p, 200, "GET", path, root, nil)
	if len(events) != 5 {
		t.Fatalf("%d events", len(events))
	}
	for i, e := range events {
		if e.ID != records[i].ID {
			t.Errorf("event %d is %s, want %s", i, e.ID, records[i].ID)
		}
	}

	got := must[api.Explain](p, 200, "GET", path+"/explain", root, nil)
	if got.RequestID != "rid" || got.ZoneID != zone || got.FinalDecision != "allow" || !reflect.DeepEqual(got.Events, events) || len(got.Denied) != 2 {
		t.Fatalf("%+v", got)
	}
	if len(got.Allowed) != 2 || got.Allowed[0].EventID != records[1].ID || string(got.Allowed[1].PolicyInput) != string(records[3].Input) {
		t.Errorf("what was allowed: %+v", got.Allowed)
	}
	first, second := got.Denied[0], got.Denied[1]
	if first.EventID != records[0].ID || first.EventType != "decision" || first.EvaluationStatus != "partial" ||
		string(first.DeterminingPolicies) != `[{"policy":"grants"}]` || string(first.Diagnostics) != `[{"reason":"no_rule_matched"}]` ||
		string(first.Metadata) != `{"denied":[],"masked":["/b"],"x":1}` {
		t.Errorf("the first denial is %+v", first)
	}
	if string(first.PolicyInput) != input {
		t.Errorf("its input is\n%s\nwant\n%s", first.PolicyInput, input)
	}
	if second.EventID != records[2].ID || string(second.PolicyInput) != "null" {
		t.Errorf("the second denial is %+v", second)
	}

	s.add(decision(zone, "fine", "allow", at))
	s.ship(len(records), len(s.records))
	fine := p.call("GET", "/v1/zones/"+zone+"/audit/by-request/fine/explain", root, nil)
	if fine.status != 200 || !bytes.Contains(fine.body, []byte(`"denied":[]`)) || !bytes.Contains(fine.body, []byte(`"final_decision":"allow"`)) {
		t.Errorf("an allowed request: %d %s", fine.status, fine.body)
	}
	for _, end := range []string{"", "/explain"} {
		p.refused(p.call("GET", "/v1/zones/"+zone+"/audit/by-request/none"+end, root, nil), 404, "request_not_found")
		p.refused(p.call("GET", path+end, p.token(other, api.RoleAuditor), nil), 403, "forbidden")
		p.refused(p.call("GET", path+end, p.token(zone, api.RoleAuthor), nil), 403, "forbidden")
	}
}

func TestExportEqualsTheList(t *testing.T) {
	const n = 5000
	p := newPlane(t, nil)
	zone := p.zone("one")
	s := p.shipper("d1")
	start := time.Now().Add(-time.Hour)
	for i := range n {
		r := decision(zone, fmt.Sprintf("=%d,\"x\"", i), []string{"allow", "deny"}[i%2], start.Add(time.Duration(i/3)*time.Millisecond))
		r.Metadata = json.RawMessage(fmt.Sprintf(`{"n":%d,"text":"a, \"b\"\u000a<&>"}`, i))
		s.add(r)
	}
	s.all()
	for query, want := range map[string]int{"": n, "decision=deny": n / 2, "request_id=none": 0} {
		events := p.listed(zone, query+"&limit=500")
		if len(events) != want {
			t.Fatalf("%q: %d events are listed, want %d", query, len(events), want)
		}
		lines := p.call("GET", "/v1/zones/"+zone+"/audit?format=ndjson&"+query, root, nil)
		if lines.status != 200 || lines.header.Get("Content-Type") != "application/x-ndjson" || !strings.Contains(lines.header.Get("Content-Disposition"), ".ndjson\"") {
			t.Fatalf("%q: %d %v", query, lines.status, lines.header)
		}
		var fromLines []api.Event
		for scanner := bufio.NewScanner(bytes.NewReader(lines.body)); scanner.Scan(); {
			var e api.Event
			if err := json.Unmarshal(scanner.Bytes(), &e); err != nil {
				t.Fatal(err)
			}
			fromLines = append(fromLines, e)
		}
		if !reflect.DeepEqual(fromLines, events) {
			t.Errorf("%q: NDJSON has %d events that differ from the %d listed", query, len(fromLines), len(events))
		}
		table := p.call("GET", "/v1/zones/"+zone+"/audit?format=csv&"+query, root, nil)
		if table.status != 200 || !strings.HasPrefix(table.header.Get("Content-Type"), "text/csv") || !strings.Contains(table.header.Get("Content-Disposition"), "attachment; filename=\"audit-"+zone) {
			t.Fatalf("%q: %d %v", query, table.status, table.header)
		}
		fromTable := readCSV(t, table.body)
		if len(fromTable) != len(events) {
			t.Fatalf("%q: CSV has %d events, %d are listed", query, len(fromTable), len(events))
		}
		for i := range events {
			if !reflect.DeepEqual(fromTable[i], events[i]) {
				t.Fatalf("%q: CSV has %+v, listed is %+v", query, fromTable[i], events[i])
			}
		}
	}
	if got := readCSV(t, p.call("GET", "/v1/zones/"+zone+"/audit?format=csv&limit=7", root, nil).body); len(got) != 7 {
		t.Errorf("limit=7 exports %d events", len(got))
	}
}

// readCSV reads an export back, by the names in its header, which must be
// those of the event's JSON.
func readCSV(t *testing.T, data []byte) []api.Event {
	t.Helper()
	reader := csv.NewReader(bytes.NewReader(data))
	header, err := reader.Read()
	if err != nil {
		t.Fatal(err)
	}
	event := reflect.TypeFor[api.Event]()
	if len(header) != event.NumField() {
		t.Fatalf("the header %v has %d columns, an event %d fields", header, len(header), event.NumField())
	}
	var out []api.Event
	for {
		record, err := reader.Read()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		fields := map[string]json.RawMessage{}
		for i, name := range header {
			if name != event.Field(i).Tag.Get("json") {
				t.Fatalf("column %d is %s, the field is %s", i, name, event.Field(i).Tag.Get("json"))
			}
			if strings.HasSuffix(name, "_json") {
				fields[name] = json.RawMessage(record[i])
				continue
			}
			if name == "request_id" {
				if !strings.HasPrefix(record[i], "'=") {
					t.Fatalf("a spreadsheet would take %q for a formula", record[i])
				}
				record[i] = record[i][1:]
			}
			if fields[name], err = json.Marshal(record[i]); err != nil {
				t.Fatal(err)
			}
		}
		var data bytes.Buffer
		encoder := json.NewEncoder(&data)
		encoder.SetEscapeHTML(false) // else it would rewrite the fields that are JSON
		if err := encoder.Encode(fields); err != nil {
			t.Fatal(err)
		}
		var e api.Event
		if err := json.Unmarshal(data.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
}

func TestCSVCellsAreNoFormulas(t *testing.T) {
	p := newPlane(t, nil)
	zone := p.zone("one")
	s := p.shipper("d1")
	cells := []string{"=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\r=1", "＝1", "plain", "a=b"}
	for i, cell := range cells {
		s.add(decision(zone, cell, "allow", time.Now().Add(-time.Duration(i)*time.Second)))
	}
	s.all()
	rows, err := csv.NewReader(bytes.NewReader(p.call("GET", "/v1/zones/"+zone+"/audit?format=csv", root, nil).body)).ReadAll()
	if err != nil || len(rows) != len(cells)+1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for i, cell := range cells {
		want := cell
		if i < 7 {
			want = "'" + cell
		}
		if got := rows[i+1][3]; got != want {
			t.Errorf("%q is exported as %q, want %q", cell, got, want)
		}
	}
}
