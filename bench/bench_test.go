// Package bench compares what a decision costs here with its peers, in one run:
// the same policies and the same input, evaluated by this project and by OPA as
// a library, and a daemon asked over HTTP beside a bare server that answers the
// same bytes.
package bench

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/valyala/fasthttp"

	"github.com/caracalai/caracald/audit"
	"github.com/caracalai/caracald/policy"
)

const example = "../examples/payments"

func load(tb testing.TB) ([]policy.Module, []byte) {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(example, "policies", "*.rego"))
	if err != nil || len(files) == 0 {
		tb.Fatalf("no policies: %v", err)
	}
	var mods []policy.Module
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			tb.Fatal(err)
		}
		mods = append(mods, policy.Module{PolicyID: f, VersionID: f, Name: filepath.Base(f), Content: string(content)})
	}
	raw, err := os.ReadFile(filepath.Join(example, "inputs", "read.json"))
	if err != nil {
		tb.Fatal(err)
	}
	return mods, []byte(strings.ReplaceAll(string(raw), "ZONE_ID", "zone"))
}

func prepared(tb testing.TB, mods []policy.Module) rego.PreparedEvalQuery {
	tb.Helper()
	options := []func(*rego.Rego){rego.Query(policy.EntryPoint)}
	for _, m := range mods {
		options = append(options, rego.Module(m.Name, m.Content))
	}
	q, err := rego.New(options...).PrepareForEval(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return q
}

// Both give the same decision for every input of the example; otherwise there
// is nothing to compare.
func TestPeersAgree(t *testing.T) {
	mods, _ := load(t)
	set, err := policy.Compile(t.Context(), mods)
	if err != nil {
		t.Fatal(err)
	}
	q := prepared(t, mods)
	files, err := filepath.Glob(filepath.Join(example, "inputs", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no inputs: %v", err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		raw = []byte(strings.ReplaceAll(string(raw), "ZONE_ID", "zone"))
		in, err := policy.ParseInput(raw)
		if err != nil {
			t.Fatal(err)
		}
		ours := set.Evaluate(t.Context(), in, policy.DefaultLimits)
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatal(err)
		}
		rs, err := q.Eval(t.Context(), rego.EvalInput(v))
		if err != nil {
			t.Fatal(err)
		}
		theirs := rs[0].Expressions[0].Value.(map[string]any)
		if ours.Decision != theirs["decision"] {
			t.Errorf("%s: %s here, %v by OPA", f, ours.Decision, theirs["decision"])
		}
	}
}

// Evaluation alone, the input parsed before.
func BenchmarkEvaluate(b *testing.B) {
	mods, raw := load(b)
	b.Run("peer=caracal", func(b *testing.B) {
		set, err := policy.Compile(b.Context(), mods)
		if err != nil {
			b.Fatal(err)
		}
		in, err := policy.ParseInput(raw)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if r := set.Evaluate(b.Context(), in, policy.DefaultLimits); r.Decision != policy.Allow {
				b.Fatal(r)
			}
		}
	})
	b.Run("peer=opa", func(b *testing.B) {
		q := prepared(b, mods)
		v, err := ast.ValueFromReader(bytes.NewReader(raw))
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			rs, err := q.Eval(b.Context(), rego.EvalParsedInput(v))
			if err != nil || rs[0].Expressions[0].Value.(map[string]any)["decision"] != policy.Allow {
				b.Fatal(rs, err)
			}
		}
	})
}

// From the request's bytes to the answer's bytes.
func BenchmarkBytesToBytes(b *testing.B) {
	mods, raw := load(b)
	b.Run("peer=caracal", func(b *testing.B) {
		set, err := policy.Compile(b.Context(), mods)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			in, err := policy.ParseInput(raw)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := json.Marshal(set.Evaluate(b.Context(), in, policy.DefaultLimits)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("peer=opa", func(b *testing.B) {
		q := prepared(b, mods)
		b.ReportAllocs()
		for b.Loop() {
			var v any
			if err := json.Unmarshal(raw, &v); err != nil {
				b.Fatal(err)
			}
			rs, err := q.Eval(b.Context(), rego.EvalInput(v))
			if err != nil {
				b.Fatal(err)
			}
			if _, err := json.Marshal(rs[0].Expressions[0].Value); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// One request after another over one connection: a daemon with its audit as
// durable as by default and left to the OS, and a bare fasthttp server that
// answers as many bytes, which is the ceiling.
func BenchmarkHTTP(b *testing.B) {
	mods, raw := load(b)
	ask := func(b *testing.B, url string) {
		client := &fasthttp.Client{MaxConnsPerHost: 1}
		req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
		req.SetRequestURI(url + "/v1/decide")
		req.Header.SetMethod(fasthttp.MethodPost)
		req.SetBody(raw)
		b.ReportAllocs()
		for b.Loop() {
			if err := client.Do(req, resp); err != nil || resp.StatusCode() != fasthttp.StatusOK {
				b.Fatal(err, resp)
			}
		}
	}
	for _, v := range []struct {
		name       string
		durability audit.Durability
		cache      int64
	}{{"peer=caracal/audit=fsync/cache=off", audit.SyncGroup, 0}, {"peer=caracal/audit=os/cache=off", audit.SyncNone, 0}, {"peer=caracal/audit=os/cache=on", audit.SyncNone, 64 << 20}} {
		b.Run(v.name, func(b *testing.B) { ask(b, node(b, mods, v.durability, v.cache)) })
	}
	b.Run("peer=bare", func(b *testing.B) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		answer := bytes.Repeat([]byte("x"), 700)
		s := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) { ctx.SetBody(answer) }}
		go func() { _ = s.Serve(l) }()
		defer func() { _ = s.Shutdown() }()
		ask(b, "http://"+l.Addr().String())
	})
}
