package bundle_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/caracalai/caracald/bundle"
)

var update = flag.Bool("update", false, "write testdata/vectors again instead of comparing with it")

// golden compares what was made with the vector of that name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", "vectors", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what it was:\n got %.2000q\nwant %.2000q", name, got, want)
	}
}

// vectorBundle lists its policies in the set's
// order, which is not the order of the archive.
func vectorBundle(t *testing.T) *bundle.Packed {
	t.Helper()
	m, modules := manifestOf(
		"package caracal.authz\n\ndefault result := {\"decision\": \"deny\"}\n",
		"package caracal.authz\n\n# Grüße: not ASCII, and no line end at the end\ndenials contains \"closed\" if input.context.closed")
	m.Policies[0].Name, m.Policies[1].Name = "baseline", "opening hours \u2028 <é&€>"
	m.Policies[0], m.Policies[1] = m.Policies[1], m.Policies[0]
	p, err := bundle.Pack(m, modules)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func signed(t *testing.T) func(json.RawMessage, error) json.RawMessage {
	return func(raw json.RawMessage, err error) json.RawMessage {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
}

// rotated is version 2: new root keys, two of two, and another pointers key.
func rotated(t testing.TB) bundle.Root {
	t.Helper()
	r := firstRoot(t)
	r.Version = 2
	r.Root = role(t, 2, newRootA, newRootB)
	r.Pointers = role(t, 1, pointersB)
	return r
}

func TestVectors(t *testing.T) {
	p := vectorBundle(t)
	golden(t, "manifest.json", p.Manifest)
	golden(t, "manifest.sha256", []byte(p.ManifestSHA256+"\n"))
	golden(t, "bundle.tar.zst", p.Data)
	golden(t, "bundle.sha256", []byte(p.BundleSHA256+"\n"))
	golden(t, "statement.envelope.json", signed(t)(bundle.SignStatement(p.Statement, testKey(t, bundlesA))))
	golden(t, "pointer.envelope.json", signed(t)(bundle.SignPointer(pointerTo(p), testKey(t, pointersA))))
	golden(t, "pointer-null.envelope.json", signed(t)(bundle.SignPointer(nullPointer(), testKey(t, pointersA))))
	golden(t, "root.1.json", signRoot(t, firstRoot(t), rootA, rootB))
	golden(t, "root.2.json", signRoot(t, rotated(t), rootA, rootC, newRootA, newRootB))
	for name, n := range map[string]byte{"root-a": rootA, "bundles": bundlesA, "pointers": pointersA} {
		pem, err := testKey(t, n).Public().MarshalPEM()
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".pub.pem", pem)
	}
}

// TestVectorsRead reads the committed bytes, made or not by this code.
func TestVectorsRead(t *testing.T) {
	read := func(name string) []byte {
		t.Helper()
		data, err := os.ReadFile(filepath.Join("testdata", "vectors", name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	trust, err := bundle.LoadTrust(read("root.1.json"))
	if err != nil {
		t.Fatal(err)
	}
	statement, err := trust.VerifyStatement(read("statement.envelope.json"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := bundle.Unpack(read("bundle.tar.zst"), statement, bundle.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if got := c.ManifestSHA256 + "\n"; got != string(read("manifest.sha256")) {
		t.Errorf("the manifest's hash is %q", got)
	}
	if len(c.Modules) != 2 || c.Modules[0].PolicyVersionID != c.Manifest.Policies[0].PolicyVersionID || !bytes.Contains(c.Modules[0].Content, []byte("Grüße")) {
		t.Errorf("the modules are not in the manifest's order: %+v", c.Modules)
	}
	m, err := bundle.ParseManifest(read("manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if m.Compressor != bundle.Compressor || m.EntryPoint != bundle.EntryPoint || m.Version != 7 || m.Policies[0].Name != "opening hours \u2028 <é&€>" {
		t.Errorf("the manifest is %+v", m)
	}
	p, err := trust.VerifyPointer(read("pointer.envelope.json"), issued)
	if err != nil {
		t.Fatal(err)
	}
	if p.BundleSHA256+"\n" != string(read("bundle.sha256")) || *p.PolicySetVersionID != setVersionID || p.Sequence != 41 || !p.IssuedAt.Equal(issued) || p.Settings.AuditMask[0] != "/context/subject_claims/email" {
		t.Errorf("the pointer is %+v", p)
	}
	null, err := trust.VerifyPointer(read("pointer-null.envelope.json"), issued)
	if err != nil {
		t.Fatal(err)
	}
	if null.PolicySetID != nil || null.PolicySetVersionID != nil || null.Sequence != 42 || null.BundleSHA256 != "" {
		t.Errorf("the null pointer is %+v", null)
	}
	next, err := trust.Update(read("root.2.json"))
	if err != nil {
		t.Fatal(err)
	}
	if next.Version() != 2 || !next.Expires().Equal(rootExpiry) {
		t.Errorf("the rotated root is version %d until %s", next.Version(), next.Expires())
	}
	_, err = next.VerifyPointer(read("pointer.envelope.json"), issued)
	refused(t, err, bundle.ErrSignature)
	if _, err := next.VerifyStatement(read("statement.envelope.json")); err != nil {
		t.Errorf("the bundles key was kept: %v", err)
	}
}
