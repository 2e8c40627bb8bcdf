package policy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	oparego "github.com/open-policy-agent/opa/v1/rego"

	"github.com/caracalai/caracald/policy"
)

// BenchmarkReference evaluates the reference policy, beside OPA's library.
func BenchmarkReference(b *testing.B) {
	content, err := os.ReadFile("testdata/reference/policy.rego")
	if err != nil {
		b.Fatal(err)
	}
	raw, err := os.ReadFile("testdata/reference/input.json")
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	b.Run("peer=caracal", func(b *testing.B) {
		s := compile(b, string(content))
		if err := s.Interpreted(); err != nil {
			b.Fatal(err)
		}
		in, err := policy.ParseInput(raw)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if r := s.Evaluate(ctx, in, policy.Limits{}); r.Decision != policy.Allow {
				b.Fatalf("decided %+v", r)
			}
		}
	})
	b.Run("peer=opa", func(b *testing.B) {
		q, err := oparego.New(oparego.Query(policy.EntryPoint), oparego.Module("policy.rego", string(content))).PrepareForEval(ctx)
		if err != nil {
			b.Fatal(err)
		}
		var x any
		if err := json.Unmarshal(raw, &x); err != nil {
			b.Fatal(err)
		}
		input, err := ast.InterfaceToValue(x)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if rs, err := q.Eval(ctx, oparego.EvalParsedInput(input)); err != nil || len(rs) != 1 {
				b.Fatal(rs, err)
			}
		}
	})
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := policy.ParseInput(raw); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkManyRules evaluates sets of many rules that each ask for one resource.
func BenchmarkManyRules(b *testing.B) {
	for _, n := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprint("rules=", n), func(b *testing.B) {
			var parts []string // as large as one policy may be
			for from := 0; from < n; from += 1000 {
				parts = append(parts, manyRules(from, min(from+1000, n)))
			}
			s := compile(b, parts...)
			if err := s.Interpreted(); err != nil {
				b.Fatal(err)
			}
			in := input(b, set("resource.identifier", "urn:resource:7"), set("context.requested_scopes", strs("read")))
			b.ReportAllocs()
			for b.Loop() {
				if r := s.Evaluate(context.Background(), in, policy.Limits{}); r.Decision != policy.Allow {
					b.Fatalf("decided %+v", r)
				}
			}
		})
	}
}

// BenchmarkContradiction evaluates an input for which rules contradict each other,
// which is put to OPA's evaluator, beside that evaluator alone.
func BenchmarkContradiction(b *testing.B) {
	set, interpreted, in := contradiction(b)
	for name, s := range map[string]*policy.Set{"peer=caracal": set, "peer=topdown": interpreted} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if r := s.Evaluate(context.Background(), in, policy.Limits{}); r.Decision != policy.Allow {
					b.Fatalf("decided %+v", r)
				}
			}
		})
	}
}

// manyRules allows alice one scope of each of the resources from the one number
// up to the other.
func manyRules(from, to int) string {
	var lines []string
	if from == 0 {
		lines = append(lines, denyDefault)
	}
	for i := from; i < to; i++ {
		lines = append(lines, fmt.Sprintf(`result := %s if {
	input.resource.identifier == "urn:resource:%d"
	input.principal.id == "alice"
	"read" in input.context.requested_scopes
}`, allowValue, i))
	}
	return rego(lines...)
}
