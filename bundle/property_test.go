package bundle_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"github.com/caracalai/caracald/bundle"
)

var idGen = rapid.StringMatching(`[A-Za-z0-9_.:-]{1,86}`)

// drawSet gives a manifest and its modules, in the manifest's order.
func drawSet(t *rapid.T) (*bundle.Manifest, []bundle.Module) {
	versions := rapid.SliceOfNDistinct(idGen, 1, 12, rapid.ID[string]).Draw(t, "versions")
	m := &bundle.Manifest{
		ZoneID:        idGen.Draw(t, "zone"),
		PolicySetID:   idGen.Draw(t, "set"),
		Version:       rapid.IntRange(1, 1<<53-1).Draw(t, "version"),
		SchemaVersion: rapid.StringN(1, 10, 30).Draw(t, "schema"),
	}
	var modules []bundle.Module
	for i, v := range versions {
		content := rapid.SliceOfN(rapid.Byte(), 0, 3000).Draw(t, "content")
		if rapid.Bool().Draw(t, "repeat") {
			content = bytes.Repeat(content, 20)
		}
		m.Policies = append(m.Policies, bundle.ManifestPolicy{
			PolicyID: fmt.Sprintf("p-%d", i), PolicyVersionID: v, Name: fmt.Sprintf("%d%s", i, rapid.String().Draw(t, "name")),
			ContentSHA256: bundle.SHA256Hex(content),
		})
		modules = append(modules, bundle.Module{PolicyVersionID: v, Content: content})
	}
	return m, modules
}

func TestPackRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, modules := drawSet(t)
		p, err := bundle.Pack(m, modules)
		if err != nil {
			t.Fatal(err)
		}
		shuffled, err := bundle.Pack(m, rapid.Permutation(slices.Clone(modules)).Draw(t, "order"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p.Data, shuffled.Data) || p.Statement != shuffled.Statement {
			t.Fatal("the order of the modules given changed the bundle")
		}
		c, err := bundle.Unpack(p.Data, p.Statement, bundle.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		if c.ManifestSHA256 != p.ManifestSHA256 || c.Manifest.ZoneID != m.ZoneID || c.Manifest.Version != m.Version || c.Manifest.SchemaVersion != m.SchemaVersion || !slices.Equal(c.Manifest.Policies, m.Policies) {
			t.Fatalf("packed %+v, unpacked %+v", m, c.Manifest)
		}
		same := func(a, b bundle.Module) bool {
			return a.PolicyVersionID == b.PolicyVersionID && bytes.Equal(a.Content, b.Content)
		}
		if !slices.EqualFunc(c.Modules, modules, same) {
			t.Fatal("other modules came out than went in")
		}
		again, err := bundle.Pack(c.Manifest, c.Modules)
		if err != nil || !bytes.Equal(again.Data, p.Data) {
			t.Fatalf("packing what was unpacked gave other bytes: %v", err)
		}
		in, _, err := bundle.Inspect(p.Data, bundle.DefaultLimits())
		if err != nil || in.BundleSHA256 != p.BundleSHA256 || in.UncompressedSize != p.Statement.UncompressedSize || len(in.Files) != len(modules)+1 {
			t.Fatalf("inspected %+v: %v", in, err)
		}
	})
}

