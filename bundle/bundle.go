// Package bundle is the ground floor of distribution: the manifest of a
// policy-set version and its canonical hash, the deterministic bundle that
// carries it, the signatures over both, the zone's signed pointer, the trust
// root that says whose signatures count, and the messages in which the admin
// side and the daemon exchange them.
//
// Nothing here trusts its input: hashes are checked before anything is
// decompressed, and every reader has limits.
package bundle

import (
	"errors"
	"time"
)

var (
	// ErrHash is matched when bytes do not have the hash they were asked for by.
	ErrHash = errors.New("hash does not match")
	// ErrSignature is matched when a signature is missing, wrong, or by a key that the trust root does not give the role.
	ErrSignature = errors.New("signature not trusted")
	// ErrExpired is matched when signed metadata is past its expiry.
	ErrExpired = errors.New("expired")
	// ErrLimit is matched when content is larger, or has more parts, than the limits allow.
	ErrLimit = errors.New("over the limit")
	// ErrFormat is matched when bytes are not in the format they should be.
	ErrFormat = errors.New("malformed")
)

// ManifestFormat is the value of Manifest.Format.
const ManifestFormat = "caracal.manifest/v1"

// Manifest says what a policy-set version consists of. Its canonical form is
// RFC 8785 JSON; manifest_sha256 is the SHA-256 of that. Because it covers
// each policy's content hash, equal hashes mean equal policy, byte for byte.
type Manifest struct {
	Format        string           `json:"format"`
	ZoneID        string           `json:"zone_id"`
	PolicySetID   string           `json:"policy_set_id"`
	Version       int              `json:"version"`
	EntryPoint    string           `json:"entry_point"`
	SchemaVersion string           `json:"schema_version"`
	Compressor    string           `json:"compressor"`
	Policies      []ManifestPolicy `json:"policies"`
}

// ManifestPolicy is one policy version of a manifest, in the set's order.
type ManifestPolicy struct {
	PolicyID        string `json:"policy_id"`
	PolicyVersionID string `json:"policy_version_id"`
	Name            string `json:"name"`
	ContentSHA256   string `json:"content_sha256"`
}

// Pointer is the signed statement of what a zone evaluates. PolicySetVersionID
// nil means deny everything. The zero sequence is the pointer a zone is born
// with; each activation adds one. Re-signing (to renew the expiry or to carry
// new settings) keeps the sequence and moves IssuedAt.
type Pointer struct {
	ZoneID             string    `json:"zone_id"`
	Sequence           int64     `json:"sequence"`
	PolicySetID        *string   `json:"policy_set_id"`
	PolicySetVersionID *string   `json:"policy_set_version_id"`
	ManifestSHA256     string    `json:"manifest_sha256,omitempty"`
	BundleSHA256       string    `json:"bundle_sha256,omitempty"`
	BundleSize         int64     `json:"bundle_size,omitempty"`
	IssuedAt           time.Time `json:"issued_at"`
	ExpiresAt          time.Time `json:"expires_at"`
	// Settings are the zone's settings that the daemon must honour.
	Settings ZoneSettings `json:"settings"`
}

// ZoneSettings travel in the pointer, so that they are signed too.
type ZoneSettings struct {
	// AuditMask lists JSON pointers (RFC 6901) into the input whose values are
	// replaced by a keyed digest before they reach the audit.
	AuditMask []string `json:"audit_mask,omitempty"`
	// AuditInputs is "kept" (default, also when empty) or "hashed": whether the
	// audit holds the evaluated input or only its SHA-256.
	AuditInputs string `json:"audit_inputs,omitempty"`
}

// Statement is what a bundle's signature covers.
type Statement struct {
	ManifestSHA256   string `json:"manifest_sha256"`
	BundleSHA256     string `json:"bundle_sha256"`
	BundleSize       int64  `json:"bundle_size"`
	UncompressedSize int64  `json:"uncompressed_size"`
}
