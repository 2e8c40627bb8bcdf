package serving_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caracalai/caracald/internal/serving"
)

// certificate is good for a server and a client; it is its own authority.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sts-1"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// served starts a server that answers what it was spoken to by. The end of the test stops it.
func served(t *testing.T, config *tls.Config) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := serving.New(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := "nobody"
		if len(r.TLS.VerifiedChains) > 0 {
			name = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		_, _ = fmt.Fprint(w, r.Proto, " ", name)
	}))
	server.ErrorLog = log.New(t.Output(), "", 0)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(serving.Secure(l, config)) }()
	t.Cleanup(func() {
		if err := server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func TestSecure(t *testing.T) {
	cert, pool := certificate(t)
	addr := served(t, &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven})

	// Those who connect and say nothing keep nobody else from being served, nor from ending.
	for range 50 {
		idle, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = idle.Close() }()
	}
	for want, c := range map[string]struct {
		config *tls.Config
		http2  bool
	}{
		"HTTP/2.0 nobody": {&tls.Config{RootCAs: pool}, true},
		"HTTP/1.1 nobody": {&tls.Config{RootCAs: pool}, false},
		"HTTP/2.0 sts-1":  {&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}, true},
	} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: c.config, ForceAttemptHTTP2: c.http2, DisableKeepAlives: true}}
		resp, err := client.Get("https://" + addr)
		if err != nil {
			t.Errorf("%s: %v", want, err)
			continue
		}
		got, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || string(got) != want {
			t.Errorf("answered %q (%v), want %q", got, err, want)
		}
	}

	// What is no handshake is told so, and the next one is served.
	resp, err := http.Get("http://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), "HTTPS") {
		t.Errorf("in the clear: %d %s (%v)", resp.StatusCode, text, err)
	}
	if _, err := tls.Dial("tcp", addr, &tls.Config{}); err == nil {
		t.Error("whoever does not trust the certificate shakes hands")
	}
	conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: pool})
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}
