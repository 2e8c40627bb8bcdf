package mirror_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/client"
	"github.com/caracalai/caracald/bundle"
)

// TestReceiptsBuildOnEachOther: behind a mirror too a real daemon and a real control
// plane come to reports that name only what changed, and to the same zones.
func TestReceiptsBuildOnEachOther(t *testing.T) {
	s := newSite(t)
	zones := []*governed{s.zone("one"), s.zone("two"), s.zone("three")}
	for _, z := range zones {
		z.activate()
	}
	var mu sync.Mutex
	var reports []bundle.ReceiptReport
	look := func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v1/receipts" {
			return false
		}
		data, err := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(data))
		var report bundle.ReceiptReport
		if err != nil || json.Unmarshal(data, &report) != nil {
			return false // which the control plane refuses
		}
		mu.Lock()
		defer mu.Unlock()
		reports = append(reports, report)
		return false
	}
	s.between.Store(&look)
	n := s.daemon(s.mirror(nil), s.newToken("node", nil).Secret, nil)
	last := func() (last bundle.ReceiptReport, all int) {
		mu.Lock()
		defer mu.Unlock()
		if len(reports) > 0 {
			last = reports[len(reports)-1]
		}
		return last, len(reports)
	}
	settled := func() {
		t.Helper()
		eventually(t, "a heartbeat names no zone, and the control plane knows all", func() bool {
			report, _ := last()
			page, err := s.client.FindDaemons(t.Context(), client.DaemonFilter{State: api.DaemonHealthy}, client.Page{})
			return err == nil && report.Base != "" && len(report.Zones) == 0 && len(page.Items) == 1 && page.Items[0].ZonesTotal == len(zones)
		})
	}
	settled()
	_, before := last()
	v := zones[1].activate()
	n.decidesBy(zones[1].id, v.ID)
	settled()
	mu.Lock()
	defer mu.Unlock()
	named := 0
	for _, r := range reports[before:] {
		if r.Complete {
			t.Errorf("a change is reported with all of %d zones", len(r.Zones))
		}
		for _, z := range r.Zones {
			if named++; z.ZoneID != zones[1].id {
				t.Errorf("zone %s is reported, and did not change", z.ZoneID)
			}
		}
	}
	if named == 0 {
		t.Error("the change was not reported")
	}
}
