package admin

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/bundle"
)

// keyring has the keys that count now. Those that the store keeps can be rotated
// by somebody else at any time. Whatever signs takes them in the transaction
// that writes what was signed: updates wait for each other, so nothing signed by
// a key that was left behind is written after the rotation.
type keyring struct {
	mu  sync.Mutex
	now *trustedKeys
}

// trustedKeys are keys with what their roots say. They never change.
type trustedKeys struct {
	Keys
	trust *bundle.Trust
}

func newKeyring(keys Keys) (*keyring, error) {
	trust, err := keys.check()
	if err != nil {
		return nil, err
	}
	return &keyring{now: &trustedKeys{keys, trust}}, nil
}

// in gives the keys as a transaction sees them, or newer ones.
func (k *keyring) in(ctx context.Context, tx store.Reader) (*trustedKeys, error) {
	k.mu.Lock()
	now := k.now
	k.mu.Unlock()
	if now.stored == nil {
		return now, nil
	}
	kept, err := tx.Secret(ctx, secretRoots)
	if err != nil {
		return nil, fmt.Errorf("reading the stored trust roots: %v", err)
	}
	if bytes.Equal(kept, now.stored) {
		return now, nil
	}
	keys, err := storedKeys(ctx, tx)
	if err != nil {
		return nil, fmt.Errorf("reading keys that were rotated: %w", err)
	}
	trust, err := keys.check()
	if err != nil {
		return nil, fmt.Errorf("reading keys that were rotated: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if trust.Version() > k.now.trust.Version() { // the transaction may see what was long ago
		k.now = &trustedKeys{keys, trust}
	}
	return k.now, nil
}
