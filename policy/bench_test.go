package policy_test

import (
	"context"
	"encoding/json"
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
