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
	// MaxRatio is the most an archive may be larger than the bundle.
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
// the size and ratio of the archive, its names and sizes, the manifest's hash
// and each policy's. Errors match ErrHash, ErrLimit or ErrFormat.
func Unpack(data []byte, want Statement, lim Limits) (*Contents, error) {
	if int64(len(data)) != want.BundleSize {
		return nil, fmt.Errorf("%w: the bundle has %d bytes, not %d", ErrHash, len(data), want.BundleSize)
	}
	if int64(len(data)) > lim.MaxCompressed {
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

// decompress gives the archive of a bundle, within the limits.
func decompress(data []byte, lim Limits) ([]byte, error) {
	most := lim.MaxUncompressed
	if byRatio := int64(float64(len(data)) * lim.MaxRatio); byRatio < most {
		most = byRatio
	}
	var h zstd.Header
	if err := h.Decode(data); err != nil {
		return nil, fmt.Errorf("%w: the bundle is not zstd: %w", ErrFormat, err)
	}
	if h.Skippable || h.DictionaryID != 0 {
		return nil, fmt.Errorf("%w: the bundle is not one plain zstd frame", ErrFormat)
	}
	dec, err := zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(lim.MaxUncompressed)+1), zstd.WithDecoderMaxWindow(64<<20))
	if err != nil {
		return nil, fmt.Errorf("%w: the bundle is not zstd: %w", ErrFormat, err)
	}
	defer dec.Close()
	archive, err := io.ReadAll(io.LimitReader(dec, most+1))
	if int64(len(archive)) > most || errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) {
		return nil, fmt.Errorf("%w: the archive has more than %d bytes", ErrLimit, most)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: decompressing the bundle: %w", ErrFormat, err)
	}
	return archive, nil
}

// readArchive reads the tar and checks it against the manifest in it.
func readArchive(archive []byte, lim Limits) (*Contents, error) {
	files := map[string][]byte{}
	source := bytes.NewReader(archive)
	r := tar.NewReader(source)
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
		if h.Name <= last {
			return nil, fmt.Errorf("%w: the archive's names are not in order, or one is there twice: %.200q", ErrFormat, h.Name)
		}
		last = h.Name
		if h.Name != manifestName && !policyName(h.Name) {
			return nil, fmt.Errorf("%w: the archive has a file of the name %.200q", ErrFormat, h.Name)
		}
		if h.Size > lim.MaxFile {
			return nil, fmt.Errorf("%w: %s has %d bytes; at most %d are accepted", ErrLimit, h.Name, h.Size, lim.MaxFile)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return nil, fmt.Errorf("%w: reading %s: %w", ErrFormat, h.Name, err)
		}
		files[h.Name] = data
	}
	if rest, _ := io.ReadAll(source); len(bytes.Trim(rest, "\x00")) > 0 { // a bytes.Reader does not fail
		return nil, fmt.Errorf("%w: the archive is followed by more data", ErrFormat)
	}
	raw, ok := files[manifestName]
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
		content, ok := files[policyDir+p.PolicyVersionID+policySuffix]
		if !ok {
			return nil, fmt.Errorf("%w: the archive lacks the policy version %s", ErrFormat, p.PolicyVersionID)
		}
		if got := SHA256Hex(content); got != p.ContentSHA256 {
			return nil, fmt.Errorf("%w: the policy version %s has the SHA-256 %s, not %s", ErrHash, p.PolicyVersionID, got, p.ContentSHA256)
		}
		c.Modules = append(c.Modules, Module{PolicyVersionID: p.PolicyVersionID, Content: content})
	}
	return c, nil
}

// policyName tells whether a name is that of a policy's file.
func policyName(name string) bool {
	id, ok := strings.CutPrefix(name, policyDir)
	if !ok {
		return false
	}
	id, ok = strings.CutSuffix(id, policySuffix)
	return ok && idPattern.MatchString(id)
}
