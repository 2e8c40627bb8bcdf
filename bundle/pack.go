package bundle

import (
	"archive/tar"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Compressor names what compresses bundles here: the library, its version and
// its level. It is part of the manifest, because another one gives other bytes.
const Compressor = "klauspost/compress v1.20.3 zstd best"

// Names of a bundle's files.
const (
	manifestName = "manifest.json"
	policyDir    = "policies/"
	policySuffix = ".rego"
)

// Module is the content of one policy version.
type Module struct {
	PolicyVersionID string
	Content         []byte
}

// Packed is a bundle with what its signature is to cover.
type Packed struct {
	// Data is the compressed bundle.
	Data                         []byte
	BundleSHA256, ManifestSHA256 string
	// Manifest is the canonical manifest.
	Manifest  []byte
	Statement Statement
}

// Pack makes the bundle of a manifest. The same manifest and modules give the
// same bytes on any machine. Modules may come in any order; there must be one
// for each policy of the manifest, with the hash that the manifest says.
// Format, EntryPoint and Compressor are filled in where they are empty.
func Pack(m *Manifest, modules []Module) (*Packed, error) {
	filled := *m
	filled.Format = cmp.Or(m.Format, ManifestFormat)
	filled.EntryPoint = cmp.Or(m.EntryPoint, EntryPoint)
	filled.Compressor = cmp.Or(m.Compressor, Compressor)
	if filled.Compressor != Compressor {
		return nil, fmt.Errorf("%w: packing: the manifest wants the compressor %q; this is %q", ErrFormat, filled.Compressor, Compressor)
	}
	manifest, err := filled.Canonical()
	if err != nil {
		return nil, fmt.Errorf("packing: %w", err)
	}
	contents := make(map[string][]byte, len(modules))
	for _, mod := range modules {
		if _, twice := contents[mod.PolicyVersionID]; twice {
			return nil, fmt.Errorf("%w: packing: the module %s was given twice", ErrFormat, mod.PolicyVersionID)
		}
		contents[mod.PolicyVersionID] = mod.Content
	}
	if len(contents) != len(filled.Policies) {
		return nil, fmt.Errorf("%w: packing: %d modules were given for %d policies", ErrFormat, len(contents), len(filled.Policies))
	}
	files := []file{{manifestName, manifest}}
	for _, p := range filled.Policies {
		content, ok := contents[p.PolicyVersionID]
		if !ok {
			return nil, fmt.Errorf("%w: packing: the module %s is missing", ErrFormat, p.PolicyVersionID)
		}
		if SHA256Hex(content) != p.ContentSHA256 {
			return nil, fmt.Errorf("%w: packing: the content of policy version %s is not what the manifest says", ErrHash, p.PolicyVersionID)
		}
		files = append(files, file{policyDir + p.PolicyVersionID + policySuffix, content})
	}
	archive, err := archive(files)
	if err != nil {
		return nil, fmt.Errorf("packing: %w", err)
	}
	data := compress(archive)
	p := &Packed{Data: data, BundleSHA256: SHA256Hex(data), ManifestSHA256: SHA256Hex(manifest), Manifest: manifest}
	p.Statement = Statement{
		ManifestSHA256:   p.ManifestSHA256,
		BundleSHA256:     p.BundleSHA256,
		BundleSize:       int64(len(data)),
		UncompressedSize: int64(len(archive)),
	}
	return p, nil
}

type file struct {
	name string
	data []byte
}

// archive makes a tar that depends on names and contents alone.
func archive(files []file) ([]byte, error) {
	slices.SortFunc(files, func(a, b file) int { return cmp.Compare(a.name, b.name) })
	var out bytes.Buffer
	err := writeArchive(&out, files)
	return out.Bytes(), err
}

func writeArchive(to io.Writer, files []file) error {
	w := tar.NewWriter(to)
	for _, f := range files {
		h := &tar.Header{Format: tar.FormatUSTAR, Typeflag: tar.TypeReg, Name: f.name, Mode: 0o644, Size: int64(len(f.data)), ModTime: time.Unix(0, 0)}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := w.Write(f.data); err != nil {
			return err
		}
	}
	return w.Close()
}

// encoders are kept because each has 50 MB of tables, which took longer to make
// than a bundle does to compress.
var encoders = sync.Pool{New: func() any {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
	if err != nil {
		panic(err) // an option out of its range, and these are constants
	}
	return enc
}}

// compress gives one zstd frame with a checksum; one goroutine, so that blocks
// never depend on scheduling. An encoder carries nothing from one frame to the
// next.
func compress(data []byte) []byte {
	enc := encoders.Get().(*zstd.Encoder)
	out := enc.EncodeAll(data, nil)
	encoders.Put(enc)
	return out
}
