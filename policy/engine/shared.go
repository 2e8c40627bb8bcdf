package engine

import (
	"crypto/sha256"
	"fmt"
	"reflect"
	"slices"
	"strconv"

	"github.com/open-policy-agent/opa/v1/ir"

	"github.com/caracalai/caracald/internal/sharing"
)

// Functions are compiled functions that programs share. Policies that were made from
// one template, or versions of one policy, have most of their rules alike, and what
// is made of them is the larger part of a program. It is safe for concurrent use;
// the zero Functions has none.
type Functions struct {
	shared sharing.Map[[sha256.Size]byte, function]
}

// told is what compiling a function told of the program that it is in.
type told struct {
	// slots are the paths of the input that it reads, in the order in which they
	// got their numbers.
	slots   []slotUse
	tables  []Table
	foreign []string
	slow    bool
	// contradicts says that it may fail with ErrConflict.
	contradicts bool
}

type slotUse struct {
	path  []string
	whole bool
}

// hear makes what a function told known to the program.
func (c *compiler) hear(t *told) {
	c.program.tables = append(c.program.tables, t.tables...)
	for _, name := range t.foreign {
		if !slices.Contains(c.program.foreign, name) {
			c.program.foreign = append(c.program.foreign, name)
		}
	}
	c.program.slow = c.program.slow || t.slow
	c.program.contradicts = c.program.contradicts || t.contradicts
}

// shared gives the function that is made of a source: one that another program has,
// where it would be the same.
func (c *compiler) shared(source source) *function {
	s := c.newFunction(source)
	return s.orShared(source, func() *function { return s.function(source) })
}

// sharedPlan gives what is made of the blocks of a query, as a function that nobody
// calls.
func (c *compiler) sharedPlan(blocks []*ir.Block) *function {
	s := c.newScope(nil, blocks, nil)
	return s.orShared(source{&ir.Func{Blocks: blocks}, -1}, func() *function {
		f := &function{impure: true}
		for _, b := range blocks {
			f.body = append(f.body, s.block(b))
		}
		f.locals, f.told = s.locals, s.told
		return f
	})
}

// orShared gives what another program has made of a source, or makes its own.
func (s *scope) orShared(source source, own func() *function) *function {
	if !s.shares() || s.err != nil {
		return own()
	}
	key, d := s.keyOf(source)
	if !d.known {
		return own()
	}
	if f := s.opts.Functions.shared.Get(key); f != nil {
		for _, use := range f.slots {
			s.compiler.slot(use.path, use.whole) // has the same number: the key says which were taken
		}
		return f
	}
	f := own()
	switch {
	case s.err != nil || !f.impure && !f.done: // it perhaps lacked only the time
		return f
	case !f.impure && d.unseen: // what it gives is made of what the key does not say
		return f
	}
	f.body, f.slots, f.tables, f.foreign = exact(f.body), exact(f.slots), exact(f.tables), exact(f.foreign)
	return s.opts.Functions.shared.Share(key, f)
}

// shares reports whether other programs may have the functions of this one.
func (c *compiler) shares() bool { return c.opts.Functions != nil && c.opts.Data == nil }

// unseen reports whether a local has the constant value of a function that is taken
// from there in each evaluation: programs that differ in what a set or an object has
// then share all that only searches it.
func (s *scope) unseen(l ir.Local, f *function) bool {
	return s.shares() && f.done && f.constant.isCollection() && s.searched(l, maxCopies)
}

// maxCopies is how many times a value is followed from one local to another.
const maxCopies = 8

// searched reports whether all that is done with a local, and with those that it is
// copied to, is to look values up in it that are not known before evaluation.
func (s *scope) searched(l ir.Local, copies int) bool {
	u := s.use(l)
	if !s.settled(l) || u.searched+len(u.copies) != u.reads || copies == 0 {
		return false
	}
	for _, to := range u.copies {
		if !s.searched(to, copies-1) {
			return false
		}
	}
	return true
}

// keyOf says all that what is compiled depends on, where that is known.
func (s *scope) keyOf(source source) (key [sha256.Size]byte, d *description) {
	d = &description{s: s, source: source, known: true}
	d.number(source.number)
	d.number(s.program.slots)
	d.b = s.program.input.describe(d.b)
	d.b = strconv.AppendBool(d.b, s.projected)
	d.b = strconv.AppendBool(d.b, s.opts.Held != "")
	d.value(reflect.ValueOf(source.Func))
	return sha256.Sum256(d.b), d
}

// description is written of the source of a function.
type description struct {
	s      *scope
	source source
	// tops is how many of the function's own blocks have been written.
	tops  int
	b     []byte
	known bool
	// unseen says that a constant was left out.
	unseen bool
}

