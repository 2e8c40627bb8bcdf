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
	settled atomic.Pointer[settledResults]
	mu      sync.Mutex
	recent  map[resultKey]*remembered
}

// settledResults are those that do not change any more: a list where they are few, as with
// most sets.
type settledResults struct {
	few  []knownResult
	many map[resultKey]*remembered
}

type knownResult struct {
	key    resultKey
	result *remembered
}

// mostFew is how many results are looked through one after another.
const mostFew = 4

func (s *settledResults) len() int {
	if s == nil {
		return 0
	}
	return max(len(s.few), len(s.many))
}

func (s *settledResults) get(k resultKey) *remembered {
	if s == nil {
		return nil
	}
	for i := range s.few {
		if s.few[i].key == k {
			return s.few[i].result
		}
	}
	return s.many[k]
}

// and is s with more.
func (s *settledResults) and(more map[resultKey]*remembered) *settledResults {
	if n := s.len() + len(more); n > mostFew {
		all := &settledResults{many: make(map[resultKey]*remembered, n)}
		if s != nil {
			for _, k := range s.few {
				all.many[k.key] = k.result
			}
			maps.Copy(all.many, s.many)
		}
		maps.Copy(all.many, more)
		return all
	}
	all := &settledResults{few: make([]knownResult, 0, s.len()+len(more))}
	if s != nil {
		all.few = append(all.few, s.few...)
	}
	for k, r := range more {
		all.few = append(all.few, knownResult{k, r})
	}
	return all
}

// get gives a result, nil where there is none.
func (c *results) get(k resultKey) *remembered {
	settled := c.settled.Load()
	if r := settled.get(k); r != nil || settled.len() >= maxResults {
		return r
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
		settled := c.settled.Load()
		if settled.len() >= maxResults || settled.get(k) != nil {
			return
		}
		if c.recent == nil {
			c.recent = map[resultKey]*remembered{}
		}
		c.recent[k] = &r
		if len(c.recent) > settled.len()/4 {
			c.settled.Store(settled.and(c.recent))
			c.recent = nil // most sets come to a few results, and have no more
		}
	}
}
