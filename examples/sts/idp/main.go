// Command idp stands in for an identity provider, so that the example STS has
// tokens to exchange: it prints one, and keeps its keys in a directory.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "idp:", err)
		os.Exit(1)
	}
}

func run(args []string, out, errs io.Writer) error {
	flags := flag.NewFlagSet("idp", flag.ContinueOnError)
	flags.SetOutput(errs)
	dir := flags.String("dir", "idp-data", "directory of the keys; jwks.json in it is for --subject-jwks of the STS")
	issuer := flags.String("issuer", "https://idp.example", "issuer of the token")
	audience := flags.String("audience", "http://127.0.0.1:8080", "the STS that the token is for")
	subject := flags.String("sub", "agent-reconciler", "whom the token is about")
	kind := flags.String("type", "agent", "the principal's type")
	labels := flags.String("labels", "", "the principal's labels, separated by commas")
	scope := flags.String("scope", "", "scopes that the token is confined to (default: it is not)")
	mayAct := flags.String("may-act", "", "who may act for the subject")
	mfa := flags.Bool("mfa", false, "say that the subject passed a second factor")
	lifetime := flags.Duration("lifetime", time.Hour, "how long the token is valid")
	if err := flags.Parse(args); err != nil {
		return err
	}
	key, err := keys(*dir)
	if err != nil {
		return err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return err
	}
	now := time.Now()
	more := map[string]any{"principal_type": *kind, "registration_method": "managed", "lifecycle": "task", "sid": rand.Text()}
	if *labels != "" {
		more["labels"] = strings.Split(*labels, ",")
	}
	if *scope != "" {
		more["scope"] = *scope
	}
	if *mayAct != "" {
		more["may_act"] = map[string]string{"sub": *mayAct}
	}
	if *mfa {
		more["amr"] = []string{"pwd", "mfa"}
	}
	token, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: *issuer, Subject: *subject, Audience: jwt.Audience{*audience}, ID: rand.Text(),
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(*lifetime)),
	}).Claims(more).Serialize()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, token)
	return err
}

// keys reads the private key in a directory, and makes it where there is none.
func keys(dir string) (*jose.JSONWebKey, error) {
	path := filepath.Join(dir, "private.json")
	key := &jose.JSONWebKey{}
	data, err := os.ReadFile(path)
	if err == nil {
		return key, json.Unmarshal(data, key)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	*key = jose.JSONWebKey{Key: private, Algorithm: string(jose.ES256), Use: "sig"}
	thumbprint, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, err
	}
	key.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	public := filepath.Join(dir, "jwks.json")
	if err := write(public, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key.Public()}}, 0o644); err != nil {
		return nil, err
	}
	return key, write(path, key, 0o600)
}

func write(path string, v any, mode fs.FileMode) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, mode)
}
