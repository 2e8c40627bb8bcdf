package engine

import (
	"github.com/open-policy-agent/opa/v1/ir"
)

// statement compiles one statement of block b.
func (s *scope) statement(b *ir.Block, stmt ir.Stmt) {
	switch x := stmt.(type) {
	case *ir.NopStmt:
	case *ir.BreakStmt:
		to := signal(x.Index) + leave
		s.emit(func(*machine) signal { return to })
	case *ir.BlockStmt:
		inner := s.blocks(x.Blocks)
		if len(inner) == 1 {
			only := inner[0]
			s.emit(func(m *machine) signal { return max(only.run(m), next) })
			return
		}
		s.emit(func(m *machine) signal { return runAll(inner, m) })
	case *ir.NotStmt:
		inner := s.inner(x.Block, false)
		s.emit(func(m *machine) signal {
			switch r := inner.run(m); r {
			case next:
				return leave
			case left:
				return next
			default:
				return r
			}
		})
	case *ir.ScanStmt:
		s.scan(x)
	case *ir.WithStmt:
		s.with(x)
	case *ir.ReturnLocalStmt:
		source := s.local(x.Source)
		s.emit(func(m *machine) signal {
			m.ret = source.of(m)
			return returned
		})
	case *ir.ResultSetAddStmt:
		source := s.local(x.Value)
		s.emit(func(m *machine) signal {
			m.results = append(m.results, source.of(m))
			return next
		})
	case *ir.CallStmt:
		s.call(x)
	case *ir.CallDynamicStmt:
		s.callDynamic(x)
	case *ir.DotStmt:
		s.dot(x)
	case *ir.LenStmt:
		source, to := s.operand(x.Source), s.place(x.Target)
		s.emit(func(m *machine) signal {
			v := source.of(m)
			switch {
			case v.isCollection():
				m.frame[to] = integer(int64(len(v.collection().keys)))
			case v.k == stringKind:
				m.frame[to] = integer(v.n)
			default:
				return leave
			}
			return next
		})
	case *ir.EqualStmt:
		s.equality(x.A, x.B, true)
	case *ir.NotEqualStmt:
		s.equality(x.A, x.B, false)
	case *ir.IsArrayStmt:
		s.isKind(x.Source, arrayKind)
	case *ir.IsObjectStmt:
		s.isKind(x.Source, objectKind)
	case *ir.IsSetStmt:
		s.isKind(x.Source, setKind)
	case *ir.IsDefinedStmt:
		source := s.local(x.Source)
		s.emit(func(m *machine) signal {
			if source.of(m).k == undefined {
				return leave
			}
			return next
		})
	case *ir.IsUndefinedStmt:
		source := s.local(x.Source)
		s.emit(func(m *machine) signal {
			if source.of(m).k != undefined {
				return leave
			}
			return next
		})
	default:
		s.assignment(b, stmt)
	}
}

func (s *scope) isKind(source ir.Operand, k kind) {
	o := s.shallow(source)
	s.emit(func(m *machine) signal {
		if o.of(m).k != k {
			return leave
		}
		return next
	})
}

func (s *scope) equality(x, y ir.Operand, want bool) {
	a, b := s.scalar(x, y), s.scalar(y, x)
	if a.constant() {
		a, b = b, a
	}
	if a.constant() {
		if equal(a.value, b.value) != want {
			s.emit(func(*machine) signal { return leave })
		}
		return
	}
	if a.framed() && b.constant() && b.value.k == boolKind { // as after every expression
		l, c := a.at, b.value
		s.emit(func(m *machine) signal {
			v := m.frame[l]
			if v.k == undefined || (v.k == boolKind && v.n == c.n) != want {
				return leave
			}
			return next
		})
		return
	}
	s.emit(func(m *machine) signal {
		v, w := a.of(m), b.of(m)
		if !m.compares(v, w) {
			return failed
		}
		if v.k == undefined || w.k == undefined || equal(v, w) != want {
			return leave
		}
		return next
	})
}

func (s *scope) scan(x *ir.ScanStmt) {
	source := s.local(x.Source)
	if source.constant() && source.value.isCollection() && s.settled(x.Value) {
		s.elements[x.Value] = source.value.members()
	}
	inner, once := s.inner(x.Block, s.following == nil), foundOut(x.Block)
	key, val := s.read(x.Key), s.read(x.Value)
	s.emit(func(m *machine) signal {
		v := source.of(m)
		if !v.isCollection() {
			return next
		}
		c := v.collection()
		if !c.sorted && v.k != arrayKind && !m.through(parts(v)) {
			return failed
		}
		c.sort(v.k)
		for i, item := range v.members() {
			if val >= 0 {
				m.frame[val] = item
			}
			if key >= 0 {
				m.frame[key] = integer(int64(i))
				if v.k != arrayKind {
					m.frame[key] = c.keys[i]
				}
			}
			if !m.step() {
				return failed
			}
			if r := inner.run(m); r > next || r == next && once {
				return r
			}
		}
		return next
	})
}

