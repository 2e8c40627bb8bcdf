package admin_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caracalai/caracald/admin/api"
	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/bundle"
)

func TestSetVersionHoldsItsPoliciesInOrder(t *testing.T) {
	p := newPlane(t, nil)
	zone := p.zone("one")
	set := p.set(zone, "main")
	var policies []api.Policy
	for _, name := range []string{"c", "a", "b"} {
		policies = append(policies, p.policy(zone, name, helperNamed(name)))
	}
	readers := p.policy(zone, "readers", readersOnly)
	want := []string{policies[2].VersionID, readers.VersionID, policies[0].VersionID, policies[1].VersionID}
	made := p.version(set, want...)
	if made.ID != made.VersionID || !strings.HasSuffix(set, made.PolicySetID) || made.Version != 1 || made.SchemaVersion != "2026-05-20" || made.ZoneID != zone ||
		len(made.ManifestSHA256) != 64 || len(made.BundleSHA256) != 64 || made.BundleSize == 0 || made.CreatedAt.IsZero() {
		t.Fatalf("made %+v", made)
	}
	got := must[api.PolicySetVersion](p, 200, "GET", set+"/versions/"+made.ID, root, nil)
	if bundle.SHA256Hex(got.ManifestJSON) != made.ManifestSHA256 {
		t.Errorf("manifest_json has another hash than %s: %s", made.ManifestSHA256, got.ManifestJSON)
	}
	m, err := bundle.ParseManifest(got.ManifestJSON)
	if err != nil {
		t.Fatal(err)
	}
	var inManifest, listed []string
	for i, one := range m.Policies {
		inManifest = append(inManifest, one.PolicyVersionID)
		listed = append(listed, got.Policies[i].PolicyVersionID)
		if got.Policies[i].PolicyID != one.PolicyID || got.Policies[i].Name != one.Name || got.Policies[i].ContentSHA256 != one.ContentSHA256 || got.Policies[i].Version != 1 {
			t.Errorf("the manifest has %+v, policies has %+v", one, got.Policies[i])
		}
	}
	if !slices.Equal(inManifest, want) || !slices.Equal(listed, want) {
		t.Errorf("the order is %v and %v, not %v", inManifest, listed, want)
	}
	if m.ZoneID != zone || m.PolicySetID != made.PolicySetID || m.Version != 1 {
		t.Errorf("the manifest is %+v", m)
	}

	data := p.call("GET", "/v1/bundles/"+made.BundleSHA256, root, nil).body
	trust, err := bundle.LoadTrust(p.keys.Roots[0])
	if err != nil {
		t.Fatal(err)
	}
	statement, err := trust.VerifyStatement(p.call("GET", "/v1/bundles/"+made.BundleSHA256+"/envelope", root, nil).body)
	if err != nil {
		t.Fatal(err)
	}
	contents, err := bundle.Unpack(data, statement, bundle.DefaultLimits())
	if err != nil || contents.ManifestSHA256 != made.ManifestSHA256 || string(contents.Modules[1].Content) != readersOnly {
		t.Errorf("the bundle unpacks to %+v, %v", contents, err)
	}

	other := p.set(zone, "other")
	p.refused(p.call("GET", other+"/versions/"+made.ID, root, nil), 404, "policy_set_version_not_found")
	reversed := p.version(set, want[3], want[2], want[1], want[0])
	if reversed.Version != 2 || reversed.ManifestSHA256 == made.ManifestSHA256 {
		t.Errorf("in another order made %+v", reversed)
	}
	list := must[api.Page[api.PolicySetVersion]](p, 200, "GET", set+"/versions", root, nil)
	if len(list.Items) != 2 || list.Items[0].ID != reversed.ID || list.Items[1].ID != made.ID || list.Items[0].ManifestJSON != nil || list.Items[0].Policies != nil {
		t.Errorf("listed %+v", list)
	}
}

