package admin

import (
	"net/http"
	"sync"
	"time"

	"github.com/caracalai/caracald/bundle"
)

// atOnce is the time in which those who were told of a bundle may fetch it
// without being told to spread: it would not be noticed beside the rest of an
// activation.
const atOnce = 25 * time.Millisecond

// fetches spreads the fetches of what watchers are told of.
type fetches struct {
	// each is the time that one fetch is given.
	each time.Duration

	mu sync.Mutex
	// done is when all who were told have fetched, if each takes its time.
	done time.Time
}

func newFetches(rate int) *fetches { return &fetches{each: time.Second / time.Duration(rate)} }

// spread gives the time over which one who is told now should spread: crowd
// are told the same at this moment, and others were told before and may still
// be on their way, as after a restart, when all come back and are behind.
func (f *fetches) spread(now time.Time, crowd int) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done.Before(now) {
		f.done = now
	}
	f.done = f.done.Add(f.each)
	over := max(f.done.Sub(now), time.Duration(crowd)*f.each)
	if over <= atOnce {
		return 0
	}
	return over
}

// tell answers a watcher with what is newer. crowd is how many are told the same.
func (s *Server) tell(w http.ResponseWriter, newer []bundle.SignedPointer, crowd int) error {
	over := s.hub.fetches.spread(time.Now(), crowd)
	return respond(w, http.StatusOK, bundle.WatchResponse{Pointers: newer, SpreadMS: over.Milliseconds()})
}
