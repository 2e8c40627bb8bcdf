package bundle

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Limits bound what unpacking a bundle may cost.
type Limits struct {
	// MaxCompressed is the most bytes of the bundle itself.
	MaxCompressed int64
	// MaxUncompressed is the most bytes of the archive in it.
	MaxUncompressed int64
	// MaxFile is the most bytes of one file.
	MaxFile int64
	// MaxFiles is the most files, the manifest included.
	MaxFiles int
	// MaxRatio is how many times larger than the bundle an archive of more than
	// 8 MiB may be.
	MaxRatio float64
}

// DefaultLimits leave room for the largest policy set that can be published:
// MaxPolicies policies of 262,144 characters of four bytes would be 268 MB,
// which no set of text policies is; a fourth of that is the bound.
func DefaultLimits() Limits {
	return Limits{
		MaxCompressed:   32 << 20,
		MaxUncompressed: 72 << 20,
		MaxFile:         2 << 20,
		MaxFiles:        MaxPolicies + 1,
		MaxRatio:        200,
	}
}

// Contents is what a verified bundle holds.
type Contents struct {
	Manifest       *Manifest
	ManifestSHA256 string
	// Modules are in the order of the manifest.
	Modules []Module
}

// Unpack opens a bundle that must be the one that want describes. Size and hash
// of the compressed bytes are compared before anything is decompressed; then
// the size and ratio of the archive, its names and sizes, each policy's hash,
// the archive's form and the manifest's hash. Errors match ErrHash, ErrLimit or ErrFormat.
func Unpack(data []byte, want Statement, lim Limits) (*Contents, error) {
	if int64(len(data)) != want.BundleSize {
		return nil, fmt.Errorf("%w: the bundle has %d bytes, not %d", ErrHash, len(data), want.BundleSize)
	}
	if int64(len(data)) > lim.MaxCompressed { // before it costs a hash
		return nil, fmt.Errorf("%w: the bundle has %d bytes; at most %d are accepted", ErrLimit, len(data), lim.MaxCompressed)
	}
	if got := SHA256Hex(data); got != want.BundleSHA256 {
		return nil, fmt.Errorf("%w: the bundle's SHA-256 is %s, not %s", ErrHash, got, want.BundleSHA256)
	}
	archive, err := decompress(data, lim)
	if err != nil {
		return nil, err
	}
	if int64(len(archive)) != want.UncompressedSize {
		return nil, fmt.Errorf("%w: the archive has %d bytes, not %d", ErrHash, len(archive), want.UncompressedSize)
	}
	c, err := readArchive(archive, lim)
	if err != nil {
		return nil, err
	}
	if c.ManifestSHA256 != want.ManifestSHA256 {
		return nil, fmt.Errorf("%w: the manifest's SHA-256 is %s, not %s", ErrHash, c.ManifestSHA256, want.ManifestSHA256)
	}
	return c, nil
}

// ratioFree is an archive's size up to which its ratio is not looked at: what
// is that small costs little, and policies that repeat themselves compress well.
const ratioFree = 8 << 20

// decompress gives the archive of a bundle, within the limits. What it takes in
// memory is the archive and no window besides: the frame says how large the
// archive is, and is believed only within the limits.
func decompress(data []byte, lim Limits) ([]byte, error) {
	if int64(len(data)) > lim.MaxCompressed {
		return nil, fmt.Errorf("%w: the bundle has %d bytes; at most %d are accepted", ErrLimit, len(data), lim.MaxCompressed)
	}
	most := lim.MaxUncompressed
	if byRatio := max(int64(float64(len(data))*lim.MaxRatio), ratioFree); byRatio < most {
		most = byRatio
	}
	size, err := frameContent(data)
	if err != nil {
		return nil, err
	}
	if size > uint64(most) {
		return nil, fmt.Errorf("%w: the archive has %d bytes; at most %d are accepted", ErrLimit, size, most)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(most)))
	if err != nil {
		return nil, fmt.Errorf("decompressing the bundle: %w", err)
	}
	defer dec.Close()
	archive, err := dec.DecodeAll(data, nil)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
		return nil, fmt.Errorf("%w: decompressing the bundle: %w", ErrLimit, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: decompressing the bundle: %w", ErrFormat, err)
	}
	return archive, nil
}

