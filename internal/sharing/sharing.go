// Package sharing lets several who made the same keep one of it, for as long as
// one of them has it.
package sharing

import (
	"runtime"
	"sync"
	"weak"
)

// Map has what is shared, by what tells that it is the same. It is safe for
// concurrent use; the zero Map is empty.
type Map[K comparable, V any] struct {
	mu     sync.Mutex
	shared map[K]weak.Pointer[V]
}

// Get gives what is shared under a key, nil where nothing is.
func (m *Map[K, V]) Get(key K) *V {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.shared[key].Value()
}

// Share gives what is shared under a key: own, where nothing is yet.
func (m *Map[K, V]) Share(key K, own *V) *V {
	m.mu.Lock()
	defer m.mu.Unlock()
	if known := m.shared[key].Value(); known != nil {
		return known
	}
	if m.shared == nil {
		m.shared = map[K]weak.Pointer[V]{}
	}
	m.shared[key] = weak.Make(own)
	runtime.AddCleanup(own, m.forget, key)
	return own
}

// forget drops what nobody has any more.
func (m *Map[K, V]) forget(key K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.shared[key].Value() == nil {
		delete(m.shared, key)
	}
}
