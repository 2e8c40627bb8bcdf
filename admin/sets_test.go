package admin_test

import (
	"testing"

	"github.com/caracalai/caracald/admin/api"
)

func TestSetLife(t *testing.T) {
	p := newPlane(t, nil)
	zone := p.zone("one")
	base := "/v1/zones/" + zone + "/policy-sets"
	made := must[api.PolicySet](p, 201, "POST", base, root, api.PolicySetCreate{Name: "main", Description: "what governs"})
	if made.ID == "" || made.ZoneID != zone || made.Name != "main" || made.Description != "what governs" || made.ActiveVersionID != nil || made.CreatedAt.IsZero() {
		t.Fatalf("created %+v", made)
	}
	if got := must[api.PolicySet](p, 200, "GET", base+"/"+made.ID, root, nil); got != made {
		t.Errorf("read %+v, created %+v", got, made)
	}
	p.refused(p.call("POST", base, root, api.PolicySetCreate{Name: "main"}), 409, "policy_set_name_conflict")
	p.refused(p.call("POST", base, root, api.PolicySetCreate{Name: "a\tb"}), 400, "invalid_body")
	p.refused(p.call("POST", "/v1/zones/"+newID()+"/policy-sets", root, api.PolicySetCreate{Name: "main"}), 404, "zone_not_found")
	other := p.zone("two")
	p.set(other, "main") // a name is the zone's
	p.refused(p.call("GET", "/v1/zones/"+other+"/policy-sets/"+made.ID, root, nil), 404, "policy_set_not_found")
	p.refused(p.call("DELETE", "/v1/zones/"+other+"/policy-sets/"+made.ID, root, nil), 404, "policy_set_not_found")
	if list := must[api.Page[api.PolicySet]](p, 200, "GET", base, root, nil); len(list.Items) != 1 || list.Items[0] != made {
		t.Errorf("listed %+v", list)
	}

	before := p.active(zone).Sequence
	if a := p.call("DELETE", base+"/"+made.ID, root, nil); a.status != 204 || len(a.body) != 0 {
		t.Fatalf("deleted: %d %s", a.status, a.body)
	}
	if now := p.active(zone).Sequence; now != before {
		t.Errorf("deleting a set that governs nothing moved the pointer from %d to %d", before, now)
	}
	for _, path := range []string{"", "/versions", "/versions/" + newID()} {
		code := "policy_set_not_found"
		if len(path) > len("/versions") {
			code = "policy_set_version_not_found"
		}
		p.refused(p.call("GET", base+"/"+made.ID+path, root, nil), 404, code)
	}
	p.refused(p.call("DELETE", base+"/"+made.ID, root, nil), 404, "policy_set_not_found")
	p.set(zone, "main") // the name is free again
}

func TestDeletingTheGoverningSetDeniesEverything(t *testing.T) {
	p := newPlane(t, nil)
	zone, set, v := p.governed("one", readersOnly)
	done := p.activateVersion(set, v.ID)
	if got := must[api.PolicySet](p, 200, "GET", set, root, nil); got.ActiveVersionID == nil || *got.ActiveVersionID != v.ID {
		t.Errorf("the governing set reads as %+v", got)
	}

	author := p.token(zone, "author")
	p.refused(p.call("DELETE", set, author, nil), 403, "forbidden")
	if now := p.active(zone); now.Sequence != done.Sequence || now.PolicySetVersionID == nil || *now.PolicySetVersionID != v.ID {
		t.Fatalf("a refused deletion left %+v", now)
	}
	idle := p.set(zone, "idle")
	if a := p.call("DELETE", idle, author, nil); a.status != 204 {
		t.Errorf("an author deleting a set that governs nothing: %d %s", a.status, a.body)
	}
	p.refused(p.call("DELETE", set, p.token(zone, "activator"), nil), 403, "forbidden")

	if a := p.call("DELETE", set, p.token(zone, "author", "activator"), nil); a.status != 204 {
		t.Fatalf("deleted: %d %s", a.status, a.body)
	}
	now := p.active(zone)
	if now.Sequence != done.Sequence+1 || now.PolicySetID != nil || now.PolicySetVersionID != nil || now.ManifestSHA256 != nil || now.BundleSHA256 != nil {
		t.Errorf("then governs %+v", now)
	}
	history := must[api.Page[api.Activation]](p, 200, "GET", "/v1/zones/"+zone+"/activations", root, nil)
	if last := history.Items[0]; last.VersionID != nil || last.PreviousVersionID == nil || *last.PreviousVersionID != v.ID || last.Sequence != now.Sequence {
		t.Errorf("the history ends with %+v", last)
	}
	p.refused(p.call("POST", set+"/activate", root, api.ActivateRequest{VersionID: v.ID}), 404, "policy_set_version_not_found")
}
