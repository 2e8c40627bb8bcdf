package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"

	jsonx "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// MaxPolicies is the most policies a manifest lists.
const MaxPolicies = 256

// maxVersionID is how long a policy version's id may be: its file's name then
// has 100 bytes, which is what a plain tar header holds.
const maxVersionID = 100 - len(policyDir) - len(policySuffix)

// EntryPoint is what evaluating a bundle means where its manifest says nothing else.
const EntryPoint = "data.caracal.authz.result"

var hashPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// ValidID tells whether an id of the wire matches [A-Za-z0-9_.:-]{1,128}: of a zone, a
// policy, a version, a daemon or a request.
func ValidID[T string | []byte](id T) bool {
	for i := range len(id) {
		c := id[i]
		if (c|0x20)-'a' > 'z'-'a' && c-'0' > 9 && c != '_' && c != '.' && c != ':' && c != '-' {
			return false
		}
	}
	return len(id) > 0 && len(id) <= 128
}

// SHA256Hex is the SHA-256 of data as 64 lower-case hexadecimal digits.
func SHA256Hex(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Validate checks a manifest by itself: the format, the ids, the hashes, 1 to
// MaxPolicies policies without a duplicate. The error matches ErrFormat, or
// ErrLimit where there are too many policies.
func (m *Manifest) Validate() error {
	if m.Format != ManifestFormat {
		return fmt.Errorf("%w: manifest: format is %q, not %q", ErrFormat, m.Format, ManifestFormat)
	}
	for _, id := range []struct{ name, value string }{{"zone_id", m.ZoneID}, {"policy_set_id", m.PolicySetID}} {
		if !ValidID(id.value) {
			return fmt.Errorf("%w: manifest: %s %.140q is no id", ErrFormat, id.name, id.value)
		}
	}
	switch {
	case m.Version < 1 || int64(m.Version) > maxSafeInteger:
		return fmt.Errorf("%w: manifest: version is %d, not from 1 to 2^53-1", ErrFormat, m.Version)
	case m.EntryPoint == "":
		return fmt.Errorf("%w: manifest: entry_point is empty", ErrFormat)
	case m.SchemaVersion == "":
		return fmt.Errorf("%w: manifest: schema_version is empty", ErrFormat)
	case m.Compressor == "":
		return fmt.Errorf("%w: manifest: compressor is empty", ErrFormat)
	case len(m.Policies) == 0:
		return fmt.Errorf("%w: manifest: lists no policies", ErrFormat)
	case len(m.Policies) > MaxPolicies:
		return fmt.Errorf("%w: manifest: lists %d policies; at most %d are allowed", ErrLimit, len(m.Policies), MaxPolicies)
	}
	versions, policies, names := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for i, p := range m.Policies {
		switch {
		case !ValidID(p.PolicyID):
			return fmt.Errorf("%w: manifest: policies[%d].policy_id %.140q is no id", ErrFormat, i, p.PolicyID)
		case len(p.PolicyVersionID) > maxVersionID:
			return fmt.Errorf("%w: manifest: policies[%d].policy_version_id has %d bytes; at most %d fit the archive", ErrFormat, i, len(p.PolicyVersionID), maxVersionID)
		case !ValidID(p.PolicyVersionID):
			return fmt.Errorf("%w: manifest: policies[%d].policy_version_id %.140q is no id", ErrFormat, i, p.PolicyVersionID)
		case p.Name == "":
			return fmt.Errorf("%w: manifest: policies[%d].name is empty", ErrFormat, i)
		case !hashPattern.MatchString(p.ContentSHA256):
			return fmt.Errorf("%w: manifest: policies[%d].content_sha256 is no SHA-256", ErrFormat, i)
		case versions[p.PolicyVersionID]:
			return fmt.Errorf("%w: manifest: lists the policy version %s twice", ErrFormat, p.PolicyVersionID)
		case policies[p.PolicyID]:
			return fmt.Errorf("%w: manifest: lists two versions of the policy %s", ErrFormat, p.PolicyID)
		case names[p.Name]:
			return fmt.Errorf("%w: manifest: lists two policies of the name %q", ErrFormat, p.Name)
		}
		versions[p.PolicyVersionID], policies[p.PolicyID], names[p.Name] = true, true, true
	}
	return nil
}

// Canonical is the manifest in RFC 8785 form: what manifest_sha256 is taken of.
func (m *Manifest) Canonical() ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return canonical(m)
}

// SHA256 is the manifest's hash, lower-case hexadecimal.
func (m *Manifest) SHA256() (string, error) {
	data, err := m.Canonical()
	if err != nil {
		return "", err
	}
	return SHA256Hex(data), nil
}

// ParseManifest reads a canonical manifest. Bytes that mean a manifest but are
// not its canonical form are refused, so that hash and meaning are one to one.
func ParseManifest(data []byte) (*Manifest, error) {
	m := new(Manifest)
	if err := unmarshalStrict(data, m); err != nil {
		return nil, fmt.Errorf("%w: manifest: %w", ErrFormat, err)
	}
	again, err := m.Canonical()
	if err != nil {
		return nil, err
	}
	if string(again) != string(data) {
		return nil, fmt.Errorf("%w: manifest: is not in canonical form", ErrFormat)
	}
	return m, nil
}

// canonical encodes a value by RFC 8785. Text that is not UTF-8 is refused: a
// replacement character would give two values the same bytes.
func canonical(v any) ([]byte, error) {
	data, err := jsonx.Marshal(v, jsonv1.OmitEmptyWithLegacySemantics(true))
	if err != nil {
		return nil, fmt.Errorf("%w: encoding: %w", ErrFormat, err)
	}
	value := jsontext.Value(data)
	if err := value.Canonicalize(); err != nil {
		return nil, fmt.Errorf("%w: canonicalizing: %w", ErrFormat, err)
	}
	return value, nil
}

// unmarshalStrict refuses duplicate and unknown names and invalid UTF-8.
func unmarshalStrict(data []byte, into any) error {
	return jsonx.Unmarshal(data, into, jsonx.RejectUnknownMembers(true))
}
