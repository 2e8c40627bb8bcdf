package engine

import (
	"encoding/binary"
	"slices"
)

// mostFields bounds how many members of one object a projection tells apart; an
// object of which more are read is read whole.
const mostFields = 64

// Projection reads of a document what one program reads of its input, and checks
// the rest of it without keeping it.
type Projection struct {
	root *spot
	// slots is how many there are: the program's, then those of the wanted paths.
	slots int
	// wanted are the slots of the wanted paths.
	wanted []int
	keys   int
}

// spot is a place of a document that something is said of or read of.
type spot struct {
	name string
	// plain says that JSON has one plain way to write the name.
	plain bool
	field *Field // nil where nothing is said
	kinds uint16 // bits of the kinds that it may have
	// slot takes the value, -1 where none is wanted. whole says that all of it is;
	// otherwise only its kind is, and what it is where it is no collection.
	slot  int
	whole bool
	// node leads to the slots of a whole value and what is below it.
	node *inputNode
	// key is the number of the spot in keys, -1 where the program reads nothing here.
	key      int
	children []*spot
	required uint64 // bits of the children that have to be there
}

// Projection gives the projection for documents that are as schema says. Beside
// what the program reads, it reads the strings at the wanted paths. Programs that
// read the same have one.
func (p *Program) Projection(schema *Field, wanted ...[]string) *Projection {
	return p.tree.project(schema, wanted)
}

func newProjection(t *inputTree, schema *Field, wanted [][]string) *Projection {
	out := &Projection{slots: t.slots}
	input := t.root.clone()
	for _, path := range wanted {
		n := input
		for _, step := range path {
			n = n.child(step)
		}
		if n.slot < 0 {
			n.slot = out.slots
			out.slots++
		}
		n.whole = true
		out.wanted = append(out.wanted, n.slot)
	}
	out.root = out.spot("", schema, input, t.slots)
	return out
}

// clone copies the nodes at and below n.
func (n *inputNode) clone() *inputNode {
	c := *n
	c.children = nil
	for _, child := range n.children {
		c.children = append(c.children, child.clone())
	}
	return &c
}

// spot merges what is said of a place with what is read of it. Slots from own on
// are not the program's.
func (p *Projection) spot(name string, f *Field, n *inputNode, own int) *spot {
	s := &spot{name: name, plain: plainName(name), field: f, slot: -1, key: -1, kinds: ^uint16(0)}
	if f != nil && len(f.Kinds) > 0 {
		s.kinds = 0
		for k := range kinds {
			if f.allows(kind(k)) {
				s.kinds |= 1 << k
			}
		}
	}
	names := map[string]bool{}
	var fields []*Field
	if f != nil {
		fields = f.Fields
	}
	for _, c := range fields {
		names[c.Name] = true
	}
	if n != nil {
		s.slot, s.whole, s.node = n.slot, n.whole, n
		for _, c := range n.children {
			names[c.name.string()] = true
		}
		s.whole = s.whole || len(names) > mostFields
		if s.whole || s.slot >= 0 && s.slot < own {
			if s.whole && n.reads(own) || s.slot >= 0 && s.slot < own {
				s.key = p.keys
				p.keys++
			}
		}
	}
	if s.whole {
		return s
	}
	// Fields in the order in which documents have them, which is mostly the schema's.
	for _, c := range fields {
		s.add(p.spot(c.Name, c, n.find(c.Name), own), c.Required)
		delete(names, c.Name)
	}
	if n != nil {
		for _, c := range n.children {
			if names[c.name.string()] {
				s.add(p.spot(c.name.string(), nil, c, own), false)
			}
		}
	}
	return s
}

