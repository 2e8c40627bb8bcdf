package bundle

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"
	opabundle "github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/keys"
)

// OPAKey signs an exported bundle the way OPA verifies it: a JSON Web Signature
// in .signatures.json. OPA knows RSA, ECDSA and HMAC there, and not Ed25519, so
// this is another key than those of the trust root.
type OPAKey struct {
	// PEM is the private key in PEM; for the HS algorithms it is the secret itself.
	PEM []byte
	// Algorithm is ES256, RS256, PS256, HS256 or one of their larger kin.
	Algorithm string
	// ID is the key's id in OPA's configuration; "" for none.
	ID string
}

// ExportOPA makes a bundle (.tar.gz) that a stock OPA loads. Its entry point,
// data.caracal.authz.result, has the same value there. What the platform adds to
// a decision (deny where the result is undefined or of a wrong shape,
// determining policies where the author named none) is not part of Rego's
// result, and so not of OPA's answer. The bundle is signed where key is not nil.
func ExportOPA(c *Contents, key *OPAKey) ([]byte, error) {
	roots := []string{"caracal/authz"}
	b := opabundle.Bundle{
		Manifest: opabundle.Manifest{
			Revision: c.ManifestSHA256,
			Roots:    &roots,
			Metadata: map[string]any{
				"zone_id":         c.Manifest.ZoneID,
				"policy_set_id":   c.Manifest.PolicySetID,
				"version":         c.Manifest.Version,
				"entry_point":     c.Manifest.EntryPoint,
				"manifest_sha256": c.ManifestSHA256,
			},
		},
		Data: map[string]any{},
	}
	b.Manifest.SetRegoVersion(ast.RegoV1)
	for _, m := range c.Modules {
		path := "/caracal/authz/" + m.PolicyVersionID + policySuffix
		parsed, err := ast.ParseModuleWithOpts(path, string(m.Content), ast.ParserOptions{RegoVersion: ast.RegoV1})
		if err != nil {
			return nil, fmt.Errorf("exporting the policy version %s: %w: %w", m.PolicyVersionID, ErrFormat, err)
		}
		b.Modules = append(b.Modules, opabundle.ModuleFile{URL: path, Path: path, Raw: m.Content, Parsed: parsed})
	}
	if key != nil {
		if !keys.IsSupportedAlgorithm(key.Algorithm) {
			return nil, fmt.Errorf("exporting: %w: OPA does not know the algorithm %q", ErrFormat, key.Algorithm)
		}
		if len(key.PEM) == 0 {
			return nil, errors.New("exporting: the signing key is empty")
		}
		if err := b.GenerateSignature(opabundle.NewSigningConfig(string(key.PEM), key.Algorithm, ""), key.ID, true); err != nil {
			return nil, fmt.Errorf("exporting: signing: %w", err)
		}
	}
	var out bytes.Buffer
	// DisableFormat: the content has to stay what it was, byte for byte.
	if err := opabundle.NewWriter(&out).UseModulePath(true).DisableFormat(true).Write(b); err != nil {
		return nil, fmt.Errorf("exporting: %w", err)
	}
	return out.Bytes(), nil
}
