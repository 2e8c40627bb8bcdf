package policy_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/caracalai/caracald/policy"
)

// contradiction is a set whose engine finds a contradiction where OPA's evaluator finds
// none, for inputs that have the letters a, b and c.
func contradiction(t testing.TB, rules ...string) (set, interpreted *policy.Set, in *policy.Input) {
	t.Helper()
	mods := []policy.Module{module("n", rego(append([]string{named, `result := ` + namedAllow + ` if s.a`,
		`s contains "a" if "a" in input.context.actor_claims.letters`, `s contains "b" if bad == 1`}, rules...)...))}
	var l policy.Library
	set, err := l.Compile(t.Context(), mods)
	if err != nil {
		t.Fatal(err)
	}
	interpreted, err = policy.CompileInterpreted(t.Context(), mods)
	if err != nil {
		t.Fatal(err)
	}
	if !policy.KeepsContent(set) {
		t.Fatal("the set cannot ask OPA's evaluator")
	}
	in, err = policy.ParseInput([]byte(claimed(`{"letters":["a","b","c"]}`)))
	if err != nil {
		t.Fatal(err)
	}
	return set, interpreted, in
}

// TestContradictionsTogether: many come to the first contradiction at once.
func TestContradictionsTogether(t *testing.T) {
	set, interpreted, in := contradiction(t)
	want := interpreted.Evaluate(t.Context(), in, generous)
	if want.Decision != policy.Allow {
		t.Fatalf("OPA's evaluator gives %+v", want)
	}
	// Nobody who must not be held up waits for OPA's evaluator.
	if a := set.DecideSoon(t.Context(), in, generous, time.Minute); a != nil {
		t.Errorf("decided at once: %+v", a)
	}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 4 {
				if got := set.Evaluate(t.Context(), in, generous); !reflect.DeepEqual(got, want) {
					t.Errorf("got %+v, want %+v", got, want)
				}
			}
		})
	}
	wg.Wait()
}

// TestContradictionsInTime: who comes to a contradiction waits no longer than an
// evaluation may take, and those who come later find what was compiled meanwhile.
func TestContradictionsInTime(t *testing.T) {
	var many []string
	for i := range 3000 {
		many = append(many, fmt.Sprintf(`other contains "%d" if input.principal.id == "p%d"`, i, i))
	}
	set, interpreted, in := contradiction(t, many...)
	want := interpreted.Evaluate(t.Context(), in, generous)
	soon := policy.Limits{Timeout: 2 * time.Millisecond}
	first := set.Evaluate(t.Context(), in, soon)
	if first.Decision != policy.Deny || first.Diagnostics[0]["reason"] != policy.ReasonTimeout {
		t.Errorf("compiling thousands of rules took no time: %+v", first)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	if r := set.Evaluate(gone, in, generous); r.Decision != policy.Deny || r.Diagnostics[0]["reason"] != policy.ReasonCanceled {
		t.Errorf("for nobody: %+v", r)
	}
	if got := set.Evaluate(t.Context(), in, generous); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestContentOfPoliciesThatMayContradict: only of these a set keeps it.
func TestContentOfPoliciesThatMayContradict(t *testing.T) {
	reference, err := os.ReadFile(filepath.Join("testdata", "reference", "policy.rego"))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		content string
		want    bool
	}{
		"reference":            {string(reference), false},
		"one result":           {rego(denyDefault, `result := `+allowValue+` if input.principal.id == "a"`), false},
		"equal results":        {rego(denyDefault, `result := `+allowValue+` if input.principal.id == "a"`, `result := `+allowValue+` if input.action.id == "a"`), false},
		"else branches":        {rego(denyDefault, "result := "+allowValue+" if input.principal.id == \"a\"\nelse := "+allowValue+" if input.action.id == \"a\""), false},
		"functions":            {rego(denyDefault, `result := `+allowValue+` if f(input.principal.id)`, `f(x) if x == "a"`, `f(x) if x == "b"`), false},
		"sets":                 {rego(denyDefault, `result := `+allowValue+` if count(s) > 1`, `s contains x if some x in input.principal.labels`), false},
		"contradiction folded": {rego(denyDefault, `result := `+allowValue+` if o[input.principal.id]`, `o[k] := 1 if some k in ["a", "b"]`), false},

		"two results":         {rego(denyDefault, `result := `+allowValue+` if input.principal.id == "a"`, `result := `+denyValue+` if input.action.id == "a"`), true},
		"a result of a loop":  {rego(denyDefault, `result := `+allowValue+` if v`, `v := x if some x in input.principal.labels`), true},
		"functions of values": {rego(denyDefault, `result := `+allowValue+` if f(input.principal.id) == 1`, `f(x) := 1 if x == "a"`, `f(x) := 2 if x == "b"`), true},
		"objects":             {rego(denyDefault, `result := `+allowValue+` if o.a == 1`, `o[k] := i if some i, k in input.principal.labels`), true},
		"comprehensions":      {rego(denyDefault, `result := `+allowValue+` if count({k: i | some i, k in input.principal.labels}) > 1`), true},
		"branches that differ": {rego(denyDefault, `result := `+allowValue+` if v == 1`,
			"v := 1 if input.principal.id == \"a\"\nelse := 2 if input.action.id == \"a\""), true},
	} {
		t.Run(name, func(t *testing.T) {
			var l policy.Library
			set, err := l.Compile(t.Context(), []policy.Module{module("p", test.content)})
			if err != nil {
				t.Fatal(err)
			}
			if why := set.Interpreted(); why != nil {
				t.Fatal(why)
			}
			if got := policy.KeepsContent(set); got != test.want {
				t.Errorf("keeps its content: %t", got)
			}
			if got := set.Plan().MayContradict; got != test.want {
				t.Errorf("the plan says %t", got)
			}
		})
	}
}
