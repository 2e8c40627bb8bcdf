package policy_test

import (
	"context"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caracalai/caracald/policy"
)

// deciding is a policy that allows where an expression holds.
func deciding(expression string, more ...string) string {
	return rego(append([]string{denyDefault, `result := ` + allowValue + ` if { ` + expression + ` }`}, more...)...)
}

// endless would take longer than any test run, building little.
var endless = deciding(`some a in r; some b in r; some c in r; some d in r; a + b + c + d == -1`, `r := numbers.range(1, 4000)`)

// roomy has memory for whatever runs within the time.
var roomy = policy.Limits{Timeout: 50 * time.Millisecond, MaxMemory: math.MaxInt64}

func TestTimeoutEndsAnEvaluation(t *testing.T) {
	s := compile(t, endless)
	wantFailure(t, s.Evaluate(context.Background(), input(t), roomy), policy.ReasonTimeout)
	// The set goes on to serve.
	wantFailure(t, s.Evaluate(context.Background(), input(t), roomy), policy.ReasonTimeout)
}

func TestCancelingEndsAnEvaluation(t *testing.T) {
	s := compile(t, endless)
	in := input(t)
	ctx, cancel := context.WithCancel(context.Background())
	results := make(chan policy.Result, 1)
	go func() {
		results <- s.Evaluate(ctx, in, policy.Limits{Timeout: time.Hour, MaxMemory: math.MaxInt64})
	}()
	cancel()
	wantFailure(t, <-results, policy.ReasonCanceled)

	ctx, cancel = context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	wantFailure(t, s.Evaluate(ctx, in, policy.Limits{Timeout: time.Hour, MaxMemory: math.MaxInt64}), policy.ReasonTimeout)
}

// One call of a built-in that cannot be interrupted does not hold up its
// caller, and the set refuses to pile up more of them.
func TestStuckBuiltins(t *testing.T) {
	s := compile(t, deciding(`x := json.marshal(`+strings.Repeat("[", 6)+"numbers.range(1, 1500000)"+strings.Repeat("]", 6)+`); count(x) == 1`))
	lim := policy.Limits{Timeout: time.Millisecond, MaxMemory: math.MaxInt64}
	for range 12 {
		r := s.Evaluate(context.Background(), input(t), lim)
		if r.Decision != policy.Deny || r.EvaluationStatus != policy.StatusError {
			t.Fatalf("got %+v", r)
		}
		if got := reason(r); got != policy.ReasonTimeout && got != policy.ReasonError {
			t.Fatalf("got the reason %s", got)
		}
	}
}

func TestLargeLimitsDoNotOverflow(t *testing.T) {
	s := compile(t, deciding(`input.principal.id == "alice"`))
	for _, lim := range []policy.Limits{{}, {Timeout: math.MaxInt64, MaxMemory: math.MaxInt64}, {Timeout: -1, MaxMemory: -1}} {
		if r := s.Evaluate(context.Background(), input(t), lim); r.Decision != policy.Allow {
			t.Errorf("%+v: got %+v", lim, r)
		}
	}
}

// Each policy would build gigabytes or more.
func TestMemoryLimitEndsAnEvaluation(t *testing.T) {
	kilobyte := strings.Repeat("a", 1000)
	for name, content := range map[string]string{
		"a range":                       deciding(`count(numbers.range(1, 1000000000)) > 0`),
		"a range of huge numbers":       deciding(`count(numbers.range(1, 1` + strings.Repeat("0", 100) + `)) > 0`),
		"a range in steps":              deciding(`count(numbers.range_step(1, 1000000000000, 3)) > 0`),
		"a product of lists":            deciding(`count([[a, b, c] | some a in r; some b in r; some c in r]) > 0`, `r := numbers.range(1, 1000)`),
		"a set of sums":                 deciding(`count({x | some a in r; some b in r; some c in r; x := ((a * 1000) + b) * 1000 + c}) > 0`, `r := numbers.range(1, 1000)`),
		"a tree through rules, as text": deciding(`count(json.marshal(x17)) > 0`, treeOfRules(17)),
		"doubling texts":                deciding(doubling(`concat("", [%, %])`, `"`+kilobyte+`"`, 30)),
		"doubling by replacing":         deciding(doubling(`replace(%, "a", "aa")`, `"`+kilobyte+`"`, 30)),
		"doubling by replacing many":    deciding(doubling(`strings.replace_n({"a": "aa"}, %)`, `"`+kilobyte+`"`, 30)),
		"doubling by expressions":       deciding(doubling(`regex.replace(%, "a", "aa")`, `"`+kilobyte+`"`, 30)),
		"doubling lists":                deciding(doubling(`array.concat(%, %)`, `[1, 2, 3, 4]`, 40)),
		"a wide format":                 deciding(`count(sprintf("` + strings.Repeat("%999999d", 500) + `", numbers.range(1, 500))) > 0`),
		"a format with a number":        deciding(`count(sprintf("` + strings.Repeat("%*d", 500) + `", [900000 | some _ in numbers.range(1, 1000)])) > 0`),
		"a huge power":                  deciding(doubling(`(% * %)`, `3`, 40)),
		"a shift":                       deciding(`bits.lsh(1, 100000000000) > 0`),
		"a network":                     deciding(`count(net.cidr_expand("10.0.0.0/4")) > 0`),
		"an IPv6 network":               deciding(`count(net.cidr_expand("::/0")) > 0`),
		"all paths of a graph":          deciding(`g := {i: [j | some j in numbers.range(1, 16); j != i] | some i in numbers.range(1, 16)}; count(graph.reachable_paths(g, [1])) > 0`),
		"a product":                     deciding(`product(numbers.range(1, 1000000)) > 0`),
		"matches":                       deciding(doubling(`concat("", [%, %])`, `"`+kilobyte+`"`, 12) + `; count(regex.find_all_string_submatch_n("((((((((((a?))))))))))", x12, -1)) > 0`),
		"splitting":                     deciding(doubling(`concat("", [%, %])`, `"`+kilobyte+`"`, 14) + `; count(split(x14, "")) > 0`),
		"indented JSON":                 deciding(`count(json.marshal_with_options(numbers.range(1, 100000), {"pretty": true, "indent": "` + kilobyte + kilobyte + `"})) > 0`),
		"a template":                    deciding("count(strings.render_template(`{{range .a}}{{range $.a}}{{range $.a}}xxxxxxxx{{end}}{{end}}{{end}}`, {\"a\": numbers.range(1, 2000)})) > 0"),
		"YAML of many aliases":          deciding("y := yaml.unmarshal(`" + laughs() + "`); count(y) > 0"),
	} {
		t.Run(name, func(t *testing.T) {
			s := compile(t, content)
			wantFailure(t, s.Evaluate(context.Background(), input(t), policy.Limits{Timeout: time.Minute, MaxMemory: 8 << 20}), policy.ReasonMemory)
		})
	}
}

