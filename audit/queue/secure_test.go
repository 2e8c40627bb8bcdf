package queue_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/caracalai/caracald/audit/queue"
	"github.com/caracalai/caracald/audit/queue/natstest"
)

// issuer makes certificates below one authority, and keeps all as PEM files.
type issuer struct {
	t    *testing.T
	dir  string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	ca   string
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{t: t, dir: t.TempDir()}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	var err error
	if i.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &i.key.PublicKey, i.key)
	if err != nil {
		t.Fatal(err)
	}
	if i.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	i.ca = i.write("ca.pem", "CERTIFICATE", der)
	return i
}

func (i *issuer) write(name, kind string, der []byte) string {
	i.t.Helper()
	path := filepath.Join(i.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		i.t.Fatal(err)
	}
	return path
}

// issue makes a certificate for this machine and its key.
func (i *issuer) issue(name string) (cert, key string) {
	i.t.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, i.cert, &own.PublicKey, i.key)
	if err != nil {
		i.t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		i.t.Fatal(err)
	}
	return i.write(name+".pem", "CERTIFICATE", der), i.write(name+"-key.pem", "PRIVATE KEY", raw)
}

// operator makes an operator with one account of JetStream and a credentials
// file of a user in it, and the part of a server's configuration that trusts it.
func operator(t *testing.T) (config, creds string) {
	t.Helper()
	must := func(text string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	pair := func(make func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
		t.Helper()
		k, err := make()
		if err != nil {
			t.Fatal(err)
		}
		return k, must(k.PublicKey())
	}
	root, rootID := pair(nkeys.CreateOperator)
	account, accountID := pair(nkeys.CreateAccount)
	user, userID := pair(nkeys.CreateUser)
	_, systemID := pair(nkeys.CreateAccount)
	o := jwt.NewOperatorClaims(rootID)
	o.SystemAccount = systemID
	a := jwt.NewAccountClaims(accountID)
	a.Limits.JetStreamLimits = jwt.JetStreamLimits{DiskStorage: -1, MemoryStorage: -1, Streams: -1, Consumer: -1}
	u := jwt.NewUserClaims(userID)
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	file, err := jwt.FormatUserConfig(must(u.Encode(account)), seed)
	if err != nil {
		t.Fatal(err)
	}
	creds = filepath.Join(t.TempDir(), "user.creds")
	if err := os.WriteFile(creds, file, 0o600); err != nil {
		t.Fatal(err)
	}
	config = fmt.Sprintf("operator: %s\nsystem_account: %s\nresolver: MEMORY\nresolver_preload: { %s: %s, %s: %s }\n", must(o.Encode(root)), systemID,
		accountID, must(a.Encode(root)), systemID, must(jwt.NewAccountClaims(systemID).Encode(root)))
	return config, creds
}

// TestSecured: TLS with certificates of both sides, and a credentials file.
func TestSecured(t *testing.T) {
	i := newIssuer(t)
	serverCert, serverKey := i.issue("server")
	clientCert, clientKey := i.issue("client")
	accounts, creds := operator(t)
	n := natstest.Start(t, fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }\n%s", serverCert, serverKey, i.ca, accounts))
	secured := func(cfg *queue.Config) {
		cfg.CredsFile, cfg.CAFile, cfg.CertFile, cfg.KeyFile = creds, i.ca, clientCert, clientKey
	}
	v := newVault(t)
	consume(t, n.URL(), v.server, func(cfg *queue.Config, _ *queue.ConsumerOptions) { secured(cfg) })
	s := newSpool(t)
	s.add(10)
	s.ship(publisher(t, n.URL(), secured), 4)
	v.holds(0, 10)

	for name, lacks := range map[string]func(*queue.Config){
		"credentials": func(c *queue.Config) { c.CredsFile = "" },
		"certificate": func(c *queue.Config) { c.CertFile, c.KeyFile = "", "" },
		"authority":   func(c *queue.Config) { c.CAFile = "" },
	} {
		p := publisher(t, n.URL(), func(cfg *queue.Config) {
			secured(cfg)
			lacks(cfg)
		})
		s.add(1)
		if next, _, err := p.Take(t.Context(), s.daemon, s.read(0)); err == nil {
			t.Errorf("without the %s a batch is taken up to %d", name, next)
		}
	}
}
