package engine

import (
	"github.com/open-policy-agent/opa/v1/ir"
)

// call compiles the call of a function of the plan or of a built-in.
func (s *scope) call(x *ir.CallStmt) {
	if _, ok := s.sources[x.Func]; ok {
		s.callFunction(x, s.compiler.function(x.Func))
		return
	}
	if s.opts.Held != "" && x.Func == s.opts.Held {
		s.callHeld(x)
		return
	}
	s.callBuiltin(x)
}

func (s *scope) callFunction(x *ir.CallStmt, f *function) {
	s.calls++
	if len(x.Args) != len(f.params) {
		s.fail("%s is called with %d arguments", x.Func, len(x.Args))
		return
	}
	if f.impure && s.owner != nil {
		s.owner.impure = true
	}
	// Statements have the numbers of functions: those who share the statements may
	// call different ones.
	to, number := s.place(x.Result), f.number
	// Where all that is done with a set or an object is to look keys up, only
	// the rules that add these keys count as having held.
	u := s.use(x.Result)
	byKey := f.partial && f.memoized && s.once(x.Result) && u.reads == u.sources
	if byKey {
		s.keyed[int(x.Result)] = f
	}
	switch {
	case f.done:
		s.callConstant(x, f, byKey)
	case f.memoized:
		args, whole := s.arguments(x.Args), f.partial && !byKey
		s.emit(func(m *machine) signal {
			f := m.functions[number]
			v, r := m.remembered(f, args)
			if r != next {
				return r
			}
			if v.k == undefined {
				return leave
			}
			if whole && !m.readAll(f) {
				return failed
			}
			m.frame[to] = v
			return next
		})
	default:
		args := s.arguments(x.Args)
		s.emit(func(m *machine) signal {
			if !m.step() {
				return failed
			}
			v, r := m.call(m.functions[number], args)
			switch {
			case r != next:
				return r
			case v.k == undefined:
				return leave
			}
			m.frame[to] = v
			return next
		})
	}
}

func (s *scope) operands(list []ir.Operand) []operand {
	args := make([]operand, len(list))
	for i, a := range list {
		args[i] = s.operand(a)
	}
	return args
}

// arguments are those of a function of the plan, the first of which is the input:
// with slots for it, functions need not be given it.
func (s *scope) arguments(list []ir.Operand) []operand {
	if !s.projected || len(list) == 0 {
		return s.operands(list)
	}
	return append([]operand{constant(Value{})}, s.operands(list[1:])...)
}

// callConstant takes the value that f has for all inputs.
func (s *scope) callConstant(x *ir.CallStmt, f *function, byKey bool) {
	to, held, value, number := s.place(x.Result), f.held, f.constant, f.number
	if len(f.held) > 0 || len(f.keyed) > 0 && !byKey {
		s.emit(func(m *machine) signal {
			for _, rule := range held {
				m.mark(rule)
			}
			if !byKey {
				m.readAll(m.functions[number])
			}
			return next
		})
	}
	if value.k == undefined {
		s.emit(func(*machine) signal { return leave })
		return
	}
	if s.unseen(x.Result, f) {
		s.emit(func(m *machine) signal {
			m.frame[to] = m.functions[number].constant
			return next
		})
		return
	}
	if !s.known(x.Result, value) {
		s.emit(func(m *machine) signal {
			m.frame[to] = value
			return next
		})
	}
}

// callDynamic calls the function that a path computed at run time names.
func (s *scope) callDynamic(x *ir.CallDynamicStmt) {
	if s.owner != nil {
		s.owner.impure = true
	}
	s.calls++
	path := s.operands(x.Path)
	args := make([]operand, len(x.Args))
	for i, l := range x.Args {
		if args[i] = constant(Value{}); l != ir.Input || !s.projected {
			args[i] = s.local(l)
		}
	}
	to := s.place(x.Result)
	s.emit(func(m *machine) signal {
		steps := make([]string, len(path))
		for i, p := range path {
			v := p.of(m)
			if v.k != stringKind {
				return leave
			}
			steps[i] = v.string()
		}
		f := m.program.byPath[pathKey(steps)]
		if f == nil || len(f.params) != len(args) {
			return leave
		}
		v, r := m.remembered(f, args)
		switch {
		case r != next:
			return r
		case v.k == undefined:
			return leave
		}
		if f.partial && !m.readAll(f) {
			return failed
		}
		m.frame[to] = v
		return next
	})
}

// remembered calls f at most once for one input.
func (m *machine) remembered(f *function, args []operand) (Value, signal) {
	if f.done {
		for _, rule := range f.held {
			m.mark(rule)
		}
		return f.constant, next
	}
	if !f.memoized {
		return m.call(f, args)
	}
	if known := &m.memos[f.number]; known.generation == m.generation {
		return known.value, next
	}
	if !m.step() {
		return Value{}, failed
	}
	from, conflicts := len(m.keyed), len(m.conflicts)
	v, r := m.call(f, args)
	if r != next {
		return Value{}, r
	}
	m.memos[f.number] = memo{generation: m.generation, value: v, from: from, to: len(m.keyed), conflicted: len(m.conflicts) > conflicts}
	return v, next
}

// callHeld compiles the mark at the end of a rule.
func (s *scope) callHeld(x *ir.CallStmt) {
	args := s.operands(x.Args)
	if len(args) < 2 || !args[0].constant() || !args[0].value.isInt() || args[0].value.n >= int64(s.opts.Rules) || args[0].value.n < 0 {
		s.fail("%s is called with other arguments than a rule's number and value", x.Func)
		return
	}
	rule, value, to := int(args[0].value.n), args[1], s.place(x.Result)
	key := constant(Value{})
	owner := s.owner
	byKey := len(args) > 2 && owner != nil && owner.partial && owner.memoized
	if byKey {
		key = args[2]
	}
	if !s.known(x.Result, trueValue) {
		s.emit(func(m *machine) signal {
			m.frame[to] = trueValue
			return next
		})
	}
	s.emit(func(m *machine) signal {
		switch {
		case value.of(m).isFalse():
		case byKey:
			if !m.held[rule] {
				m.keyed = append(m.keyed, mark{owner, rule, key.of(m)})
			}
		default:
			m.mark(rule)
		}
		return next
	})
}

// marksOf gives the marks that the rules of a partial function made for keys.
func (m *machine) marksOf(f *function) []mark {
	if f.done {
		return f.keyed
	}
	if known := &m.memos[f.number]; known.generation == m.generation {
		return m.keyed[known.from:known.to]
	}
	return nil
}

// readAll says that all of a partial function's value was read.
func (m *machine) readAll(f *function) bool {
	for _, k := range m.marksOf(f) {
		if k.owner == f {
			m.mark(k.rule)
		}
	}
	return m.agreed(f, Value{})
}

// readKey says that one key of it was read.
func (m *machine) readKey(f *function, key Value) bool {
	for _, k := range m.marksOf(f) {
		if k.owner == f && !m.held[k.rule] && equal(k.key, key) {
			m.mark(k.rule)
		}
	}
	return m.agreed(f, key)
}

// agreed fails the evaluation where f's rules gave a key that is read, or any if
// it is undefined, two values.
func (m *machine) agreed(f *function, key Value) bool {
	if f.done || !m.memos[f.number].conflicted {
		return true
	}
	for _, c := range m.conflicts {
		if c.owner == f && c.generation == m.generation && (key.k == undefined || equal(c.key, key)) {
			m.failAt(c.at, "")
			return false
		}
	}
	return true
}
