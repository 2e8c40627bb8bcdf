package engine

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/ir"
)

// operand is where a statement reads a value: a place in the frame from 0 on, a
// constant, or a slot of the input below that.
type operand struct {
	at    int
	value Value
}

const (
	constantOperand = -1
	firstSlot       = -2 // of slot 0; slot 1 is at -3, and so on
)

func constant(v Value) operand { return operand{at: constantOperand, value: v} }

func (o operand) constant() bool { return o.at == constantOperand }

// framed reports whether the value is a local of the frame.
func (o operand) framed() bool { return o.at >= 0 }

func (o *operand) of(m *machine) Value {
	switch {
	case o.at >= 0:
		return m.frame[o.at]
	case o.at == constantOperand:
		return o.value
	}
	return m.slots[firstSlot-o.at]
}

// scope compiles the statements that share one frame.
type scope struct {
	*compiler
	owner  *function // nil for a plan
	locals int
	// shared is the last local that all blocks of a function share. The planner
	// numbers those above anew for each rule, so what is known of them is kept
	// for each segment, which is the block of one rule.
	shared   int
	result   int // the local that is the function's value
	common   map[ir.Local]*usage
	segments map[*ir.Block]map[ir.Local]*usage
	private  map[ir.Local]*usage // of the segment at hand
	consts   map[int]Value
	// places are where the frame has the segment's own locals, and touched those
	// places that something reads.
	places  map[ir.Local]int
	touched map[int]bool
	// paths are locals that stand for a path of the input, and aliases those that
	// are copies of another.
	paths   map[ir.Local][]string
	aliases map[ir.Local]operand
	// defined are the slots that have a value wherever the statement at hand is run.
	defined []int
	// elements are the constants that a local of a loop goes through.
	elements map[ir.Local][]Value
	// single is the constant that all rules of a function have for a value, so that
	// a rule is done with when it is found to hold; undefined for none. depth is how
	// many loops the statement at hand is in, below 0 where they may not be left.
	single Value
	depth  int
	// given is the constant that the rules so far have for a value, undefined for none.
	given Value
	// calls counts the calls of rules and functions so far, and before those that are
	// in front of the outermost loop.
	calls, before int
	// top is which of the function's blocks is at hand.
	top int
	// following is the statement after the one at hand, nil at the end of a block.
	following ir.Stmt
	// pending are constants being put together, by local.
	pending map[int]*pendingConst
	// keyed are locals that have the value of a partial function, read by keys only.
	keyed map[int]*function
	// told is what compiling told, for a plan.
	told told
	// conflict is what is said where the function has two values, once it was asked for.
	conflict string
	// ops are those of the block being compiled.
	ops block
}

// usage says how the statements of a scope use a local.
type usage struct {
	assigned int
	// tested is by is_defined, is_undefined or return, which see no value.
	tested bool
	// sources is how often it is the source of a lookup, reads how often it is read.
	sources, reads int
	// searched is how often it is read only to look a value up in it that is not
	// known before evaluation; copies are the locals that it is copied to.
	searched int
	copies   []ir.Local
	// mutators are the statements that add to it, and the blocks they are in.
	mutators []ir.Stmt
	blocks   []*ir.Block
}

type pendingConst struct {
	value Value
	left  int
}

func (c *compiler) newScope(source *ir.Func, blocks []*ir.Block, owner *function) *scope {
	s := &scope{
		compiler: c, owner: owner, locals: 2, shared: dataLocal,
		common: map[ir.Local]*usage{}, segments: map[*ir.Block]map[ir.Local]*usage{},
		consts: map[int]Value{}, pending: map[int]*pendingConst{}, keyed: map[int]*function{},
	}
	s.begin()
	if source != nil {
		s.result = int(source.Return)
		s.shared = s.result
		for _, p := range source.Params {
			s.shared = max(s.shared, int(p))
			s.use(p).assigned++
		}
		s.shared++ // the result of the rule at hand
		s.locals = s.shared + 1
	}
	s.single = s.singleValue(blocks)
	for _, b := range blocks {
		for _, segment := range segmentsOf(b) {
			s.private = map[ir.Local]*usage{}
			s.segments[segment] = s.private
			s.survey(segment)
		}
	}
	return s
}

// singleValue is the constant that every rule among a function's blocks has for a
// value; undefined where they have others.
func (s *scope) singleValue(blocks []*ir.Block) Value {
	var single Value
	same := s.owner != nil
	statements(blocks, func(stmt ir.Stmt) {
		x, ok := stmt.(*ir.AssignVarOnceStmt)
		if !ok || int(x.Target) != s.shared {
			return
		}
		var v Value
		switch source := x.Source.Value.(type) {
		case ir.Bool:
			v = boolean(bool(source))
		case ir.StringIndex:
			v = s.string(int(source))
		}
		same = same && v.k != undefined && (single.k == undefined || equal(single, v))
		single = v
	})
	if !same {
		return Value{}
	}
	return single
}

