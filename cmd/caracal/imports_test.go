package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/caracalai/caracald/"

// deps lists what a package is linked from.
func deps(t *testing.T, pkg string) []string {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", module+pkg).Output()
	if err != nil {
		t.Fatalf("go list %s: %v", pkg, err)
	}
	return strings.Fields(string(out))
}

// Who may import whom, as docs/architecture.md says.
func TestImports(t *testing.T) {
	ours := map[string][]string{
		"policy/engine": {"internal/sharing"}, "policy": {"policy/engine", "internal/sharing"}, "bundle": {}, "distribution": {"bundle", "internal/durable"}, "distribution/drivers": {}, "internal/filelock": {}, "internal/durable": {}, "internal/sharing": {}, "internal/health": {}, "internal/serving": {}, "audit": {"internal/filelock", "internal/durable"}, "cache": {}, "settings": {}, "telemetry": {}, "admin/store": {}, "admin/console": {},
		"admin/store/relational": {"admin/store"}, "admin/store/transfer": {"admin/store", "admin/store/relational"},
		"audit/queue": {"audit", "internal/filelock", "internal/durable"}, "audit/otlp": {"audit", "internal/filelock", "internal/durable"}, "audit/files": {"audit", "internal/filelock", "internal/durable"},
		"daemon":           {"policy", "policy/engine", "internal/sharing", "bundle", "distribution", "audit", "internal/filelock", "internal/durable", "cache", "daemon/eventloop"},
		"daemon/eventloop": {},
		"mirror":           {"bundle", "distribution", "internal/durable"},
		"daemon/client":    {},
		"admin/api":        {"policy", "policy/engine", "internal/sharing"},
		"admin":            {"policy", "policy/engine", "internal/sharing", "bundle", "distribution", "audit", "internal/filelock", "internal/durable", "admin/api", "admin/store", "admin/console"},
		"admin/client":     {"policy", "policy/engine", "internal/sharing", "bundle", "admin/api"},
	}
	for pkg, allowed := range ours {
		for _, dep := range deps(t, pkg) {
			name, mine := strings.CutPrefix(dep, module)
			if mine && name != pkg && !slices.Contains(allowed, name) {
				t.Errorf("%s imports %s", pkg, name)
			}
		}
	}
	for _, pkg := range []string{"distribution", "daemon", "mirror"} { // which stores there are is the choice of who links them
		for _, dep := range deps(t, pkg) {
			if strings.HasPrefix(dep, "gocloud.dev/blob/") && dep != "gocloud.dev/blob/driver" {
				t.Errorf("%s is linked with %s", pkg, dep)
			}
		}
	}
	for _, dep := range deps(t, "cmd/caracald") {
		for _, foreign := range []string{"sqlite", "pgx", module + "admin", module + "mirror", module + "distribution/drivers", "aws-sdk", "cloud.google.com", "azure-sdk", "Azure/azure"} {
			if strings.Contains(dep, foreign) {
				t.Errorf("caracald is linked with %s", dep)
			}
		}
	}
	for _, binary := range []string{"cmd/caracal", "cmd/caracald"} {
		for _, dep := range deps(t, binary) {
			if strings.Contains(dep, "nats-server") {
				t.Errorf("%s is linked with %s, which is for tests", binary, dep)
			}
		}
	}
}
