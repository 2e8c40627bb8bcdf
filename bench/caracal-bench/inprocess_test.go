package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/perf/benchfmt"

	"github.com/caracalai/caracald/bench/report"
)

// The samples that are written are those that the report is made of.
func TestInProcess(t *testing.T) {
	file := filepath.Join(t.TempDir(), "samples.txt")
	var out bytes.Buffer
	if err := run(t.Context(), options{quick: true, tiny: true, json: true, only: []string{"in-process"}, seed: 1, samples: file, dir: t.TempDir()}, &out, t.Output()); err != nil {
		t.Fatal(err)
	}
	var r report.Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("not one JSON object: %v", err)
	}
	for _, key := range []string{"eval_a_vs_opa", "bytes_to_bytes_vs_opa", "rules_10000_vs_10"} {
		if v := r.Ratios[key]; v <= 0 {
			t.Errorf("%s is %v", key, v)
		}
	}
	if _, ok := r.Ratios["allocs_per_decision"]; !ok {
		t.Error("there is no allocs_per_decision")
	}
	peers := map[string][]string{}
	for _, row := range r.Rows {
		if row.What == evaluate && row.Metric == "time" {
			peers[row.Workload] = append(peers[row.Workload], row.Peer)
		}
	}
	for _, name := range []string{"A", "rbac", "claims", "network", "admission", "statements"} {
		want := []string{"caracal", "opa", "cedar-go", "go"}
		if name == "admission" {
			want = []string{"caracal", "opa", "go"}
		}
		if !slices.Equal(peers[name], want) {
			t.Errorf("workload %s was measured by %q, want %q", name, peers[name], want)
		}
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	written := 0
	for in := benchfmt.NewReader(f, file); in.Scan(); written++ {
		result, ok := in.Result().(*benchfmt.Result)
		if !ok {
			t.Fatalf("%v", in.Result())
		}
		if v, ok := result.Value("sec/op"); !ok || v <= 0 || result.Iters < 1 {
			t.Errorf("%s: %d calls of %v s", result.Name, result.Iters, v)
		}
	}
	samples := 0
	for _, row := range r.Rows {
		if row.Metric == "time" {
			samples += len(row.Samples)
		}
	}
	if samples == 0 || written != samples {
		t.Errorf("%d samples were written of %d", written, samples)
	}
}
