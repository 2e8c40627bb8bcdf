package client_test

import (
	"os/exec"
	"strings"
	"testing"
)

// What an STS links with this package is the standard library alone.
func TestImports(t *testing.T) {
	const self = "github.com/caracalai/caracald/daemon/client"
	out, err := exec.Command("go", "list", "-deps", self).Output()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for dep := range strings.FieldsSeq(string(out)) {
		first, _, _ := strings.Cut(dep, "/")
		switch {
		case dep == self:
			found = true
		case first != "vendor" && strings.Contains(first, "."):
			t.Errorf("it imports %s", dep)
		}
	}
	if !found {
		t.Errorf("go list says %s", out)
	}
}
