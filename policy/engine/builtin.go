package engine

import (
	"errors"
	"regexp"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/ir"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// callBuiltin compiles a call of a built-in: the engine's own where it has one
// for that many arguments, OPA's otherwise.
func (s *scope) callBuiltin(x *ir.CallStmt) {
	args, to := s.operands(x.Args), s.place(x.Result)
	name, own := s.native(x.Func)
	switch {
	case own.one != nil && len(args) == 1:
		s.emit(func(m *machine) signal { return m.give(to, own.one(m, args[0].of(m))) })
		return
	case own.two != nil && len(args) == 2:
		s.emit(func(m *machine) signal { return m.give(to, own.two(m, args[0].of(m), args[1].of(m))) })
		return
	case own.three != nil && len(args) == 3:
		s.emit(func(m *machine) signal {
			return m.give(to, own.three(m, args[0].of(m), args[1].of(m), args[2].of(m)))
		})
		return
	}
	if name == ast.RegexMatch.Name && !s.opts.Strict && s.matchExpressions(x, args, to) {
		return
	}
	find := topdown.GetBuiltin
	if s.opts.Builtin != nil {
		find = s.opts.Builtin
	}
	f := foreign{name: x.Func, impl: find(x.Func), args: args, to: to, at: s.at(x.GetLocation(), "", nil)}
	if f.impl == nil {
		s.fail("there is no implementation of the built-in %s", x.Func)
		return
	}
	if b := ast.BuiltinMap[name]; b != nil {
		f.relation = b.Relation
		if b.Nondeterministic && s.owner != nil {
			s.owner.impure = true
		}
	}
	if own, ok := plains[name]; ok && own.args == len(args) {
		s.callPlain(own, &f)
		return
	}
	f.slow = s.opts.Prompt == nil || !s.opts.Prompt(name)
	told := s.tell()
	told.slow = told.slow || f.slow
	told.foreign = append(told.foreign, x.Func)
	if name == ast.GlobMatch.Name && s.matchGlobs(x, &f) {
		return
	}
	s.emit(f.call)
}

// callPlain calls the engine's own implementation for operands of the plain kind,
// and OPA's for others.
func (s *scope) callPlain(own plain, f *foreign) {
	first, second := f.args[0], constant(Value{})
	if own.args > 1 {
		second = f.args[1]
	}
	s.emit(func(m *machine) signal {
		v, ok := own.f(m, first.of(m), second.of(m))
		if !ok {
			return f.call(m)
		}
		return m.give(f.to, v)
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

// choices are the constants that an operand is one of: itself, or those that a loop
// goes through. There are none where that is not known.
func (s *scope) choices(of ir.Operand, o operand) []Value {
	if o.constant() {
		return []Value{o.value}
	}
	if l, ok := of.Value.(ir.Local); ok {
		return s.elements[l]
	}
	return nil
}

// expressionSlowness is about how many times as long a regular expression takes for a
// text as a search.
const expressionSlowness = 16

// matchExpressions compiles regex.match with expressions that are constants.
func (s *scope) matchExpressions(x *ir.CallStmt, args []operand, to int) bool {
	if len(args) != 2 {
		return false
	}
	expressions := compiledTexts(s.choices(x.Args[0], args[0]), regexp.Compile)
	if expressions == nil {
		return false
	}
	expression, text := args[0], args[1]
	s.emit(func(m *machine) signal {
		v := text.of(m)
		if v.k != stringKind {
			return leave
		}
		if !m.look(expressionSlowness*v.n) || !m.charge(v.n) {
			return failed
		}
		m.frame[to] = boolean(expressions[expression.of(m).string()].MatchString(v.string()))
		return next
	})
	return true
}

// compiledTexts compiles each of some constants, nil where one is no string or does
// not compile, or where there are none.
func compiledTexts[T any](list []Value, compile func(string) (T, error)) map[string]T {
	if len(list) == 0 {
		return nil
	}
	compiled := make(map[string]T, len(list))
	for _, v := range list {
		if v.k != stringKind {
			return nil
		}
		one, err := compile(v.string())
		if err != nil {
			return nil
		}
		compiled[v.string()] = one
	}
	return compiled
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

// foreign is a call of one of OPA's built-ins.
type foreign struct {
	name string
	impl topdown.BuiltinFunc
	// relation says that it has any number of results, which become an array.
	relation bool
	// slow says that it may take long, and cannot be interrupted.
	slow bool
	args []operand
	to   int
	at   *place
}

// An operand of more than promptParts that OPA has no form of yet is not given to a
// built-in where that cannot be left behind. conversionSlowness is about how many times
// as long as a comparison it takes to make one.
const (
	promptParts        = 1 << 12
	conversionSlowness = 4
)

func (f *foreign) call(m *machine) signal {
	if f.slow && m.prompt {
		return m.fail(ErrSlow)
	}
	size := int64(0)
	for i := range f.args {
		size += m.unconverted(f.args[i].of(m))
	}
	if size > promptParts && m.prompt {
		return m.fail(ErrSlow) // the built-in takes its time for so much too
	}
	if !m.step() || !m.through(size) || !m.spend(int((conversionSlowness-1)*size)) {
		return failed
	}
	if !m.hasContext {
		m.hasContext = true
		if m.context != nil {
			m.bctx = m.context(m.meter)
		}
		m.bctx.Cancel = m.meter
	}
	// OPA keeps some operands for later, and the document may be gone then.
	terms := make([]*ast.Term, len(f.args))
	for i := range f.args {
		if terms[i] = m.term(f.args[i].of(m)); terms[i] == nil {
			return leave
		}
	}
	m.bctx.Location = &ast.Location{File: f.at.file, Row: m.row(f.at), Col: f.at.col}
	var out Value
	if f.relation {
		out = m.make(arrayKind, 0)
	}
	err := f.impl(m.bctx, terms, func(t *ast.Term) error {
		v, err := fromAST(t.Value, m.known)
		if err != nil {
			return err
		}
		if f.relation {
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
			at := *f.at
			at.message, at.err = f.name+": "+err.Error(), err
			return m.failAt(&at, "")
		}
		return leave // as OPA does, unless told to be strict
	}
	return m.give(f.to, out)
}
