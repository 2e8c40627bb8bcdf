package engine

import (
	"encoding/binary"
	"math/bits"
	"sync"
	"unicode/utf8"
	"unsafe"
)

// Limits of what ReadJSON reads; a document beyond them is left to others.
const (
	readDepth  = 64
	readDigits = 18 // any integer of that many digits fits an int64
	readNumber = 30
)

// ReadJSON reads a JSON document at the speed of one pass over it, and only if
// there is nothing unusual about it. What it reads is what any strict reader
// would: valid UTF-8, no name twice in an object, nothing after the document.
// Where it reports false the document may be malformed, or have an exponent, a
// long number, an escape beyond the plain ones or deep nesting, and is for a
// reader that takes its time and says what is wrong.
//
// Strings of the value are parts of raw, which must not change any more.
func ReadJSON(raw []byte) (Value, bool) {
	r := readers.Get().(*reader)
	defer r.release()
	r.raw, r.at = raw, 0
	r.count()
	v, ok := r.value(1)
	if !ok {
		return Value{}, false
	}
	r.space()
	return v, r.at == len(raw)
}

type reader struct {
	raw []byte
	at  int
	// collections and values are the document's own, as many as it can need.
	collections []collection
	values      []Value
	// lent is where they come from instead, nil for nowhere.
	lent *lent
	// stack has the members of the containers that are not complete.
	stack []Value
}

var readers = sync.Pool{New: func() any { return new(reader) }}

func (r *reader) release() {
	clear(r.stack[:cap(r.stack)])
	if cap(r.stack) > 1<<12 {
		r.stack = nil
	}
	*r = reader{stack: r.stack[:0]}
	readers.Put(r)
}

// count makes room for the containers and members that there can be at most.
func (r *reader) count() {
	containers, members := 0, 0
	for _, c := range r.raw {
		switch c {
		case '{', '[':
			containers++
			members++
		case ',', ':':
			members++
		}
	}
	r.collections = make([]collection, 0, containers)
	r.values = make([]Value, 0, members)
}

func (r *reader) space() {
	for r.at < len(r.raw) {
		switch r.raw[r.at] {
		case ' ', '\n', '\r', '\t':
			r.at++
		default:
			return
		}
	}
}

// next is the first byte that is not space, 0 at the end.
func (r *reader) next() byte {
	if r.at < len(r.raw) && r.raw[r.at] > ' ' {
		return r.raw[r.at]
	}
	r.space()
	if r.at == len(r.raw) {
		return 0
	}
	return r.raw[r.at]
}

func (r *reader) literal(text string, v Value) (Value, bool) {
	if len(r.raw)-r.at < len(text) || string(r.raw[r.at:r.at+len(text)]) != text {
		return Value{}, false
	}
	r.at += len(text)
	return v, true
}

func (r *reader) value(depth int) (Value, bool) {
	switch c := r.next(); c {
	case '"':
		return r.string()
	case '{':
		return r.object(depth)
	case '[':
		return r.array(depth)
	case 't':
		return r.literal("true", trueValue)
	case 'f':
		return r.literal("false", falseValue)
	case 'n':
		return r.literal("null", null)
	default:
		return r.number()
	}
}

func (r *reader) number() (Value, bool) {
	start := r.at
	if r.at < len(r.raw) && r.raw[r.at] == '-' {
		r.at++
	}
	first := r.at
	var n int64
	for r.at < len(r.raw) && r.raw[r.at]-'0' <= 9 {
		n = n*10 + int64(r.raw[r.at]-'0')
		if r.at++; r.at-first > readDigits {
			return Value{}, false
		}
	}
	digits := r.at - first
	if digits == 0 || digits > 1 && r.raw[first] == '0' {
		return Value{}, false
	}
	if r.at < len(r.raw) {
		switch r.raw[r.at] {
		case 'e', 'E':
			return Value{}, false
		case '.':
			r.at++
			fraction := r.at
			for r.at < len(r.raw) && r.raw[r.at]-'0' <= 9 {
				r.at++
			}
			if r.at == fraction || r.at-start > readNumber || r.at < len(r.raw) && r.raw[r.at]|0x20 == 'e' {
				return Value{}, false
			}
			return number(string(r.raw[start:r.at])), true
		}
	}
	if first > start {
		if n == 0 { // -0 is kept as it is written
			return Value{}, false
		}
		n = -n
	}
	return integer(n), true
}

// Bytes of a word, for looking at eight of them at once.
const (
	everyByte = 0x0101010101010101
	highBits  = 0x80 * everyByte
)