// plainName reports whether a name stands in JSON as it is, in ASCII.
func plainName(name string) bool {
	for i := range len(name) {
		if c := name[i]; c < ' ' || c >= 0x80 || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func (s *spot) add(child *spot, required bool) {
	if required {
		s.required |= 1 << len(s.children)
	}
	s.children = append(s.children, child)
}

// find is child that makes none.
func (n *inputNode) find(name string) *inputNode {
	if n == nil {
		return nil
	}
	i := slices.IndexFunc(n.children, func(c *inputNode) bool { return c.name.string() == name })
	if i < 0 {
		return nil
	}
	return n.children[i]
}

// reads reports whether a program with so many slots reads at or below n.
func (n *inputNode) reads(slots int) bool {
	return n.slot >= 0 && n.slot < slots || slices.ContainsFunc(n.children, func(c *inputNode) bool { return c.reads(slots) })
}

// span is a part of a document's text.
type span struct{ from, to int }

// Reading is what was read of one document. It can be used for one after another.
type Reading struct {
	slots  []Value
	wanted []int
	spans  []span
	// names are those of the objects that are being read, as far as nothing was to
	// be read under them.
	names []string
	key   []byte
	r     reader
	lent  lent
}

// lent is the room that the values of a reading take, until the next.
type lent struct {
	collections slab[collection]
	values      slab[Value]
}

// Read reads a document in one pass, and only if there is nothing unusual about
// it and it is what the schema says: where it reports false, the document is for
// a reader that says what is wrong, if anything is. It allocates nothing once
// into has grown to what documents take.
//
// What it reads refers to raw, which must not change as long as into is in use.
func (p *Projection) Read(raw []byte, into *Reading) bool {
	into.Reset()
	if cap(into.slots) < p.slots {
		into.slots = make([]Value, p.slots)
	}
	into.slots = into.slots[:p.slots]
	if cap(into.spans) < p.keys {
		into.spans = make([]span, p.keys)
	}
	into.spans = into.spans[:p.keys]
	clear(into.spans)
	into.wanted = p.wanted
	r := &into.r
	r.raw, r.at, r.lent = raw, 0, &into.lent
	if !into.spot(p.root, 1) {
		return false
	}
	r.space()
	return r.at == len(raw)
}

// Reset lets go of the document.
func (d *Reading) Reset() {
	clear(d.slots)
	clear(d.names[:cap(d.names)])
	d.names = d.names[:0]
	d.lent.collections.reset()
	d.lent.values.reset()
	clear(d.r.stack[:cap(d.r.stack)])
	d.r = reader{stack: d.r.stack[:0]}
	d.key = d.key[:0]
}

// Slots are the values that were read, in the order of the program's slots.
func (d *Reading) Slots() []Value { return d.slots }

// Wanted is the string at the wanted path i, "" where there is none.
func (d *Reading) Wanted(i int) string { return d.slots[d.wanted[i]].Text() }

// Key is the text of all that the program reads: documents with one key are one
// to it. It is good until the next reading.
func (d *Reading) Key() []byte {
	if len(d.key) == 0 {
		for _, s := range d.spans {
			d.key = binary.AppendUvarint(d.key, uint64(s.to-s.from))
			d.key = append(d.key, d.r.raw[s.from:s.to]...)
		}
	}
	return d.key
}

// opaque stands for objects and arrays of which only the kind is read.
var opaque = collection{sorted: true}

// kindAt is the kind of the value that begins with a byte, undefined for none.
func kindAt(c byte) kind {
	switch {
	case c == '"':
		return stringKind
	case c == '{':
		return objectKind
	case c == '[':
		return arrayKind
	case c == 't' || c == 'f':
		return boolKind
	case c == 'n':
		return nullKind
	case c == '-' || c-'0' <= 9:
		return numberKind
	}
	return undefined
}

// spot reads the value at a spot.
func (d *Reading) spot(s *spot, depth int) bool {
	r := &d.r
	k := kindAt(r.next())
	if s.kinds&(1<<k) == 0 {
		return false
	}
	from := r.at
	switch {
	case s.whole || s.slot >= 0 && k < arrayKind:
		v, ok := r.value(depth)
		if !ok || s.field != nil && !s.field.holds(v) {
			return false
		}
		s.node.fill(d.slots, v)
	case k == objectKind:
		if s.slot >= 0 {
			d.slots[s.slot] = opaque.value(objectKind)
		}
		if s.key >= 0 {
			d.spans[s.key] = span{from, from + 1}
		}
		return d.object(s, depth)
	case k == arrayKind:
		if s.slot >= 0 {
			d.slots[s.slot] = opaque.value(arrayKind)
		}
		if s.key >= 0 {
			d.spans[s.key] = span{from, from + 1}
		}
		return d.skipArray(depth, s.field != nil && s.field.Strings)
	case k == stringKind && s.field != nil && s.field.Text != nil:
		v, ok := r.string()
		return ok && s.field.Text(v.string())
	default:
		return d.skip(depth)
	}
	if s.key >= 0 {
		d.spans[s.key] = span{from, r.at}
	}
	return true
}

// object reads an object of which something is read or said.
func (d *Reading) object(s *spot, depth int) bool {
	r := &d.r
	if depth > readDepth {
		return false
	}
	names := members{from: len(d.names)}
	var seen uint64
	expected := 0
	r.at++
	more := r.next() != '}'
	if !more {
		r.at++
	}
	for more {
		var name string
		var ok bool
		at := r.oneOf(s.children, expected)
		if at < 0 {
			if name, ok = r.name(); !ok {
				return false
			}
			at = slices.IndexFunc(s.children, func(c *spot) bool { return c.name == name })
		}
		switch {
		case at < 0:
			if !d.fresh(&names, name) || !d.skip(depth+1) {
				return false
			}
		case seen&(1<<at) != 0:
			return false
		default:
			seen |= 1 << at
			expected = at + 1
			if !d.spot(s.children[at], depth+1) {
				return false
			}
		}
		if more, ok = r.more('}'); !ok {
			return false
		}
	}
	d.names = d.names[:names.from]
	return seen&s.required == s.required
}

// oneOf reads the name of a member and the colon after it, where it is that of a
// spot, written plainly, and tells which; -1 where it is none, and nothing is read.
// Spots are tried from the expected one on: documents of one writer have their
// members in one order.
func (r *reader) oneOf(spots []*spot, expected int) int {
	if r.next() != '"' {
		return -1
	}
	rest := r.raw[r.at+1:]
	for i := range spots {
		at := expected + i
		if at >= len(spots) {
			at -= len(spots)
		}
		name := spots[at].name
		if n := len(name); n < len(rest) && rest[n] == '"' && string(rest[:n]) == name && spots[at].plain {
			before := r.at
			r.at += n + 2
			if r.next() != ':' {
				r.at = before
				return -1
			}
			r.at++
			return at
		}
	}
	return -1
}

// name reads the name of a member and the colon after it.
func (r *reader) name() (string, bool) {
	if r.next() != '"' {
		return "", false
	}
	v, ok := r.string()
	if !ok || r.next() != ':' {
		return "", false
	}
	r.at++
	return v.string(), true
}

// more reads what stands after a member: a comma, or the end.
func (r *reader) more(end byte) (more, ok bool) {
	c := r.next()
	if c != ',' && c != end {
		return false, false
	}
	r.at++
	return c == ',', true
}

// skip checks a value that nobody reads.
func (d *Reading) skip(depth int) bool {
	r := &d.r
	switch r.next() {
	case '"':
		_, ok := r.string()
		return ok
	case '{':
		return d.skipObject(depth)
	case '[':
		return d.skipArray(depth, false)
	}
	_, ok := r.value(depth)
	return ok
}

func (d *Reading) skipArray(depth int, strings bool) bool {
	r := &d.r
	if depth > readDepth {
		return false
	}
	r.at++
	if r.next() == ']' {
		r.at++
		return true
	}
	for more := true; more; {
		if strings && r.next() != '"' || !d.skip(depth+1) {
			return false
		}
		var ok bool
		if more, ok = r.more(']'); !ok {
			return false
		}
	}
	return true
}

func (d *Reading) skipObject(depth int) bool {
	r := &d.r
	if depth > readDepth {
		return false
	}
	r.at++
	if r.next() == '}' {
		r.at++
		return true
	}
	names := members{from: len(d.names)}
	for more := true; more; {
		name, ok := r.name()
		if !ok || !d.fresh(&names, name) || !d.skip(depth+1) {
			return false
		}
		if more, ok = r.more('}'); !ok {
			return false
		}
	}
	d.names = d.names[:names.from]
	return true
}

// members are the names in an object so far, from one place in names on.
type members struct {
	from int
	// seen has a bit for each name, by a hash of it.
	seen uint64
}

// mostSkipped bounds the members of an object that is only checked, since each
// may have to be compared with each.
const mostSkipped = 256

// fresh notes a name of an object, and reports whether the object has not had it.
func (d *Reading) fresh(m *members, name string) bool {
	bit := uint64(1)
	if n := len(name); n > 0 {
		bit <<= (uint(n)*7 + uint(name[0])*5 + uint(name[n-1])*3 + uint(name[n/2])) & 63
	}
	if m.seen&bit != 0 && slices.Contains(d.names[m.from:], name) || len(d.names)-m.from == mostSkipped {
		return false
	}
	m.seen |= bit
	d.names = append(d.names, name)
	return true
}
