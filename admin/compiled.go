package admin

import (
	"container/list"
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/singleflight"

	"github.com/caracalai/caracald/admin/store"
	"github.com/caracalai/caracald/bundle"
	"github.com/caracalai/caracald/policy"
)

// Bounds of the compiled sets that are kept: how many, and of how many bytes
// of policies together. A compiled set takes many times the size of its policies.
const (
	maxCompiled      = 32
	maxCompiledBytes = 16 << 20
)

// compiledSets keeps sets compiled from stored bundles, by the trust root that
// the bundle was verified by and its hash: whoever simulates a version usually
// does so many times. What is kept never goes stale, as a bundle never changes.
type compiledSets struct {
	flight singleflight.Group

	mu    sync.Mutex
	byKey map[string]*list.Element
	order *list.List // most recently used first
	bytes int        // of the policies of all
}

type compiledSet struct {
	key   string
	set   *policy.Set
	bytes int
}

func newCompiledSets() *compiledSets {
	return &compiledSets{byKey: map[string]*list.Element{}, order: list.New()}
}

func (c *compiledSets) get(key string) *policy.Set {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[key]
	if !ok {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*compiledSet).set
}

func (c *compiledSets) put(key string, set *policy.Set) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.byKey[key]; ok {
		return
	}
	one := &compiledSet{key: key, set: set}
	for _, m := range set.Modules() {
		one.bytes += len(m.Content)
	}
	c.byKey[key] = c.order.PushFront(one)
	c.bytes += one.bytes
	for c.order.Len() > maxCompiled || c.bytes > maxCompiledBytes {
		oldest := c.order.Remove(c.order.Back()).(*compiledSet)
		c.bytes -= oldest.bytes
		delete(c.byKey, oldest.key)
	}
}

// compiled gives the set of a version, compiled from the stored bundle the way a
// daemon does it: signature, hashes, strict unpacking, compilation.
func (s *Server) compiled(ctx context.Context, v store.SetVersion) (*policy.Set, error) {
	var keys *trustedKeys
	err := s.store.View(ctx, func(tx store.Reader) (err error) {
		keys, err = s.keys.in(ctx, tx)
		return err
	})
	if err != nil {
		return nil, err
	}
	key := fmt.Sprintf("%d/%s", keys.trust.Version(), v.BundleSHA256)
	if set := s.sets.get(key); set != nil {
		return set, nil
	}
	// The work is shared, so it must not end because one of the callers left.
	shared := context.WithoutCancel(ctx)
	done := s.sets.flight.DoChan(key, func() (any, error) {
		set, err := s.load(shared, v, keys.trust)
		if err == nil {
			s.sets.put(key, set)
		}
		return set, err
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case r := <-done:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*policy.Set), nil
	}
}

func (s *Server) load(ctx context.Context, v store.SetVersion, trust *bundle.Trust) (*policy.Set, error) {
	var b store.Bundle
	err := s.store.View(ctx, func(tx store.Reader) (err error) {
		b, err = tx.Bundle(ctx, v.BundleSHA256)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the bundle %s: %w", v.BundleSHA256, err)
	}
	statement, err := trust.VerifyStatement(b.Envelope)
	if err != nil {
		return nil, fmt.Errorf("the bundle %s: %w", v.BundleSHA256, err)
	}
	if statement.BundleSHA256 != v.BundleSHA256 || statement.ManifestSHA256 != v.ManifestSHA256 {
		return nil, fmt.Errorf("the bundle %s: its signature is for another: %w", v.BundleSHA256, bundle.ErrHash)
	}
	contents, err := bundle.Unpack(b.Data, statement, bundle.DefaultLimits())
	if err != nil {
		return nil, fmt.Errorf("the bundle %s: %w", v.BundleSHA256, err)
	}
	mods := make([]policy.Module, len(contents.Modules))
	for i, m := range contents.Modules {
		p := contents.Manifest.Policies[i]
		mods[i] = policy.Module{PolicyID: p.PolicyID, VersionID: p.PolicyVersionID, Name: p.Name, Content: string(m.Content)}
	}
	set, err := policy.Compile(ctx, mods)
	if err != nil {
		return nil, fmt.Errorf("compiling the bundle %s: %w", v.BundleSHA256, err)
	}
	return set, nil
}