func (r *reader) string() (Value, bool) {
	r.at++
	start := r.at
	ascii := true
	for {
		// The lowest bit that is set is of the first byte that is not plain.
		for r.at+8 <= len(r.raw) {
			w := binary.LittleEndian.Uint64(r.raw[r.at:])
			quote, slash := w^(everyByte*'"'), w^(everyByte*'\\')
			if odd := ((quote-everyByte)&^quote | (slash-everyByte)&^slash | (w - everyByte*' ') | w) & highBits; odd != 0 {
				r.at += bits.TrailingZeros64(odd) / 8
				break
			}
			r.at += 8
		}
		if r.at == len(r.raw) {
			return Value{}, false
		}
		switch c := r.raw[r.at]; {
		case c == '"':
			s := r.raw[start:r.at]
			r.at++
			if !ascii && !utf8.Valid(s) {
				return Value{}, false
			}
			return str(unsafe.String(unsafe.SliceData(s), len(s))), true
		case c == '\\':
			return r.escaped(start)
		case c < ' ':
			return Value{}, false
		case c >= utf8.RuneSelf:
			ascii = false
		}
		r.at++
	}
}

// plainEscapes are those that stand for one byte.
var plainEscapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// escaped reads the rest of a string that has escapes.
func (r *reader) escaped(start int) (Value, bool) {
	s := append([]byte(nil), r.raw[start:r.at]...)
	for r.at < len(r.raw) {
		c := r.raw[r.at]
		r.at++
		switch {
		case c == '"':
			if !utf8.Valid(s) {
				return Value{}, false
			}
			return str(string(s)), true
		case c < ' ':
			return Value{}, false
		case c == '\\':
			if r.at == len(r.raw) || plainEscapes[r.raw[r.at]] == 0 {
				return Value{}, false
			}
			c = plainEscapes[r.raw[r.at]]
			r.at++
		}
		s = append(s, c)
	}
	return Value{}, false
}

// take moves n values from the stack to where they stay, every step-th of them.
func (r *reader) take(from, step int) []Value {
	if r.lent != nil {
		kept := r.lent.values.many((len(r.stack) - from + step - 1) / step)
		for i := range kept {
			kept[i] = r.stack[from+i*step]
		}
		return kept
	}
	at := len(r.values)
	for i := from; i < len(r.stack); i += step {
		r.values = append(r.values, r.stack[i])
	}
	return r.values[at:len(r.values):len(r.values)]
}

// container begins a collection whose members are on the stack.
func (r *reader) container(from int) *collection {
	var c *collection
	if r.lent != nil {
		c = r.lent.collections.one()
	} else {
		r.collections = append(r.collections, collection{})
		c = &r.collections[len(r.collections)-1]
	}
	for _, v := range r.stack[from:] {
		c.size += parts(v)
	}
	return c
}

func (r *reader) array(depth int) (Value, bool) {
	if depth > readDepth {
		return Value{}, false
	}
	from := len(r.stack)
	r.at++
	for more := r.next() != ']'; more; {
		v, ok := r.value(depth + 1)
		if !ok {
			return Value{}, false
		}
		r.stack = append(r.stack, v)
		switch r.next() {
		case ',':
			r.at++
		case ']':
			more = false
		default:
			return Value{}, false
		}
	}
	r.at++
	c := r.container(from)
	c.keys = r.take(from, 1)
	r.stack = r.stack[:from]
	return c.value(arrayKind), true
}

func (r *reader) object(depth int) (Value, bool) {
	if depth > readDepth {
		return Value{}, false
	}
	from := len(r.stack)
	r.at++
	for more := r.next() != '}'; more; {
		if r.next() != '"' {
			return Value{}, false
		}
		key, ok := r.string()
		if !ok || r.next() != ':' {
			return Value{}, false
		}
		r.at++
		v, ok := r.value(depth + 1)
		if !ok {
			return Value{}, false
		}
		r.stack = append(r.stack, key, v)
		switch r.next() {
		case ',':
			r.at++
		case '}':
			more = false
		default:
			return Value{}, false
		}
	}
	r.at++
	c := r.container(from)
	c.keys = r.take(from, 2)
	c.vals = r.take(from+1, 2)
	r.stack = r.stack[:from]
	c.sort(objectKind)
	for i := 1; i < len(c.keys); i++ {
		if equal(c.keys[i-1], c.keys[i]) {
			return Value{}, false
		}
	}
	if len(c.keys) >= indexed {
		c.index()
	}
	return c.value(objectKind), true
}
