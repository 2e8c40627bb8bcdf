package admin_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/bundle"
)

// TestLoop takes a policy from writing to an explained denial through the API
// alone, with the test in the daemon's place.
func TestLoop(t *testing.T) {
	p := newPlane(t, nil).run()
	zone := p.zone("payments")
	base := "/v1/zones/" + zone
	const content = `package caracal.authz

default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": [{"reason": "no_grant"}]}

result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [{"policy": "readers"}], "diagnostics": []} if {
	input.action.id == "read"
	every scope in input.context.requested_scopes {
		scope in input.resource.scopes
	}
}
`
	pol := must[api.Policy](p, 201, "POST", base+"/policies", root, api.PolicyCreate{Name: "readers", Content: content})
	set := must[api.PolicySet](p, 201, "POST", base+"/policy-sets", root, api.PolicySetCreate{Name: "main"})
	sets := base + "/policy-sets/" + set.ID
	v := must[api.PolicySetVersion](p, 201, "POST", sets+"/versions", root,
		api.PolicySetVersionCreate{Manifest: []api.ManifestEntry{{PolicyVersionID: pol.VersionID}}})

	daemon := p.token(zone, api.RoleDaemon)
	answers := make(chan answer, 1)
	go func() {
		a, err := p.try(t.Context(), "POST", watchPath, daemon, watching(t, 60, map[string]int64{zone: 0}))
		if err != nil {
			t.Error(err)
		}
		answers <- a
	}()
	p.watchers(1)
	done := must[api.Activated](p, 202, "POST", sets+"/activate", root, api.ActivateRequest{VersionID: v.VersionID})
	pointer := p.pointers(<-answers)[0]
	if pointer.Sequence != done.Sequence || *pointer.PolicySetVersionID != v.VersionID || pointer.BundleSHA256 != v.BundleSHA256 {
		t.Fatalf("the watch woke with %+v after %+v", pointer, done)
	}
	data := p.call("GET", "/v1/bundles/"+pointer.BundleSHA256, daemon, nil)
	if bundle.SHA256Hex(data.body) != pointer.BundleSHA256 || int64(len(data.body)) != pointer.BundleSize {
		t.Fatalf("fetched %d, %d bytes", data.status, len(data.body))
	}

	status := func() api.ActivationStatus {
		t.Helper()
		return must[api.ActivationStatus](p, 200, "GET", done.StatusURL, root, nil)
	}
	p.eventually("the outbox is emptied", func() bool { return status().PropagationStatus == api.PropagationWaitingForSTS })
	must[any](p, 204, "POST", "/v1/receipts", daemon, report("d1", loadedReceipt(published{zone: zone, set: set.ID, version: v.VersionID,
		sha256: v.BundleSHA256, manifest: v.ManifestSHA256}, done.Sequence)))
	if s := status(); s.PropagationStatus != api.PropagationLoaded || s.Outbox.ID != done.OutboxID {
		t.Fatalf("after the receipt: %+v", s)
	}

	input := json.RawMessage(`{"schema_version":"2026-05-20", "principal":{"type":"agent","id":"a1","zone_id":"` + zone + `"},
  "resource":{"type":"ledger","id":"l1","identifier":"ledger/1","scopes":["read"]}, "action":{"id":"write"},
  "session":null, "delegation_edge":null, "context":{"actor_claims":{}, "challenge_resolved":false, "requested_scopes":["read"]}}`)
	simulate := func(input json.RawMessage) api.Simulation {
		t.Helper()
		return must[api.Simulation](p, 200, "POST", sets+"/simulate", root, api.SimulateRequest{VersionID: v.VersionID, Input: input})
	}
	decided := simulate(input).Result
	if decided == nil || decided.Decision != "deny" {
		t.Fatalf("decided %+v", decided)
	}
	r := decision(zone, "rid", string(decided.Decision), time.Now())
	r.Input = input
	s := p.shipper("d1")
	s.add(r)
	if a := p.call("POST", batchPath, daemon, s.encoded(0, 1)); a.status != 200 {
		t.Fatalf("shipping: %d %s", a.status, a.body)
	}
	explained := must[api.Explain](p, 200, "GET", base+"/audit/by-request/rid/explain", root, nil)
	if len(explained.Denied) != 1 || string(explained.Denied[0].PolicyInput) != string(input) {
		t.Fatalf("explained as %+v", explained)
	}
	if again := simulate(explained.Denied[0].PolicyInput).Result; !reflect.DeepEqual(again, decided) {
		t.Errorf("simulating the explained input gives %+v, it was %+v", again, decided)
	}

	if a := p.call("DELETE", sets, root, nil); a.status != 204 {
		t.Fatalf("deleting the set: %d %s", a.status, a.body)
	}
	gone := p.pointers(p.call("POST", watchPath, daemon, watching(t, 60, map[string]int64{zone: done.Sequence})))
	if len(gone) != 1 || gone[0].PolicySetVersionID != nil || gone[0].Sequence != done.Sequence+1 {
		t.Errorf("then the zone's pointer is %+v", gone)
	}
}
