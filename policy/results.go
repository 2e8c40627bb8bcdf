package policy

import (
	"maps"
	"sync"
	"sync/atomic"
	"unsafe"
)

// maxResults bounds how many results a set remembers.
const maxResults = 1 << 14

// remembered is a result, and what it is as JSON.
type remembered struct {
	result Result
	answer *Answer
}

// resultKey is a constant, which is as long as the set is, and the rules that held,
// in the order in which that was found, four bytes each.
type resultKey struct {
	constant unsafe.Pointer
	held     string
}

// results remembers what constants come to. Reading most of them takes no lock:
// those that are new are few, and join the others a quarter at a time.
type results struct {
	settled atomic.Pointer[map[resultKey]*remembered]
	mu      sync.Mutex
	recent  map[resultKey]*remembered
}

// get gives a result, nil where there is none.
func (c *results) get(k resultKey) *remembered {
	if settled := c.settled.Load(); settled != nil {
		if r := (*settled)[k]; r != nil || len(*settled) >= maxResults {
			return r
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.recent[k]
}

// keeper gives what remembers a result under k.
func (c *results) keeper(k resultKey) func(remembered) {
	return func(r remembered) {
		c.mu.Lock()
		defer c.mu.Unlock()
		settled := map[resultKey]*remembered{}
		if known := c.settled.Load(); known != nil {
			settled = *known
		}
		if len(settled) >= maxResults {
			return
		}
		if c.recent == nil {
			c.recent = map[resultKey]*remembered{}
		}
		c.recent[k] = &r
		if len(c.recent) > len(settled)/4 {
			all := make(map[resultKey]*remembered, len(settled)+len(c.recent))
			maps.Copy(all, settled)
			maps.Copy(all, c.recent)
			c.settled.Store(&all)
			c.recent = nil // most sets come to a few results, and have no more
		}
	}
}
