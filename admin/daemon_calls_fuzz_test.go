package admin_test

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/audit"
)

// fuzzed sends bodies to a call of a control plane on which nothing waits, and
// sees that each is answered as the contract says.
func fuzzed(f *testing.F, path string, statuses ...int) {
	p := newPlane(f, nil).run()
	p.zone("one")
	p.stop() // whoever would wait is sent away at once
	handler := p.server.Handler()
	f.Fuzz(func(t *testing.T, body []byte) {
		req := httptest.NewRequest("POST", path, bytes.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+root)
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, req)
		if !slices.Contains(statuses, rec.Code) {
			t.Fatalf("answered %d %s", rec.Code, rec.Body)
		}
		if rec.Code >= 300 {
			var e api.Error
			if err := json.Unmarshal(rec.Body.Bytes(), &e); err != nil || e.Code == "" || e.Description == "" {
				t.Fatalf("answered %d %s", rec.Code, rec.Body)
			}
		}
	})
}

func FuzzWatch(f *testing.F) {
	f.Add([]byte(`{"zones":"*","have":{"a":{"sequence":1,"issued_at":"2026-01-01T00:00:00Z"}},"wait_seconds":60}`))
	f.Add([]byte(`{"zones":{"a":-1,"b":9007199254740991}}`))
	fuzzed(f, watchPath, 200, 204, 400, 404, 413, 503)
}

func FuzzReceipts(f *testing.F) {
	f.Add([]byte(`{"daemon_id":"a","name":"n","version":"1","labels":{"k":"v"},"zones":[{"zone_id":"z","state":"failed","sequence":1,"policy_set_version_id":null,"loaded_at":"2026-01-01T00:00:00Z","serving_sequence":-1,"serving_version_id":null}]}`))
	f.Add([]byte(`{"daemon_id":"a","zones":null}`))
	f.Add([]byte(`{"daemon_id":"a","name":"n","version":"1","zones":[],"base":"b"}`))
	fuzzed(f, "/v1/receipts", 204, 400, 404, 409, 413)
}

func FuzzBatches(f *testing.F) {
	r := decision("zone", "rid", "deny", time.Unix(1e9, 0))
	batch, err := audit.EncodeBatch(nil, "d1", audit.Batch{Epoch: "01890a5d-ac96-774b-bcce-b302099a8057", Records: []audit.Record{r}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(batch)
	f.Add(batch[:len(batch)-1])
	fuzzed(f, batchPath, 200, 400, 409, 413)
}