// doubling is statements that apply an operation n times, beginning with x0;
// "%" stands for the last value.
func doubling(operation, first string, n int) string {
	var b strings.Builder
	b.WriteString("x0 := " + first)
	for i := 1; i <= n; i++ {
		b.WriteString("; x" + strconv.Itoa(i) + " := " + strings.ReplaceAll(operation, "%", "x"+strconv.Itoa(i-1)))
	}
	return b.String()
}

// treeOfRules is rules of which each has the one before it twice.
func treeOfRules(n int) string {
	var b strings.Builder
	b.WriteString("x0 := input.principal.id\n")
	for i := 1; i <= n; i++ {
		b.WriteString("x" + strconv.Itoa(i) + " := [x" + strconv.Itoa(i-1) + ", x" + strconv.Itoa(i-1) + "]\n")
	}
	return b.String()
}

// laughs is YAML in which each list has the one before it nine times.
func laughs() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 9; i++ {
		b.WriteString("a" + strconv.Itoa(i) + ": &a" + strconv.Itoa(i) + " [" + strings.TrimSuffix(strings.Repeat("*a"+strconv.Itoa(i-1)+", ", 9), ", ") + "]\n")
	}
	return b.String()
}

// Ordinary work fits the default limit of memory by a wide margin.
func TestDefaultMemoryIsRoomy(t *testing.T) {
	s := compile(t, deciding(`count([x | some x in numbers.range(1, 20000); x % 7 == 0]) == 2857; count(json.marshal(numbers.range(1, 20000))) > 0; `+
		`sprintf("%d of %s", [1, "x"]) == "1 of x"; regex.replace("aaa", "a", "b") == "bbb"; bits.lsh(1, 8) == 256; count(net.cidr_expand("10.0.0.0/24")) == 256; `+
		`yaml.unmarshal("a: [1, 2]").a == [1, 2]; units.parse("10K") == 10000; split("a,b", ",") == ["a", "b"]; array.reverse([1, 2]) == [2, 1]; `+
		`count(graph.reachable_paths({"a": ["b"], "b": []}, ["a"])) == 1; to_number("1e3") == 1000; product([1, 2, 3]) == 6; strings.render_template("{{.x}}", {"x": 1}) == "1"`))
	if r := s.Evaluate(context.Background(), input(t), policy.Limits{Timeout: time.Minute}); r.Decision != policy.Allow {
		t.Errorf("got %+v", r)
	}
}

// Bounded built-ins keep their meaning under "with".
func TestReplacedBuiltins(t *testing.T) {
	for name, content := range map[string]string{
		"a bounded built-in by a function": deciding(`y`, `f(_, _) := "z"`, `y if { concat("", ["a"]) == "z" with concat as f }`),
		"a bounded built-in by a value":    deciding(`y`, `y if { numbers.range(1, 3) == [9] with numbers.range as [9] }`),
		"a bounded built-in by another":    deciding(`y`, `y if { upper("a") == "a" with upper as lower }`),
		"a function by a bounded built-in": deciding(`y`, `f(x) := x`, `y if { f("a") == "A" with f as upper }`),
		"in a comprehension":               deciding(`[upper(x) | some x in ["a", "b"]] == ["A", "B"]`),
		"in a function":                    deciding(`f("a") == ["A"]`, `f(x) := [upper(x)]`),
		"in the head of a rule":            deciding(`p["A"].b == "C"`, `p[upper(k)].b := upper("c") if k := "a"`),
		"in every":                         deciding(`every x in ["a", "b"] { upper(x) != x }`),
		"in an else branch":                deciding(`x == "B"`, `x := "A" if input.action.id == "nosuch" else := upper("b")`),
	} {
		if r := evaluate(compile(t, content), input(t)); r.Decision != policy.Allow {
			t.Errorf("%s: got %+v", name, r)
		}
	}
}

// Work inside a single call of a built-in counts too: a loop of few turns that
// each go through much does not run on past its time.
func TestTimeoutEndsLoopsOfLongCalls(t *testing.T) {
	s := compile(t, deciding(`some x in input.context.actor_claims.many; x in input.context.actor_claims.others`))
	var many, others []any
	for i := range 30000 {
		many, others = append(many, i), append(others, -i-1)
	}
	in := input(t, set("context.actor_claims.many", many), set("context.actor_claims.others", others))
	wantFailure(t, s.Evaluate(context.Background(), in, roomy), policy.ReasonTimeout)
}
