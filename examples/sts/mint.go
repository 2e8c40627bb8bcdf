package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/caracalai/caracald/daemon/client"
)

// signer mints tokens.
type signer struct {
	issuer   string
	lifetime time.Duration
	signer   jose.Signer
	public   jose.JSONWebKeySet
}

// loadSigner signs by the key in a PEM file, or by a new one where path is "".
func loadSigner(issuer, path string, lifetime time.Duration) (*signer, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if path != "" {
		private, err = readKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("the signing key: %w", err)
	}
	if lifetime < time.Second {
		return nil, fmt.Errorf("the lifetime of a token is %v; the least is 1s", lifetime)
	}
	key := jose.JSONWebKey{Key: private, Algorithm: string(jose.ES256), Use: "sig"}
	thumbprint, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("the signing key: %w", err)
	}
	key.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	// at+jwt: RFC 9068.
	js, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithType("at+jwt"))
	if err != nil {
		return nil, fmt.Errorf("the signing key: %w", err)
	}
	return &signer{issuer, lifetime, js, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key.Public()}}}, nil
}

func readKey(path string) (*ecdsa.PrivateKey, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s is no PEM", path)
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil && key.Curve == elliptic.P256() {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if private, ok := key.(*ecdsa.PrivateKey); ok && private.Curve == elliptic.P256() {
		return private, nil
	}
	return nil, errors.Join(fmt.Errorf("%s has no EC P-256 private key", path), err)
}

// minted is the claims of a token, beside the registered ones.
type minted struct {
	jwt.Claims
	ClientID string `json:"client_id"`
	Scope    string `json:"scope"`
	Act      *actor `json:"act,omitempty"`
	// Decisions says, for each target, what allowed it, so that a token leads to
	// its record in the audit and to the very policies that made it.
	Decisions []decided `json:"decisions"`
}

type decided struct {
	Resource           string `json:"resource"`
	DecisionID         string `json:"decision_id"`
	PolicySetVersionID string `json:"policy_set_version_id"`
	ManifestSHA256     string `json:"manifest_sha256"`
	BundleSHA256       string `json:"bundle_sha256"`
}

// mint makes the token of an exchange that all the decisions allow, and says for
// how long it is valid. It refuses where one does not.
func (s *signer) mint(x *exchange, decisions []client.Outcome, now time.Time) (string, time.Duration, error) {
	claims := minted{Scope: strings.Join(x.form.scopes, " "), ClientID: x.acting().Subject}
	if len(decisions) == 0 || len(decisions) != len(x.resources) {
		return "", 0, fmt.Errorf("there are %d decisions for %d targets", len(decisions), len(x.resources))
	}
	for i := range decisions {
		d := &decisions[i]
		if d.Err != nil || !d.Allowed() {
			return "", 0, errors.New("a decision does not allow it")
		}
		claims.Audience = append(claims.Audience, x.resources[i].Identifier)
		claims.Decisions = append(claims.Decisions, decided{x.resources[i].Identifier, d.DecisionID, d.PolicySetVersionID, d.ManifestSHA256, d.BundleSHA256})
	}
	// The token ends no later than those it was made of.
	expiry := now.Add(s.lifetime)
	if at := x.subject.Expiry.Time(); at.Before(expiry) {
		expiry = at
	}
	if x.actor != nil {
		if at := x.actor.Expiry.Time(); at.Before(expiry) {
			expiry = at
		}
	}
	lasts := expiry.Sub(now).Truncate(time.Second)
	if lasts <= 0 {
		return "", 0, errors.New("the presented tokens end now")
	}
	claims.Issuer, claims.Subject, claims.ID = s.issuer, x.subject.Subject, rand.Text()
	claims.IssuedAt, claims.NotBefore, claims.Expiry = jwt.NewNumericDate(now), jwt.NewNumericDate(now), jwt.NewNumericDate(now.Add(lasts))
	// The outermost act is who acts now; those before it are inside: RFC 8693, 4.1.
	claims.Act = x.subject.Act
	if x.actor != nil {
		claims.Act = &actor{Issuer: x.actor.Issuer, Subject: x.actor.Subject, Act: x.subject.Act}
	}
	token, err := jwt.Signed(s.signer).Claims(claims).Serialize()
	if err != nil {
		return "", 0, fmt.Errorf("signing: %w", err)
	}
	return token, lasts, nil
}
