package policy_test

import (
	"testing"
	"time"
)

// inZone lets the test run as on a host in that time zone.
func inZone(t *testing.T, name string) {
	t.Helper()
	zone, err := time.LoadLocation(name)
	if err != nil {
		t.Fatalf("loading the time zone: %v", err)
	}
	old := time.Local
	time.Local = zone
	t.Cleanup(func() { time.Local = old })
}
