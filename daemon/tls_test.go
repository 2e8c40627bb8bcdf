package daemon_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// certificate makes a self-signed certificate for the loopback address, and the
// pool that trusts it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
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

// TestTLS: the admin side is asked over mTLS without a token, and decisions are
// served to callers with a certificate only.
func TestTLS(t *testing.T) {
	p := newPlane(t)
	v := p.publish("z1", 1, "")
	p.activate("z1", &v)
	cert, pool := certificate(t)
	front := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || len(r.TLS.VerifiedChains) == 0 {
			t.Error("a call without a certificate, or with a token")
		}
		r.Header.Set("Authorization", "Bearer "+daemonToken)
		p.server.Config.Handler.ServeHTTP(w, r)
	}))
	front.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	front.StartTLS()
	t.Cleanup(func() {
		front.CloseClientConnections()
		front.Close()
	})
	cfg := configOf(t, p)
	cfg.AdminURLs, cfg.Token = []string{front.URL}, ""
	cfg.AdminTLS = &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}
	cfg.DecideTLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	n := startReady(t, cfg)
	n.url = "https://" + n.d.Addr().String()
	n.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}}}
	if got := n.decide(inputOf("z1", "read", "")); got.Decision != "allow" {
		t.Fatalf("got %+v", got)
	}
	stranger := node{t: t, url: n.url, client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}}
	if r, err := stranger.try("POST", "/v1/decide", []byte(inputOf("z1", "read", ""))); err == nil {
		t.Fatalf("a caller without a certificate was answered %d %s", r.status, r.body)
	}
}

// TestNextAddressWhereItIsNotTaken: an address that does not take the daemon for who
// it is, as a mirror does not where there is only a certificate, is left for the next.
func TestNextAddressWhereItIsNotTaken(t *testing.T) {
	p := newPlane(t)
	p.activate("z1", nil)
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		problem(w, http.StatusUnauthorized, "unauthorized")
	}))
	t.Cleanup(mirror.Close)
	cfg := configOf(t, p)
	cfg.AdminURLs = append([]string{mirror.URL}, cfg.AdminURLs...)
	startReady(t, cfg)
	p.loaded("z1", 0)
}
