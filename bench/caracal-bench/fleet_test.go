package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"testing"

	"github.com/caracalai/caracald/bench/pinning"
)

// A small fleet goes through everything, in the clear and over TLS: told, spread, killed, back.
func TestFleet(t *testing.T) {
	const size = 120
	split, err := pinning.Processors()
	if err != nil {
		t.Fatal(err)
	}
	for protocol, o := range map[string]options{"HTTP/1.1": {}, "HTTP/2.0, TLS 1.3": {fleetTLS: true}} {
		t.Run(protocol, func(t *testing.T) {
			var out bytes.Buffer
			o.json, o.fleetSize, o.dir = true, size, t.TempDir()
			if err := runFleet(t.Context(), o, &out, t.Output()); err != nil {
				t.Fatal(err)
			}
			var r map[string]any
			if err := json.Unmarshal(out.Bytes(), &r); err != nil {
				t.Fatalf("not one JSON object: %v", err)
			}
			for key, want := range map[string]any{"watchers": float64(size), "missed": 0.0, "failed": 0.0, "protocol": protocol, "pinned": split.String()} {
				if got, ok := r[key]; !ok || got != want {
					t.Errorf("%s is %v (there: %t), want %v", key, got, ok, want)
				}
			}
			for _, key := range []string{"bytes_per_watcher", "last_notified_ms", "last_fetched_ms", "reconnected_ms", "connected_ms", "connected_processor_ms", "reconnected_processor_ms", "peak_fetches", "spread_ms"} {
				if n, ok := r[key].(float64); !ok || n <= 0 {
					t.Errorf("%s is %v", key, r[key])
				}
			}
		})
	}
	if err := runFleet(t.Context(), options{fleetSize: 0}, io.Discard, io.Discard); !errors.Is(err, errUsage) {
		t.Errorf("no watchers: %v", err)
	}
	if err := runFleet(t.Context(), options{fleetSize: 1 << 40}, io.Discard, io.Discard); err == nil {
		t.Error("there are enough files for everything")
	}
}