// frameContent checks that data is exactly one zstd frame (RFC 8878, section
// 3.1.1) with a checksum and a content size, which it gives. A decoder by itself
// would also take several frames, and skippable ones with anything in them.
func frameContent(data []byte) (uint64, error) {
	wrong := func(what string) error { return fmt.Errorf("%w: the bundle %s", ErrFormat, what) }
	var h zstd.Header
	if err := h.Decode(data); err != nil {
		return 0, fmt.Errorf("%w: the bundle is not zstd: %w", ErrFormat, err)
	}
	switch {
	case h.Skippable:
		return 0, wrong("begins with a skippable zstd frame")
	case h.DictionaryID != 0:
		return 0, wrong("needs a zstd dictionary")
	case !h.HasFCS:
		return 0, wrong("does not say its content's size in the zstd frame")
	case !h.HasCheckSum:
		return 0, wrong("has no checksum in the zstd frame")
	}
	rest := data[h.HeaderSize:]
	for last := false; !last; {
		if len(rest) < 3 {
			return 0, wrong("ends inside a zstd frame")
		}
		block := int(rest[0]) | int(rest[1])<<8 | int(rest[2])<<16
		last = block&1 != 0
		size := block >> 3
		if block>>1&3 == 1 { // a run: one byte, repeated
			size = 1
		}
		if len(rest) < 3+size {
			return 0, wrong("ends inside a zstd frame")
		}
		rest = rest[3+size:]
	}
	switch {
	case len(rest) < 4:
		return 0, wrong("ends inside a zstd frame")
	case len(rest) > 4:
		return 0, wrong("goes on after its zstd frame")
	}
	return h.FrameContentSize, nil
}

// readArchive reads the tar and checks it against the manifest in it, and
// against what packing the same files writes.
func readArchive(data []byte, lim Limits) (*Contents, error) {
	var files []file
	contents := map[string][]byte{}
	r := tar.NewReader(bytes.NewReader(data))
	last := ""
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: reading the archive: %w", ErrFormat, err)
		}
		if len(files) == lim.MaxFiles {
			return nil, fmt.Errorf("%w: the archive has more than %d files", ErrLimit, lim.MaxFiles)
		}
		if h.Typeflag != tar.TypeReg {
			return nil, fmt.Errorf("%w: %.200q in the archive is not a regular file", ErrFormat, h.Name)
		}
		if h.Format != tar.FormatUSTAR || len(h.PAXRecords) > 0 { // a sparse file is one of these, and larger than the archive
			return nil, fmt.Errorf("%w: %.200q in the archive is not in plain ustar", ErrFormat, h.Name)
		}
		if h.Name != manifestName && !policyName(h.Name) {
			return nil, fmt.Errorf("%w: the archive has a file of the name %.200q", ErrFormat, h.Name)
		}
		if h.Name <= last {
			return nil, fmt.Errorf("%w: the archive's names are not in order, or one is there twice: %.200q", ErrFormat, h.Name)
		}
		last = h.Name
		if h.Size > lim.MaxFile {
			return nil, fmt.Errorf("%w: %s has %d bytes; at most %d are accepted", ErrLimit, h.Name, h.Size, lim.MaxFile)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return nil, fmt.Errorf("%w: reading %s: %w", ErrFormat, h.Name, err)
		}
		contents[h.Name] = content
		files = append(files, file{h.Name, content})
	}
	raw, ok := contents[manifestName]
	if !ok {
		return nil, fmt.Errorf("%w: the archive has no %s", ErrFormat, manifestName)
	}
	m, err := ParseManifest(raw)
	if err != nil {
		return nil, err
	}
	if len(files) != len(m.Policies)+1 {
		return nil, fmt.Errorf("%w: the archive has %d policies, the manifest %d", ErrFormat, len(files)-1, len(m.Policies))
	}
	c := &Contents{Manifest: m, ManifestSHA256: SHA256Hex(raw)}
	for _, p := range m.Policies {
		content, ok := contents[policyDir+p.PolicyVersionID+policySuffix]
		if !ok {
			return nil, fmt.Errorf("%w: the archive lacks the policy version %s", ErrFormat, p.PolicyVersionID)
		}
		if got := SHA256Hex(content); got != p.ContentSHA256 {
			return nil, fmt.Errorf("%w: the policy version %s has the SHA-256 %s, not %s", ErrHash, p.PolicyVersionID, got, p.ContentSHA256)
		}
		c.Modules = append(c.Modules, Module{PolicyVersionID: p.PolicyVersionID, Content: content})
	}
	same := &comparer{rest: data}
	if err := writeArchive(same, files); err != nil || len(same.rest) > 0 {
		return nil, fmt.Errorf("%w: the archive's headers or padding are not those that packing writes", ErrFormat)
	}
	return c, nil
}

// comparer is written to, and fails at the first byte that is not the expected one.
type comparer struct{ rest []byte }

func (c *comparer) Write(p []byte) (int, error) {
	if !bytes.HasPrefix(c.rest, p) {
		return 0, ErrFormat
	}
	c.rest = c.rest[len(p):]
	return len(p), nil
}

// policyName tells whether a name is that of a policy's file.
func policyName(name string) bool {
	id, ok := strings.CutPrefix(name, policyDir)
	if !ok {
		return false
	}
	id, ok = strings.CutSuffix(id, policySuffix)
	return ok && ValidID(id)
}
