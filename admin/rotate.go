package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/bundle"
)

// Rotation says which of the keys that a store keeps are made anew.
type Rotation struct {
	// Pointers, Bundles and Root are the keys to make anew; at least one.
	Pointers, Bundles, Root bool
	// Forget leaves the bundles keys from before out of the new root: what they
	// signed counts no more. Otherwise they stay beside the new one, for bundles
	// that are in use. It needs Bundles.
	Forget bool
	// PointerTTL is that of the control plane. Required.
	PointerTTL time.Duration
	// Reason and Operator, the name of who does it, are for the audit.
	Reason, Operator string
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Rotated is the trust root that a rotation made.
type Rotated struct {
	Version int64     `json:"version"`
	Expires time.Time `json:"expires"`
	// RootKey and PointersKey are the ids of the keys that sign from now on, as the
	// first of BundlesKeys is; the others still count.
	RootKey     string   `json:"root_key"`
	PointersKey string   `json:"pointers_key"`
	BundlesKeys []string `json:"bundles_keys"`
	// Pointers is how many were signed anew.
	Pointers int `json:"pointers"`
}

// RotateKeys makes keys that the store keeps anew, with the root that follows,
// signed by the root key from before and its successor. Where the pointers key
// is one of them, every pointer is signed anew at its sequence. All of it is one
// transaction. It may run beside the control planes of the store, which sign
// with the new keys from then on; daemons follow the root by themselves.
// store.ErrNotFound where the store keeps no keys.
func RotateKeys(ctx context.Context, st store.Store, r Rotation) (done Rotated, err error) {
	if !r.Pointers && !r.Bundles && !r.Root {
		return done, errors.New("rotating keys: none was named")
	}
	if r.Forget && !r.Bundles {
		return done, errors.New("rotating keys: bundles keys can only be forgotten for a new one")
	}
	if r.Now == nil {
		r.Now = time.Now
	}
	err = st.Update(ctx, func(tx store.Tx) error {
		done, err = r.rotate(ctx, tx)
		return err
	})
	if err != nil {
		return Rotated{}, fmt.Errorf("rotating keys: %w", err)
	}
	return done, nil
}

func (r *Rotation) rotate(ctx context.Context, tx store.Tx) (Rotated, error) {
	now := r.Now().UTC().Truncate(time.Microsecond)
	keys, err := storedKeys(ctx, tx)
	if err != nil {
		return Rotated{}, err
	}
	trust, err := keys.check()
	if err != nil {
		return Rotated{}, err
	}
	pointers, err := tx.Pointers(ctx)
	if err != nil {
		return Rotated{}, fmt.Errorf("reading the pointers: %w", err)
	}
	for _, p := range pointers { // or its keys are in files, whatever else the store keeps
		if err := keys.signed(p); err != nil {
			return Rotated{}, fmt.Errorf("zone %s: %w: %w", p.ZoneID, ErrForeignKeys, err)
		}
	}
	root, err := r.newKeys(ctx, tx, &keys, trust, now)
	if err != nil {
		return Rotated{}, err
	}
	if _, err := keys.check(); err != nil { // what nobody follows must not be kept
		return Rotated{}, fmt.Errorf("the new trust root: %w", err)
	}
	roots, err := json.Marshal(keys.Roots)
	if err != nil {
		return Rotated{}, err
	}
	if err := tx.PutSecret(ctx, secretRoots, roots); err != nil {
		return Rotated{}, fmt.Errorf("keeping the trust roots: %w", err)
	}
	done := Rotated{Version: root.Version, Expires: root.Expires, RootKey: root.Root.Keys[0].KeyID(), PointersKey: root.Pointers.Keys[0].KeyID()}
	for _, k := range root.Bundles.Keys {
		done.BundlesKeys = append(done.BundlesKeys, k.KeyID())
	}
	if r.Pointers {
		for _, p := range pointers {
			if err := r.resign(ctx, tx, p, keys.Pointers, now); err != nil {
				return Rotated{}, fmt.Errorf("signing the pointer of zone %s anew: %w", p.ZoneID, err)
			}
		}
		done.Pointers = len(pointers)
	}
	return done, auditOperator(ctx, tx, store.AdminEvent{
		RequestID: newID(), ActorName: cmp.Or(r.Operator, operatorID), Action: "key.rotate", EntityType: "trust_root",
		EntityID: strconv.FormatInt(root.Version, 10), OccurredAt: now,
	}, map[string]any{
		"root_key": done.RootKey, "pointers_key": done.PointersKey, "bundles_keys": done.BundlesKeys, "rotated": map[string]bool{
			"root": r.Root, "pointers": r.Pointers, "bundles": r.Bundles,
		}, "forgotten": r.Forget, "reason": r.Reason,
	})
}

// newKeys makes the keys, and adds the root that names them to keys.
func (r *Rotation) newKeys(ctx context.Context, tx store.Tx, keys *Keys, trust *bundle.Trust, now time.Time) (bundle.Root, error) {
	next := trust.Root()
	next.Version++
	next.Expires = now.Add(rootLifetime).Truncate(time.Second)
	rootKey, err := storedKey(ctx, tx, secretRootKey)
	if err != nil {
		return next, err
	}
	signers := []*bundle.PrivateKey{rootKey}
	if r.Root {
		if rootKey, err = makeKey(ctx, tx, secretRootKey); err != nil {
			return next, err
		}
		signers = append(signers, rootKey)
		next.Root.Keys = []bundle.PublicKey{rootKey.Public()}
	}
	if r.Pointers {
		if keys.Pointers, err = makeKey(ctx, tx, secretPointersKey); err != nil {
			return next, err
		}
		next.Pointers.Keys = []bundle.PublicKey{keys.Pointers.Public()}
	}
	if r.Bundles {
		if keys.Bundles, err = makeKey(ctx, tx, secretBundlesKey); err != nil {
			return next, err
		}
		before := next.Bundles.Keys
		if r.Forget {
			before = nil
		}
		next.Bundles.Keys = append([]bundle.PublicKey{keys.Bundles.Public()}, before...)
	}
	signed, err := bundle.SignRoot(next, signers...)
	if err != nil {
		return next, err
	}
	keys.Roots = append(keys.Roots, signed)
	return next, nil
}

func (r *Rotation) resign(ctx context.Context, tx store.Tx, p store.Pointer, key *bundle.PrivateKey, now time.Time) error {
	zone, err := pointed(ctx, tx, p.ZoneID)
	if err != nil {
		return err
	}
	if !now.After(p.IssuedAt) {
		now = p.IssuedAt.Add(time.Microsecond)
	}
	if err := signPointer(&p, zone, now, r.PointerTTL, key); err != nil {
		return err
	}
	return tx.ResignPointer(ctx, p)
}