// segmentsOf gives the blocks of the rules in a block of a function: itself, or
// those of a rule and its else branches.
func segmentsOf(b *ir.Block) []*ir.Block {
	if len(b.Stmts) == 1 {
		if chain, ok := b.Stmts[0].(*ir.BlockStmt); ok {
			return chain.Blocks
		}
	}
	return []*ir.Block{b}
}

func (s *scope) use(l ir.Local) *usage {
	uses := s.private
	if int(l) <= s.shared {
		uses = s.common
	}
	u := uses[l]
	if u == nil {
		u = &usage{}
		uses[l] = u
	}
	return u
}

// survey counts the uses of locals in a block and those inside it.
func (s *scope) survey(b *ir.Block) {
	reads := func(vals ...ir.Operand) {
		for _, v := range vals {
			if l, ok := v.Value.(ir.Local); ok {
				s.use(l).reads++
			}
		}
	}
	searches := func(v ir.Operand) {
		if l, ok := v.Value.(ir.Local); ok {
			s.use(l).searched++
		}
	}
	assigns := func(l ir.Local) { s.use(l).assigned++ }
	mutates := func(l ir.Local, stmt ir.Stmt) {
		u := s.use(l)
		u.mutators = append(u.mutators, stmt)
		if !slices.Contains(u.blocks, b) {
			u.blocks = append(u.blocks, b)
		}
	}
	for _, stmt := range b.Stmts {
		switch x := stmt.(type) {
		case *ir.ReturnLocalStmt:
			s.use(x.Source).reads++
			s.use(x.Source).tested = true
		case *ir.CallStmt:
			reads(x.Args...)
			if name, own := s.native(x.Func); len(x.Args) == 2 && own.two != nil && name == ast.Member.Name {
				searches(x.Args[1])
			}
			assigns(x.Result)
		case *ir.CallDynamicStmt:
			reads(x.Path...)
			for _, l := range x.Args {
				s.use(l).reads++
			}
			assigns(x.Result)
		case *ir.BlockStmt:
			for _, inner := range x.Blocks {
				s.survey(inner)
			}
		case *ir.DotStmt:
			reads(x.Source, x.Key)
			if l, ok := x.Source.Value.(ir.Local); ok {
				s.use(l).sources++
			}
			if _, known := x.Key.Value.(ir.StringIndex); !known {
				searches(x.Source)
			}
			assigns(x.Target)
		case *ir.LenStmt:
			reads(x.Source)
			assigns(x.Target)
		case *ir.ScanStmt:
			s.use(x.Source).reads++
			assigns(x.Key)
			assigns(x.Value)
			s.survey(x.Block)
		case *ir.NotStmt:
			s.survey(x.Block)
		case *ir.AssignIntStmt:
			assigns(x.Target)
		case *ir.AssignVarStmt:
			reads(x.Source)
			if l, ok := x.Source.Value.(ir.Local); ok {
				u := s.use(l)
				u.copies = append(u.copies, x.Target)
			}
			assigns(x.Target)
		case *ir.AssignVarOnceStmt:
			reads(x.Source)
			assigns(x.Target)
			s.use(x.Target).tested = true
		case *ir.ResetLocalStmt:
			assigns(x.Target)
		case *ir.MakeNullStmt:
			assigns(x.Target)
		case *ir.MakeNumberIntStmt:
			assigns(x.Target)
		case *ir.MakeNumberRefStmt:
			assigns(x.Target)
		case *ir.MakeArrayStmt:
			assigns(x.Target)
		case *ir.MakeObjectStmt:
			assigns(x.Target)
		case *ir.MakeSetStmt:
			assigns(x.Target)
		case *ir.EqualStmt:
			reads(x.A, x.B)
		case *ir.NotEqualStmt:
			reads(x.A, x.B)
		case *ir.IsArrayStmt:
			reads(x.Source)
		case *ir.IsObjectStmt:
			reads(x.Source)
		case *ir.IsSetStmt:
			reads(x.Source)
		case *ir.IsDefinedStmt:
			s.use(x.Source).reads++
			s.use(x.Source).tested = true
		case *ir.IsUndefinedStmt:
			s.use(x.Source).reads++
			s.use(x.Source).tested = true
		case *ir.ArrayAppendStmt:
			reads(x.Value)
			mutates(x.Array, stmt)
		case *ir.ObjectInsertStmt:
			reads(x.Key, x.Value)
			mutates(x.Object, stmt)
		case *ir.ObjectInsertOnceStmt:
			reads(x.Key, x.Value)
			mutates(x.Object, stmt)
		case *ir.ObjectMergeStmt:
			s.use(x.A).reads++
			s.use(x.B).reads++
			assigns(x.Target)
		case *ir.SetAddStmt:
			reads(x.Value)
			mutates(x.Set, stmt)
		case *ir.WithStmt:
			reads(x.Value)
			s.use(x.Local).reads++
			assigns(x.Local)
			s.survey(x.Block)
		case *ir.ResultSetAddStmt:
			s.use(x.Value).reads++
		case *ir.BreakStmt, *ir.NopStmt:
		default:
			s.fail("unknown statement %T", stmt)
		}
	}
}

