package bundle_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/caracalai/caracald/bundle"
)

// completeManifest has every field, and two policies.
func completeManifest() *bundle.Manifest {
	m, _ := manifestOf("a", "b")
	m.Format, m.EntryPoint, m.Compressor = bundle.ManifestFormat, bundle.EntryPoint, bundle.Compressor
	return m
}

func TestManifestRefused(t *testing.T) {
	tests := []struct {
		name     string
		change   func(*bundle.Manifest)
		sentinel error
		says     string
	}{
		{"no format", func(m *bundle.Manifest) { m.Format = "" }, bundle.ErrFormat, "format"},
		{"another format", func(m *bundle.Manifest) { m.Format = "caracal.manifest/v2" }, bundle.ErrFormat, "caracal.manifest/v2"},
		{"no zone", func(m *bundle.Manifest) { m.ZoneID = "" }, bundle.ErrFormat, "zone_id"},
		{"a zone with a line end", func(m *bundle.Manifest) { m.ZoneID = "zone\n" }, bundle.ErrFormat, "zone_id"},
		{"a zone that is a path", func(m *bundle.Manifest) { m.ZoneID = "../zone" }, bundle.ErrFormat, "zone_id"},
		{"a long zone", func(m *bundle.Manifest) { m.ZoneID = strings.Repeat("z", 129) }, bundle.ErrFormat, "zone_id"},
		{"a bad set", func(m *bundle.Manifest) { m.PolicySetID = "a b" }, bundle.ErrFormat, "policy_set_id"},
		{"version 0", func(m *bundle.Manifest) { m.Version = 0 }, bundle.ErrFormat, "version is 0"},
		{"a version that JSON rounds", func(m *bundle.Manifest) { m.Version = 1 << 53 }, bundle.ErrFormat, "9007199254740992"},
		{"no entry point", func(m *bundle.Manifest) { m.EntryPoint = "" }, bundle.ErrFormat, "entry_point"},
		{"no schema version", func(m *bundle.Manifest) { m.SchemaVersion = "" }, bundle.ErrFormat, "schema_version"},
		{"text that is not UTF-8", func(m *bundle.Manifest) { m.SchemaVersion = "\xff" }, bundle.ErrFormat, "UTF-8"},
		{"no compressor", func(m *bundle.Manifest) { m.Compressor = "" }, bundle.ErrFormat, "compressor"},
		{"no policies", func(m *bundle.Manifest) { m.Policies = nil }, bundle.ErrFormat, "no policies"},
		{"too many policies", func(m *bundle.Manifest) { m.Policies = make([]bundle.ManifestPolicy, bundle.MaxPolicies+1) }, bundle.ErrLimit, "257"},
		{"a bad policy", func(m *bundle.Manifest) { m.Policies[1].PolicyID = "é" }, bundle.ErrFormat, "policies[1].policy_id"},
		{"a bad policy version", func(m *bundle.Manifest) { m.Policies[1].PolicyVersionID = "a/b" }, bundle.ErrFormat, "policies[1].policy_version_id"},
		{"a policy version that no tar header holds", func(m *bundle.Manifest) { m.Policies[0].PolicyVersionID = strings.Repeat("v", 87) }, bundle.ErrFormat, "policies[0].policy_version_id has 87 bytes"},
		{"no name", func(m *bundle.Manifest) { m.Policies[0].Name = "" }, bundle.ErrFormat, "policies[0].name"},
		{"a hash in capitals", func(m *bundle.Manifest) {
			m.Policies[0].ContentSHA256 = strings.ToUpper(m.Policies[0].ContentSHA256)
		}, bundle.ErrFormat, "policies[0].content_sha256"},
		{"a short hash", func(m *bundle.Manifest) { m.Policies[0].ContentSHA256 = "ab" }, bundle.ErrFormat, "policies[0].content_sha256"},
		{"a version twice", func(m *bundle.Manifest) { m.Policies[1].PolicyVersionID = m.Policies[0].PolicyVersionID }, bundle.ErrFormat, "twice"},
		{"two versions of a policy", func(m *bundle.Manifest) { m.Policies[1].PolicyID = m.Policies[0].PolicyID }, bundle.ErrFormat, "two versions of the policy"},
		{"a name twice", func(m *bundle.Manifest) { m.Policies[1].Name = m.Policies[0].Name }, bundle.ErrFormat, `two policies of the name "policy-0"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := completeManifest()
			if _, err := m.SHA256(); err != nil {
				t.Fatalf("the manifest is refused before the change: %v", err)
			}
			tt.change(m)
			_, err := m.SHA256()
			refused(t, err, tt.sentinel, tt.says)
			if tt.says == "UTF-8" {
				return // the encoding, not the validation, sees it; and stdlib JSON would mend it below
			}
			refused(t, m.Validate(), tt.sentinel, tt.says)
			raw, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			_, err = bundle.ParseManifest(raw)
			refused(t, err, tt.sentinel, tt.says)
		})
	}
}

func TestParseManifestRefused(t *testing.T) {
	data, err := completeManifest().Canonical()
	if err != nil {
		t.Fatal(err)
	}
	good := string(data)
	replace := func(old, with string) string {
		t.Helper()
		if strings.Count(good, old) == 0 {
			t.Fatalf("%q is not in the manifest", old)
		}
		return strings.Replace(good, old, with, 1)
	}
	tests := []struct{ name, data, says string }{
		{"empty", "", "manifest"},
		{"null", "null", "format"},
		{"an array", "[]", "manifest"},
		{"cut short", good[:len(good)-1], "manifest"},
		{"trailing data", good + "{}", "manifest"},
		{"a line end after it", good + "\n", "canonical"},
		{"white space", replace(":", ": "), "canonical"},
		{"names not sorted", `{"version":7,` + strings.Replace(good[1:], `"version":7,`, "", 1), "canonical"},
		{"an unknown name", replace(`"version":7`, `"version":7,"x":1`), `"x"`},
		{"a name of another case", replace(`"version":7`, `"Version":7`), `"Version"`},
		{"a name twice", replace(`"version":7`, `"version":7,"version":7`), "duplicate"},
		{"an escape that is not needed", replace("policy-0", `policy\u002d0`), "canonical"},
		{"invalid UTF-8", replace("policy-0", "policy-\xff"), "UTF-8"},
		{"a lone surrogate", replace("policy-0", `policy-\ud800`), "manifest"},
		{"a fraction", replace(`"version":7`, `"version":7.0`), "manifest"},
		{"an exponent", replace(`"version":7`, `"version":7e0`), "manifest"},
		{"a number in quotes", replace(`"version":7`, `"version":"7"`), "manifest"},
		{"a null policy", replace(`"policies":[`, `"policies":[null,`), "policies[0]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := bundle.ParseManifest([]byte(tt.data))
			refused(t, err, bundle.ErrFormat, tt.says)
		})
	}
}

func TestManifestHashCoversEverything(t *testing.T) {
	seen := map[string]int{}
	changes := []func(*bundle.Manifest){
		func(*bundle.Manifest) {},
		func(m *bundle.Manifest) { m.ZoneID = "another" },
		func(m *bundle.Manifest) { m.PolicySetID = "another" },
		func(m *bundle.Manifest) { m.Version++ },
		func(m *bundle.Manifest) { m.EntryPoint = "data.other" },
		func(m *bundle.Manifest) { m.SchemaVersion = "2027-01-01" },
		func(m *bundle.Manifest) { m.Compressor = "another" },
		func(m *bundle.Manifest) { m.Policies[0].PolicyID = "another" },
		func(m *bundle.Manifest) { m.Policies[0].PolicyVersionID = "another" },
		func(m *bundle.Manifest) { m.Policies[0].Name = "another" },
		func(m *bundle.Manifest) { m.Policies[0].ContentSHA256 = bundle.SHA256Hex(nil) },
		func(m *bundle.Manifest) { m.Policies = m.Policies[:1] },
		func(m *bundle.Manifest) { m.Policies[0], m.Policies[1] = m.Policies[1], m.Policies[0] },
	}
	for i, change := range changes {
		m := completeManifest()
		change(m)
		sum, err := m.SHA256()
		if err != nil {
			t.Fatalf("change %d: %v", i, err)
		}
		if other, ok := seen[sum]; ok {
			t.Errorf("changes %d and %d have the same hash", other, i)
		}
		seen[sum] = i
	}
}

func TestZones(t *testing.T) {
	all, some, err := bundle.ParseZones(bundle.AllZones())
	if err != nil || !all || some != nil {
		t.Errorf("every zone: got %v, %v, %v", all, some, err)
	}
	for _, want := range []map[string]int64{{}, nil, {"zone-1": -1}, {"zone-1": 0, "zone-2": 1<<53 - 1}} {
		raw, err := bundle.SomeZones(want)
		if err != nil {
			t.Fatal(err)
		}
		all, got, err := bundle.ParseZones(raw)
		if err != nil || all || got == nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %v, %v, %v", raw, all, got, err)
		}
	}
	for raw, says := range map[string]string{
		``: "must be", `null`: "must be", `"all"`: "must be", `"* "`: "must be", `[]`: "must be", `["zone-1"]`: "must be", `{"zone-1":0,"zone-1":0}`: "duplicate",
		`{"zone 1":0}`: `"zone 1"`, `{"":0}`: "no id", `{"zone-1":-2}`: "-2", `{"zone-1":null}`: "null", `{"zone-1":1.5}`: "must be",
		`{"zone-1":9007199254740992}`: "9007199254740992", `{"zone-1":9223372036854775808}`: "must be", `{"zone-1":0}{}`: "must be", `{"` + strings.Repeat("z", 129) + `":0}`: "no id",
	} {
		_, _, err := bundle.ParseZones(json.RawMessage(raw))
		refused(t, err, bundle.ErrFormat, says)
	}
	for id, sequence := range map[string]int64{"zone 1": 0, "": 0, "zone-1": -2, "zone-2": 1 << 53} {
		_, err := bundle.SomeZones(map[string]int64{id: sequence})
		refused(t, err, bundle.ErrFormat, "zones")
	}
}

// What is an id is what the contract's pattern says, for every byte and length.
func TestValidID(t *testing.T) {
	pattern := regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,128}$`)
	ids := []string{"", strings.Repeat("a", 128), strings.Repeat("a", 129), "a\n", "\na", "a/b", "é"}
	for c := range 256 {
		ids = append(ids, string([]byte{byte(c)}), string([]byte{'a', byte(c), 'z'}))
	}
	for _, id := range ids {
		if want := pattern.MatchString(id); bundle.ValidID(id) != want || bundle.ValidID([]byte(id)) != want {
			t.Errorf("%q: %t, not %t", id, !want, want)
		}
	}
}
