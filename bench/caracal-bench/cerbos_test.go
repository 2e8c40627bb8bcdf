package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/caracalai/caracald/bench/loader"
	"github.com/caracalai/caracald/bench/peer"
	"github.com/caracalai/caracald/bench/report"
	"github.com/caracalai/caracald/bench/server"
	"github.com/caracalai/caracald/bench/workload"
)

// cerbosVariable names the program cerbos; without it that of make cerbos is taken.
const cerbosVariable = "CARACAL_BENCH_CERBOS"

// cerbosBinary skips a test where Cerbos was not built, which takes minutes.
func cerbosBinary(t *testing.T) string {
	t.Helper()
	binary, asked := os.LookupEnv(cerbosVariable)
	if !asked {
		binary = filepath.Join("..", "..", "bin", "cerbos")
		if _, err := os.Stat(binary); err != nil {
			t.Skipf("Cerbos was not built: make cerbos builds it, or %s names it", cerbosVariable)
		}
	}
	binary, err := filepath.Abs(binary)
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// Cerbos decides the inputs of workload A as all others do.
func TestCerbosAgrees(t *testing.T) {
	binary := cerbosBinary(t)
	if _, err := server.CerbosVersion(binary); err != nil {
		t.Error(err)
	}
	w := workload.Find("A")
	p, err := server.Start(t.Context(), server.RoleCerbos, server.Cerbos{Policy: server.Policy{Workload: w.Name, Dir: t.TempDir()}, Binary: binary}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}()
	peers, err := peer.New(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	target := loader.Target{Addr: p.Ready.Addr, Path: cerbosPath, Cerbos: true, Workload: w, Zones: workload.Zones(3)}
	for seed := range uint64(3) {
		if err := peer.Agree(w, peers, seed, 1000); err != nil {
			t.Error(err)
		}
		if err := loader.Check(t.Context(), target, seed, 1000); err != nil {
			t.Error(err)
		}
	}
	used, err := p.Stats()
	if err != nil || used.Processor <= 0 || used.Resident <= 0 || used.Mallocs != 0 {
		t.Errorf("Cerbos used %+v: %v", used, err)
	}
}

// Cerbos is measured beside the others, and what was measured is told.
func TestCerbosIsMeasured(t *testing.T) {
	binary := cerbosBinary(t)
	b := &bench{options: options{quick: true, tiny: true, seed: 1, cerbos: binary}, report: report.New("x", true), log: io.Discard, dir: t.TempDir(), pace: 1}
	if err := b.part(t.Context(), parts[1]); err != nil {
		t.Fatal(err)
	}
	if row := b.report.Row(atSaturation(peerCerbos, "rate")); row == nil || row.Median <= 0 {
		t.Errorf("no rate of %q", peerCerbos)
	}
	if b.report.Ratios["http_vs_cerbos_server"] <= 0 || b.report.Versions[server.CerbosModule] == "" {
		t.Errorf("ratios %v, versions %v", b.report.Ratios, b.report.Versions)
	}
}

// A program that is not Cerbos is told before anything is measured.
func TestNotCerbos(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.CerbosVersion(self); err == nil {
		t.Error("this test has a version of Cerbos")
	}
	missing := filepath.Join(t.TempDir(), "cerbos")
	if _, err := server.CerbosVersion(missing); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a program that is not there: %v", err)
	}
	if err := run(t.Context(), options{quick: true, tiny: true, only: []string{"http"}, cerbos: self, dir: t.TempDir()}, io.Discard, io.Discard); err == nil {
		t.Error("a run took another program for Cerbos")
	}
}
