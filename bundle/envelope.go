package bundle

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// Payload types of DSSE envelopes.
const (
	StatementType = "application/vnd.caracal.bundle+json"
	PointerType   = "application/vnd.caracal.pointer+json"
)

// Bounds of an envelope.
const (
	maxEnvelope   = 64 << 10
	maxSignatures = 16
	// maxSafeInteger is the largest that JSON keeps exactly everywhere.
	maxSafeInteger = 1<<53 - 1
)

// SignStatement signs what a bundle is. The envelope has one signature for each key.
func SignStatement(s Statement, keys ...*PrivateKey) (json.RawMessage, error) {
	if err := s.validate(); err != nil {
		return nil, fmt.Errorf("signing a bundle: %w", err)
	}
	return sign(StatementType, s, keys)
}

// SignPointer signs a zone's pointer. The envelope has one signature for each key.
func SignPointer(p Pointer, keys ...*PrivateKey) (json.RawMessage, error) {
	p.IssuedAt, p.ExpiresAt = p.IssuedAt.UTC(), p.ExpiresAt.UTC()
	if err := p.validate(); err != nil {
		return nil, fmt.Errorf("signing a pointer: %w", err)
	}
	return sign(PointerType, p, keys)
}

func sign(payloadType string, v any, keys []*PrivateKey) (json.RawMessage, error) {
	if len(keys) > maxSignatures {
		return nil, fmt.Errorf("%w: signing: %d keys were given; an envelope has at most %d signatures", ErrLimit, len(keys), maxSignatures)
	}
	payload, err := canonical(v)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	signers := make([]dsse.Signer, len(keys))
	for i, k := range keys {
		signers[i] = dsseSigner{k}
	}
	signer, err := dsse.NewEnvelopeSigner(signers...)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	env, err := signer.SignPayload(context.Background(), payloadType, payload)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	data, err := json.Marshal(env)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	if len(data) > maxEnvelope {
		return nil, fmt.Errorf("%w: signing: the envelope would have %d bytes; at most %d are accepted", ErrLimit, len(data), maxEnvelope)
	}
	return data, nil
}

// envelope has exactly the fields that DSSE 1.0 knows.
type envelope struct {
	PayloadType string              `json:"payloadType"`
	Payload     string              `json:"payload"`
	Signatures  []envelopeSignature `json:"signatures"`
}

type envelopeSignature struct {
	KeyID string `json:"keyid"`
	Sig   string `json:"sig"`
}

// open verifies an envelope by a threshold of keys and gives its payload.
func open(env json.RawMessage, payloadType string, role Role) ([]byte, error) {
	if len(env) > maxEnvelope {
		return nil, fmt.Errorf("%w: the envelope has %d bytes; at most %d are accepted", ErrLimit, len(env), maxEnvelope)
	}
	var e envelope
	if err := unmarshalStrict(env, &e); err != nil {
		return nil, fmt.Errorf("%w: envelope: %w", ErrFormat, err)
	}
	if e.PayloadType != payloadType {
		return nil, fmt.Errorf("%w: envelope: the payload is %.100q, not %q", ErrFormat, e.PayloadType, payloadType)
	}
	if len(e.Signatures) > maxSignatures {
		return nil, fmt.Errorf("%w: envelope: has %d signatures; at most %d are accepted", ErrLimit, len(e.Signatures), maxSignatures)
	}
	payload, err := decodeBase64(e.Payload)
	if err != nil {
		return nil, fmt.Errorf("%w: envelope: payload: %w", ErrFormat, err)
	}
	checked := &dsse.Envelope{PayloadType: e.PayloadType, Payload: e.Payload}
	for _, s := range e.Signatures {
		if _, err := decodeBase64(s.Sig); err != nil {
			return nil, fmt.Errorf("%w: envelope: signature: %w", ErrFormat, err)
		}
		checked.Signatures = append(checked.Signatures, dsse.Signature{KeyID: s.KeyID, Sig: s.Sig})
	}
	verifiers := make([]dsse.Verifier, len(role.Keys))
	for i, k := range role.Keys {
		verifiers[i] = dsseVerifier{k}
	}
	verifier, err := dsse.NewMultiEnvelopeVerifier(role.Threshold, verifiers...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	if _, err := verifier.Verify(context.Background(), checked); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	return payload, nil
}

// decodeBase64 reads padded standard base64 and nothing else: Go's decoder
// ignores line ends even where it is strict.
func decodeBase64(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("base64 with a line end")
	}
	return base64.StdEncoding.Strict().DecodeString(text)
}

// readPayload reads a payload into v, a pointer. It must be v's canonical form,
// so that a missing name is not taken for a null or a zero.
func readPayload(payload []byte, v any) error {
	if err := unmarshalStrict(payload, v); err != nil {
		return fmt.Errorf("%w: payload: %w", ErrFormat, err)
	}
	again, err := canonical(v)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, payload) {
		return fmt.Errorf("%w: payload: is not in canonical form", ErrFormat)
	}
	return nil
}

// VerifyStatement gives the statement of an envelope that the trust root's
// bundles role signed. Errors match ErrFormat, ErrLimit or ErrSignature.
func (t *Trust) VerifyStatement(env json.RawMessage) (Statement, error) {
	var s Statement
	payload, err := open(env, StatementType, t.root.Bundles)
	if err != nil {
		return s, fmt.Errorf("verifying a bundle's signature: %w", err)
	}
	if err := readPayload(payload, &s); err != nil {
		return Statement{}, fmt.Errorf("verifying a bundle's signature: %w", err)
	}
	if err := s.validate(); err != nil {
		return Statement{}, fmt.Errorf("verifying a bundle's signature: %w", err)
	}
	return s, nil
}

