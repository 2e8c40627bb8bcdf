package daemon

import (
	"runtime/debug"
	"sync"
)

// thrift makes Go collect garbage sooner while many zones are loaded. Compiling
// leaves much garbage between what stays, and pages on which little is left are
// not given back: with twice the memory for garbage, a third more stays taken for
// good.
//
// How much garbage there may be is the process's, so this is too. It is left alone
// where somebody has set it.
var thrift bulk

const (
	// bulkLoads is how many loads at once are many.
	bulkLoads = 8
	// usualGarbage and thriftyGarbage are in percent of what is in use.
	usualGarbage   = 100
	thriftyGarbage = 25
)

type bulk struct {
	mu      sync.Mutex
	loads   int
	thrifty bool
}

// begin counts loads that begin, end those that have ended.
func (b *bulk) begin(loads int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	were := b.loads
	b.loads += loads
	// Setting it stops the world, so it is not tried again with every further load.
	if b.thrifty || were >= bulkLoads || b.loads < bulkLoads {
		return
	}
	if before := debug.SetGCPercent(thriftyGarbage); before != usualGarbage {
		debug.SetGCPercent(before)
		return
	}
	b.thrifty = true
}

func (b *bulk) end(loads int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.loads -= loads
	if b.thrifty && b.loads == 0 {
		debug.SetGCPercent(usualGarbage)
		b.thrifty = false
	}
}
