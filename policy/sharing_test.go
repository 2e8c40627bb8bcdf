package policy_test

import (
	"strings"
	"testing"

	"github.com/caracalai/caracald/policy"
)

// Policies that read the same of an input share what reads it, and those that do not
// do not.
func TestSetsThatReadAlike(t *testing.T) {
	var l policy.Library
	compile := func(content string) *policy.Set {
		t.Helper()
		s, err := l.Compile(t.Context(), zoneModules(0, content))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	one := compile(plainGrants)
	constant := compile(strings.Replace(plainGrants, "token:exchange", "token:revoke", 1))
	path := compile(strings.Replace(plainGrants, "input.action.id", "input.resource.type", 1))
	if !policy.ReadAlike(one, constant) {
		t.Error("sets that read the same share nothing")
	}
	if policy.ReadAlike(one, path) {
		t.Error("sets that read different paths share what reads them")
	}
	var in policy.Input
	for set, want := range map[*policy.Set]string{one: policy.Allow, constant: policy.Deny, path: policy.Deny} {
		if err := set.ReadInput(referenceInput(t), &in); err != nil {
			t.Fatal(err)
		}
		if got := set.Evaluate(t.Context(), &in, policy.Limits{}).Decision; got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
}

// A set of a Library has no texts, and says so where they are needed.
func TestLibraryKeepsNoTexts(t *testing.T) {
	var l policy.Library
	s, err := l.Compile(t.Context(), zoneModules(7, plainGrants))
	if err != nil {
		t.Fatal(err)
	}
	if m := s.Modules(); len(m) != 1 || m[0].Content != "" || m[0].VersionID != "version-7" {
		t.Errorf("modules are %+v", m)
	}
	in, err := policy.ParseInput(referenceInput(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Trace(t.Context(), in, policy.Limits{}); err == nil {
		t.Error("it is traced")
	}
}
