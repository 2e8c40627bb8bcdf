package policy_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caracalai/caracald/policy"
)

// testedPolicy is what tests are of.
const testedPolicy = `package caracal.authz

default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}

result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []} if {
	input.action.id == "read"
	not denied
}

denied if input.principal.id in blocked

blocked := {"mallory"}

size(x) := "large" if count(x) > 3

size(x) := "small" if count(x) <= 3
`

// testRun tests one policy by one document.
func testRun(tests string) policy.TestRun {
	return policy.TestRun{
		Policies: []policy.Document{{Name: "policy.rego", Content: testedPolicy}},
		Tests:    []policy.Document{{Name: "policy_test.rego", Content: tests}},
	}
}

func report(t testing.TB, run policy.TestRun) *policy.TestReport {
	t.Helper()
	r, err := policy.Test(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	if n := r.Passed + r.Failed + r.Errored + r.Skipped; n != len(r.Results) {
		t.Fatalf("counted %d of %d results", n, len(r.Results))
	}
	return r
}

// outcomes gives a line for each result.
func outcomes(r *policy.TestReport) []string {
	var lines []string
	for _, one := range r.Results {
		line := fmt.Sprintf("%s.%s %d %s", one.Package, one.Name, one.Location.Row, one.Outcome)
		if one.Message != "" {
			line += ": " + one.Message
		}
		lines = append(lines, line)
	}
	return lines
}

func TestTestOutcomes(t *testing.T) {
	r := report(t, testRun(`package caracal.authz_test

import data.caracal.authz

test_reader_is_allowed if authz.result.decision == "allow" with input as {"action": {"id": "read"}, "principal": {"id": "a"}}

test_writer_is_allowed if {
	some action in ["write", "erase"]
	r := authz.result with input as {"action": {"id": action}}
	r.decision ==
		"allow"
}

test_false := false

test_function(x) if x

test_conflict if conflicting == 1

conflicting := 1 if authz.blocked

conflicting := 2 if authz.blocked

todo_test_later if false

test_number := 1

test_else if input.nosuch

else if authz.nosuch == 1

test_same if true

test_same if false

test_functions_of_the_policy if authz.size([1]) == "small"

not_a_test if false
`))
	want := []string{
		"caracal.authz_test.test_reader_is_allowed 5 pass",
		"caracal.authz_test.test_writer_is_allowed 7 fail: line 10 did not hold: r.decision ==\n\t\t\"allow\"",
		"caracal.authz_test.test_false 14 fail: it is false",
		"caracal.authz_test.test_function 16 error: it is a function; a test is a rule without arguments",
		"caracal.authz_test.test_conflict 18 error: rule data.caracal.authz_test.conflicting produced conflicting values:\n  1 at policy_test.rego:20\n  2 at policy_test.rego:22 (policy policy_test.rego, row 22, col 1)",
		"caracal.authz_test.todo_test_later 24 skip",
		"caracal.authz_test.test_number 26 fail: it is a number; a test that passes is true",
		"caracal.authz_test.test_else 28 fail: line 28 did not hold: input.nosuch",
		"caracal.authz_test.test_same 32 pass",
		"caracal.authz_test.test_same#01 34 fail: line 34 did not hold: false",
		"caracal.authz_test.test_functions_of_the_policy 36 pass",
	}
	if got := outcomes(r); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nnot\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if r.Passed != 3 || r.Failed != 5 || r.Errored != 2 || r.Skipped != 1 {
		t.Errorf("counted %+v", r)
	}
	if r.Results[1].Failed == nil || r.Results[1].Failed.Location != (policy.Location{Row: 10, Col: 2}) || r.Results[1].File != "policy_test.rego" {
		t.Errorf("failed at %+v", r.Results[1])
	}
}

// A test with a key is true for each of its cases, and tells which it is not true for.
func TestTestCases(t *testing.T) {
	r := report(t, testRun(`package caracal.authz

test_sizes[c.note] if {
	some c in [
		{"note": "none", "of": [], "want": "small"},
		{"note": "four", "of": [1, 2, 3, 4], "want": "large"},
	]
	size(c.of) == c.want
}

test_wrong_sizes[c.note] if {
	some c in [
		{"note": "none", "of": [], "want": "large"},
		{"note": "three", "of": [1, 2, 3], "want": "small"},
		{"note": "four", "of": [1, 2, 3, 4], "want": "small"},
	]
	size(c.of) == c.want
}

test_nested[a][b] := a != b if {
	some a in ["x", "y"]
	some b in ["y"]
}
`))
	want := []string{
		"caracal.authz.test_sizes 3 pass",
		"caracal.authz.test_wrong_sizes 11 fail: these cases are not true: four, none",
		"caracal.authz.test_nested 20 fail: these cases are not true: y/y",
	}
	if got := outcomes(r); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nnot\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTestSelects(t *testing.T) {
	run := testRun("package caracal.authz\n\ntest_one if true\n\ntest_two if true\n")
	run.Select = regexp.MustCompile(`authz\.test_t`)
	if got := outcomes(report(t, run)); len(got) != 1 || !strings.Contains(got[0], "test_two") {
		t.Errorf("ran %q", got)
	}
}

func TestTestOutput(t *testing.T) {
	r := report(t, testRun(`package caracal.authz

test_prints if {
	some x in [1, 2]
	print("x is", x, input.nosuch)
	trace(sprintf("noted %d", [x]))
	x == 2
}

test_prints_much if {
	every n in numbers.range(1, 20000) {
		print("line", n)
	}
}
`))
	if got, want := r.Results[0].Output, "x is 1 <undefined>\nnoted 1\nx is 2 <undefined>\nnoted 2\n"; got != want || r.Results[0].Outcome != policy.TestPassed {
		t.Errorf("printed %q, not %q", got, want)
	}
	if n := len(r.Results[1].Output); n < 1000 || n > 9000 || !strings.HasSuffix(r.Results[1].Output, "…\n") {
		t.Errorf("printed %d bytes, that end in %q", n, r.Results[1].Output[max(0, n-20):])
	}
}

func TestTestCoverage(t *testing.T) {
	covers := func(list []policy.Span, row int) bool {
		return slices.ContainsFunc(list, func(s policy.Span) bool { return s.Start.Row <= row && row <= s.End.Row })
	}
	run := testRun(`package caracal.authz

test_allows if result.decision == "allow" with input as {"action": {"id": "read"}, "principal": {"id": "a"}}
`)
	c := report(t, run).Coverage
	if len(c) != 1 || c[0].File != "policy.rego" || c[0].Percent <= 0 || c[0].Percent >= 100 {
		t.Fatalf("covered %+v", c)
	}
	for _, row := range []int{5, 6, 7, 10, 12} {
		if !covers(c[0].Covered, row) {
			t.Errorf("line %d is not covered: %+v", row, c[0])
		}
	}
	for _, row := range []int{3, 14, 16} { // the default and the function
		if !covers(c[0].NotCovered, row) || covers(c[0].Covered, row) {
			t.Errorf("line %d is covered: %+v", row, c[0])
		}
	}
	run.Tests[0].Content += `
test_denies if result.decision == "deny" with input as {"action": {"id": "read"}, "principal": {"id": "mallory"}}

test_sizes if {
	size([]) == "small"
	size([1, 2, 3, 4]) == "large"
}
`
	if c := report(t, run).Coverage; c[0].Percent != 100 || len(c[0].NotCovered) != 0 {
		t.Errorf("covered %+v", c)
	}
	run.Tests = nil
	if r := report(t, run); len(r.Results) != 0 || r.Coverage[0].Percent != 0 || r.Coverage[0].Covered == nil {
		t.Errorf("without tests %+v", r)
	}
}

func TestTestRefusals(t *testing.T) {
	for name, c := range map[string]struct{ content, tests, file, says string }{
		"a policy that does not parse":  {"package caracal.authz\n\nx :=", "package caracal.authz\n", "policy.rego", ""},
		"a policy elsewhere":            {"package elsewhere\n", "package caracal.authz\n", "policy.rego", "package must be"},
		"a policy that prints":          {"package caracal.authz\n\nx if print(1)", "package caracal.authz\n", "policy.rego", "print is forbidden"},
		"tests that do not parse":       {testedPolicy, "package caracal.authz\n\ntest_x if {", "policy_test.rego", ""},
		"tests that do not compile":     {testedPolicy, "package caracal.authz\n\ntest_x if nosuch(1)", "policy_test.rego", "nosuch"},
		"a forbidden built-in in tests": {testedPolicy, "package caracal.authz\n\ntest_x if time.now_ns() > 0", "policy_test.rego", "time.now_ns is forbidden"},
		"one in the place of another":   {testedPolicy, "package caracal.authz\n\ntest_x if size([]) == 1 with count as rand.intn", "policy_test.rego", "rand.intn is forbidden"},
		"the tester's own built-in":     {testedPolicy, "package caracal.authz\n\ntest_x if internal.test_case([1])", "policy_test.rego", "internal.test_case"},
		"tests that are too long":       {testedPolicy, "package caracal.authz\n" + strings.Repeat("#", policy.MaxContent), "policy_test.rego", "characters"},
	} {
		t.Run(name, func(t *testing.T) {
			run := testRun(c.tests)
			run.Policies[0].Content = c.content
			_, err := policy.Test(t.Context(), run)
			for _, e := range refusal(t, err).Errors {
				if e.File != c.file || e.Policy != "" || !strings.Contains(e.Message, c.says) {
					t.Errorf("refused with %+v", e)
				}
			}
		})
	}
	run := testRun("package x\n")
	run.Policies = slices.Repeat(run.Policies, policy.MaxPolicies+1)
	if _, err := policy.Test(t.Context(), run); !errors.Is(err, policy.ErrInvalidRego) {
		t.Errorf("too many policies: %v", err)
	}
}

// leaving is a caller who goes away when asked for the hundredth time whether it is
// there: before a test begins it is asked once or twice for each document.
type leaving struct {
	context.Context
	leave context.CancelFunc
	asked atomic.Int64
}

func (l *leaving) Err() error {
	if l.asked.Add(1) == 100 {
		l.leave()
	}
	return l.Context.Err()
}

// A test that does not end is an error of that test; others are run. No test here
// could come to its end in the time it has, and none that ends is short of time.
func TestTestIsBounded(t *testing.T) {
	endless := `count([1 | some a in numbers.range(1, 100000); some b in numbers.range(1, 100000); a == b]) > 0`
	t.Run("steps", func(t *testing.T) {
		run := testRun("package caracal.authz\n" + strings.Repeat("\ntest_endless if "+endless+"\n", 2))
		run.Limits, run.Timeout = policy.Limits{Timeout: 100 * time.Millisecond, MaxMemory: 1 << 50}, time.Hour
		r := report(t, run)
		const says = "longer than its limit of 100ms"
		if r.Errored != 2 || !strings.Contains(r.Results[0].Message, says) || !strings.Contains(r.Results[1].Message, says) {
			t.Errorf("came to %q", outcomes(r))
		}
	})
	for name, body := range map[string]string{
		"memory":   `count([x | some a in numbers.range(1, 100000); x := numbers.range(a, 100000)]) > 0`,
		"printing": `{ every n in numbers.range(1, 100000) { print(n, numbers.range(1, 1000)) } }`,
	} {
		t.Run(name, func(t *testing.T) {
			run := testRun("package caracal.authz\n\ntest_endless if " + body + "\n\ntest_good if true\n")
			run.Limits, run.Timeout = policy.Limits{Timeout: time.Hour, MaxMemory: 32 << 20}, time.Hour
			r := report(t, run)
			if r.Errored != 1 || r.Passed != 1 || !strings.Contains(r.Results[0].Message, "more than its limit") {
				t.Errorf("came to %q", outcomes(r))
			}
		})
	}
	t.Run("all together", func(t *testing.T) {
		run := testRun("package caracal.authz\n" + strings.Repeat("\ntest_endless if "+endless+"\n", 5))
		run.Limits, run.Timeout = policy.Limits{Timeout: time.Minute, MaxMemory: 1 << 40}, 100*time.Millisecond
		if r := report(t, run); r.Errored != 5 || !strings.Contains(r.Results[4].Message, "not run") {
			t.Errorf("came to %q", outcomes(r))
		}
	})
	t.Run("a caller who goes away", func(t *testing.T) {
		run := testRun("package caracal.authz\n\ntest_endless if " + endless + "\n")
		run.Limits, run.Timeout = policy.Limits{Timeout: time.Minute, MaxMemory: 1 << 50}, time.Hour
		ctx := new(leaving)
		ctx.Context, ctx.leave = context.WithCancel(t.Context())
		if _, err := policy.Test(ctx, run); !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	})
}

// Whatever policies and tests say, testing them ends, with a result for each test.
func TestTestGenerated(t *testing.T) { rapid.Check(t, testGenerated) }

// FuzzTest is TestTestGenerated for as long as one likes.
func FuzzTest(f *testing.F) { f.Fuzz(rapid.MakeFuzz(testGenerated)) }

func testGenerated(t *rapid.T) {
	g := &writer{t: t}
	run := policy.TestRun{Policies: []policy.Document{{Name: "p", Content: g.document(true)}}}
	tests := "package caracal.authz\n"
	n := rapid.IntRange(1, 4).Draw(t, "tests")
	for range n {
		g.depth = 0
		tests += "\n" + g.one("test_x", "test_y", "test_z[input.principal.id]", "todo_test_x") + " if " + g.body() + "\n"
	}
	run.Tests = []policy.Document{{Name: "t", Content: tests}}
	r, err := policy.Test(context.Background(), run)
	if err != nil {
		if !errors.Is(err, policy.ErrInvalidRego) {
			t.Fatal(err)
		}
		t.Skip("does not compile")
	}
	if len(r.Results) != n || r.Passed+r.Failed+r.Errored+r.Skipped != n {
		t.Fatalf("%d results of %d tests: %+v", len(r.Results), n, r)
	}
	for _, one := range r.Results {
		if (one.Message == "") != (one.Outcome == policy.TestPassed || one.Outcome == policy.TestSkipped) {
			t.Fatalf("%+v", one)
		}
		if one.Failed != nil {
			at(t, tests, one.Failed.Location, strings.TrimSuffix(one.Failed.Text, "…"))
		}
	}
}
