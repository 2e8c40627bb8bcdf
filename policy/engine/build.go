package engine

import (
	"math"
	"unsafe"
)

// What building costs, as the meter counts it.
const (
	valueBytes      = int64(unsafe.Sizeof(Value{}))
	collectionBytes = int64(unsafe.Sizeof(collection{}))
)

// maxParts is the most parts that a value may have which is gone through whole, each
// counted as often as it occurs: f(x) := [x, x], nested, makes values that take no room
// and no end of time to compare.
const maxParts = 1 << 22

// grow accounts for parts of c, and for bytes.
func (m *machine) grow(c *collection, parts, bytes int64) bool {
	c.grown(parts)
	return m.charge(bytes)
}

// through accounts for going through n parts. It fails the evaluation where these are
// more than there may be.
func (m *machine) through(n int64) bool {
	if n > maxParts {
		if !m.charge(math.MaxInt64 / 2) {
			return false
		}
		m.fail(errStopped) // without a meter
		return false
	}
	return m.spend(int(n))
}

// compares accounts for comparing two values, whose kinds say more often than not that
// this takes no time.
func (m *machine) compares(v, w Value) bool {
	if v.k != w.k || v.k < stringKind || v.p == w.p || v.k == stringKind && min(v.n, w.n) < longText {
		return true
	}
	return m.through(min(parts(v), parts(w)))
}

// longText is from how many bytes on it is counted that a text is gone through.
const longText = 1 << 10

// seeks accounts for finding a key in a set or an object, by its hash or by comparing it
// with each of a few.
func (m *machine) seeks(c *collection, key Value) bool {
	if !key.isCollection() {
		return true
	}
	n := parts(key)
	if c.slots == nil {
		n *= int64(len(c.keys))
	}
	return m.through(n)
}

// get is get, and accounts for it. m.err says where it is undefined because the
// evaluation failed.
func (m *machine) get(v, key Value) Value {
	if key.isCollection() && v.isCollection() && v.k != arrayKind && !m.seeks(v.collection(), key) {
		return Value{}
	}
	return get(v, key)
}

// undefined is how a statement ends whose value is undefined, or could not be had.
func (m *machine) undefined() signal {
	if m.err != nil {
		return failed
	}
	return leave
}

// make gives an empty collection with room for n.
func (m *machine) make(k kind, n int) Value {
	c := m.collections.one()
	c.sorted = k != arrayKind
	if n > 0 {
		c.keys = m.values.many(n)[:0]
		if k == objectKind {
			c.vals = m.values.many(n)[:0]
		}
	}
	return c.value(k)
}

// push appends, taking room from the evaluation's own.
func (m *machine) push(list []Value, v Value) []Value {
	if len(list) < cap(list) {
		return append(list, v)
	}
	grown := m.values.many(max(4, 2*len(list)))[:len(list)+1]
	copy(grown, list)
	grown[len(list)] = v
	return grown
}

// add puts v at the end of an array, or into a set.
func (m *machine) add(to, v Value) bool {
	c := to.collection()
	if to.k == arrayKind {
		c.keys = m.push(c.keys, v)
		return m.grow(c, parts(v), valueBytes)
	}
	if !m.seeks(c, v) {
		return false
	}
	if c.find(v) >= 0 {
		return true
	}
	c.keys = m.push(c.keys, v)
	c.appended()
	return m.grow(c, parts(v), 2*valueBytes)
}

// insert puts a key into an object, over what is there.
func (m *machine) insert(to, key, val Value) bool {
	c := to.collection()
	if !m.seeks(c, key) {
		return false
	}
	if i := c.find(key); i >= 0 {
		c.vals[i] = val
		return true
	}
	c.keys, c.vals = m.push(c.keys, key), m.push(c.vals, val)
	c.appended()
	return m.grow(c, parts(key)+parts(val), 3*valueBytes)
}

// insertOnce is insert, and false where the key is there with another value.
func (m *machine) insertOnce(to, key, val Value) (free, ok bool) {
	c := to.collection()
	if !m.seeks(c, key) {
		return false, false
	}
	if i := c.find(key); i >= 0 {
		if !m.compares(c.vals[i], val) {
			return false, false
		}
		return equal(c.vals[i], val), true
	}
	return true, m.insert(to, key, val)
}

// clone copies a collection, but not what is in it.
func (m *machine) clone(v Value) Value {
	from := v.collection()
	out := m.make(v.k, len(from.keys)+1)
	c := out.collection()
	c.keys = append(c.keys, from.keys...)
	c.vals = append(c.vals, from.vals...)
	c.sorted, c.size = from.sorted, from.size
	if from.slots != nil {
		c.index()
	}
	m.charge(2 * valueBytes * int64(len(from.keys)))
	return out
}

// merge is the object of what a and b have; below a key that both have, their
// objects are merged. Where one of the two is no object, a's value stands.
func (m *machine) merge(a, b Value) Value {
	if a.k != objectKind || b.k != objectKind {
		return a
	}
	out := m.clone(a)
	from := b.collection()
	for i, key := range from.keys {
		val := from.vals[i]
		if old := get(a, key); old.Defined() {
			val = m.merge(old, val)
		}
		m.insert(out, key, val)
	}
	return out
}

// upsert is v with another value at path; objects on the way are made where
// there are none.
func (m *machine) upsert(v Value, path []Value, val Value) Value {
	if len(path) == 0 {
		return val
	}
	var out Value
	if v.k == objectKind {
		out = m.clone(v)
	} else {
		out = m.make(objectKind, 1)
	}
	m.insert(out, path[0], m.upsert(get(v, path[0]), path[1:], val))
	return out
}
