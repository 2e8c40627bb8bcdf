package deploy_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/yaml"
)

const (
	chartDir   = "helm/caracal"
	exampleDir = "helm/examples/sts-sidecar"
	namespace  = "caracal-system"
	release    = "caracal"
)

// sample is a chart with values that it has to be good with.
type sample struct {
	dir    string
	values map[string]any
}

// samples are the charts with the values files of chartDir/ci, and the example.
func samples(t *testing.T) map[string]sample {
	t.Helper()
	files, err := filepath.Glob(chartDir + "/ci/*-values.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("there are %d values files: %v", len(files), err)
	}
	all := map[string]sample{"sidecar": {exampleDir, map[string]any{}}}
	for _, file := range files {
		values := map[string]any{}
		if err := yaml.Unmarshal([]byte(read(t, file)), &values); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all[strings.TrimSuffix(filepath.Base(file), "-values.yaml")] = sample{chartDir, values}
	}
	return all
}

// render gives the rendered files by their names.
func (s sample) render(t *testing.T) (map[string]string, error) {
	t.Helper()
	c := load(t, s.dir)
	if s.dir == exampleDir { // as helm dependency build would
		c.AddDependency(load(t, chartDir))
	}
	if err := chartutil.ProcessDependencies(c, s.values); err != nil {
		return nil, err
	}
	options := common.ReleaseOptions{Name: release, Namespace: namespace, Revision: 1, IsInstall: true}
	values, err := util.ToRenderValues(c, s.values, options, common.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return engine.Engine{Strict: true}.RenderWithContext(t.Context(), c, values)
}

func load(t *testing.T, dir string) *chart.Chart {
	t.Helper()
	c, err := loader.Load(dir)
	if err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	return c
}

// Helm's linter has nothing to say against the chart, with any of the values.
func TestChartLint(t *testing.T) {
	for name, s := range samples(t) {
		if s.dir != chartDir {
			continue // the linter wants dependencies to be downloaded
		}
		l := lint.RunAll(s.dir, s.values, namespace)
		for _, m := range l.Messages {
			if m.Severity > support.InfoSev {
				t.Errorf("%s: %v", name, m)
			}
		}
		if len(l.Messages) == 0 {
			t.Logf("%s: no messages", name)
		}
	}
}

// What cannot work is refused before anything is installed, and named.
func TestChartRefuses(t *testing.T) {
	daemonSet := map[string]any{"daemonSet": map[string]any{"enabled": true}}
	postgres := map[string]any{"kind": "postgres", "postgres": map[string]any{"existingSecret": "s"}}
	with := func(m map[string]any, more map[string]any) map[string]any {
		m = maps.Clone(m)
		maps.Copy(m, more)
		return m
	}
	secret := func(name string) map[string]any { return map[string]any{name: map[string]any{"existingSecret": "s"}} }
	for name, c := range map[string]struct {
		values map[string]any
		want   string
	}{
		"two replicas on SQLite":      {map[string]any{"admin": map[string]any{"replicas": 2}}, "admin.replicas"},
		"SQLite that is scaled":       {map[string]any{"admin": map[string]any{"autoscaling": map[string]any{"enabled": true}}}, "admin.autoscaling"},
		"PostgreSQL without a URL":    {map[string]any{"admin": map[string]any{"store": map[string]any{"kind": "postgres"}}}, "admin.store.postgres.existingSecret"},
		"PostgreSQL without a token":  {map[string]any{"admin": map[string]any{"store": postgres}}, "admin.token.existingSecret"},
		"client CA without TLS":       {map[string]any{"admin": map[string]any{"tls": map[string]any{"clientCASecret": "s"}}}, "admin.tls.existingSecret"},
		"a daemon without a token":    {map[string]any{"daemon": daemonSet}, "daemon.token.existingSecret"},
		"a daemon that trusts nobody": {map[string]any{"daemon": with(daemonSet, secret("token"))}, "daemon.trustRoot"},
		"a daemon that anyone may ask": {map[string]any{"daemon": with(with(daemonSet, secret("token")),
			map[string]any{"trustRoot": map[string]any{"configMap": "c"}})}, "daemon.decideToken.existingSecret"},
		"a value that is not there":         {map[string]any{"admin": map[string]any{"replica": 2}}, "replica"},
		"a store that is not there":         {map[string]any{"admin": map[string]any{"store": map[string]any{"kind": "mysql"}}}, "kind"},
		"a trust root's hash that is short": {map[string]any{"daemon": map[string]any{"trustRoot": map[string]any{"sha256": "abc"}}}, "sha256"},
		"no replicas":                       {map[string]any{"admin": map[string]any{"replicas": 0}}, "replicas"},
	} {
		_, err := sample{chartDir, c.values}.render(t)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the error is %v, and should name %s", name, err, c.want)
		}
	}
	state := map[string]any{"caracal": map[string]any{"daemon": map[string]any{"state": map[string]any{"kind": "hostPath"}}}}
	if _, err := (sample{exampleDir, state}).render(t); err == nil || !strings.Contains(err.Error(), "hostPath is for the DaemonSet") {
		t.Errorf("sidecars that share a node's directory: %v", err)
	}
}

// Each value of values.yaml is in the schema, and the schema has no other, so
// that a misspelled value is an error and none is forgotten.
func TestChartSchema(t *testing.T) {
	values, schema := map[string]any{}, map[string]any{}
	if err := yaml.Unmarshal([]byte(read(t, chartDir+"/values.yaml")), &values); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(read(t, chartDir+"/values.schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	compareSchema(t, "", values, schema)
}

func compareSchema(t *testing.T, at string, values, schema map[string]any) {
	t.Helper()
	properties, ok := schema["properties"].(map[string]any)
	if !ok {
		return // what is below is the site's
	}
	for name := range properties {
		if _, ok := values[name]; !ok && at+name != "global" && !strings.Contains(at, "resources.") {
			t.Errorf("the schema has %s, and values.yaml has not", at+name)
		}
	}
	for name, value := range values {
		property, ok := properties[name].(map[string]any)
		if !ok {
			t.Errorf("values.yaml has %s, and the schema has not", at+name)
			continue
		}
		if below, ok := value.(map[string]any); ok {
			compareSchema(t, at+name+".", below, property)
		}
	}
}

// The files that the chart brings along are those of deploy/: Helm reads
// nothing outside of a chart.
func TestChartFiles(t *testing.T) {
	want := map[string]string{"alerts.yaml": "prometheus/alerts.yaml"}
	for _, file := range glob(t, "grafana/*.json") {
		want[filepath.Base(file)] = file
	}
	for name, source := range want {
		keep(t, filepath.Join(chartDir, "files", name), []byte(read(t, source)))
	}
	for _, file := range glob(t, chartDir+"/files/*") {
		if want[filepath.Base(file)] == "" {
			t.Errorf("%s is the copy of nothing", file)
		}
	}
}

// README.md of the chart explains each of its top values.
func TestChartReadme(t *testing.T) {
	values := map[string]any{}
	if err := yaml.Unmarshal([]byte(read(t, chartDir+"/values.yaml")), &values); err != nil {
		t.Fatal(err)
	}
	readme := read(t, chartDir+"/README.md")
	for _, group := range []string{"admin", "daemon", "monitoring"} {
		for _, name := range slices.Sorted(maps.Keys(values[group].(map[string]any))) {
			if !strings.Contains(readme, "`"+group+"."+name) {
				t.Errorf("%s/README.md says nothing of %s.%s", chartDir, group, name)
			}
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files, %v", pattern, len(files), err)
	}
	return files
}
