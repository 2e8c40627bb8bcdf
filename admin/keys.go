package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/bundle"
)

// Names of the store's secrets that hold keys and the built-in token.
const (
	secretToken       = "token.bootstrap"
	secretRootKey     = "key.root"
	secretBundlesKey  = "key.bundles"
	secretPointersKey = "key.pointers"
	secretRoots       = "trust.roots"
)

// rootLifetime is how long a trust root that we make ourselves is good for.
const rootLifetime = 10 * 365 * 24 * time.Hour

// LoadOrCreateKeys gives the keys that the store keeps, and makes them, with a
// trust root that gives them their roles, when there are none yet: so that a
// control plane works without any preparation. A deployment that keeps its root
// or bundle key elsewhere builds Keys itself.
func LoadOrCreateKeys(ctx context.Context, st store.Store, now time.Time) (Keys, error) {
	var keys Keys
	err := st.Update(ctx, func(tx store.Tx) (err error) {
		keys, err = storedKeys(ctx, tx)
		if errors.Is(err, store.ErrNotFound) {
			keys, err = createKeys(ctx, tx, now)
		}
		return err
	})
	if err != nil {
		return Keys{}, fmt.Errorf("loading the signing keys: %w", err)
	}
	return keys, nil
}

// LoadKeys gives the keys that the store keeps; store.ErrNotFound where it
// keeps none.
func LoadKeys(ctx context.Context, st store.Store) (keys Keys, err error) {
	err = st.View(ctx, func(tx store.Reader) error {
		keys, err = storedKeys(ctx, tx)
		return err
	})
	if err != nil {
		return Keys{}, fmt.Errorf("loading the signing keys: %w", err)
	}
	return keys, nil
}

// storedKeys is store.ErrNotFound where the store keeps no keys at all.
func storedKeys(ctx context.Context, tx store.Reader) (keys Keys, err error) {
	kept, err := tx.Secret(ctx, secretRoots)
	if err != nil {
		return keys, err
	}
	if err := json.Unmarshal(kept, &keys.Roots); err != nil {
		return keys, fmt.Errorf("reading the stored trust roots: %w", err)
	}
	keys.stored = kept
	if keys.Bundles, err = storedKey(ctx, tx, secretBundlesKey); err != nil {
		return keys, err
	}
	keys.Pointers, err = storedKey(ctx, tx, secretPointersKey)
	return keys, err
}

// LoadOrKeepToken gives the secret of the built-in token that the store keeps,
// so that every replica has the same one. Where it keeps none, it keeps the
// one given.
func LoadOrKeepToken(ctx context.Context, st store.Store, own string) (token string, err error) {
	err = st.Update(ctx, func(tx store.Tx) error {
		kept, err := tx.Secret(ctx, secretToken)
		if errors.Is(err, store.ErrNotFound) {
			token = own
			return tx.PutSecret(ctx, secretToken, []byte(own))
		}
		token = string(kept)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("loading the built-in token: %w", err)
	}
	return token, nil
}

func storedKey(ctx context.Context, tx store.Reader, name string) (*bundle.PrivateKey, error) {
	data, err := tx.Secret(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %v", name, err) // where there are roots, it is no answer that there are no keys
	}
	key, err := bundle.ParsePrivateKey(data)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return key, nil
}

// makeKey makes a key and keeps it under a name.
func makeKey(ctx context.Context, tx store.Tx, name string) (*bundle.PrivateKey, error) {
	key, err := bundle.GenerateKey()
	if err != nil {
		return nil, err
	}
	pem, err := key.MarshalPEM()
	if err != nil {
		return nil, err
	}
	if err := tx.PutSecret(ctx, name, pem); err != nil {
		return nil, fmt.Errorf("keeping %s: %w", name, err)
	}
	return key, nil
}

func createKeys(ctx context.Context, tx store.Tx, now time.Time) (Keys, error) {
	made := map[string]*bundle.PrivateKey{}
	for _, name := range []string{secretRootKey, secretBundlesKey, secretPointersKey} {
		key, err := makeKey(ctx, tx, name)
		if err != nil {
			return Keys{}, err
		}
		made[name] = key
	}
	role := func(name string) bundle.Role {
		return bundle.Role{Threshold: 1, Keys: []bundle.PublicKey{made[name].Public()}}
	}
	root, err := bundle.SignRoot(bundle.Root{
		Version:  1,
		Expires:  now.Add(rootLifetime).UTC().Truncate(time.Second),
		Root:     role(secretRootKey),
		Bundles:  role(secretBundlesKey),
		Pointers: role(secretPointersKey),
	}, made[secretRootKey])
	if err != nil {
		return Keys{}, err
	}
	roots := []json.RawMessage{root}
	data, err := json.Marshal(roots)
	if err != nil {
		return Keys{}, err
	}
	if err := tx.PutSecret(ctx, secretRoots, data); err != nil {
		return Keys{}, err
	}
	return Keys{Bundles: made[secretBundlesKey], Pointers: made[secretPointersKey], Roots: roots, stored: data}, nil
}

// check tells whether daemons that trust the roots will trust what the keys
// sign, and gives the newest root: better to refuse to start than to publish
// what nobody accepts.
func (k *Keys) check() (*bundle.Trust, error) {
	if k.Bundles == nil || k.Pointers == nil {
		return nil, errors.New("a key for bundles and one for pointers are required")
	}
	if len(k.Roots) == 0 {
		return nil, errors.New("at least one trust root is required")
	}
	trust, err := bundle.LoadTrust(k.Roots[0])
	if err != nil {
		return nil, fmt.Errorf("reading the first trust root: %w", err)
	}
	if trust, err = trust.UpdateAll(k.Roots[1:]); err != nil {
		return nil, fmt.Errorf("following the trust roots: %w", err)
	}
	env, err := bundle.SignStatement(bundle.Statement{
		ManifestSHA256: bundle.SHA256Hex(nil), BundleSHA256: bundle.SHA256Hex(nil), BundleSize: 1, UncompressedSize: 1,
	}, k.Bundles)
	if err != nil {
		return nil, err
	}
	if _, err := trust.VerifyStatement(env); err != nil {
		return nil, fmt.Errorf("the trust root does not let this key alone sign bundles: %w", err)
	}
	now := time.Now().UTC().Truncate(time.Second)
	env, err = bundle.SignPointer(bundle.Pointer{ZoneID: "check", IssuedAt: now, ExpiresAt: now.Add(time.Hour)}, k.Pointers)
	if err != nil {
		return nil, err
	}
	if _, err := trust.VerifyPointer(env, now); err != nil {
		return nil, fmt.Errorf("the trust root does not let this key alone sign pointers: %w", err)
	}
	return trust, nil
}

// signed tells whether a pointer was signed by a key that any of the roots gave
// that role, which need not be the newest one.
func (k *Keys) signed(p store.Pointer) error {
	trust, err := bundle.LoadTrust(k.Roots[0])
	if err != nil {
		return fmt.Errorf("reading the first trust root: %w", err)
	}
	for _, next := range k.Roots[1:] {
		if _, err := trust.VerifyPointer(p.Envelope, p.IssuedAt); err == nil {
			return nil
		}
		if trust, err = trust.Update(next); err != nil {
			return fmt.Errorf("following the trust roots: %w", err)
		}
	}
	_, err = trust.VerifyPointer(p.Envelope, p.IssuedAt)
	return err
}
