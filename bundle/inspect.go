package bundle

// Inspection describes a bundle to people. Nothing in it was compared with a
// signature: it says what the bytes are, not that they may be trusted.
type Inspection struct {
	BundleSHA256     string        `json:"bundle_sha256"`
	BundleSize       int64         `json:"bundle_size"`
	UncompressedSize int64         `json:"uncompressed_size"`
	ManifestSHA256   string        `json:"manifest_sha256"`
	Manifest         *Manifest     `json:"manifest"`
	Files            []InspectFile `json:"files"`
}

// InspectFile is one file of a bundle.
type InspectFile struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Inspect opens a bundle without trust, within the limits. What is malformed, or
// disagrees with its own manifest, is still refused.
func Inspect(data []byte, lim Limits) (*Inspection, *Contents, error) {
	archive, err := decompress(data, lim)
	if err != nil {
		return nil, nil, err
	}
	c, err := readArchive(archive, lim)
	if err != nil {
		return nil, nil, err
	}
	manifest, err := c.Manifest.Canonical()
	if err != nil {
		return nil, nil, err
	}
	in := &Inspection{
		BundleSHA256:     SHA256Hex(data),
		BundleSize:       int64(len(data)),
		UncompressedSize: int64(len(archive)),
		ManifestSHA256:   c.ManifestSHA256,
		Manifest:         c.Manifest,
		Files:            []InspectFile{{Name: manifestName, Size: int64(len(manifest)), SHA256: c.ManifestSHA256}},
	}
	for _, m := range c.Modules {
		in.Files = append(in.Files, InspectFile{Name: policyDir + m.PolicyVersionID + policySuffix, Size: int64(len(m.Content)), SHA256: SHA256Hex(m.Content)})
	}
	return in, c, nil
}
