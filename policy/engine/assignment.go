package engine

import (
	"strings"

	"github.com/open-policy-agent/opa/v1/ir"
)

// conflictKeys is what OPA says where an object would get a second value for a key.
const conflictKeys = "object keys must be unique"

// conflictMessage is what OPA says where a rule, or a function, has two values.
// All rules of a function share it.
func (s *scope) conflictMessage() string {
	if s.conflict == "" {
		s.conflict = s.sayConflict()
	}
	return s.conflict
}

func (s *scope) sayConflict() string {
	if s.owner == nil {
		return "conflicting values"
	}
	_, path, _ := strings.Cut(s.owner.name, ".") // the first part counts replacements
	if len(s.owner.params) > 2 {
		return "function " + path + " produced conflicting values for the same inputs"
	}
	return "rule " + path + " produced conflicting values"
}

// brief writes a value for a message.
func brief(v Value) string {
	const most, mostParts = 80, 1 << 10
	if parts(v) > mostParts {
		return "a large " + string(v.Kind())
	}
	text := v.AST().String()
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}

// assignment compiles the statements that give locals values or add to them.
func (s *scope) assignment(b *ir.Block, stmt ir.Stmt) {
	switch x := stmt.(type) {
	case *ir.ResetLocalStmt:
		to := s.place(x.Target)
		s.emit(func(m *machine) signal {
			m.frame[to] = Value{}
			return next
		})
	case *ir.AssignIntStmt:
		s.assign(x.Target, integer(x.Value))
	case *ir.MakeNullStmt:
		s.assign(x.Target, null)
	case *ir.MakeNumberIntStmt:
		s.assign(x.Target, integer(x.Value))
	case *ir.MakeNumberRefStmt:
		s.assign(x.Target, number(s.string(x.Index).string()))
	case *ir.AssignVarStmt:
		if s.copied(x) {
			return
		}
		source, to := s.operand(x.Source), s.place(x.Target)
		if source.constant() {
			s.assign(x.Target, source.value)
			return
		}
		s.emit(func(m *machine) signal {
			m.frame[to] = source.of(m)
			return next
		})
	case *ir.AssignVarOnceStmt:
		source, to := s.operand(x.Source), s.place(x.Target)
		after := s.found(x)
		s.gives(x, source)
		conflict := s.at(x.GetLocation(), s.conflictMessage(), ErrConflict)
		s.emit(func(m *machine) signal {
			v, old := source.of(m), m.frame[to]
			if !m.compares(old, v) {
				return failed
			}
			if old.k != undefined && !equal(old, v) {
				return m.failAt(conflict, ": "+brief(old)+" and "+brief(v))
			}
			m.frame[to] = v
			return after
		})
	case *ir.MakeArrayStmt:
		s.make(b, x.Target, arrayKind, int(x.Capacity))
	case *ir.MakeSetStmt:
		s.make(b, x.Target, setKind, 0)
	case *ir.MakeObjectStmt:
		s.make(b, x.Target, objectKind, 0)
	case *ir.ArrayAppendStmt:
		s.add(x.Array, x.Value)
	case *ir.SetAddStmt:
		s.add(x.Set, x.Value)
	case *ir.ObjectInsertStmt:
		s.insert(x.Object, x.Key, x.Value, nil)
	case *ir.ObjectInsertOnceStmt:
		s.insert(x.Object, x.Key, x.Value, s.at(x.GetLocation(), conflictKeys, ErrConflict))
	case *ir.ObjectMergeStmt:
		x0, x1, to := s.local(x.A), s.local(x.B), s.place(x.Target)
		s.emit(func(m *machine) signal {
			m.frame[to] = m.merge(x0.of(m), x1.of(m))
			return next
		})
	default:
		s.fail("unknown statement %T", stmt)
	}
}

// gives notes whether the statement that gives a rule its value may find another one
// there: not where all rules of the function have one constant. What the function
// takes of a rule is what that rule has, and its default is taken where none has one.
func (s *scope) gives(x *ir.AssignVarOnceStmt, source operand) {
	switch from, isLocal := x.Source.Value.(ir.Local); {
	case s.owner != nil && int(x.Target) == s.result && (isLocal && int(from) == s.shared || source.constant()):
	case s.owner != nil && int(x.Target) == s.shared && source.constant() && (s.given.k == undefined || equal(s.given, source.value)):
		s.given = source.value
	default:
		s.tell().contradicts = true
	}
}

