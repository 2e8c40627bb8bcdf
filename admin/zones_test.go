package admin_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/bundle"
)

func TestZoneLife(t *testing.T) {
	p := newPlane(t, nil)
	body := must[map[string]any](p, 201, "POST", "/v1/zones", root, api.ZoneCreate{Name: "Payments & Co, EU"})
	if keys := keysOf(body); keys != "created_at id name settings slug updated_at" {
		t.Errorf("a zone has the keys %q", keys)
	}
	if body["name"] != "Payments & Co, EU" || body["slug"] != "payments-co-eu" {
		t.Errorf("created %v", body)
	}
	id := body["id"].(string)
	path := "/v1/zones/" + id
	p.refused(p.call("POST", "/v1/zones", root, api.ZoneCreate{Name: "Payments & Co, EU", Slug: "another"}), 409, "zone_conflict")
	p.refused(p.call("POST", "/v1/zones", root, api.ZoneCreate{Name: "Another", Slug: "payments-co-eu"}), 409, "zone_conflict")

	// The zone denies everything from the first moment: its pointer says so.
	pointers := p.pointers(p.call("POST", watchPath, root, bundle.WatchRequest{Zones: bundle.AllZones()}))
	if len(pointers) != 1 || pointers[0].ZoneID != id || pointers[0].Sequence != 0 || pointers[0].PolicySetVersionID != nil {
		t.Errorf("the new zone's pointer is %+v", pointers)
	}

	changed := must[api.Zone](p, 200, "PATCH", path, root, api.ZoneUpdate{Name: pointerTo("Payments"),
		Settings: &api.ZoneSettings{AuditMask: []string{"/principal/id"}, AuditInputs: "hashed", RetentionDays: 30, RetentionBytes: 1 << 30}})
	if changed.Name != "Payments" || changed.Slug != "payments-co-eu" || changed.Settings.RetentionDays != 30 || !changed.UpdatedAt.After(changed.CreatedAt) {
		t.Errorf("changed to %+v", changed)
	}
	if got := must[api.Zone](p, 200, "GET", path, root, nil); got.Name != "Payments" || got.Settings.AuditInputs != "hashed" {
		t.Errorf("read %+v", got)
	}
	renewed := p.pointers(p.call("POST", watchPath, root, bundle.WatchRequest{Zones: bundle.AllZones()}))[0]
	if renewed.Sequence != 0 || !renewed.IssuedAt.After(pointers[0].IssuedAt) || !slices.Equal(renewed.Settings.AuditMask, []string{"/principal/id"}) || renewed.Settings.AuditInputs != "hashed" {
		t.Errorf("daemons are told %+v", renewed)
	}
	other := p.zone("other")
	p.refused(p.call("PATCH", "/v1/zones/"+other, root, api.ZoneUpdate{Name: pointerTo("Payments")}), 409, "zone_conflict")

	if a := p.call("DELETE", path, root, nil); a.status != 204 || len(a.body) != 0 {
		t.Fatalf("deleted: %d %s", a.status, a.body)
	}
	for _, below := range []string{"", "/policies", "/policy-sets", "/active", "/activations", "/daemons"} {
		p.refused(p.call("GET", path+below, root, nil), 404, "zone_not_found")
	}
	p.refused(p.call("PATCH", path, root, api.ZoneUpdate{}), 404, "zone_not_found")
	p.refused(p.call("DELETE", path, root, nil), 404, "zone_not_found")
	p.refused(p.call("POST", path+"/policies", root, api.PolicyCreate{Name: "n", Content: denyAll}), 404, "zone_not_found")
	if list := must[api.Page[api.Zone]](p, 200, "GET", "/v1/zones", root, nil); len(list.Items) != 1 || list.Items[0].ID != other {
		t.Errorf("listed %+v", list)
	}
	p.zone("Payments") // the name is free again
}

func TestDeletingAZoneDeniesEverything(t *testing.T) {
	p := newPlane(t, nil)
	zone, set, v := p.governed("one", readersOnly)
	done := p.activateVersion(set, v.ID)
	daemon := p.token(zone, "daemon")
	if a := p.call("DELETE", "/v1/zones/"+zone, root, nil); a.status != 204 {
		t.Fatalf("deleted: %d %s", a.status, a.body)
	}
	pointers := p.pointers(p.call("POST", watchPath, daemon, watching(t, 0, map[string]int64{zone: done.Sequence})))
	if len(pointers) != 1 || pointers[0].PolicySetVersionID != nil || pointers[0].Sequence != done.Sequence+1 {
		t.Errorf("daemons are sent %+v", pointers)
	}
	p.refused(p.call("POST", set+"/activate", root, api.ActivateRequest{VersionID: v.ID}), 404, "zone_not_found")
	// The list of whoever sees only that zone is empty, and no error.
	if list := must[api.Page[api.Zone]](p, 200, "GET", "/v1/zones", p.token(zone, "viewer"), nil); len(list.Items) != 0 {
		t.Errorf("listed %+v", list)
	}
}

func TestSlugs(t *testing.T) {
	p := newPlane(t, nil)
	for name, slug := range map[string]string{
		"Simple":                 "simple",
		"Two  Words!":            "two-words",
		"--a--":                  "a",
		strings.Repeat("x", 100): strings.Repeat("x", 63),
	} {
		if got := must[api.Zone](p, 201, "POST", "/v1/zones", root, api.ZoneCreate{Name: name}); got.Slug != slug {
			t.Errorf("%q has the slug %q, want %q", name, got.Slug, slug)
		}
	}
	if got := must[api.Zone](p, 201, "POST", "/v1/zones", root, api.ZoneCreate{Name: "日本"}); !strings.HasPrefix(got.Slug, "zone-") {
		t.Errorf("a name without ASCII has the slug %q", got.Slug)
	}
	for _, slug := range []string{"A", "a b", "-a", "a-", strings.Repeat("x", 64), "ä"} {
		p.refused(p.call("POST", "/v1/zones", root, api.ZoneCreate{Name: "n", Slug: slug}), 400, "invalid_body")
	}
}
