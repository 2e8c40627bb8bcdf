package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is not UTF-8 is not sent: it would arrive as something else.
func TestFilesThatAreNotText(t *testing.T) {
	file := filepath.Join(t.TempDir(), "p.rego")
	if err := os.WriteFile(file, []byte("package caracal.authz\n# \xff\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CARACAL_ADMIN_TOKEN", "0123456789abcdef")
	t.Setenv("CARACAL_ZONE_ID", "z")
	for _, args := range [][]string{{"policy", "validate", file}, {"policy", "create", file, "--name", "p"}, {"policy", "add-version", "p", file}, {"decide", file}} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, strings.NewReader(""), &out, &errs); code != exitFailed || !strings.Contains(errs.String(), "p.rego is not UTF-8 at byte 24") {
			t.Errorf("%v ends with %d: %s", args, code, errs.String())
		}
	}
}
