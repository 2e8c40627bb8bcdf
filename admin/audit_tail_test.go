package admin_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin/api"
)

// tailed is one message of a tail.
type tailed struct {
	id      int64
	event   string
	data    api.Event
	comment string
}

// tailing is an open tail.
type tailing struct {
	t    testing.TB
	body io.ReadCloser
	in   *bufio.Reader
	stop context.CancelFunc
}

// tail opens a tail and waits for its first comment, after which it misses nothing.
func (p *plane) tail(zone, query, lastID string) *tailing {
	p.t.Helper()
	ctx, cancel := context.WithCancel(p.t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", p.url+"/v1/zones/"+zone+"/audit/tail"+query, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+root)
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		p.t.Fatalf("the tail answers %d %v", resp.StatusCode, resp.Header)
	}
	tl := &tailing{p.t, resp.Body, bufio.NewReader(resp.Body), cancel}
	p.t.Cleanup(tl.close)
	if m, err := tl.next(); err != nil || m.comment == "" {
		p.t.Fatalf("a tail begins with %+v, %v", m, err)
	}
	return tl
}

func (tl *tailing) close() {
	tl.stop()
	_ = tl.body.Close()
}

// next reads one message.
func (tl *tailing) next() (tailed, error) {
	var m tailed
	for {
		line, err := tl.in.ReadString('\n')
		if err != nil {
			return m, err
		}
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			return m, nil
		}
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "":
			m.comment = value
		case ":":
			m.comment = value
		case "id":
			if m.id, err = strconv.ParseInt(value, 10, 64); err != nil {
				return m, err
			}
		case "event":
			m.event = value
		case "data":
			if err := json.Unmarshal([]byte(value), &m.data); err != nil {
				return m, err
			}
		default:
			return m, fmt.Errorf("a line %q", line)
		}
	}
}

// event reads up to the next event.
func (tl *tailing) event() tailed {
	tl.t.Helper()
	for {
		m, err := tl.next()
		if err != nil {
			tl.t.Fatal(err)
		}
		if m.comment == "" {
			return m
		}
	}
}

func TestTailSendsEventsAsTheyArrive(t *testing.T) {
	p := newPlane(t, nil).run()
	zone, other := p.zone("one"), p.zone("other")
	s := p.shipper("d1")
	s.add(decision(zone, "before", "allow", time.Now()))
	s.all()
	tl := p.tail(zone, "", "")
	denials := p.tail(zone, "?decision=deny", "")
	s.add(decision(other, "foreign", "deny", time.Now()), decision(zone, "first", "allow", time.Now()), decision(zone, "second", "deny", time.Now()))
	s.ship(1, 4)
	for _, want := range []string{"first", "second"} {
		m := tl.event()
		if m.data.RequestID != want || m.event != "decision" || m.id == 0 || m.data.ZoneID != zone || string(m.data.MetadataJSON) != `{"cache":"miss"}` {
			t.Errorf("sent %+v, want %s", m, want)
		}
	}
	if m := denials.event(); m.data.RequestID != "second" {
		t.Errorf("a tail of denials sent %+v", m)
	}
	if n := p.measured("caracal.admin.audit.tails"); n != 2 {
		t.Errorf("%d tails are counted", n)
	}
	tl.close()
	denials.close()
	p.eventually("no tail is open", func() bool { return p.measured("caracal.admin.audit.tails") == 0 })
}

// TestTailResumes disconnects again and again while two daemons ship, and
// sees every event once and in order.
func TestTailResumes(t *testing.T) {
	const records = 600
	p := newPlane(t, nil).run()
	zone := p.zone("one")
	var wait sync.WaitGroup
	defer wait.Wait()
	for d := range 2 {
		s := p.shipper(fmt.Sprintf("d%d", d))
		for i := range records {
			s.add(decision(zone, fmt.Sprintf("%d-%d", d, i), "allow", time.Now()))
		}
		wait.Go(func() {
			for i := 0; i < records; i += 15 {
				s.ship(i, i+15)
			}
		})
	}
	seen := map[string]bool{}
	next := [2]int{}
	last := int64(0)
	for reconnect := 0; len(seen) < 2*records; reconnect++ {
		var tl *tailing
		if reconnect%2 == 0 {
			tl = p.tail(zone, "", strconv.FormatInt(last, 10))
		} else {
			tl = p.tail(zone, "?since_id="+strconv.FormatInt(last, 10), "")
		}
		for range 37 {
			if len(seen) == 2*records {
				break
			}
			m := tl.event()
			if seen[m.data.RequestID] || m.id <= last {
				t.Fatalf("%s with id %d came again after %d", m.data.RequestID, m.id, last)
			}
			var d, i int
			if _, err := fmt.Sscanf(m.data.RequestID, "%d-%d", &d, &i); err != nil {
				t.Fatal(err)
			}
			if i != next[d] {
				t.Fatalf("%s came where %d-%d was next", m.data.RequestID, d, next[d])
			}
			next[d]++
			seen[m.data.RequestID] = true
			last = m.id
		}
		tl.close()
	}
}

// TestSlowTailHoldsUpNobody leaves a tail unread while another follows.
func TestSlowTailHoldsUpNobody(t *testing.T) {
	p := newPlane(t, nil).run()
	zone := p.zone("one")
	p.tail(zone, "", "") // never read again
	tl := p.tail(zone, "", "")
	s := p.shipper("d1")
	for i := range 3000 {
		r := decision(zone, request(i), "allow", time.Now())
		r.Metadata = json.RawMessage(fmt.Sprintf(`{"filler":%q}`, strings.Repeat("x", 2000)))
		s.add(r)
	}
	for i := 0; i < 3000; i += 500 {
		s.ship(i, i+500)
	}
	for i := range 3000 {
		if m := tl.event(); m.data.RequestID != request(i) {
			t.Fatalf("event %d is %s", i, m.data.RequestID)
		}
	}
}

func TestTailHeartbeats(t *testing.T) {
	p := newPlane(t, nil)
	p.server.SetTailHeartbeat(5 * time.Millisecond)
	tl := p.tail(p.zone("one"), "", "")
	for range 3 {
		if m, err := tl.next(); err != nil || m.comment == "" || m.id != 0 {
			t.Fatalf("a quiet tail sends %+v, %v", m, err)
		}
	}
}

func TestTailEndsAtShutdown(t *testing.T) {
	p := newPlane(t, nil).run()
	tl := p.tail(p.zone("one"), "", "")
	p.stop()
	if m, err := tl.next(); err != io.EOF {
		t.Errorf("a tail ends with %+v, %v, want the end of the file", m, err)
	}
}

func TestTailRefusals(t *testing.T) {
	p := newPlane(t, nil)
	zone := p.zone("one")
	path := "/v1/zones/" + zone + "/audit/tail"
	p.refused(p.call("GET", path, root, nil, "Last-Event-ID", "x"), 400, "invalid_query")
	p.refused(p.call("GET", path+"?since_id=-1", root, nil), 400, "invalid_query")
	p.refused(p.call("GET", path+"?decision=maybe", root, nil), 400, "invalid_query")
	p.refused(p.call("GET", path, p.token(zone, api.RoleViewer), nil), 403, "forbidden")
	p.refused(p.call("GET", path, p.token(p.zone("other"), api.RoleAuditor), nil), 403, "forbidden")
}
