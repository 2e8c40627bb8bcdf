package admin_test

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/caracalai/caracald/admin/api"
)

// FuzzPolicyCreate sends bodies to the call that creates policies. What it
// accepts can be read back as it was sent; what it refuses has a reason.
func FuzzPolicyCreate(f *testing.F) {
	f.Add([]byte(`{"name":"readers","description":"d","content":"package caracal.authz\n\ndefault result := {\"decision\": \"deny\", \"evaluation_status\": \"complete\", \"determining_policies\": [], \"diagnostics\": []}\n"}`))
	f.Add([]byte(`{"name":"n","content":"package caracal.authz","schema_version":"2026-05-20"}`))
	f.Add([]byte(`{"name":"n","content":"package caracal.authz\nx := http.send({})"}`))
	f.Add([]byte(`{"name":"n","name":"m","content":""}`))
	f.Add([]byte(`[{"name":null}]`))
	p := newPlane(f, nil)
	path := "/v1/zones/" + p.zone("one") + "/policies"
	handler := p.server.Handler()
	call := func(method, path string, body []byte) *httptest.ResponseRecorder {
		req := httptest.NewRequest(method, path, bytes.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+root)
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, req)
		return rec
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		rec := call("POST", path, body)
		if rec.Code != 201 {
			var e api.Error
			if err := json.Unmarshal(rec.Body.Bytes(), &e); err != nil || e.Code == "" || e.Description == "" {
				t.Fatalf("answered %d %s", rec.Code, rec.Body)
			}
			codes := map[int][]string{400: {"invalid_body"}, 409: {"policy_name_conflict"}, 413: {"payload_too_large"}, 422: {"invalid_rego", "unsupported_schema_version"}}
			if !slices.Contains(codes[rec.Code], e.Code) || e.Code == "invalid_rego" && len(e.Errors) == 0 {
				t.Fatalf("answered %d %s", rec.Code, rec.Body)
			}
			return
		}
		var sent api.PolicyCreate
		var made api.Policy
		if err := json.Unmarshal(body, &sent); err != nil {
			t.Fatalf("accepted what is no JSON: %v", err)
		}
		if err := json.Unmarshal(rec.Body.Bytes(), &made); err != nil {
			t.Fatal(err)
		}
		var read api.PolicyVersion
		rec = call("GET", path+"/"+made.ID+"/versions/"+made.VersionID, nil)
		if err := json.Unmarshal(rec.Body.Bytes(), &read); err != nil || rec.Code != 200 || read.Content != sent.Content || made.Name != sent.Name {
			t.Fatalf("sent %+v, read %d %s", sent, rec.Code, rec.Body)
		}
		if rec = call("DELETE", path+"/"+made.ID, nil); rec.Code != 204 { // so that its name can come again
			t.Fatalf("deleting: %d %s", rec.Code, rec.Body)
		}
	})
}

// FuzzSimulate sends inputs to a simulation: whatever is no input of the zone
// is never decided.
func FuzzSimulate(f *testing.F) {
	p := newPlane(f, nil)
	zone, set, v := p.governed("one", readersOnly)
	handler := p.server.Handler()
	f.Add([]byte(inputOf("ZONE", "read")))
	f.Add([]byte(inputOf("elsewhere", "write")))
	f.Add([]byte(`{"principal":{},"principal":1}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`[[[[1e999]]]]`))
	f.Fuzz(func(t *testing.T, input []byte) {
		input = bytes.ReplaceAll(input, []byte("ZONE"), []byte(zone))
		body := append([]byte(`{"version_id":"`+v.ID+`","input":`), append(input, '}')...)
		req := httptest.NewRequest("POST", set+"/simulate", bytes.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+root)
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, req)
		switch rec.Code {
		case 400, 404, 413:
			var e api.Error
			if err := json.Unmarshal(rec.Body.Bytes(), &e); err != nil || e.Code == "" || e.Description == "" {
				t.Fatalf("answered %d %s", rec.Code, rec.Body)
			}
		case 200:
			var sim api.Simulation
			if err := json.Unmarshal(rec.Body.Bytes(), &sim); err != nil {
				t.Fatal(err)
			}
			if decided := sim.Explanation.Evaluation != "not_evaluated"; decided != (sim.Result != nil) || sim.Explanation.Reason == "" {
				t.Fatalf("answered %s", rec.Body)
			}
			var sent struct{ Input map[string]any }
			_ = json.Unmarshal(body, &sent) // what is no object has no principal
			principal, _ := sent.Input["principal"].(map[string]any)
			if sim.Result != nil && principal["zone_id"] != zone {
				t.Fatalf("decided %s for another zone's input: %s", rec.Body, input)
			}
		default:
			t.Fatalf("answered %d %s", rec.Code, rec.Body)
		}
	})
}
