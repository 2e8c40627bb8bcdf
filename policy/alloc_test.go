//go:build !race

package policy_test

import (
	"context"
	"os"
	"testing"

	"github.com/caracalai/caracald/policy"
)

// TestAllocations: evaluating the reference policy allocates nothing, whether its input
// was read before or is read from its bytes. The race detector allocates by itself, so
// this is run without it too.
func TestAllocations(t *testing.T) {
	content, err := os.ReadFile("testdata/reference/policy.rego")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("testdata/reference/input.json")
	if err != nil {
		t.Fatal(err)
	}
	s := compile(t, string(content))
	in, err := policy.ParseInput(raw)
	if err != nil {
		t.Fatal(err)
	}
	var projected policy.Input
	for name, decide := range map[string]func(){
		"parsed": func() { s.Decide(context.Background(), in, policy.Limits{}) },
		"bytes": func() {
			if err := s.ReadInput(raw, &projected); err != nil {
				t.Fatal(err)
			}
			s.Decide(context.Background(), &projected, policy.Limits{})
			projected.Release()
		},
	} {
		if got := testing.AllocsPerRun(1000, decide); got != 0 {
			t.Errorf("%s: %v allocations", name, got)
		}
	}
}
