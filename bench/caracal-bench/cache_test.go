package main

import (
	"testing"

	"github.com/caracalai/caracald/bench/loader"
	"github.com/caracalai/caracald/bench/server"
	"github.com/caracalai/caracald/bench/workload"
)

// The workload that the cache is measured with is one that a daemon asks its cache
// for, and its inputs have equal keys when they come again.
func TestCacheAnswers(t *testing.T) {
	b, w := &bench{dir: t.TempDir()}, workload.Find(slowWorkload)
	var f fleet
	defer func() {
		if err := f.stop(); err != nil {
			t.Error(err)
		}
	}()
	control, err := b.admin(t.Context(), &f, "admin", server.BatchesDiscarded, nil)
	if err != nil {
		t.Fatal(err)
	}
	zone, err := control.NewActiveZone(t.Context(), "cache", w)
	if err != nil {
		t.Fatal(err)
	}
	s := asked{name: peerCached, daemon: server.Daemon{Cache: cacheBytes}}
	if s.process, _, err = b.daemon(t.Context(), &f, control, "daemon", s.daemon, zone); err != nil {
		t.Fatal(err)
	}
	// What comes the second time is kept, and found the third time.
	const inputs, times = 500, 3
	for range times {
		if err := loader.Check(t.Context(), loader.Target{Addr: s.process.Ready.Addr, Path: decidePath, Workload: w, Zones: []string{zone.ID}}, 1, inputs); err != nil {
			t.Fatal(err)
		}
	}
	if hits, err := s.hits(t.Context()); err != nil || hits < inputs*0.9 {
		t.Errorf("%v of %d decisions came from the cache (%v)", hits, times*inputs, err)
	}
}