// TestPackCarriesNothingOver: encoders are used again, and a bundle has the bytes
// that a new one gives, whatever was packed before it: of one block or of
// several, compressible or not.
func TestPackCarriesNothingOver(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	bytesOf := func(n, kinds int) []byte {
		b := make([]byte, random.IntN(n))
		for i := range b {
			b[i] = byte(random.IntN(kinds))
		}
		return b
	}
	for i := range 16 {
		p := pack(t, string(bytes.Repeat(bytesOf(3000, 1+random.IntN(40)), random.IntN(150))), string(bytesOf(300_000, 2+random.IntN(255))))
		want := frame(t, unframe(t, p.Data), zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
		if !bytes.Equal(p.Data, want) {
			t.Fatalf("bundle %d: %d bytes, %d from a new encoder", i, len(p.Data), len(want))
		}
	}
}

func TestPackRefuses(t *testing.T) {
	m, modules := manifestOf("a", "b")
	for _, tt := range []struct {
		name     string
		modules  []bundle.Module
		sentinel error
		says     string
	}{
		{"a module missing", modules[:1], bundle.ErrFormat, "1 modules were given for 2"},
		{"a module twice", []bundle.Module{modules[0], modules[0]}, bundle.ErrFormat, "given twice"},
		{"a module too many", append(slices.Clone(modules), bundle.Module{PolicyVersionID: "x"}), bundle.ErrFormat, "3 modules"},
		{"another module", []bundle.Module{modules[0], {PolicyVersionID: "x"}}, bundle.ErrFormat, modules[1].PolicyVersionID + " is missing"},
		{"another content", []bundle.Module{modules[0], {PolicyVersionID: modules[1].PolicyVersionID, Content: []byte("B")}}, bundle.ErrHash, modules[1].PolicyVersionID},
	} {
		_, err := bundle.Pack(m, tt.modules)
		refused(t, err, tt.sentinel, "packing", tt.says)
	}
	other := *m
	other.Compressor = "another v1"
	_, err := bundle.Pack(&other, modules)
	refused(t, err, bundle.ErrFormat, `"another v1"`)
	if m.Format != "" || m.Compressor != "" {
		t.Error("packing changed the manifest that it was given")
	}
}

// TestPackRepetitive packs what compresses far beyond the allowed ratio.
func TestPackRepetitive(t *testing.T) {
	p := pack(t, string(bytes.Repeat([]byte("#"), 1<<20)), string(bytes.Repeat([]byte("# "), 1<<19)))
	if ratio := p.Statement.UncompressedSize / p.Statement.BundleSize; float64(ratio) < bundle.DefaultLimits().MaxRatio {
		t.Fatalf("the ratio %d is no test", ratio)
	}
	if _, err := bundle.Unpack(p.Data, p.Statement, bundle.DefaultLimits()); err != nil {
		t.Error(err)
	}
}

// TestAnyByteFlipped changes one byte of something signed or hashed.
func TestAnyByteFlipped(t *testing.T) {
	p := vectorBundle(t)
	root := signRoot(t, firstRoot(t), rootA, rootB)
	trust, err := bundle.LoadTrust(root)
	if err != nil {
		t.Fatal(err)
	}
	statement := signed(t)(bundle.SignStatement(p.Statement, testKey(t, bundlesA)))
	pointer := signed(t)(bundle.SignPointer(pointerTo(p), testKey(t, pointersA)))
	null := signed(t)(bundle.SignPointer(nullPointer(), testKey(t, pointersA)))
	verifyPointer := func(data []byte) error {
		_, err := trust.VerifyPointer(data, issued)
		return err
	}
	for _, tt := range []struct {
		name string
		data []byte
		read func([]byte) error
	}{
		{"manifest", p.Manifest, func(data []byte) error {
			m, err := bundle.ParseManifest(data)
			if err != nil {
				return err
			}
			// Another manifest may be one; it must have another hash.
			sum, err := m.SHA256()
			if err == nil && sum != p.ManifestSHA256 {
				err = bundle.ErrHash
			}
			return err
		}},
		{"bundle", p.Data, func(data []byte) error {
			_, err := bundle.Unpack(data, p.Statement, bundle.DefaultLimits())
			return err
		}},
		{"statement", statement, func(data []byte) error {
			_, err := trust.VerifyStatement(data)
			return err
		}},
		{"pointer", pointer, verifyPointer},
		{"null pointer", null, verifyPointer},
		{"root", root, func(data []byte) error {
			_, err := bundle.LoadTrust(json.RawMessage(data))
			return err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.read(tt.data); err != nil {
				t.Fatal(err)
			}
			flip := func(at int, by byte) error {
				data := slices.Clone(tt.data)
				data[at] ^= by
				return tt.read(data)
			}
			for at := range tt.data { // in every place, the bit that changes the case of a letter
				if flip(at, 0x20) == nil {
					t.Errorf("byte %d (%q) was changed by 0x20 and accepted", at, tt.data[at])
				}
			}
			rapid.Check(t, func(t *rapid.T) {
				at, by := rapid.IntRange(0, len(tt.data)-1).Draw(t, "at"), rapid.ByteMin(1).Draw(t, "by")
				if flip(at, by) == nil {
					t.Fatalf("byte %d (%q) was changed by %#x and accepted", at, tt.data[at], by)
				}
			})
		})
	}
}

// TestArchiveFlipped alters a byte of the archive and signs the result: nothing
// in it may change unseen, though every hash of the whole is right.
func TestArchiveFlipped(t *testing.T) {
	p := vectorBundle(t)
	archive := unframe(t, p.Data)
	rapid.Check(t, func(t *rapid.T) {
		altered := slices.Clone(archive)
		altered[rapid.IntRange(0, len(archive)-1).Draw(t, "at")] ^= rapid.ByteMin(1).Draw(t, "by")
		data := frame(t, altered)
		if _, err := bundle.Unpack(data, describing(data, string(p.Manifest), len(altered)), bundle.DefaultLimits()); err == nil {
			t.Fatal("the altered archive was accepted")
		}
	})
}

func TestManifestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, _ := drawSet(t)
		m.Format, m.EntryPoint, m.Compressor = bundle.ManifestFormat, rapid.StringN(1, 20, 60).Draw(t, "entry point"), rapid.StringN(1, 20, 60).Draw(t, "compressor")
		data, err := m.Canonical()
		if err != nil {
			t.Fatal(err)
		}
		read, err := bundle.ParseManifest(data)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprintf("%#v", read) != fmt.Sprintf("%#v", m) {
			t.Fatalf("wrote %#v, read %#v", m, read)
		}
	})
}
