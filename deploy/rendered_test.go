package deploy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// checkRendered gives the real binaries the settings files, arguments and
// variables of each pod, and wants that each is taken.
func checkRendered(t *testing.T, m manifests) {
	t.Helper()
	config := map[string]*core.ConfigMap{}
	for _, c := range all[*core.ConfigMap](m) {
		config[c.Name] = c
	}
	ran := 0
	for _, w := range m.workloads() {
		for _, c := range w.containers() {
			program, file, volume := "caracald", "caracald.yaml", "caracald-config"
			switch c.Name {
			case "admin":
				program, file, volume = "caracal", "admin.yaml", "config"
			case "caracald":
			default:
				continue
			}
			ran++
			var text string
			for _, v := range w.template.Spec.Volumes {
				if v.Name == volume {
					text = config[v.ConfigMap.Name].Data[file]
				}
			}
			set := map[string]any{}
			if err := yaml.Unmarshal([]byte(text), &set); err != nil || len(set) < 3 {
				t.Fatalf("%s: the settings of %s are %q: %v", w.name, c.Name, text, err)
			}
			path := filepath.Join(t.TempDir(), file)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			var args []string
			for _, arg := range c.Args {
				if strings.HasPrefix(arg, "--config=") {
					arg = "--config=" + path
				}
				args = append(args, arg)
			}
			var env []string
			for _, e := range c.Env {
				value := e.Value
				if e.ValueFrom != nil {
					value = "a-secret-of-this-test"
				}
				value = strings.NewReplacer("$(POD_NAMESPACE)", namespace, "$(NODE_NAME)", "node-1").Replace(value)
				env = append(env, e.Name+"="+value)
			}
			sources := printConfig(t, env, program, args...)
			for key := range set {
				if from := sources[key]; from != "file "+path {
					t.Errorf("%s: %s of the settings file is taken from %q", w.name, key, from)
				}
			}
			checkPaths(t, w.name, c, set)
		}
	}
	if ran == 0 {
		t.Error("no pod has a program of ours")
	}
}

// checkPaths wants that each path of the settings is below a mount.
func checkPaths(t *testing.T, pod string, c core.Container, set map[string]any) {
	t.Helper()
	for key, value := range set {
		list, many := value.([]any)
		if !many {
			list = []any{value}
		}
		for _, item := range list {
			path, ok := item.(string)
			if !ok || !strings.HasPrefix(path, "/") {
				continue
			}
			mounted := false
			for _, v := range c.VolumeMounts {
				mounted = mounted || path == v.MountPath || strings.HasPrefix(path, v.MountPath+"/")
			}
			if !mounted {
				t.Errorf("%s: %s is %s, where nothing is mounted", pod, key, path)
			}
		}
	}
}
