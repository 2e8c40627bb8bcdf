package console_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/admin/store/sqlite"
)

// records is how many audit records TestLargeAudit stores: CARACAL_AUDIT_RECORDS,
// or enough to see that the page does not read them all.
func records(t *testing.T) int {
	text, given := os.LookupEnv("CARACAL_AUDIT_RECORDS")
	if !given {
		return 50_000
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 10_000 {
		t.Fatalf("CARACAL_AUDIT_RECORDS is %q; a number from 10000 on is wanted", text)
	}
	return n
}

// An audit of many records scrolls and filters without reading them all.
func TestLargeAudit(t *testing.T) {
	n := records(t)
	p := newPlant(t)
	p.daemon.kill()
	p.admin.kill()
	began := time.Now()
	p.fillAudit(n)
	t.Logf("%d records stored in %v", n, time.Since(began))
	p.admin.start()
	p.waitReady(p.api)
	b := newTab(t, p.api)
	b.signIn(p.link())
	b.open("/console/z/" + p.zone + "/audit")
	newest := fmt.Sprintf("request-%07d", n-1)
	b.sees(newest)
	few := func() {
		t.Helper()
		rows := js[int](b, `document.querySelectorAll('[role="row"]').length`)
		if rows < 10 || rows > 200 {
			t.Errorf("%d rows are drawn at once", rows)
		}
	}
	few()
	read := func() int {
		return js[int](b, `Number((/(\d+) events read/.exec(document.body.innerText) ?? [0, 0])[1])`)
	}
	b.eventually("scrolling on reads more", func() bool {
		js[bool](b, `(() => { const e = document.querySelector('[aria-label^="Audit events, newest"]'); e.scrollTop = e.scrollHeight; return true })()`)
		return read() >= 1_000
	})
	few()
	if all := read(); all > n/5 {
		t.Errorf("%d of %d events were read", all, n)
	}

	began = time.Now()
	oldest := "request-0000003"
	b.fill("textbox", "Request id", oldest)
	b.press("\r")
	b.at("request_id=" + oldest)
	b.sees(oldest)
	t.Logf("found by its request id after %v", time.Since(began))
	b.click("button", "Clear filters")
	b.sees(newest)
	began = time.Now()
	b.choose("Decision", "deny")
	b.eventually("only denials are shown", func() bool {
		return js[bool](b, `(() => { const shown = [...document.querySelectorAll('[role="row"] .badge')].map((e) => e.textContent); return shown.length > 5 && shown.every((s) => s === "deny") })()`)
	})
	t.Logf("filtered by decision after %v", time.Since(began))
	few()
}

// fillAudit stores records as a daemon would have shipped them.
func (p *plant) fillAudit(n int) {
	p.t.Helper()
	s, err := sqlite.Open(p.t.Context(), filepath.Join(p.dir, "admin"), sqlite.Options{})
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			p.t.Error(err)
		}
	}()
	const size = 1000
	start := time.Now().Add(-24 * time.Hour).Truncate(time.Second)
	decisions := []string{"allow", "allow", "allow", "deny"}
	for first := 0; first < n; first += size {
		batch := store.EventBatch{DaemonID: "018f0000-0000-7000-8000-0000000000dd", Epoch: "018f0000-0000-7000-8000-0000000000ee", First: uint64(first), At: time.Now()}
		for i := first; i < first+size; i++ {
			batch.Events = append(batch.Events, store.Event{
				ID: fmt.Sprintf("018f0000-0000-7000-8000-%012d", i), ZoneID: p.zone, EventType: "decision", RequestID: fmt.Sprintf("request-%07d", i),
				Decision: decisions[i%len(decisions)], EvaluationStatus: "complete", DeterminingPolicies: json.RawMessage(`[{"policy":"agents"}]`),
				Diagnostics: json.RawMessage(`[]`), Metadata: json.RawMessage(`{}`), Input: json.RawMessage(`{}`),
				OccurredAt: start.Add(time.Duration(i) * 50 * time.Millisecond), IngestedAt: time.Now(), DaemonID: batch.DaemonID, Epoch: batch.Epoch, Offset: uint64(i),
			})
		}
		if _, err := s.Events().Append(p.t.Context(), batch); err != nil {
			p.t.Fatal(err)
		}
	}
}

// A policy of 5,000 lines is edited: what is typed is there at once, what is
// wrong is marked at its line, and only the lines in sight are drawn.
func TestLargePolicy(t *testing.T) {
	p := newPlant(t)
	var content strings.Builder
	content.WriteString(reads)
	for i := 0; strings.Count(content.String(), "\n") < 5_000; i++ {
		fmt.Fprintf(&content, "limit_%04d := %d if input.action.id\n", i, i)
	}
	lines := strings.Count(content.String(), "\n")
	if lines != 5_000 {
		t.Fatalf("the policy has %d lines only", lines)
	}
	policy, err := p.client.CreatePolicy(t.Context(), p.zone, api.PolicyCreate{Name: "large", Content: content.String()})
	if err != nil {
		t.Fatal(err)
	}
	b := newTab(t, p.api)
	b.signIn(p.link())
	b.open("/console/z/" + p.zone + "/policies/" + policy.ID)
	b.sees("Content, version 1", "limit_0000")
	drawn := func() int { return js[int](b, `document.querySelectorAll(".cm-line").length`) }
	if n := drawn(); n > 500 {
		t.Errorf("%d lines are drawn at once", n)
	}
	b.focus("textbox", "Policy content")
	b.pressEnd()
	b.sees(fmt.Sprintf("limit_%04d", lines-strings.Count(reads, "\n")-1))
	began := time.Now()
	const typed = "wrong := undefined_thing"
	for _, r := range typed {
		call(b, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeChar, Text: string(r)})
	}
	b.sees(typed)
	t.Logf("%d keys in %v at the end of %d lines", len(typed), time.Since(began), lines)
	b.sees(fmt.Sprintf("Line %d", lines+1), "not valid")
	if n := drawn(); n > 500 {
		t.Errorf("%d lines are drawn at once", n)
	}
}

// A set of 500 versions is listed whole.
func TestManyVersions(t *testing.T) {
	p := newPlant(t)
	set, _ := p.publish("production", reads)
	policy := p.policies()[0]
	for range 499 {
		if _, err := p.client.AddSetVersion(t.Context(), p.zone, set.ID, policy.VersionID); err != nil {
			t.Fatal(err)
		}
	}
	b := newTab(t, p.api)
	b.signIn(p.link())
	began := time.Now()
	b.open("/console/z/" + p.zone + "/sets/" + set.ID)
	b.eventually("all versions are listed", func() bool { return js[int](b, `document.querySelectorAll("main table tbody tr").length`) == 501 })
	t.Logf("500 versions are shown after %v", time.Since(began))
	b.sees("Make version 501")
}