// found is how the statement ends that gives a rule its value: where it is the
// only one that the function can have, the loops around it are done with. Not where
// the rest of a loop might find that other rules hold, which is asked for.
func (s *scope) found(x *ir.AssignVarOnceStmt) signal {
	if s.opts.Held != "" && s.calls > s.before {
		return next
	}
	if s.single.k == undefined || int(x.Target) != s.shared || s.following != nil || s.depth <= 0 {
		return next
	}
	return leave + signal(s.depth)
}

// assign gives a local a constant.
func (s *scope) assign(l ir.Local, v Value) {
	if s.known(l, v) {
		return
	}
	to := s.place(l)
	s.emit(func(m *machine) signal {
		m.frame[to] = v
		return next
	})
}

// make begins a collection: a constant, where all that is ever added is constant
// and is added in this block.
func (s *scope) make(b *ir.Block, l ir.Local, k kind, n int) {
	u := s.use(l)
	if s.once(l) && (len(u.blocks) == 0 || len(u.blocks) == 1 && u.blocks[0] == b) {
		c := &collection{sorted: k != arrayKind}
		p := &pendingConst{value: c.value(k), left: len(u.mutators)}
		s.pending[int(l)] = p
		return
	}
	to := s.place(l)
	s.emit(func(m *machine) signal {
		m.frame[to] = m.make(k, n)
		return next
	})
}

// add appends to an array or adds to a set.
func (s *scope) add(l ir.Local, value ir.Operand) {
	v, to := s.operand(value), s.place(l)
	if p := s.pending[int(l)]; p != nil {
		if v.constant() {
			p.left--
			c := p.value.collection()
			if p.value.k == arrayKind {
				c.keys = append(c.keys, v.value)
			} else if c.find(v.value) < 0 {
				c.keys = append(c.keys, v.value)
				c.appended()
			}
			return
		}
		s.unfold(l, p)
	}
	s.emit(func(m *machine) signal {
		w := v.of(m)
		if w.k == undefined {
			return leave
		}
		if !m.add(m.frame[to], w) {
			return failed
		}
		return next
	})
}

// insert puts a key into an object; with a conflict, only where it has not
// another value yet.
func (s *scope) insert(l ir.Local, key, value ir.Operand, conflict *place) {
	k, v, to := s.operand(key), s.operand(value), s.place(l)
	if conflict != nil {
		s.tell().contradicts = true
	}
	owner := s.owner // closures keep nothing of the plan alive
	ofRules := s.owner != nil && s.owner.partial && s.owner.memoized && int(l) == s.result
	if p := s.pending[int(l)]; p != nil {
		c := p.value.collection()
		if k.constant() && v.constant() && c.find(k.value) < 0 {
			p.left--
			c.keys, c.vals = append(c.keys, k.value), append(c.vals, v.value)
			c.appended()
			return
		}
		s.unfold(l, p)
	}
	s.emit(func(m *machine) signal {
		at, w := k.of(m), v.of(m)
		if at.k == undefined || w.k == undefined {
			return leave
		}
		if conflict == nil {
			if !m.insert(m.frame[to], at, w) {
				return failed
			}
			return next
		}
		free, ok := m.insertOnce(m.frame[to], at, w)
		switch {
		case !ok:
			return failed
		case !free && ofRules:
			m.conflicts = append(m.conflicts, keyConflict{owner, m.generation, at, conflict})
		case !free:
			return m.failAt(conflict, "")
		}
		return next
	})
}

// body compiles the blocks of a function; its value is partial where the
// first of them makes a set or an object of it.
func (s *scope) body(source *ir.Func) []block {
	if len(source.Blocks) > 0 && len(source.Blocks[0].Stmts) == 1 {
		switch x := source.Blocks[0].Stmts[0].(type) {
		case *ir.MakeSetStmt:
			s.owner.partial = x.Target == source.Return
		case *ir.MakeObjectStmt:
			s.owner.partial = x.Target == source.Return
		}
	}
	return exact(s.dispatch(source.Blocks))
}