// VerifyPointer gives the pointer of an envelope that the trust root's pointers
// role signed. Errors match ErrFormat, ErrLimit, ErrSignature, or ErrExpired;
// with the last one alone the pointer is given too: it is genuine, but old.
func (t *Trust) VerifyPointer(env json.RawMessage, now time.Time) (Pointer, error) {
	var p Pointer
	payload, err := open(env, PointerType, t.root.Pointers)
	if err != nil {
		return p, fmt.Errorf("verifying a pointer: %w", err)
	}
	if err := readPayload(payload, &p); err != nil {
		return Pointer{}, fmt.Errorf("verifying a pointer: %w", err)
	}
	if err := p.validate(); err != nil {
		return Pointer{}, fmt.Errorf("verifying a pointer: %w", err)
	}
	if !now.Before(p.ExpiresAt) {
		return p, fmt.Errorf("verifying a pointer: %w: at %s", ErrExpired, p.ExpiresAt.Format(time.RFC3339))
	}
	return p, nil
}

// VerifySignedPointer checks a pointer as it comes from a watch, with the
// signature of its bundle: that it is of the zone it came as, and that the
// signature is for the bundle it names. The statement is zero where the pointer
// names no bundle. Errors are those of VerifyPointer and VerifyStatement, and
// ErrHash; with ErrExpired alone both are given.
func (t *Trust) VerifySignedPointer(raw SignedPointer, now time.Time) (Pointer, Statement, error) {
	p, expired := t.VerifyPointer(raw.Pointer, now)
	if expired != nil && !errors.Is(expired, ErrExpired) {
		return Pointer{}, Statement{}, expired
	}
	if p.ZoneID != raw.ZoneID {
		return Pointer{}, Statement{}, fmt.Errorf("%w: the pointer is of zone %q, not %q", ErrSignature, p.ZoneID, raw.ZoneID)
	}
	if p.PolicySetVersionID == nil {
		return p, Statement{}, expired
	}
	s, err := t.VerifyStatement(raw.Bundle)
	if err != nil {
		return Pointer{}, Statement{}, err
	}
	if s.BundleSHA256 != p.BundleSHA256 || s.ManifestSHA256 != p.ManifestSHA256 || s.BundleSize != p.BundleSize {
		return Pointer{}, Statement{}, fmt.Errorf("%w: the bundle's signature is for another bundle than the pointer names", ErrHash)
	}
	return p, s, expired
}

// ClaimedIssue is the time of issue that a pointer's envelope claims, which
// nobody has verified: to say which pointer is not to be sent again. It is zero
// where the envelope claims none.
func ClaimedIssue(env json.RawMessage) time.Time {
	var e struct {
		Payload string `json:"payload"`
	}
	var p struct {
		IssuedAt time.Time `json:"issued_at"`
	}
	if json.Unmarshal(env, &e) != nil {
		return time.Time{}
	}
	payload, err := base64.StdEncoding.DecodeString(e.Payload)
	if err != nil || json.Unmarshal(payload, &p) != nil {
		return time.Time{}
	}
	return p.IssuedAt
}

func (s *Statement) validate() error {
	switch {
	case !hashPattern.MatchString(s.ManifestSHA256):
		return fmt.Errorf("%w: statement: manifest_sha256 is no SHA-256", ErrFormat)
	case !hashPattern.MatchString(s.BundleSHA256):
		return fmt.Errorf("%w: statement: bundle_sha256 is no SHA-256", ErrFormat)
	case s.BundleSize < 1 || s.UncompressedSize < 1:
		return fmt.Errorf("%w: statement: a size is not positive", ErrFormat)
	case s.BundleSize > maxSafeInteger || s.UncompressedSize > maxSafeInteger:
		return fmt.Errorf("%w: statement: a size is past 2^53-1", ErrFormat)
	}
	return nil
}

func (p *Pointer) validate() error {
	wrong := func(what string) error { return fmt.Errorf("%w: pointer: %s", ErrFormat, what) }
	switch {
	case !ValidID(p.ZoneID):
		return wrong("zone_id is no id")
	case p.Sequence < 0 || p.Sequence > maxSafeInteger:
		return wrong("sequence is not from 0 to 2^53-1")
	case p.IssuedAt.IsZero() || p.ExpiresAt.IsZero():
		return wrong("issued_at or expires_at is missing")
	case p.IssuedAt.Location() != time.UTC || p.ExpiresAt.Location() != time.UTC:
		return wrong("issued_at or expires_at is not in UTC")
	case !p.IssuedAt.Before(p.ExpiresAt):
		return wrong("expires_at is not after issued_at")
	case (p.PolicySetID == nil) != (p.PolicySetVersionID == nil):
		return wrong("only one of policy_set_id and policy_set_version_id is null")
	}
	switch p.Settings.AuditInputs {
	case "", "kept", "hashed":
	default:
		return wrong("settings.audit_inputs is not known")
	}
	if p.PolicySetVersionID == nil {
		if p.ManifestSHA256 != "" || p.BundleSHA256 != "" || p.BundleSize != 0 {
			return wrong("has hashes but names no version")
		}
		return nil
	}
	switch {
	case !ValidID(*p.PolicySetID) || !ValidID(*p.PolicySetVersionID):
		return wrong("policy_set_id or policy_set_version_id is no id")
	case !hashPattern.MatchString(p.ManifestSHA256) || !hashPattern.MatchString(p.BundleSHA256):
		return wrong("manifest_sha256 or bundle_sha256 is no SHA-256")
	case p.BundleSize < 1 || p.BundleSize > maxSafeInteger:
		return wrong("bundle_size is not from 1 to 2^53-1")
	}
	return nil
}
