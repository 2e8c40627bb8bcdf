package cache

import (
	"math/bits"
	"sync/atomic"
)

// offered remembers which keys were offered lately, by a part of their hash. Most
// inputs of a busy daemon come once: to keep each costs more than evaluating a quick
// policy, and pushes out what comes again.
type offered struct{ tags []atomic.Uint32 }

// newOffered remembers about as many keys as there is room for entries.
func newOffered(entries int64) offered {
	return offered{make([]atomic.Uint32, 1<<bits.Len64(uint64(max(entries, minCounters))))}
}

// before tells whether a key was offered before, and remembers that it is now. A key
// that takes the place of another makes that one forgotten.
func (o offered) before(hash uint64) bool {
	tag := &o.tags[hash&uint64(len(o.tags)-1)]
	mark := uint32(hash>>32) | 1 // never the mark of an empty place
	return tag.Swap(mark) == mark
}