func (d *description) text(s string) { d.b = strconv.AppendQuote(d.b, s) }
func (d *description) number(n int)  { d.b = strconv.AppendInt(append(d.b, ' '), int64(n), 10) }

// static writes a string of the plan, of which sources have the place only.
func (d *description) static(i int) {
	if i < 0 || i >= len(d.s.strings) {
		d.known = false
		return
	}
	d.text(d.s.strings[i].string())
}

var (
	localType       = reflect.TypeFor[ir.Local]()
	stringIndexType = reflect.TypeFor[ir.StringIndex]()
	locationType    = reflect.TypeFor[ir.Location]()
	operandType     = reflect.TypeFor[ir.Operand]()
	// places are the fields that have the places of strings as plain numbers.
	places = map[reflect.Type]string{reflect.TypeFor[ir.WithStmt](): "Path", reflect.TypeFor[ir.MakeNumberRefStmt](): "Index"}
)

// value writes any part of a source.
func (d *description) value(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			d.b = append(d.b, '0')
			return
		}
		d.value(v.Elem())
	case reflect.Slice:
		d.number(v.Len())
		for i := range v.Len() {
			d.value(v.Index(i))
		}
	case reflect.Struct:
		d.structure(v)
	case reflect.String:
		d.text(v.String())
	case reflect.Bool:
		d.b = strconv.AppendBool(d.b, v.Bool())
	case reflect.Uint32:
		d.number(int(v.Uint()))
	case reflect.Int, reflect.Int32, reflect.Int64:
		switch v.Type() {
		case stringIndexType:
			d.static(int(v.Int()))
		case localType:
			d.b = append(d.b, 'l')
			d.number(int(v.Int()))
		default:
			d.number(int(v.Int()))
		}
	default:
		d.known = false
	}
}

// structure writes a struct: a statement, or what is in one.
func (d *description) structure(v reflect.Value) {
	d.b = append(append(d.b, v.Type().Name()...), '{')
	if v.CanAddr() {
		switch x := v.Addr().Interface().(type) {
		case *ir.CallStmt:
			if callee := d.s.compiled[x.Func]; callee != nil { // what is called was compiled before
				d.callee(callee, d.s.unseen(x.Result, callee))
			} else if x.Func != d.s.opts.Held {
				d.place(&x.Location)
			}
		case *ir.Block:
			if d.tops < len(d.source.Blocks) && x == d.source.Blocks[d.tops] {
				d.s.top = d.tops
				d.tops++
			}
			if private, ok := d.s.segments[x]; ok {
				d.s.private = private
			}
		case *ir.AssignVarOnceStmt:
			d.place(&x.Location)
		case *ir.ObjectInsertOnceStmt:
			d.place(&x.Location)
		case *ir.WithStmt:
			for _, i := range x.Path {
				d.static(i)
			}
		case *ir.MakeNumberRefStmt:
			d.static(x.Index)
		}
	} else {
		d.known = d.known && v.Type() == operandType
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Type != locationType && f.Name != places[v.Type()] { // which were written, where something is made of them
			d.value(v.Field(i))
		}
	}
	d.b = append(d.b, '}')
}

// place writes where a statement is, which errors say.
func (d *description) place(l *ir.Location) {
	p := d.s.at(l, "", nil)
	d.text(p.file)
	d.number(p.function)
	d.number(p.block)
	d.number(p.row)
	d.number(p.col)
}

// callee writes what the caller of a function has of it, its value where that is not
// unseen.
func (d *description) callee(f *function, unseen bool) {
	d.number(f.number)
	d.number(len(f.params))
	d.b = fmt.Appendf(d.b, "%t %t %t %t", f.memoized, f.impure, f.partial, f.done)
	if !f.impure && !f.done {
		d.known = false // the caller may have evaluated it, or not
	}
	if !f.done {
		return
	}
	for _, rule := range f.held {
		d.number(rule)
	}
	if unseen { // and so are the keys that rules have added
		d.unseen = true
		d.b = fmt.Appendf(d.b, "? %t", len(f.keyed) > 0)
		return
	}
	d.constant(f.constant)
	for _, k := range f.keyed {
		d.number(k.owner.number)
		d.number(k.rule)
		d.constant(k.key)
	}
}

// constant writes a value, of which equal ones may be written differently.
func (d *description) constant(v Value) {
	d.number(int(v.k))
	switch {
	case v.k == stringKind:
		d.text(v.string())
	case v.k == numberKind:
		d.text(v.text())
	case v.isCollection():
		c := v.collection()
		d.number(len(c.keys))
		for _, key := range c.keys {
			d.constant(key)
		}
		for _, val := range c.vals {
			d.constant(val)
		}
	default:
		d.number(int(v.n))
	}
}
