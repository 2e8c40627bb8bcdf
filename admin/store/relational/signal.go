package relational

import "sync"

// Signal is a channel that holds one value at most: that something happened.
type Signal struct {
	C      chan struct{}
	mu     sync.Mutex
	closed bool
}

// NewSignal gives a signal that nothing raised.
func NewSignal() *Signal { return &Signal{C: make(chan struct{}, 1)} }

// Raise says that it happened; nobody needs to listen.
func (s *Signal) Raise() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	select {
	case s.C <- struct{}{}:
	default:
	}
}

// Close closes the channel, once.
func (s *Signal) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	close(s.C)
}
