package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// selfSigned writes a certificate for nobody and its key.
func selfSigned(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sts.example"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// TestHealthCheck: each server's own binary tells by its exit code, and in one
// line, how the one that runs is.
func TestHealthCheck(t *testing.T) {
	dir, err := os.MkdirTemp("", "health") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "decide.sock")
	p := newPlantOf(t, nil, []string{"--decide-socket", socket})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, want int, says string, env []string, binary string, args ...string) {
		t.Helper()
		cmd := exec.Command(binary, args...)
		cmd.Env = append(append(os.Environ(), asCaracal+"=1"), env...)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		text := out.String() + errs.String()
		if code := cmd.ProcessState.ExitCode(); code != want || !strings.Contains(text, says) || want != exitUsage && strings.Count(text, "\n") != 1 {
			t.Errorf("%s: ends with %d and %q, want %d and %q", what, code, text, want, says)
		}
	}
	decide, admin := strings.TrimPrefix(p.decide, "http://"), strings.TrimPrefix(p.adminURL, "http://")
	check("a ready daemon", exitDone, "ready: "+decide, nil, p.daemonBinary, "--health-check", "--decide-addr", decide)
	check("by its socket", exitDone, "ready: "+socket, []string{"CARACALD_DECIDE_SOCKET=" + socket}, p.daemonBinary, "--health-check")
	check("whether it lives", exitDone, "live: ", nil, p.daemonBinary, "--health-check=live", "--decide-addr", decide)
	check("a question that is none", exitUsage, "ready or live", nil, p.daemonBinary, "--health-check=fine")
	check("a daemon that listens nowhere", exitFailed, "nowhere", nil, p.daemonBinary, "--health-check", "--decide-addr", "")
	check("a ready control plane", exitDone, "ready: "+admin, nil, self, "admin", "--health-check", "--admin-addr", admin)
	check("by the settings of a mirror", exitDone, "ready", nil, self, "mirror", "--health-check", "--mirror-addr", admin)

	p.daemon.kill()
	check("nobody behind a socket", exitFailed, "not well", nil, p.daemonBinary, "--health-check", "--decide-socket", socket)
	check("nobody listens", exitFailed, "not well", nil, p.daemonBinary, "--health-check", "--decide-addr", decide)

	// It knows nobody who tells it of its zone, and speaks TLS.
	cert, key := selfSigned(t)
	alone := &process{t: t, name: "caracald", log: &tail{}, make: func() *exec.Cmd {
		return exec.Command(p.daemonBinary, "--admin-url", "http://127.0.0.1:1", "--token", "none", "--zone", "zone", "--trust-root", filepath.Join(p.dir, "root.json"),
			"--state-dir", filepath.Join(p.dir, "alone"), "--decide-addr", decide, "--tls-cert", cert, "--tls-key", key)
	}}
	alone.start()
	t.Cleanup(alone.kill)
	secure := []string{"--decide-addr", decide, "--tls-cert", cert}
	p.eventually("it lives", func() bool {
		return exec.Command(p.daemonBinary, append(secure, "--health-check=live")...).Run() == nil
	})
	check("a daemon that is not ready", exitFailed, "a zone is not loaded yet", nil, p.daemonBinary, append(secure, "--health-check")...)
	check("TLS where it is not set", exitFailed, "not well", nil, p.daemonBinary, "--health-check", "--decide-addr", decide)
	p.admin.kill()
	check("no control plane", exitFailed, "not well", nil, self, "admin", "--health-check", "--admin-addr", admin)
}
