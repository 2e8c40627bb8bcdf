package bundle

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// TUF's root names four roles. Bundles are what TUF calls targets: content that
// is signed once and can be signed offline. Pointers are what it calls snapshot
// and timestamp: what is current, signed online and often; these two roles have
// the same keys here.
const (
	roleRoot     = metadata.ROOT
	roleBundles  = metadata.TARGETS
	rolePointers = metadata.TIMESTAMP
	roleSnapshot = metadata.SNAPSHOT
)

const maxRoot = 256 << 10

// Role is a set of keys of which Threshold must sign.
type Role struct {
	Threshold int
	Keys      []PublicKey
}

// Root says whose signatures count, for what, until when.
type Root struct {
	// Version is 1 for the first root and one more for each that follows.
	Version int64
	// Expires has a resolution of seconds.
	Expires time.Time
	// Root's keys sign roots, Bundles' keys bundles, Pointers' keys pointers.
	Root, Bundles, Pointers Role
}

func (r *Root) validate() error {
	if r.Version < 1 {
		return fmt.Errorf("%w: trust root: version is %d", ErrFormat, r.Version)
	}
	for _, named := range []struct {
		name string
		Role
	}{{"root", r.Root}, {"bundles", r.Bundles}, {"pointers", r.Pointers}} {
		name, role := named.name, named.Role
		ids := map[string]bool{}
		for _, k := range role.Keys {
			if k.id == "" {
				return fmt.Errorf("%w: trust root: %s has an empty key", ErrFormat, name)
			}
			ids[k.id] = true
		}
		switch {
		case role.Threshold < 1:
			return fmt.Errorf("%w: trust root: the threshold of %s is %d", ErrFormat, name, role.Threshold)
		case len(ids) != len(role.Keys):
			return fmt.Errorf("%w: trust root: %s has a key twice", ErrFormat, name)
		case len(role.Keys) < role.Threshold:
			return fmt.Errorf("%w: trust root: %s has %d keys for a threshold of %d", ErrFormat, name, len(role.Keys), role.Threshold)
		case len(role.Keys) > maxSignatures:
			return fmt.Errorf("%w: trust root: %s has %d keys; at most %d are accepted", ErrLimit, name, len(role.Keys), maxSignatures)
		}
	}
	return nil
}

// SignRoot makes a trust root, TUF root metadata, with a signature by each key.
// It may need more signatures to reach its thresholds: see AddRootSignature.
func SignRoot(r Root, keys ...*PrivateKey) (json.RawMessage, error) {
	if err := r.validate(); err != nil {
		return nil, fmt.Errorf("signing a trust root: %w", err)
	}
	meta := metadata.Root(r.Expires.UTC().Truncate(time.Second))
	meta.Signed.Version = r.Version
	for name, role := range map[string]Role{roleRoot: r.Root, roleBundles: r.Bundles, rolePointers: r.Pointers, roleSnapshot: r.Pointers} {
		meta.Signed.Roles[name].Threshold = role.Threshold
		for _, k := range role.Keys {
			key, err := metadata.KeyFromPublicKey(k.key)
			if err != nil {
				return nil, fmt.Errorf("signing a trust root: %w", err)
			}
			if err := meta.Signed.AddKey(key, name); err != nil {
				return nil, fmt.Errorf("signing a trust root: %w", err)
			}
		}
	}
	return addSignatures(meta, keys)
}

// AddRootSignature adds signatures to a trust root, for example by the keys of
// the root before, which a rotation needs too. A key that signed already is skipped.
func AddRootSignature(root json.RawMessage, keys ...*PrivateKey) (json.RawMessage, error) {
	meta, err := parseRoot(root)
	if err != nil {
		return nil, fmt.Errorf("signing a trust root: %w", err)
	}
	return addSignatures(meta, keys)
}

func addSignatures(meta *metadata.Metadata[metadata.RootType], keys []*PrivateKey) (json.RawMessage, error) {
	if len(keys) == 0 {
		return nil, errors.New("signing a trust root: no key was given")
	}
	for _, k := range keys {
		if slices.ContainsFunc(meta.Signatures, func(s metadata.Signature) bool { return s.KeyID == k.KeyID() }) {
			continue
		}
		signer, err := signature.LoadED25519Signer(k.key)
		if err != nil {
			return nil, fmt.Errorf("signing a trust root: %w", err)
		}
		if _, err := meta.Sign(signer); err != nil {
			return nil, fmt.Errorf("signing a trust root: %w", err)
		}
	}
	slices.SortFunc(meta.Signatures, func(a, b metadata.Signature) int { return cmp.Compare(a.KeyID, b.KeyID) })
	data, err := meta.ToBytes(false)
	if err != nil {
		return nil, fmt.Errorf("signing a trust root: %w", err)
	}
	return data, nil
}

// parseRoot reads root metadata strictly and checks what needs no trust.
func parseRoot(data json.RawMessage) (*metadata.Metadata[metadata.RootType], error) {
	if len(data) > maxRoot {
		return nil, fmt.Errorf("%w: the trust root has %d bytes; at most %d are accepted", ErrLimit, len(data), maxRoot)
	}
	if !jsontext.Value(data).IsValid() { // duplicate names and invalid UTF-8 included
		return nil, fmt.Errorf("%w: the trust root is not valid JSON", ErrFormat)
	}
	meta, err := new(metadata.Metadata[metadata.RootType]).FromBytes(data)
	if err != nil {
		return nil, fmt.Errorf("%w: trust root: %w", ErrFormat, err)
	}
	// What TUF's library checks signatures of is what it read, encoded again; its
	// reader takes names in any case and hexadecimal in both. Only bytes that mean
	// what they say go on.
	again, err := meta.ToBytes(false)
	if err != nil {
		return nil, fmt.Errorf("%w: trust root: %w", ErrFormat, err)
	}
	was, is := jsontext.Value(slices.Clone(data)), jsontext.Value(again)
	if err := errors.Join(was.Canonicalize(), is.Canonicalize()); err != nil {
		return nil, fmt.Errorf("%w: trust root: %w", ErrFormat, err)
	}
	if !bytes.Equal(was, is) {
		return nil, fmt.Errorf("%w: trust root: names or values are not written as TUF writes them", ErrFormat)
	}
	return meta, nil
}

