package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"

	"github.com/caracalai/caracald/internal/serving"
)

// Certificate is what a server of one run shows. It is good for loopback and a day.
type Certificate struct {
	// Cert and Key are PEM.
	Cert string `json:"cert"`
	Key  string `json:"key"`
	// CA is the PEM of the authority that signed it, whose key nobody has any more.
	CA string `json:"-"`
}

// NewCertificate makes an authority and one certificate of it.
func NewCertificate() (*Certificate, error) {
	ca, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making an authority: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	template := func(n int64, name string) *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(n), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	}
	authority, leaf := template(1, "caracal-bench"), template(2, "localhost")
	authority.IsCA, authority.BasicConstraintsValid, authority.KeyUsage = true, true, x509.KeyUsageCertSign
	leaf.IPAddresses, leaf.DNSNames = []net.IP{net.IPv4(127, 0, 0, 1)}, []string{"localhost"}
	leaf.KeyUsage, leaf.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	root, err := x509.CreateCertificate(rand.Reader, authority, authority, ca.Public(), ca)
	if err != nil {
		return nil, fmt.Errorf("signing an authority: %w", err)
	}
	cert, err := x509.CreateCertificate(rand.Reader, leaf, authority, key.Public(), ca)
	if err != nil {
		return nil, fmt.Errorf("signing a certificate: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding a key: %w", err)
	}
	text := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return &Certificate{Cert: text("CERTIFICATE", cert), Key: text("PRIVATE KEY", private), CA: text("CERTIFICATE", root)}, nil
}

// Client is what whoever trusts only this certificate's authority has.
func (c *Certificate) Client() (*tls.Config, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(c.CA)) {
		return nil, errors.New("the authority cannot be read")
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, nil
}

// listen serves TLS as caracal admin does.
func (c *Certificate) listen(addr string) (net.Listener, error) {
	cert, err := tls.X509KeyPair([]byte(c.Cert), []byte(c.Key))
	if err != nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	return serving.Secure(l, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}), nil
}
