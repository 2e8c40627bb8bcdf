package engine

import (
	"errors"
	"regexp"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/ir"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// callBuiltin compiles a call of a built-in: the engine's own where it has one
// for that many arguments, OPA's otherwise.
func (s *scope) callBuiltin(x *ir.CallStmt) {
	args, to := s.operands(x.Args), s.place(x.Result)
	name, f := s.native(x.Func)
	switch {
	case f.one != nil && len(args) == 1:
		s.emit(func(m *machine) signal { return m.give(to, f.one(m, args[0].of(m))) })
		return
	case f.two != nil && len(args) == 2:
		s.emit(func(m *machine) signal { return m.give(to, f.two(m, args[0].of(m), args[1].of(m))) })
		return
	case f.three != nil && len(args) == 3:
		s.emit(func(m *machine) signal {
			return m.give(to, f.three(m, args[0].of(m), args[1].of(m), args[2].of(m)))
		})
		return
	}
	if name == ast.RegexMatch.Name && !s.opts.Strict && s.matchConstant(args, to) {
		return
	}
	small := arithmetic[name]
	if len(args) != 2 {
		small = nil
	}
	find := topdown.GetBuiltin
	if s.opts.Builtin != nil {
		find = s.opts.Builtin
	}
	impl := find(x.Func)
	if impl == nil {
		s.fail("there is no implementation of the built-in %s", x.Func)
		return
	}
	if small == nil && !slices.Contains(s.program.foreign, x.Func) {
		s.program.foreign = append(s.program.foreign, x.Func)
	}
	relation := false
	if b := ast.BuiltinMap[name]; b != nil {
		relation = b.Relation
		if b.Nondeterministic && s.owner != nil {
			s.owner.impure = true
		}
	}
	at := s.at(x.GetLocation(), "", nil)
	s.emit(func(m *machine) signal {
		if small != nil {
			a, b := args[0].of(m), args[1].of(m)
			if a.isInt() && b.isInt() {
				if n, ok := small(a.n, b.n); ok {
					m.frame[to] = integer(n)
					return next
				}
			}
		}
		return m.foreign(x.Func, impl, relation, args, to, at)
	})
}

// native is the name under which the engine knows a built-in, and its own
// implementation of it.
func (s *scope) native(name string) (string, native) {
	if s.opts.Native != nil {
		name = s.opts.Native(name)
	}
	if s.opts.Strict {
		return name, native{} // OPA's say what is wrong
	}
	return name, natives[name]
}

// test compiles the call of a built-in together with the statement after it, where
// that only asks whether the result is false.
func (s *scope) test(stmt ir.Stmt) bool {
	x, ok := stmt.(*ir.CallStmt)
	if !ok {
		return false
	}
	asks, ok := s.following.(*ir.NotEqualStmt)
	if !ok || asks.A.Value != ir.Val(x.Result) || asks.B.Value != ir.Val(ir.Bool(false)) {
		return false
	}
	if u := s.use(x.Result); !s.settled(x.Result) || u.reads != 1 {
		return false
	}
	if _, ok := s.sources[x.Func]; ok {
		return false
	}
	_, f := s.native(x.Func)
	if f.two == nil || len(x.Args) != 2 {
		return false
	}
	args := s.operands(x.Args)
	a, b := args[0], args[1]
	s.emit(func(m *machine) signal {
		v := f.two(m, a.of(m), b.of(m))
		switch {
		case m.err != nil:
			return failed
		case v.k == undefined || v.isFalse():
			return leave
		}
		return next
	})
	return true
}

// matchConstant compiles regex.match with an expression that is a constant.
func (s *scope) matchConstant(args []operand, to int) bool {
	if len(args) != 2 || !args[0].constant() || args[0].value.k != stringKind {
		return false
	}
	expression, err := regexp.Compile(args[0].value.string())
	if err != nil {
		return false
	}
	text := args[1]
	s.emit(func(m *machine) signal {
		v := text.of(m)
		if v.k != stringKind {
			return leave
		}
		if !m.charge(v.n) {
			return failed
		}
		m.frame[to] = boolean(expression.MatchString(v.string()))
		return next
	})
	return true
}

// give ends the call of a built-in.
func (m *machine) give(to int, v Value) signal {
	if m.err != nil {
		return failed
	}
	if v.k == undefined {
		return leave
	}
	m.frame[to] = v
	return next
}

// foreign calls one of OPA's built-ins.
func (m *machine) foreign(name string, impl topdown.BuiltinFunc, relation bool, args []operand, to int, at *Error) signal {
	if !m.step() {
		return failed
	}
	if !m.hasContext {
		m.hasContext = true
		if m.context != nil {
			m.bctx = m.context(m.meter)
		}
		m.bctx.Cancel = m.meter
	}
	terms := make([]*ast.Term, len(args))
	for i := range args {
		if terms[i] = args[i].of(m).term(shared); terms[i] == nil {
			return leave
		}
	}
	m.bctx.Location = &ast.Location{File: at.File, Row: at.Row, Col: at.Col}
	var out Value
	if relation {
		out = m.make(arrayKind, 0)
	}
	err := impl(m.bctx, terms, func(t *ast.Term) error {
		v, err := fromAST(t.Value)
		if err != nil {
			return err
		}
		if relation {
			m.add(out, v)
		} else {
			out = v
		}
		return nil
	})
	if err != nil {
		var halt topdown.Halt
		switch {
		case m.meter != nil && m.meter.Cancelled():
			return m.fail(errStopped)
		case errors.As(err, &halt):
			return m.fail(halt.Err)
		case m.program.strict:
			e := *at
			e.Message, e.err = name+": "+err.Error(), err
			return m.fail(&e)
		}
		return leave // as OPA does, unless told to be strict
	}
	return m.give(to, out)
}
