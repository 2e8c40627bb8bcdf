package main

import (
	"errors"
	"testing"

	"github.com/caracalai/caracald/bench/loader"
	"github.com/caracalai/caracald/bench/server"
	"github.com/caracalai/caracald/bench/workload"
)

// What audit takes is measured against a daemon that has none: it keeps no record,
// and none is missing.
func TestUnaudited(t *testing.T) {
	b, w := &bench{dir: t.TempDir()}, workload.Find("A")
	var f fleet
	defer func() {
		if err := f.stop(); err != nil {
			t.Error(err)
		}
	}()
	control, err := b.admin(t.Context(), &f, "admin", server.BatchesRefused, nil)
	if err != nil {
		t.Fatal(err)
	}
	zone, err := control.NewActiveZone(t.Context(), "audit", w)
	if err != nil {
		t.Fatal(err)
	}
	const decisions = 50
	for name, want := range map[string]float64{"audited": decisions, "unaudited": 0} {
		p, _, err := b.daemon(t.Context(), &f, control, name, server.Daemon{Unaudited: name == "unaudited"}, zone)
		if err != nil {
			t.Fatal(err)
		}
		before, err := server.Metrics(t.Context(), p.Ready.Addr)
		if err != nil {
			t.Fatal(err)
		}
		failure := loader.Check(t.Context(), loader.Target{Addr: p.Ready.Addr, Path: decidePath, Workload: w, Zones: []string{zone.ID}}, 1, decisions)
		after, err := server.Metrics(t.Context(), p.Ready.Addr)
		if err := errors.Join(failure, err); err != nil {
			t.Fatal(err)
		}
		const depth, gaps = "caracal_daemon_spool_depth", "caracal_daemon_audit_gaps_total"
		missing, told := after[gaps]
		if kept := after[depth] - before[depth]; kept != want || missing != 0 || !told {
			t.Errorf("%s: %v records and %v gaps (told: %t) after %d decisions, want %v records", name, kept, missing, told, decisions, want)
		}
	}
}
