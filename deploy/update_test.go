package deploy_test

import (
	"flag"
	"os"
	"testing"

	"github.com/caracalai/caracald/deploy/grafana"
)

var update = flag.Bool("update", false, "write generated files anew")

// keep compares a generated file with what it has to be, or writes it.
func keep(t *testing.T, file string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if have, err := os.ReadFile(file); err != nil || string(have) != string(want) {
		t.Errorf("%s is not what it is made from (%v): go test -run 'Dashboards|ChartFiles' -update .", file, err)
	}
}

// The dashboards' files are what the code makes.
func TestDashboards(t *testing.T) {
	files, err := grafana.Dashboards()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range files {
		keep(t, "grafana/"+name, data)
	}
	if have := glob(t, "grafana/*.json"); len(have) != len(files) {
		t.Errorf("there are %v, and %d are made", have, len(files))
	}
}
