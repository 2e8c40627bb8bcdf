package engine

import (
	"slices"
	"sort"
	"unsafe"
)

const (
	// indexed is the size from which a collection is searched by hash.
	indexed = 12
	// firstSlots is the size of the smallest table; all are powers of two.
	firstSlots = 64
)

// collection is an array, a set or an object. It is built by one evaluation, or
// once when the program is compiled; what others may see is sorted, so that
// reading changes nothing.
type collection struct {
	// keys are the elements of an array or a set, the keys of an object.
	keys []Value
	// vals are the values of an object, empty for others.
	vals []Value
	// sorted says that a set or an object is in Rego's order.
	sorted bool
	// constant says that it was put together once, when a program was compiled.
	constant bool
	// size counts the parts of the value, each as often as it occurs, to mostSize; what
	// goes through a value whole takes that long.
	size int64
	// slots is the hash table: places in keys, counted from 1; nil while small.
	slots []int32
}

func (c *collection) value(k kind) Value { return Value{k: k, p: unsafe.Pointer(c)} }

// parts is how many values v consists of, itself included. Long strings count for
// several, as what is done with them takes longer.
func parts(v Value) int64 {
	switch {
	case v.isCollection():
		return 1 + v.collection().size
	case v.k == stringKind:
		return 1 + v.n>>8
	}
	return 1
}

// mostSize is what sizes are counted to: values that share parts may have more than
// there are numbers.
const mostSize = 1 << 60

// grown counts further parts.
func (c *collection) grown(parts int64) { c.size = min(c.size+parts, mostSize) }

// members are the elements of an array or a set, the values of an object.
func (v Value) members() []Value {
	if c := v.collection(); v.k == objectKind {
		return c.vals
	} else {
		return c.keys
	}
}

// find gives the place of a key in a set or an object, or -1.
func (c *collection) find(key Value) int {
	if c.slots == nil {
		if key.k == stringKind {
			name := key.string()
			for i := range c.keys {
				if k := &c.keys[i]; k.n == key.n && k.k == stringKind && (k.p == key.p || k.string() == name) {
					return i
				}
			}
			return -1
		}
		for i := range c.keys {
			if equal(c.keys[i], key) {
				return i
			}
		}
		return -1
	}
	mask := uint64(len(c.slots) - 1)
	for at := hash(key) & mask; ; at = (at + 1) & mask {
		i := c.slots[at]
		if i == 0 {
			return -1
		}
		if equal(c.keys[i-1], key) {
			return int(i - 1)
		}
	}
}

// index builds the hash table anew.
func (c *collection) index() {
	size := firstSlots
	for size < 2*len(c.keys) {
		size *= 2
	}
	if len(c.slots) == size {
		clear(c.slots)
	} else {
		c.slots = make([]int32, size)
	}
	for i := range c.keys {
		c.place(i)
	}
}

func (c *collection) place(i int) {
	mask := uint64(len(c.slots) - 1)
	at := hash(c.keys[i]) & mask
	for c.slots[at] != 0 {
		at = (at + 1) & mask
	}
	c.slots[at] = int32(i + 1)
}

// appended keeps the hash table right after a key was appended.
func (c *collection) appended() {
	n := len(c.keys)
	c.sorted = n == 1 || c.sorted && compare(c.keys[n-2], c.keys[n-1]) < 0
	switch {
	case n < indexed:
	case c.slots == nil || 2*n > len(c.slots):
		c.index()
	default:
		c.place(n - 1)
	}
}

// sort puts a set or an object into Rego's order.
func (c *collection) sort(k kind) {
	if c.sorted || k == arrayKind {
		return
	}
	if !slices.IsSortedFunc(c.keys, compare) {
		sort.Sort((*byKey)(c))
		if c.slots != nil {
			c.index()
		}
	}
	c.sorted = true
}

// byKey sorts keys with their values.
type byKey collection

func (c *byKey) Len() int           { return len(c.keys) }
func (c *byKey) Less(i, j int) bool { return compare(c.keys[i], c.keys[j]) < 0 }
func (c *byKey) Swap(i, j int) {
	c.keys[i], c.keys[j] = c.keys[j], c.keys[i]
	if len(c.vals) > 0 {
		c.vals[i], c.vals[j] = c.vals[j], c.vals[i]
	}
}

// freeze sorts v and all below it, so that it can be shared.
func freeze(v Value) {
	if !v.isCollection() || v.collection().constant {
		return // constants are
	}
	c := v.collection()
	c.size = 0
	for _, key := range c.keys {
		freeze(key)
		c.grown(parts(key))
	}
	for _, val := range c.vals {
		freeze(val)
		c.grown(parts(val))
	}
	c.sort(v.k)
}

// trim takes the room to grow from a collection that will not, as exact does.
func (v Value) trim() {
	c := v.collection()
	c.keys, c.vals = exact(c.keys), exact(c.vals)
}

// moved is v, which an evaluation has built, in room of its own: what an
// evaluation builds stands in room that it takes for hundreds of values at once.
func moved(v Value) Value {
	if !v.isCollection() || v.collection().constant {
		return v // constants have that
	}
	c := *v.collection()
	c.keys, c.vals = slices.Clone(c.keys), slices.Clone(c.vals)
	for i := range c.keys {
		c.keys[i] = moved(c.keys[i])
	}
	for i := range c.vals {
		c.vals[i] = moved(c.vals[i])
	}
	v = (&c).value(v.k)
	v.trim()
	return v
}

func equalCollections(a, b Value) bool {
	x, y := a.collection(), b.collection()
	if len(x.keys) != len(y.keys) {
		return false
	}
	x.sort(a.k)
	y.sort(b.k)
	for i := range x.keys {
		if !equal(x.keys[i], y.keys[i]) {
			return false
		}
	}
	if a.k == objectKind {
		for i := range x.vals {
			if !equal(x.vals[i], y.vals[i]) {
				return false
			}
		}
	}
	return true
}

func compareCollections(a, b Value) int {
	x, y := a.collection(), b.collection()
	x.sort(a.k)
	y.sort(b.k)
	for i := range min(len(x.keys), len(y.keys)) {
		if c := compare(x.keys[i], y.keys[i]); c != 0 {
			return c
		}
		if a.k == objectKind {
			if c := compare(x.vals[i], y.vals[i]); c != 0 {
				return c
			}
		}
	}
	return len(x.keys) - len(y.keys)
}

// get is v[key]: the element of an array, the value of an object, the key itself
// of a set that has it; undefined otherwise.
func get(v, key Value) Value {
	switch v.k {
	case objectKind:
		c := v.collection()
		if i := c.find(key); i >= 0 {
			return c.vals[i]
		}
	case arrayKind:
		if n, ok := key.whole(); ok {
			if keys := v.collection().keys; n >= 0 && n < int64(len(keys)) {
				return keys[n]
			}
		}
	case setKind:
		c := v.collection()
		if i := c.find(key); i >= 0 {
			return c.keys[i]
		}
	}
	return Value{}
}