// once reports whether a local is assigned in one place, so that what is known
// of it there holds wherever it is read.
func (s *scope) once(l ir.Local) bool {
	u := s.use(l)
	return u.assigned == 1 && !u.tested
}

// known makes a local a constant, if it may be one.
func (s *scope) known(l ir.Local, v Value) bool {
	if !s.once(l) || len(s.use(l).mutators) > 0 {
		return false
	}
	s.consts[int(l)] = v
	return true
}

func (s *scope) operand(o ir.Operand) operand {
	switch v := o.Value.(type) {
	case ir.Local:
		return s.local(v)
	case ir.StringIndex:
		return constant(s.string(int(v)))
	case ir.Bool:
		return constant(boolean(bool(v)))
	}
	s.fail("unknown operand %T", o.Value)
	return constant(Value{})
}

func (s *scope) string(i int) Value {
	if i < 0 || i >= len(s.strings) {
		s.fail("the plan has no string %d", i)
		return Value{}
	}
	return s.strings[i]
}

func (s *scope) local(l ir.Local) operand {
	if s.owner != nil && slices.Contains(s.owner.params, int(l)) {
		s.owner.impure = true
	}
	if path, ok := s.path(l); ok {
		return s.slot(path)
	}
	if o, ok := s.aliases[l]; ok {
		if o.framed() {
			s.touched[o.at] = true
		}
		return o
	}
	if v, ok := s.consts[int(l)]; ok {
		return constant(v)
	}
	if p := s.pending[int(l)]; p != nil {
		s.settle(int(l), p)
		if v, ok := s.consts[int(l)]; ok {
			return constant(v)
		}
	}
	at := s.place(l)
	s.touched[at] = true
	return operand{at: at}
}

// place is where the frame has a local. What all blocks share keeps its number;
// the others are numbered as they come to be used, since a frame is cleared for
// each call.
func (s *scope) place(l ir.Local) int {
	at := int(l)
	if at > s.shared {
		var ok bool
		if at, ok = s.places[l]; !ok {
			at = s.shared + 1 + len(s.places)
			s.places[l] = at
		}
	}
	s.locals = max(s.locals, at+1)
	return at
}

// settle ends the putting together of a constant that is being read.
func (s *scope) settle(l int, p *pendingConst) {
	if p.left > 0 {
		s.fail("local %d is read before it is complete", l)
		return
	}
	s.consts[l] = s.complete(l, p)
}

// complete ends the putting together of a constant.
func (s *scope) complete(l int, p *pendingConst) Value {
	delete(s.pending, l)
	freeze(p.value)
	p.value.trim()
	markConstant(p.value)
	return p.value
}

// unfold makes what was put together a collection of its own in each evaluation,
// because something is added that is not constant.
func (s *scope) unfold(l ir.Local, p *pendingConst) {
	start, to := s.complete(int(l), p), s.place(l)
	s.emit(func(m *machine) signal {
		m.frame[to] = m.clone(start)
		return next
	})
}

// tell gives what compiling is to tell.
func (s *scope) tell() *told {
	if s.owner != nil {
		return &s.owner.told
	}
	return &s.told
}

func (s *scope) emit(o op) { s.ops = append(s.ops, o) }

// begin forgets what is known of the locals of a segment.
func (s *scope) begin() {
	clear(s.consts)
	clear(s.pending)
	clear(s.keyed)
	s.places, s.touched = map[ir.Local]int{}, map[int]bool{}
	s.paths, s.aliases, s.elements = map[ir.Local][]string{}, map[ir.Local]operand{}, map[ir.Local][]Value{}
}

// block compiles one.
func (s *scope) block(b *ir.Block) block {
	outer, defined, depth := s.ops, len(s.defined), s.depth
	s.ops = nil
	if private, ok := s.segments[b]; ok {
		s.private, s.depth = private, 0
		s.begin()
	}
	for i := 0; i < len(b.Stmts); i++ {
		s.following = nil
		if i+1 < len(b.Stmts) {
			s.following = b.Stmts[i+1]
		}
		if s.test(b.Stmts[i]) {
			i++
			continue
		}
		s.statement(b, b.Stmts[i])
	}
	done := exact(s.ops)
	s.ops, s.defined, s.depth = outer, s.defined[:defined], depth
	return done
}

// inner compiles a block inside a loop, which may be left from any depth, or
// inside anything else, which may not.
func (s *scope) inner(b *ir.Block, loop bool) block {
	outer := s.depth
	if s.depth++; !loop || outer < 0 {
		s.depth = -1
	} else if outer == 0 {
		s.before = s.calls
	}
	done := s.block(b)
	s.depth = outer
	return done
}

func (s *scope) blocks(list []*ir.Block) []block {
	done := make([]block, 0, len(list))
	for _, b := range list {
		if _, ok := s.segments[b]; ok {
			done = append(done, s.block(b))
		} else {
			done = append(done, s.inner(b, false))
		}
	}
	return done
}

// exact is list without room to grow, for what is kept as long as a program is.
func exact[S ~[]T, T any](list S) S {
	if len(list) == cap(list) {
		return list
	}
	return append(make(S, 0, len(list)), list...)
}
