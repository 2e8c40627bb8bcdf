// Package cache holds encoded decisions, keyed by the snapshot that made them
// and the input they were made for. Keys are compared in full, so an entry
// never answers for another input; a snapshot that was swapped out takes its
// entries with it at once.
package cache

import (
	"fmt"
	"hash/maphash"
	"unsafe"

	"github.com/dgraph-io/ristretto/v2"
)

// Options says how much a cache may hold.
type Options struct {
	// MaxBytes bounds what the entries cost together: values as their caller
	// counts them, plus keys and the cache's own overhead. Zero or less
	// disables the cache: every Get misses and every Set does nothing.
	MaxBytes int64
}

// assumedEntryBytes is the entry size from which the number of frequency
// counters is derived: an encoded decision of about half a kilobyte and its
// key.
const assumedEntryBytes = 1 << 10

// minCounters keeps the admission policy meaningful in small caches.
const minCounters = 1 << 10

// Cache maps a generation and a key to a value. A generation is the number a
// caller gives to one loaded snapshot: the entries of another generation
// never answer, so no clearing is needed when a snapshot is swapped. All
// methods may be called from many goroutines, and on a nil Cache, which
// behaves as a disabled one.
//
// Admission is by frequency: a Set may be dropped under contention or when the
// cache is full of entries that are asked for more often.
type Cache[V any] struct {
	store    *ristretto.Cache[uint64, *entry[V]]
	offered  offered
	seed     maphash.Seed
	counters counters
	// sum maps a generation and key to the slot they share; tests replace it
	// to force collisions.
	sum func(seed maphash.Seed, generation uint64, key []byte) uint64
}

// entry carries its whole key, because the store compares hashes only.
type entry[V any] struct {
	generation uint64
	key        string
	value      V
}

// New makes a cache. With MaxBytes of zero or less it is disabled.
func New[V any](o Options) (*Cache[V], error) {
	c := &Cache[V]{seed: maphash.MakeSeed(), sum: sum}
	if o.MaxBytes <= 0 {
		return c, nil
	}
	store, err := ristretto.NewCache(&ristretto.Config[uint64, *entry[V]]{
		NumCounters: max(minCounters, 10*(o.MaxBytes/assumedEntryBytes)),
		MaxCost:     o.MaxBytes,
		BufferItems: 64,
		OnEvict:     func(*ristretto.Item[*entry[V]]) { c.counters.evictions.Add(1) },
		OnReject:    func(*ristretto.Item[*entry[V]]) { c.counters.rejections.Add(1) },
		KeyToHash:   func(hash uint64) (uint64, uint64) { return hash, 0 },
	})
	if err != nil {
		return nil, fmt.Errorf("making the cache: %w", err)
	}
	c.store, c.offered = store, newOffered(o.MaxBytes/assumedEntryBytes)
	return c, nil
}

// Enabled reports whether the cache keeps anything.
func (c *Cache[V]) Enabled() bool { return c != nil && c.store != nil }

// Get returns the value that was set under exactly this generation and key.
// It keeps no reference to key.
func (c *Cache[V]) Get(generation uint64, key []byte) (V, bool) {
	var none V
	if c == nil || c.store == nil {
		return none, false
	}
	hash := c.sum(c.seed, generation, key)
	e, ok := c.store.Get(hash)
	if !ok || e.generation != generation || e.key != string(key) {
		c.counters.miss(hash)
		return none, false
	}
	c.counters.hit(hash)
	return e.value, true
}

// Set offers a value to the cache. The cost is the size in bytes of what v
// refers to; the key's length and the entry's own size are added to it. The
// key is copied; v is shared with every Get and must not change afterwards.
// An entry may become visible shortly after Set returns, or never: a key that was not
// offered before, as far as that is remembered, is only remembered.
func (c *Cache[V]) Set(generation uint64, key []byte, v V, cost int64) {
	if c == nil || c.store == nil {
		return
	}
	hash := c.sum(c.seed, generation, key)
	if !c.offered.before(hash) {
		return
	}
	e := &entry[V]{generation: generation, key: string(key), value: v}
	size := max(cost, 0) + int64(len(key)) + int64(unsafe.Sizeof(*e))
	c.store.Set(hash, e, size)
}

// Wait returns once every Set that was called before it has been applied or
// refused.
func (c *Cache[V]) Wait() {
	if c != nil && c.store != nil {
		c.store.Wait()
	}
}

// Close frees the cache and ends its goroutines; afterwards every Get misses.
// No Set may be running when it is called.
func (c *Cache[V]) Close() {
	if c != nil && c.store != nil {
		c.store.Close()
	}
}

// sum hashes with a seed of the process, so that nobody who chooses inputs can
// aim at one slot.
func sum(seed maphash.Seed, generation uint64, key []byte) uint64 {
	// The multiplier spreads neighbouring generations over all bits.
	return maphash.Bytes(seed, key) ^ (generation+1)*0x9e3779b97f4a7c15
}