func TestSetVersionRefusals(t *testing.T) {
	p := newPlane(t, nil)
	zone, other := p.zone("one"), p.zone("two")
	set := p.set(zone, "main")
	readers, foreign := p.policy(zone, "readers", readersOnly), p.policy(other, "foreign", readersOnly)
	closed := p.policy(zone, "closed", denyAll)
	newer := must[api.PolicyVersion](p, 201, "POST", "/v1/zones/"+zone+"/policies/"+readers.ID+"/versions", root, api.PolicyVersionCreate{Content: denyAll})
	gone := p.policy(zone, "gone", helper)
	if a := p.call("DELETE", "/v1/zones/"+zone+"/policies/"+gone.ID, root, nil); a.status != 204 {
		t.Fatal(a.status)
	}
	constant := func(name, value string) string {
		return p.policy(zone, name, "package caracal.authz\n\nlimit := "+value+"\n").VersionID
	}
	one, two := constant("limit one", "1"), constant("limit two", "2")
	// What repeats itself this much compresses further than a bundle may.
	repetitive := p.stored(zone, 9, func(i int) string {
		return helperNamed(fmt.Sprint("r", i)) + "# " + strings.Repeat("𝄞", 260000) + "\n"
	})
	var many []string
	for range 257 {
		many = append(many, newID())
	}
	for _, tt := range []struct {
		name     string
		manifest any
		status   int
		code     string
		says     []string
	}{
		{"empty", manifest(), 422, "invalid_policy_contract", nil},
		{"unknown", manifest(readers.VersionID, newID()), 422, "invalid_policy_contract", []string{"manifest[1]"}},
		{"no id", manifest("a b"), 422, "invalid_policy_contract", []string{"manifest[0]"}},
		{"a foreign zone's", manifest(foreign.VersionID), 422, "invalid_policy_contract", []string{foreign.VersionID}},
		{"twice the same", manifest(readers.VersionID, readers.VersionID), 422, "invalid_policy_contract", []string{"manifest[1]"}},
		{"two versions of one policy", manifest(readers.VersionID, newer.ID), 422, "invalid_policy_contract", []string{newer.ID}},
		{"an archived policy's", manifest(gone.VersionID), 422, "invalid_policy_contract", []string{gone.VersionID}},
		{"a policy's id", manifest(readers.ID), 422, "invalid_policy_contract", []string{readers.ID}},
		{"257", manifest(many...), 422, "invalid_policy_contract", []string{"257", "256"}},
		{"two defaults", manifest(readers.VersionID, closed.VersionID), 422, "invalid_policy_bundle", []string{`"readers"`, `"closed"`}},
		{"two constants", manifest(readers.VersionID, one, two), 422, "invalid_policy_bundle", []string{`"limit one"`, `"limit two"`, "limit"}},
		{"what no daemon would unpack", manifest(repetitive...), 422, "invalid_policy_bundle", nil},
		{"another schema", map[string]any{"manifest": manifest(readers.VersionID).Manifest, "schema_version": "2020-01-01"}, 422, "unsupported_schema_version", nil},
		{"null", map[string]any{"manifest": nil}, 400, "invalid_body", []string{"/manifest"}},
		{"an entry without an id", map[string]any{"manifest": []any{map[string]any{}}}, 400, "invalid_body", []string{"/manifest/0/policy_version_id"}},
		{"an entry that is null", map[string]any{"manifest": []any{nil}}, 400, "invalid_body", []string{"/manifest/0"}},
		{"an entry that is a string", map[string]any{"manifest": []any{readers.VersionID}}, 400, "invalid_body", []string{"/manifest/0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := p.in(t)
			e := p.refused(p.call("POST", set+"/versions", root, tt.manifest), tt.status, tt.code)
			for _, part := range tt.says {
				if !strings.Contains(e.Description, part) {
					t.Errorf("%q does not say %s", e.Description, part)
				}
			}
			if strings.HasPrefix(tt.name, "two ") && tt.code == "invalid_policy_bundle" {
				if len(e.Errors) != 2 || e.Errors[0].Policy == e.Errors[1].Policy || e.Errors[0].Location.Row < 1 {
					t.Errorf("the errors are %+v", e.Errors)
				}
			}
		})
	}
	p.refused(p.call("POST", "/v1/zones/"+other+"/policy-sets/"+strings.Split(set, "/")[5]+"/versions", root, manifest(foreign.VersionID)), 404, "policy_set_not_found")
	if list := must[api.Page[api.PolicySetVersion]](p, 200, "GET", set+"/versions", root, nil); len(list.Items) != 0 {
		t.Errorf("a refused version was made: %+v", list)
	}
}

