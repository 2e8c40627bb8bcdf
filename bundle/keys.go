package bundle

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// PrivateKey is an Ed25519 signing key.
type PrivateKey struct {
	key    ed25519.PrivateKey
	public PublicKey
}

// PublicKey is an Ed25519 verification key. The zero value verifies nothing.
type PublicKey struct {
	key ed25519.PublicKey
	id  string
}

// GenerateKey makes a key.
func GenerateKey() (*PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating a key: %w", err)
	}
	return privateKey(key)
}

func privateKey(key ed25519.PrivateKey) (*PrivateKey, error) {
	public, err := publicKey(key.Public())
	if err != nil {
		return nil, err
	}
	return &PrivateKey{key: key, public: public}, nil
}

// publicKey gives a key its id: TUF's, the SHA-256 of the key's canonical JSON.
func publicKey(key crypto.PublicKey) (PublicKey, error) {
	ed, ok := key.(ed25519.PublicKey)
	if !ok {
		return PublicKey{}, fmt.Errorf("%w: the key is %T, not Ed25519", ErrFormat, key)
	}
	if len(ed) != ed25519.PublicKeySize { // crypto/ed25519 panics at others
		return PublicKey{}, fmt.Errorf("%w: the key has %d bytes; an Ed25519 key has %d", ErrFormat, len(ed), ed25519.PublicKeySize)
	}
	tuf, err := metadata.KeyFromPublicKey(ed)
	if err != nil {
		return PublicKey{}, fmt.Errorf("%w: the key: %w", ErrFormat, err)
	}
	id, err := tuf.ID()
	if err != nil {
		return PublicKey{}, fmt.Errorf("%w: the key's id: %w", ErrFormat, err)
	}
	return PublicKey{key: ed, id: id}, nil
}

// ParsePrivateKey reads a key in PEM (PKCS #8, "PRIVATE KEY").
func ParsePrivateKey(data []byte) (*PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%w: not a private key in PEM", ErrFormat)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: reading a private key: %w", ErrFormat, err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%w: the private key is %T, not Ed25519", ErrFormat, parsed)
	}
	return privateKey(key)
}

// MarshalPEM gives what ParsePrivateKey reads.
func (k *PrivateKey) MarshalPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.key)
	if err != nil {
		return nil, fmt.Errorf("encoding a private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// Public is the key that verifies what this one signs.
func (k *PrivateKey) Public() PublicKey { return k.public }

// KeyID is the public key's id.
func (k *PrivateKey) KeyID() string { return k.public.id }

// ParsePublicKey reads a key in PEM (PKIX, "PUBLIC KEY").
func ParsePublicKey(data []byte) (PublicKey, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PUBLIC KEY" {
		return PublicKey{}, fmt.Errorf("%w: not a public key in PEM", ErrFormat)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return PublicKey{}, fmt.Errorf("%w: reading a public key: %w", ErrFormat, err)
	}
	return publicKey(key)
}

// MarshalPEM gives what ParsePublicKey reads.
func (k PublicKey) MarshalPEM() ([]byte, error) {
	if k.id == "" {
		return nil, fmt.Errorf("%w: encoding a public key: it is empty", ErrFormat)
	}
	der, err := x509.MarshalPKIXPublicKey(k.key)
	if err != nil {
		return nil, fmt.Errorf("encoding a public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// KeyID is the key's id in trust roots and envelopes: 64 hexadecimal digits.
func (k PublicKey) KeyID() string { return k.id }

// dsseSigner and dsseVerifier are the keys as DSSE's library wants them.
type dsseSigner struct{ key *PrivateKey }

func (s dsseSigner) Sign(_ context.Context, data []byte) ([]byte, error) {
	return ed25519.Sign(s.key.key, data), nil
}
func (s dsseSigner) KeyID() (string, error) { return s.key.public.id, nil }

type dsseVerifier struct{ key PublicKey }

func (v dsseVerifier) Verify(_ context.Context, data, sig []byte) error {
	if len(v.key.key) != ed25519.PublicKeySize || !ed25519.Verify(v.key.key, data, sig) {
		return ErrSignature
	}
	return nil
}
func (v dsseVerifier) KeyID() (string, error)   { return v.key.id, nil }
func (v dsseVerifier) Public() crypto.PublicKey { return v.key.key }
