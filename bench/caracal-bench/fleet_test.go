package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"testing"
)

// A small fleet goes through everything: told, spread, killed, back.
func TestFleet(t *testing.T) {
	var out bytes.Buffer
	const size = 120
	if err := runFleet(t.Context(), options{json: true, fleetSize: size, dir: t.TempDir()}, &out, t.Output()); err != nil {
		t.Fatal(err)
	}
	var r map[string]float64
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("not one JSON object of numbers: %v", err)
	}
	for key, want := range map[string]float64{"watchers": size, "missed": 0, "failed": 0} {
		if got, ok := r[key]; !ok || got != want {
			t.Errorf("%s is %v (there: %t), want %v", key, got, ok, want)
		}
	}
	for _, key := range []string{"bytes_per_watcher", "last_notified_ms", "last_fetched_ms", "reconnected_ms", "connected_ms", "peak_fetches", "spread_ms"} {
		if r[key] <= 0 {
			t.Errorf("%s is %v", key, r[key])
		}
	}
	if err := runFleet(t.Context(), options{fleetSize: 0}, io.Discard, io.Discard); !errors.Is(err, errUsage) {
		t.Errorf("no watchers: %v", err)
	}
	if err := runFleet(t.Context(), options{fleetSize: 1 << 40}, io.Discard, io.Discard); err == nil {
		t.Error("there are enough files for everything")
	}
}