// stored puts policies into the store and gives the ids of their versions.
func (p *plane) stored(zone string, n int, content func(i int) string) (versions []string) {
	p.t.Helper()
	p.update(func(tx store.Tx) error {
		for i := range n {
			id, version, text := newID(), newID(), content(i)
			err := tx.InsertPolicy(p.t.Context(), store.Policy{ID: id, ZoneID: zone, Name: "stored " + id, CreatedAt: p.now()}, store.PolicyVersion{
				ID: version, Content: text, ContentSHA256: bundle.SHA256Hex([]byte(text)), SchemaVersion: "2026-05-20", CreatedAt: p.now(),
			})
			if err != nil {
				return err
			}
			versions = append(versions, version)
		}
		return nil
	})
	return versions
}

func TestSetVersionOf256Policies(t *testing.T) {
	p := newPlane(t, nil)
	zone := p.zone("one")
	set := p.set(zone, "main")
	v := p.version(set, p.stored(zone, 256, func(i int) string { return helperNamed(fmt.Sprint("p", i)) })...)
	if got := must[api.PolicySetVersion](p, 200, "GET", set+"/versions/"+v.ID, root, nil); len(got.Policies) != 256 {
		t.Errorf("has %d policies", len(got.Policies))
	}
}

// Whoever makes versions of a set at once gets versions of their own, each with
// a manifest that has its own number.
func TestConcurrentSetVersions(t *testing.T) {
	p := newPlane(t, nil)
	zone := p.zone("one")
	set := p.set(zone, "main")
	id := p.policy(zone, "readers", readersOnly).VersionID
	const n = 8
	var wg sync.WaitGroup
	made := make([]answer, n)
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() { made[i], errs[i] = p.try(t.Context(), "POST", set+"/versions", root, manifest(id)) })
	}
	wg.Wait()
	var numbers []int
	for i, a := range made {
		var v api.PolicySetVersion
		if errs[i] != nil || a.status != 201 || json.Unmarshal(a.body, &v) != nil {
			t.Fatalf("%v: %d %s", errs[i], a.status, a.body)
		}
		numbers = append(numbers, v.Version)
		got := must[api.PolicySetVersion](p, 200, "GET", set+"/versions/"+v.ID, root, nil)
		m, err := bundle.ParseManifest(got.ManifestJSON)
		if err != nil || m.Version != v.Version || bundle.SHA256Hex(got.ManifestJSON) != v.ManifestSHA256 {
			t.Errorf("version %d has the manifest %+v, %v", v.Version, m, err)
		}
		if data := p.call("GET", "/v1/bundles/"+v.BundleSHA256, root, nil); bundle.SHA256Hex(data.body) != v.BundleSHA256 {
			t.Errorf("version %d has no bundle: %d", v.Version, data.status)
		}
	}
	slices.Sort(numbers)
	if !slices.Equal(numbers, []int{1, 2, 3, 4, 5, 6, 7, 8}) {
		t.Errorf("the versions are %v", numbers)
	}
	list := must[api.Page[api.PolicySetVersion]](p, 200, "GET", set+"/versions", root, nil)
	for i, v := range list.Items {
		if v.Version != n-i {
			t.Errorf("at %d the list has version %d", i, v.Version)
		}
	}
}

// A version keeps working when its policies are archived.
func TestArchivedPoliciesStayInTheirVersions(t *testing.T) {
	p := newPlane(t, nil)
	zone, set, v := p.governed("one", readersOnly)
	for _, one := range must[api.Page[api.Policy]](p, 200, "GET", "/v1/zones/"+zone+"/policies", root, nil).Items {
		if a := p.call("DELETE", "/v1/zones/"+zone+"/policies/"+one.ID, root, nil); a.status != 204 {
			t.Fatal(a.status)
		}
	}
	if got := must[api.PolicySetVersion](p, 200, "GET", set+"/versions/"+v.ID, root, nil); len(got.Policies) != 1 || got.Policies[0].Name != "readers" {
		t.Errorf("reads as %+v", got)
	}
	p.activateVersion(set, v.ID)
	sim := must[api.Simulation](p, 200, "POST", set+"/simulate", root, api.SimulateRequest{VersionID: v.ID, Input: inputOf(zone, "read")})
	if sim.Result == nil || sim.Result.Decision != "allow" {
		t.Errorf("simulated as %+v", sim)
	}
}
