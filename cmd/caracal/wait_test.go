package main

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Who waits for daemons that do not load a version is told how far it has come.
func TestActivateWaitsInVain(t *testing.T) {
	p := newPlant(t)
	policy := ""
	p.activate(&policy, 1)
	p.daemon.kill()
	v, err := p.publish(t.Context(), &policy, 2)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "policy-set", "activate", "set", v.ID, "--wait", "300ms")
	cmd.Env = append(os.Environ(), asCaracal+"=1", "CARACAL_API_URL="+p.adminURL, "CARACAL_ADMIN_TOKEN="+p.token, "CARACAL_ZONE_ID="+p.zone)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("ended with %v:\n%s", err, out)
	}
	for _, want := range []string{"activated as sequence 2", "after 300ms it is loaded by 0 of 1 reachable daemons, and wanted on 1"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(string(out), "context deadline") {
		t.Errorf("speaks of contexts:\n%s", out)
	}
}