// foundOut tells whether a loop that came to the end of its block has nothing more to
// find out: it is that of an "every", and one of its elements did not do. OPA's
// evaluator does not look at the others either.
func foundOut(b *ir.Block) bool {
	n := len(b.Stmts)
	if n < 2 {
		return false
	}
	failed, isAssign := b.Stmts[n-1].(*ir.AssignVarStmt)
	_, asks := b.Stmts[n-2].(*ir.IsUndefinedStmt)
	return isAssign && asks && failed.Source.Value == ir.Val(ir.Bool(true))
}

// read is where the frame has a local that a statement compiled so far reads; -1
// where none does.
func (s *scope) read(l ir.Local) int {
	if at := s.place(l); s.touched[at] {
		return at
	}
	return -1
}

// dotElement looks a key up that all constants which a loop goes through have at
// one place. What is found is one of constants too.
func (s *scope) dotElement(x *ir.DotStmt) bool {
	l, isLocal := x.Source.Value.(ir.Local)
	key, isString := x.Key.Value.(ir.StringIndex)
	if !isLocal || !isString {
		return false
	}
	place := -1
	var found []Value
	for _, item := range s.elements[l] {
		if item.k != objectKind {
			return false
		}
		at := item.collection().find(s.string(int(key)))
		if at < 0 || place >= 0 && at != place {
			return false
		}
		place = at
		found = append(found, item.collection().vals[at])
	}
	if place < 0 {
		return false
	}
	from := s.local(l)
	if !from.framed() {
		return false
	}
	to := s.place(x.Target)
	if s.settled(x.Target) {
		s.elements[x.Target] = found
	}
	s.emit(func(m *machine) signal {
		m.frame[to] = m.frame[from.at].collection().vals[place]
		return next
	})
	return true
}

func (s *scope) with(x *ir.WithStmt) {
	if s.owner != nil {
		s.owner.impure = true
	}
	value, l := s.operand(x.Value), s.place(x.Local)
	var path []Value
	for _, i := range x.Path {
		path = append(path, s.string(i))
	}
	inner := s.inner(x.Block, false)
	s.emit(func(m *machine) signal {
		old, generation := m.frame[l], m.generation
		m.frame[l] = m.upsert(old, path, value.of(m))
		m.last++
		m.generation = m.last
		r := inner.run(m)
		m.frame[l], m.generation = old, generation
		if r == left {
			return leave
		}
		return r
	})
}

// dot looks a key up. A chain of them with constant keys, as input.a.b is, finds
// each by the hash or the few comparisons of its object.
func (s *scope) dot(x *ir.DotStmt) {
	if s.dotInput(x) || s.dotElement(x) {
		return
	}
	var partial *function
	if l, ok := x.Source.Value.(ir.Local); ok {
		partial = s.keyed[int(l)]
	}
	source, key, to := s.operand(x.Source), s.operand(x.Key), s.place(x.Target)
	if source.constant() && key.constant() && partial == nil {
		if v := get(source.value, key.value); v.k == undefined {
			s.emit(func(*machine) signal { return leave })
			return
		} else if s.known(x.Target, v) {
			return
		}
	}
	switch {
	case partial != nil:
		number := partial.number
		s.emit(func(m *machine) signal {
			k := key.of(m)
			v := m.get(source.of(m), k)
			if v.k == undefined {
				return m.undefined()
			}
			if !m.readKey(m.functions[number], k) {
				return failed
			}
			m.frame[to] = v
			return next
		})
	case key.constant() && key.value.k == stringKind && source.framed():
		from, k := source.at, key.value
		s.emit(func(m *machine) signal {
			v := m.frame[from]
			if v.k == objectKind {
				c := v.collection()
				if i := c.find(k); i >= 0 {
					m.frame[to] = c.vals[i]
					return next
				}
				return leave
			}
			if v = get(v, k); v.k == undefined {
				return leave
			}
			m.frame[to] = v
			return next
		})
	default:
		s.emit(func(m *machine) signal {
			v := m.get(source.of(m), key.of(m))
			if v.k == undefined {
				return m.undefined()
			}
			m.frame[to] = v
			return next
		})
	}
}