// Trust is a verified trust root: what daemons check everything against. It is
// immutable.
type Trust struct {
	root Root
	meta *metadata.Metadata[metadata.RootType]
	raw  json.RawMessage
}

// LoadTrust reads a trust root that the caller has reason to trust: pinned, or
// verified before. It must be signed by its own root role's threshold. Expiry
// is not looked at: see CheckExpiry. Errors match ErrFormat, ErrLimit or
// ErrSignature.
func LoadTrust(root json.RawMessage) (*Trust, error) {
	meta, err := parseRoot(root)
	if err != nil {
		return nil, fmt.Errorf("loading a trust root: %w", err)
	}
	t, err := trustOf(meta, root)
	if err != nil {
		return nil, fmt.Errorf("loading a trust root: %w", err)
	}
	if err := meta.VerifyDelegate(roleRoot, meta); err != nil {
		return nil, fmt.Errorf("loading a trust root: %w: %w", ErrSignature, err)
	}
	return t, nil
}

// trustOf reads what a root says. It comes before any signature is looked at:
// TUF's library takes it for granted that no key and no role is null.
func trustOf(meta *metadata.Metadata[metadata.RootType], raw json.RawMessage) (*Trust, error) {
	t := &Trust{
		root: Root{Version: meta.Signed.Version, Expires: meta.Signed.Expires.UTC()},
		meta: meta,
		raw:  slices.Clone(raw),
	}
	for _, named := range []struct {
		name string
		into *Role
	}{{roleRoot, &t.root.Root}, {roleBundles, &t.root.Bundles}, {rolePointers, &t.root.Pointers}} {
		name, into := named.name, named.into
		role, ok := meta.Signed.Roles[name]
		if !ok || role == nil {
			return nil, fmt.Errorf("%w: trust root: it has no role %s", ErrFormat, name)
		}
		into.Threshold = role.Threshold
		for _, id := range role.KeyIDs {
			key, ok := meta.Signed.Keys[id]
			if !ok || key == nil {
				return nil, fmt.Errorf("%w: trust root: the key %.80q of the role %s is missing", ErrFormat, id, name)
			}
			parsed, err := key.ToPublicKey()
			if err != nil {
				return nil, fmt.Errorf("%w: trust root: key %.80q: %w", ErrFormat, id, err)
			}
			public, err := publicKey(parsed)
			if err != nil {
				return nil, fmt.Errorf("trust root: %w", err)
			}
			if public.id != id {
				return nil, fmt.Errorf("%w: trust root: the key %.80q has the id %s", ErrFormat, id, public.id)
			}
			into.Keys = append(into.Keys, public)
		}
	}
	if err := t.root.validate(); err != nil {
		return nil, err
	}
	return t, nil
}

// Update follows a rotation: next must have the version after this one's and be
// signed by the root threshold of this one and of itself. Errors match
// ErrFormat, ErrLimit or ErrSignature.
func (t *Trust) Update(next json.RawMessage) (*Trust, error) {
	meta, err := parseRoot(next)
	if err != nil {
		return nil, fmt.Errorf("updating the trust root: %w", err)
	}
	if meta.Signed.Version != t.root.Version+1 {
		return nil, fmt.Errorf("updating the trust root: %w: version %d does not follow %d", ErrFormat, meta.Signed.Version, t.root.Version)
	}
	updated, err := trustOf(meta, next)
	if err != nil {
		return nil, fmt.Errorf("updating the trust root: %w", err)
	}
	if err := t.meta.VerifyDelegate(roleRoot, meta); err != nil {
		return nil, fmt.Errorf("updating the trust root: %w: by the root before: %w", ErrSignature, err)
	}
	if err := meta.VerifyDelegate(roleRoot, meta); err != nil {
		return nil, fmt.Errorf("updating the trust root: %w: by itself: %w", ErrSignature, err)
	}
	return updated, nil
}

// UpdateAll follows a chain of roots, oldest first. Those that this one has
// already left behind are skipped. On an error the trust stays as it was.
func (t *Trust) UpdateAll(roots []json.RawMessage) (*Trust, error) {
	for _, raw := range roots {
		meta, err := parseRoot(raw)
		if err != nil {
			return nil, fmt.Errorf("updating the trust root: %w", err)
		}
		if meta.Signed.Version <= t.root.Version {
			continue
		}
		if t, err = t.Update(raw); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// CheckExpiry gives an error that matches ErrExpired when the root's time is over.
func (t *Trust) CheckExpiry(now time.Time) error {
	if !now.Before(t.root.Expires) {
		return fmt.Errorf("the trust root %d: %w: at %s", t.root.Version, ErrExpired, t.root.Expires.Format(time.RFC3339))
	}
	return nil
}

// Version is the root's version.
func (t *Trust) Version() int64 { return t.root.Version }

// Expires is when the root's time is over.
func (t *Trust) Expires() time.Time { return t.root.Expires }

// Raw is the root as it was read.
func (t *Trust) Raw() json.RawMessage { return slices.Clone(t.raw) }

// Root is what the root says.
func (t *Trust) Root() Root {
	r := t.root
	for _, role := range []*Role{&r.Root, &r.Bundles, &r.Pointers} {
		role.Keys = slices.Clone(role.Keys)
	}
	return r
}
