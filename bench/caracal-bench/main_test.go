package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caracalai/caracald/bench/report"
)

// TestMain lets the test binary play the servers, as the benchmark's does.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		main()
		return
	}
	os.Exit(m.Run())
}

// Everything over HTTP works together: real daemons, a real control plane and
// the peers, and each ratio is made of what was measured.
func TestOverHTTP(t *testing.T) {
	only := []string{"http", "cache", "swap", "activation", "audit", "watchers", "zones"}
	var out bytes.Buffer
	if err := run(t.Context(), options{quick: true, tiny: true, json: true, only: only, seed: 1, dir: t.TempDir()}, &out, t.Output()); err != nil {
		t.Fatal(err)
	}
	var r report.Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("not one JSON object: %v", err)
	}
	for _, key := range []string{
		"http_vs_ceiling", "http_fsync_vs_ceiling", "http_cached_vs_ceiling", "http_vs_opa_server", "http_p99_vs_ceiling",
		"swap_p99_vs_steady", "activation_p99_ms", "watchers_last_notified_ms", "audit_bytes_per_decision", "memory_1000_zones_vs_opa", "http_1000_zones_vs_1", "http_cached_vs_uncached_statements",
	} {
		if v := r.Ratios[key]; v <= 0 {
			t.Errorf("%s is %v", key, v)
		}
	}
	// Whatever the figures of so short a run are, nothing may be lost in it.
	for _, key := range []string{"swap_failed_requests", "watchers_missed"} {
		if v, ok := r.Ratios[key]; !ok || v != 0 {
			t.Errorf("%s is %v (there: %t)", key, v, ok)
		}
	}
	if v, ok := r.Ratios["audit_cost"]; !ok || v >= 1 {
		t.Errorf("audit_cost is %v (there: %t)", v, ok)
	}
	if r.Machine.Pinned == "" {
		t.Error("the report does not say whether it was pinned")
	}
	rates := map[string]bool{}
	for _, row := range r.Rows {
		if row.Group == saturated && row.Metric == "rate" && row.Median > 0 {
			rates[row.Peer] = true
		}
		if r.Commands[row.Group] == "" {
			t.Errorf("no command makes the group %q", row.Group)
		}
	}
	for _, peer := range []string{peerCeiling, peerCaracald, peerCached, peerFsync, peerUnaudited, peerEngine, peerNetHTTP, peerOPA} {
		if !rates[peer] {
			t.Errorf("no rate of %q", peer)
		}
	}
	for _, note := range r.Notes {
		if strings.Contains(note, "failed:") {
			t.Error(note)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"--only", "nothing"}, {"--nothing"}, {"nothing"}} {
		cmd := newCommand()
		cmd.SetArgs(args)
		cmd.SetOut(io.Discard)
		cmd.SetErr(io.Discard)
		if err := cmd.ExecuteContext(t.Context()); !errors.Is(err, errUsage) {
			t.Errorf("%v: %v", args, err)
		}
	}
}

// A run that is interrupted says what it has, and leaves the files of an earlier one.
func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	var args []string
	for flag, content := range map[string]string{"markdown": "# Results\n", "samples": "samples\n", "table": "<!-- measured -->\nall of it\n<!-- /measured -->\n"} {
		file := filepath.Join(dir, flag)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if got, err := os.ReadFile(file); err != nil || string(got) != content {
				t.Errorf("%s has %q, %v", flag, got, err)
			}
		}()
		args = append(args, "--"+flag, file)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cmd := newCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(io.Discard)
	cmd.SetArgs(append(args, "--quick", "--svg", filepath.Join(dir, "svg")))
	if err := cmd.ExecuteContext(ctx); !errors.Is(err, context.Canceled) || out.Len() == 0 {
		t.Errorf("ended with %v, having said %q", err, out.String())
	}
	if _, err := os.Stat(filepath.Join(dir, "svg")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("drew plots: %v", err)
	}
}
