package bundle_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/caracalai/caracald/bundle"
)

// seed adds the test vectors of those names.
func seed(f *testing.F, add func(data []byte), names ...string) {
	f.Helper()
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join("testdata", "vectors", name))
		if err != nil {
			f.Fatal(err)
		}
		add(data)
	}
}

// told fails unless an error says why, by one of the sentinels that are allowed.
func told(t *testing.T, err error, sentinels ...error) {
	t.Helper()
	for _, s := range sentinels {
		if errors.Is(err, s) {
			return
		}
	}
	t.Fatalf("the error %v matches none of %q", err, sentinels)
}

func FuzzParseManifest(f *testing.F) {
	seed(f, func(data []byte) { f.Add(data) }, "manifest.json")
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := bundle.ParseManifest(data)
		if err != nil {
			told(t, err, bundle.ErrFormat, bundle.ErrLimit)
			return
		}
		again, err := m.Canonical()
		if err != nil {
			t.Fatalf("what was read is refused: %v", err)
		}
		if !bytes.Equal(again, data) {
			t.Fatalf("two manifests mean the same:\n%q\n%q", data, again)
		}
		if sum, err := m.SHA256(); err != nil || sum != bundle.SHA256Hex(data) {
			t.Fatalf("the hash is %s, %v", sum, err)
		}
	})
}

// FuzzUnpack reads bundles with the statement that somebody would sign who signs
// anything. With inner the data is the archive and is compressed first, so that
// what is tried is not only how zstd refuses.
func FuzzUnpack(f *testing.F) {
	const most = 1 << 20
	lim := bundle.Limits{MaxCompressed: most, MaxUncompressed: most, MaxFile: most / 2, MaxFiles: 8, MaxRatio: 200}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { enc.Close() })
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(most))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(dec.Close)
	seed(f, func(data []byte) {
		f.Add(data, false)
		f.Add(unframe(f, data), true)
	}, "bundle.tar.zst")
	f.Fuzz(func(t *testing.T, data []byte, inner bool) {
		if len(data) > most {
			return
		}
		archive := data
		if inner {
			data = enc.EncodeAll(data, nil)
		} else {
			archive, _ = dec.DecodeAll(data, nil)
		}
		in, c, err := bundle.Inspect(data, lim)
		want := bundle.Statement{BundleSHA256: bundle.SHA256Hex(data), BundleSize: int64(len(data)), UncompressedSize: int64(len(archive))}
		if err != nil {
			told(t, err, bundle.ErrFormat, bundle.ErrLimit, bundle.ErrHash)
			if _, err := bundle.Unpack(data, want, lim); err == nil {
				t.Fatal("what inspection refuses was unpacked")
			}
			return
		}
		if in.UncompressedSize != int64(len(archive)) {
			t.Fatalf("the archive has %d bytes, inspection says %d", len(archive), in.UncompressedSize)
		}
		if _, err := bundle.Unpack(data, want, lim); !errors.Is(err, bundle.ErrHash) {
			t.Fatalf("unpacked without the manifest's hash: %v", err)
		}
		want.ManifestSHA256 = in.ManifestSHA256
		again, err := bundle.Unpack(data, want, lim)
		if err != nil {
			t.Fatalf("what inspection accepts is refused: %v", err)
		}
		if len(again.Modules) != len(c.Manifest.Policies) {
			t.Fatalf("%d modules for %d policies", len(again.Modules), len(c.Manifest.Policies))
		}
		if c.Manifest.Compressor != bundle.Compressor {
			return // another's bytes cannot be made again
		}
		p, err := bundle.Pack(again.Manifest, again.Modules)
		if err != nil {
			t.Fatalf("what was unpacked cannot be packed: %v", err)
		}
		if packed, err := dec.DecodeAll(p.Data, nil); err != nil || !bytes.Equal(packed, archive) {
			t.Fatalf("two archives hold the same files (%v)", err)
		}
	})
}

func FuzzEnvelope(f *testing.F) {
	trust := loadTrust(f, firstRoot(f), rootA, rootB)
	signs := testKey(f, pointersA)
	seed(f, func(data []byte) { f.Add(data, false) }, "statement.envelope.json", "pointer.envelope.json", "pointer-null.envelope.json")
	seed(f, func(data []byte) { f.Add([]byte(payloadOf(f, data)), true) }, "pointer.envelope.json", "pointer-null.envelope.json")
	f.Fuzz(func(t *testing.T, data []byte, inner bool) {
		env := json.RawMessage(data)
		if inner { // a payload, which our own key signs
			env = sealed(t, bundle.PointerType, string(data), pointersA)
		}
		if s, err := trust.VerifyStatement(env); err == nil {
			again, err := bundle.SignStatement(s, testKey(t, bundlesA))
			if err != nil {
				t.Fatalf("what was verified cannot be signed: %v", err)
			}
			if payloadOf(t, again) != payloadOf(t, env) {
				t.Fatalf("two payloads mean the same: %s and %s", env, again)
			}
		} else {
			told(t, err, bundle.ErrFormat, bundle.ErrLimit, bundle.ErrSignature)
		}
		p, err := trust.VerifyPointer(env, issued)
		if err != nil && !errors.Is(err, bundle.ErrExpired) {
			told(t, err, bundle.ErrFormat, bundle.ErrLimit, bundle.ErrSignature)
			return
		}
		if expired := !issued.Before(p.ExpiresAt); expired != (err != nil) {
			t.Fatalf("the pointer of %+v gives the error %v", p, err)
		}
		again, err := bundle.SignPointer(p, signs)
		if err != nil {
			t.Fatalf("what was verified cannot be signed: %v", err)
		}
		if payloadOf(t, again) != payloadOf(t, env) {
			t.Fatalf("two payloads mean the same: %s and %s", env, again)
		}
	})
}

func FuzzLoadTrust(f *testing.F) {
	seed(f, func(data []byte) { f.Add(data) }, "root.1.json", "root.2.json")
	first := loadTrust(f, firstRoot(f), rootA, rootB)
	again := signRoot(f, rotated(f), rootB, rootC, newRootA, newRootB)
	f.Fuzz(func(t *testing.T, data []byte) {
		if next, err := first.Update(data); err != nil {
			told(t, err, bundle.ErrFormat, bundle.ErrLimit, bundle.ErrSignature)
		} else if next.Version() != 2 {
			t.Fatalf("version %d follows 1", next.Version())
		}
		trust, err := bundle.LoadTrust(data)
		if err != nil {
			told(t, err, bundle.ErrFormat, bundle.ErrLimit, bundle.ErrSignature)
			return
		}
		if _, err := trust.Update(data); err == nil {
			t.Fatal("a root follows itself")
		}
		if _, err := trust.UpdateAll([]json.RawMessage{data, again}); err != nil {
			told(t, err, bundle.ErrSignature, bundle.ErrFormat)
		}
		if err := trust.CheckExpiry(trust.Expires().Add(-time.Second)); err != nil {
			t.Fatalf("expired before its time: %v", err)
		}
		told(t, trust.CheckExpiry(trust.Expires()), bundle.ErrExpired)
		// What a root means can be written again, by those who hold the keys.
		raw, err := bundle.SignRoot(trust.Root(), testKey(t, rootA))
		if err != nil {
			t.Fatalf("the root that was loaded cannot be made: %v", err)
		}
		if _, err := bundle.AddRootSignature(raw, testKey(t, rootB)); err != nil {
			t.Fatal(err)
		}
	})
}
