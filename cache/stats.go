package cache

import "sync/atomic"

// Stats counts what a cache did since it was made.
type Stats struct {
	Hits, Misses uint64
	// Evictions counts entries that made way for others.
	Evictions uint64
	// Rejections counts new entries that were not let in because those they
	// would have replaced are asked for more often.
	Rejections uint64
	// Bytes is what the entries cost now, MaxBytes what they may cost.
	Bytes, MaxBytes int64
}

// Stats returns the counters. They are read one after another, so they may
// disagree by what happened in between.
func (c *Cache[V]) Stats() Stats {
	if c == nil || c.store == nil {
		return Stats{}
	}
	s := Stats{
		Evictions:  c.counters.evictions.Load(),
		Rejections: c.counters.rejections.Load(),
		MaxBytes:   c.store.MaxCost(),
	}
	s.Bytes = s.MaxBytes - c.store.RemainingCost()
	for i := range c.counters.shards {
		s.Hits += c.counters.shards[i].hits.Load()
		s.Misses += c.counters.shards[i].misses.Load()
	}
	return s
}

// counterShards spreads the counters of the hot path, so that processors do
// not pass one cache line around.
const counterShards = 16

type counters struct {
	shards     [counterShards]counterShard
	evictions  atomic.Uint64
	rejections atomic.Uint64
}

// counterShard fills a cache line of 128 bytes.
type counterShard struct {
	hits, misses atomic.Uint64
	_            [112]byte
}

func (c *counters) hit(hash uint64)  { c.shards[hash%counterShards].hits.Add(1) }
func (c *counters) miss(hash uint64) { c.shards[hash%counterShards].misses.Add(1) }
