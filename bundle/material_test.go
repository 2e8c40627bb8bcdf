package bundle_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caracalai/caracald/bundle"
)

const (
	zoneID       = "0198f3a0-0000-7000-8000-00000000000a"
	policySetID  = "0198f3a0-0000-7000-8000-00000000000b"
	setVersionID = "0198f3a0-0000-7000-8000-00000000000c"
)

// testKey is the key whose seed is n, 32 times: the same on every run, so that
// what it signs can be compared byte for byte. It protects nothing.
func testKey(tb testing.TB, n byte) *bundle.PrivateKey {
	tb.Helper()
	seed := make([]byte, ed25519.SeedSize)
	for i := range seed {
		seed[i] = n
	}
	der, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(seed))
	if err != nil {
		tb.Fatal(err)
	}
	key, err := bundle.ParsePrivateKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// Keys of the tests, by what they may sign.
const (
	rootA, rootB, rootC  byte = 1, 2, 3
	newRootA, newRootB   byte = 4, 5
	bundlesA, bundlesB   byte = 11, 12
	pointersA, pointersB byte = 21, 22
	strangerA, strangerB byte = 31, 32
)

func privates(tb testing.TB, seeds ...byte) []*bundle.PrivateKey {
	tb.Helper()
	var keys []*bundle.PrivateKey
	for _, n := range seeds {
		keys = append(keys, testKey(tb, n))
	}
	return keys
}

func role(tb testing.TB, threshold int, seeds ...byte) bundle.Role {
	tb.Helper()
	r := bundle.Role{Threshold: threshold}
	for _, k := range privates(tb, seeds...) {
		r.Keys = append(r.Keys, k.Public())
	}
	return r
}

// rootExpiry is far from any time that the tests use as now.
var rootExpiry = time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC)

// firstRoot is version 1: two of three root keys, one key each for bundles and pointers.
func firstRoot(tb testing.TB) bundle.Root {
	tb.Helper()
	return bundle.Root{
		Version:  1,
		Expires:  rootExpiry,
		Root:     role(tb, 2, rootA, rootB, rootC),
		Bundles:  role(tb, 1, bundlesA),
		Pointers: role(tb, 1, pointersA),
	}
}

func signRoot(tb testing.TB, r bundle.Root, seeds ...byte) json.RawMessage {
	tb.Helper()
	raw, err := bundle.SignRoot(r, privates(tb, seeds...)...)
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

func loadTrust(tb testing.TB, r bundle.Root, seeds ...byte) *bundle.Trust {
	tb.Helper()
	trust, err := bundle.LoadTrust(signRoot(tb, r, seeds...))
	if err != nil {
		tb.Fatal(err)
	}
	return trust
}

// manifestOf lists contents as policies 0, 1, ... in their order.
func manifestOf(contents ...string) (*bundle.Manifest, []bundle.Module) {
	m := &bundle.Manifest{ZoneID: zoneID, PolicySetID: policySetID, Version: 7, SchemaVersion: "2026-05-20"}
	var modules []bundle.Module
	for i, content := range contents {
		version := fmt.Sprintf("0198f3a0-0000-7000-8000-0000000001%02x", i)
		m.Policies = append(m.Policies, bundle.ManifestPolicy{
			PolicyID:        fmt.Sprintf("0198f3a0-0000-7000-8000-0000000002%02x", i),
			PolicyVersionID: version,
			Name:            fmt.Sprintf("policy-%d", i),
			ContentSHA256:   bundle.SHA256Hex([]byte(content)),
		})
		modules = append(modules, bundle.Module{PolicyVersionID: version, Content: []byte(content)})
	}
	return m, modules
}

func pack(tb testing.TB, contents ...string) *bundle.Packed {
	tb.Helper()
	m, modules := manifestOf(contents...)
	p, err := bundle.Pack(m, modules)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// issued is when the tests' pointers are made; they last an hour.
var issued = time.Date(2026, 7, 1, 12, 0, 0, 123456789, time.UTC)

func pointerTo(p *bundle.Packed) bundle.Pointer {
	set, version := policySetID, setVersionID
	return bundle.Pointer{
		ZoneID: zoneID, Sequence: 41, PolicySetID: &set, PolicySetVersionID: &version,
		ManifestSHA256: p.ManifestSHA256, BundleSHA256: p.BundleSHA256, BundleSize: p.Statement.BundleSize,
		IssuedAt: issued, ExpiresAt: issued.Add(time.Hour),
		Settings: bundle.ZoneSettings{AuditMask: []string{"/context/subject_claims/email"}, AuditInputs: "kept"},
	}
}

func nullPointer() bundle.Pointer {
	return bundle.Pointer{ZoneID: zoneID, Sequence: 42, IssuedAt: issued, ExpiresAt: issued.Add(time.Hour)}
}

// refused fails the test unless err matches the sentinel and says all the words.
func refused(tb testing.TB, err error, sentinel error, words ...string) {
	tb.Helper()
	if !errors.Is(err, sentinel) {
		tb.Fatalf("got the error %v, want one that matches %q", err, sentinel)
	}
	for _, other := range []error{bundle.ErrHash, bundle.ErrSignature, bundle.ErrExpired, bundle.ErrLimit, bundle.ErrFormat} {
		if other != sentinel && errors.Is(err, other) {
			tb.Fatalf("the error %v matches %q too", err, other)
		}
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			tb.Fatalf("the error %q does not say %q", err, w)
		}
	}
}
