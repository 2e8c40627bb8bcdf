package cache

import "hash/maphash"

// Collide makes all keys of a cache share one slot.
func Collide[V any](c *Cache[V]) {
	c.sum = func(maphash.Seed, uint64, []byte) uint64 { return 7 }
}
