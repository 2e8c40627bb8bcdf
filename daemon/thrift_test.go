package daemon

import (
	"runtime/debug"
	"sync"
	"testing"
)

// allowGarbage sets how much garbage there may be until the test ends.
func allowGarbage(t *testing.T, percent int) {
	before := debug.SetGCPercent(percent)
	t.Cleanup(func() { debug.SetGCPercent(before) })
}

// step changes what is counted and says how much garbage there may be then.
type step struct {
	begin, end int
	garbage    uint64
}

func takeSteps(t *testing.T, b *bulk, steps ...step) {
	t.Helper()
	for i, s := range steps {
		if s.begin > 0 {
			b.begin(s.begin)
		}
		if s.end > 0 {
			b.end(s.end)
		}
		if got := Garbage(); got != s.garbage {
			t.Errorf("step %d: there may be %d%% of garbage, want %d%%", i, got, s.garbage)
		}
	}
}

// Garbage is collected sooner from when there are many loads until there is none.
func TestThrift(t *testing.T) {
	allowGarbage(t, usualGarbage)
	var b bulk
	for range 2 { // it can be many again
		takeSteps(t, &b,
			step{begin: bulkLoads - 1, garbage: usualGarbage},
			step{begin: 1, garbage: thriftyGarbage},
			step{begin: 1, garbage: thriftyGarbage},
			step{end: bulkLoads, garbage: thriftyGarbage}, // one is left
			step{begin: bulkLoads, garbage: thriftyGarbage},
			step{end: bulkLoads, garbage: thriftyGarbage},
			step{end: 1, garbage: usualGarbage},
		)
	}
	takeSteps(t, &b, step{begin: 10 * bulkLoads, garbage: thriftyGarbage}, step{end: 10 * bulkLoads, garbage: usualGarbage})
}

// What somebody has set stays, and is looked at once for as long as there are many.
func TestThriftLeavesAlone(t *testing.T) {
	const set = 50
	allowGarbage(t, set)
	var b bulk
	takeSteps(t, &b, step{begin: bulkLoads, garbage: set}, step{begin: 1, garbage: set})
	debug.SetGCPercent(usualGarbage) // only so that another look would show
	takeSteps(t, &b, step{begin: 1, garbage: usualGarbage})
	debug.SetGCPercent(set)
	takeSteps(t, &b, step{end: bulkLoads + 2, garbage: set})
}

// Loads begin and end at once.
func TestThriftAtOnce(t *testing.T) {
	allowGarbage(t, usualGarbage)
	var b bulk
	var begun, ended sync.WaitGroup
	begun.Add(4 * bulkLoads)
	end := make(chan struct{})
	for range 4 * bulkLoads {
		ended.Go(func() {
			b.begin(1)
			begun.Done()
			<-end
			b.end(1)
		})
	}
	begun.Wait()
	takeSteps(t, &b, step{garbage: thriftyGarbage})
	close(end)
	ended.Wait()
	takeSteps(t, &b, step{garbage: usualGarbage})
}
