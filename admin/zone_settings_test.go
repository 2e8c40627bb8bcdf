package admin_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/bundle"
)

// Settings that a daemon could not carry out, or that cannot be signed, are
// refused, and the zone keeps those it has.
func TestZoneSettingsRefusals(t *testing.T) {
	p := newPlane(t, nil)
	zone := must[api.Zone](p, 201, "POST", "/v1/zones", root, api.ZoneCreate{Name: "one",
		Settings: &api.ZoneSettings{AuditMask: []string{"/principal/id"}, RetentionDays: 36500, RetentionBytes: math.MaxInt64}})
	many := func(n int, format string) (pointers []string) {
		for i := range n {
			pointers = append(pointers, fmt.Sprintf(format, i))
		}
		return pointers
	}
	for _, tt := range []struct {
		name     string
		settings api.ZoneSettings
		field    string
	}{
		{"a pointer to the whole input", api.ZoneSettings{AuditMask: []string{""}}, "/settings/audit_mask"},
		{"no pointer", api.ZoneSettings{AuditMask: []string{"/a", "b"}}, "/settings/audit_mask"},
		{"an escape that JSON pointers do not have", api.ZoneSettings{AuditMask: []string{"/a~2b"}}, "/settings/audit_mask"},
		{"an escape cut off", api.ZoneSettings{AuditMask: []string{"/a~"}}, "/settings/audit_mask"},
		{"too many pointers", api.ZoneSettings{AuditMask: many(257, "/p%d")}, "/settings/audit_mask"},
		{"too long a pointer", api.ZoneSettings{AuditMask: []string{"/" + strings.Repeat("x", 70000)}}, "/settings/audit_mask"},
		{"too long a pointer when it is written", api.ZoneSettings{AuditMask: []string{"/" + strings.Repeat("\x01", 8000)}}, "/settings/audit_mask"},
		{"too much of them", api.ZoneSettings{AuditMask: many(256, "/%0512d")}, "/settings/audit_mask"},
		{"an unknown mode", api.ZoneSettings{AuditInputs: "burnt"}, "/settings/audit_inputs"},
		{"negative days", api.ZoneSettings{RetentionDays: -1}, "/settings/retention_days"},
		{"more days than there are dates", api.ZoneSettings{RetentionDays: 36501}, "/settings/retention_days"},
		{"days without end", api.ZoneSettings{RetentionDays: math.MaxInt64}, "/settings/retention_days"},
		{"negative bytes", api.ZoneSettings{RetentionBytes: -1}, "/settings/retention_bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := p.in(t)
			for method, path := range map[string]string{"POST": "/v1/zones", "PATCH": "/v1/zones/" + zone.ID} {
				e := p.refused(p.call(method, path, root, map[string]any{"name": "other", "settings": tt.settings}), 400, "invalid_body")
				if !strings.HasPrefix(e.Description, tt.field+" ") || len(e.Description) > 1000 {
					t.Errorf("%s: %d bytes do not begin with %s: %.200q", method, len(e.Description), tt.field, e.Description)
				}
			}
		})
	}
	if got := must[api.Zone](p, 200, "GET", "/v1/zones/"+zone.ID, root, nil); got.Name != "one" || !slices.Equal(got.Settings.AuditMask, []string{"/principal/id"}) || got.Settings.RetentionDays != 36500 {
		t.Errorf("refused settings left %+v", got)
	}
	if list := must[api.Page[api.Zone]](p, 200, "GET", "/v1/zones", root, nil); len(list.Items) != 1 {
		t.Errorf("refused settings made %+v", list.Items)
	}
}

// The most that is accepted reaches the daemons inside a pointer they accept.
func TestLargestZoneSettingsAreSigned(t *testing.T) {
	p := newPlane(t, nil)
	var mask []string
	for i := range 256 {
		mask = append(mask, fmt.Sprintf("/context/subject_claims/~0~1%03d", i))
	}
	mask[0] += strings.Repeat("\x01", 3500)
	zone := must[api.Zone](p, 201, "POST", "/v1/zones", root, api.ZoneCreate{Name: "one", Settings: &api.ZoneSettings{AuditMask: mask}})
	pointers := p.pointers(p.call("POST", watchPath, root, bundle.WatchRequest{Zones: bundle.AllZones()}))
	if len(pointers) != 1 || pointers[0].ZoneID != zone.ID || !slices.Equal(pointers[0].Settings.AuditMask, mask) {
		t.Errorf("daemons are told %+v", pointers)
	}
}
