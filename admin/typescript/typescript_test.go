// Package typescript_test runs the checks and tests of the TypeScript client with Node.
package typescript_test

import (
	"path/filepath"
	"testing"

	"github.com/caracalai/caracald/internal/provision"
)

// The generated files are current, everything type-checks, and the client's
// tests pass against a real control plane and daemon.
func TestClient(t *testing.T) {
	provision.Node(t)
	provision.Run(t, "", nil, "npm", "ci", "--no-audit", "--no-fund", "--prefer-offline")
	provision.NeverCached(t, filepath.Join("node_modules", ".tested"))
	provision.Run(t, "", nil, "npm", "run", "check")
	caracal := filepath.Join(t.TempDir(), "caracal")
	provision.Run(t, "", nil, "go", "build", "-o", caracal, "../../cmd/caracal")
	provision.Run(t, "", []string{"CARACAL_BIN=" + caracal}, "npm", "test")
}
