package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/caracalai/caracald/bench/report"
)

// The size of a record is that in closed segments; the last one, which is being
// written, counts by itself.
func TestSpoolSizes(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, size int) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, "spool"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "spool", name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := spool(dir, 1); err == nil {
		t.Error("no spool, and no error")
	}
	write("gaps", 9999)
	write(fmt.Sprintf("%020d.seg", 0), 1500)
	only, err := spool(dir, 10)
	if err != nil {
		t.Fatal(err)
	}
	if only.segments != 1 || only.record() != 150 || only.whole() != 150 {
		t.Errorf("with one segment: %+v", only)
	}
	write(fmt.Sprintf("%020d.seg", 0), 1000)
	write(fmt.Sprintf("%020d.seg", 100), 3000)
	write(fmt.Sprintf("%020d.seg", 300), 4000)
	all, err := spool(dir, 310)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, v := range all.values() {
		values[v.Metric] = v.Value
	}
	want := []report.Value{
		{Metric: "records", Value: 310}, {Metric: "segments", Value: 3},
		{Metric: "size by record, in closed segments", Value: 4000.0 / 300},
		{Metric: "size by record, in the segment that is written", Value: 400},
		{Metric: "size by record, in all", Value: 8000.0 / 310},
	}
	for _, v := range want {
		if values[v.Metric] != v.Value {
			t.Errorf("%s is %v, want %v", v.Metric, values[v.Metric], v.Value)
		}
	}
}
