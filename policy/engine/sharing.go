package engine

import (
	"runtime"
	"sync"
	"weak"
)

// sharing has what several programs have alike, for as long as one of them has it.
type sharing[K comparable, V any] struct {
	mu     sync.Mutex
	shared map[K]weak.Pointer[V]
}

// of gives what is shared under a key: own, where nothing is yet.
func (s *sharing[K, V]) of(key K, own *V) *V {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.shared[key].Value(); known != nil {
		return known
	}
	if s.shared == nil {
		s.shared = map[K]weak.Pointer[V]{}
	}
	s.shared[key] = weak.Make(own)
	runtime.AddCleanup(own, s.forget, key)
	return own
}

// forget drops what no program has any more.
func (s *sharing[K, V]) forget(key K) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shared[key].Value() == nil {
		delete(s.shared, key)
	}
}
