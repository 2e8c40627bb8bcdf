package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSinkSettings: a sink that cannot be used ends the daemon with the setting's name.
func TestSinkSettings(t *testing.T) {
	blocked := filepath.Join(t.TempDir(), "a-file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want string
		args []string
	}{
		{"audit-sink", []string{"--audit-sink", "kafka"}},
		{"audit-nats", []string{"--audit-sink", "nats"}},
		{"audit-nats", []string{"--audit-sink", "nats", "--audit-nats", "nats://127.0.0.1:1", "--audit-nats-subject", "a.*"}},
		{"CredsFile", []string{"--audit-sink", "nats", "--audit-nats", "nats://127.0.0.1:1", "--audit-nats-creds", filepath.Join(blocked, "x")}},
		{"OTEL_EXPORTER_OTLP", []string{"--audit-sink", "otlp"}},
		{"audit-file", []string{"--audit-sink", "file"}},
		{"audit-file", []string{"--audit-sink", "file", "--audit-file", filepath.Join(blocked, "audit.ndjson")}},
		{"audit-file", []string{"--audit-sink", "file", "--audit-file", filepath.Join(t.TempDir(), "audit.ndjson"), "--audit-file-max-files", "-1"}},
	} {
		var out, errs bytes.Buffer
		args := append([]string{"--token", "token", "--trust-root-sha256", strings.Repeat("0", 64), "--state-dir", t.TempDir(), "--decide-addr", "127.0.0.1:0"}, c.args...)
		if code := run(t.Context(), args, &out, &errs); code != exitUsage || !strings.Contains(errs.String(), c.want) {
			t.Errorf("%v ends with %d: %s", c.args, code, errs.String())
		}
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"--print-config", "--audit-nats", "nats://u:hunter2@h"}, &out, &errs); code != exitDone || strings.Contains(out.String(), "hunter2") {
		t.Errorf("the settings show a password (%d): %s", code, out.String())
	}
}

// TestWrongSettings: what the daemon refuses is named as the setting it is from.
func TestWrongSettings(t *testing.T) {
	for want, args := range map[string][]string{
		"token (from flag --token): is required":        {"--token", ""},
		"trust-root (from default): is required":        {"--trust-root-sha256", ""},
		"admin-url (from flag --admin-url): ":           {"--admin-url", "ftp://x"},
		"audit-mode (from flag --audit-mode): ":         {"--audit-mode", "perhaps"},
		"admin-lost (from flag --admin-lost): ":         {"--admin-lost", "perhaps"},
		"zone (from flag --zone): ":                     {"--zone", "../z"},
		"label (from flag --label): ":                   {"--label", "=x"},
		"decide-token (from flag --decide-token): ":     {"--decide-token", "short"},
		"spool-max-bytes (from flag --spool-max-bytes)": {"--spool-max-bytes", "100"},
		"max-input-bytes (from flag --max-input-bytes)": {"--max-input-bytes", "-1"},
	} {
		var out, errs bytes.Buffer
		args = append([]string{"--token", "token", "--trust-root-sha256", strings.Repeat("0", 64), "--state-dir", t.TempDir(), "--decide-addr", "127.0.0.1:0"}, args...)
		if code := run(t.Context(), args, &out, &errs); code != exitUsage || !strings.Contains(errs.String(), want) {
			t.Errorf("%v ends with %d: %s", args, code, errs.String())
		}
	}
}
