package engine

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/ir"
)

// Locals that every function and plan begins with.
const (
	inputLocal = int(ir.Input)
	dataLocal  = int(ir.Data)
)

// compiler turns the functions of a plan into closures, a function that another
// calls before that one.
type compiler struct {
	plan     *ir.Policy
	opts     Options
	program  *Program
	sources  map[string]*ir.Func
	compiled map[string]*function
	decls    map[string]*ir.BuiltinFunc
	// constants is how many have a number.
	constants int32
	err       error
}

func newCompiler(plan *ir.Policy, opts Options) *compiler {
	if opts.Fold == nil {
		opts.Fold = &budget{bytes: 16 << 20}
	}
	return &compiler{
		plan: plan, opts: opts,
		program:  &Program{byPath: map[string]*function{}, rules: opts.Rules, strict: opts.Strict},
		sources:  map[string]*ir.Func{},
		compiled: map[string]*function{},
		decls:    map[string]*ir.BuiltinFunc{},
	}
}

func (c *compiler) compile() (*Program, error) {
	p := c.program
	data := ast.Value(ast.NewObject())
	if c.opts.Data != nil {
		data = c.opts.Data
	}
	var err error
	if p.data, err = FromAST(data); err != nil {
		return nil, fmt.Errorf("compiling the plan: data: %w", err)
	}
	if s := c.plan.Static; s != nil {
		for _, one := range s.Strings {
			p.strings = append(p.strings, str(one.Value))
		}
		for _, one := range s.Files {
			p.files = append(p.files, one.Value)
		}
		for _, one := range s.BuiltinFuncs {
			c.decls[one.Name] = one
		}
	}
	if c.plan.Funcs != nil {
		for _, f := range c.plan.Funcs.Funcs {
			c.sources[f.Name] = f
		}
		for _, f := range c.plan.Funcs.Funcs {
			c.function(f.Name)
		}
	}
	for _, plan := range c.plan.Plans.Plans {
		s := c.newScope(nil, plan.Blocks, nil)
		for _, b := range plan.Blocks {
			p.plans = append(p.plans, s.block(b))
		}
		p.locals = max(p.locals, s.locals)
	}
	if c.err != nil {
		return nil, fmt.Errorf("compiling the plan: %w", c.err)
	}
	return p, nil
}

func (c *compiler) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

// function gives the compiled function of that name.
func (c *compiler) function(name string) *function {
	if f, ok := c.compiled[name]; ok {
		return f
	}
	source, ok := c.sources[name]
	f := &function{name: name, number: len(c.program.functions)}
	c.compiled[name] = f
	c.program.functions = append(c.program.functions, f)
	if !ok {
		c.fail("the function %s is not in the plan", name)
		return f
	}
	f.memoized = len(source.Params) == 2
	f.impure = !f.memoized
	for _, local := range source.Params {
		f.params = append(f.params, int(local))
	}
	if len(source.Path) > 0 {
		c.program.byPath[pathKey(source.Path)] = f
	}
	s := c.newScope(source, source.Blocks, f)
	f.body = s.body(source)
	f.locals = s.locals
	if !f.impure && c.err == nil {
		c.fold(f)
	}
	return f
}

// pathKey joins the path of a function to one string.
func pathKey(path []string) string {
	var b []byte
	for _, step := range path {
		b = strconv.AppendQuote(b, step)
	}
	return string(b)
}

// foldSteps bounds what is evaluated when a program is compiled.
const foldSteps = 1 << 16

// budget is the meter of evaluation at compile time.
type budget struct {
	steps int
	bytes int64
}

func (b *budget) Cancel() {}
func (b *budget) Cancelled() bool {
	b.steps++
	return b.steps > foldSteps/32
}
func (b *budget) Charge(bytes int64) error {
	if b.bytes -= bytes; b.bytes < 0 {
		return errStopped
	}
	return nil
}

// fold calls a function that depends on nothing, once for all inputs. One that
// fails or takes long is left to each evaluation.
func (c *compiler) fold(f *function) {
	m := &machine{program: c.program, meter: c.opts.Fold}
	m.memos = make([]memo, len(c.program.functions))
	m.last, m.generation = 1, 1
	m.held = make([]bool, c.opts.Rules)
	none := []operand{constant(Value{}), constant(c.program.data)}
	v, s := m.call(f, none)
	if s != next || m.err != nil || len(m.conflicts) > 0 || v.k == undefined && c.opts.Strict {
		return
	}
	freeze(v)
	c.numbered(v)
	for _, k := range m.keyed {
		freeze(k.key)
	}
	f.constant, f.done = v, true
	for rule, held := range m.held {
		if held {
			f.held = append(f.held, rule)
		}
	}
	f.keyed = slices.Clone(m.keyed)
}

// numbered gives a constant a number of its own.
func (c *compiler) numbered(v Value) {
	if v.isCollection() && v.collection().constant == 0 {
		c.constants++
		v.collection().constant = c.constants
	}
}

// operand is where a statement reads a value: a local, or a constant where local
// is negative.
type operand struct {
	local int
	value Value
}

func constant(v Value) operand { return operand{local: -1, value: v} }

func (o operand) constant() bool { return o.local < 0 }

func (o *operand) of(m *machine) Value {
	if o.local < 0 {
		return o.value
	}
	return m.frame[o.local]
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
	common   map[ir.Local]*usage
	segments map[*ir.Block]map[ir.Local]*usage
	private  map[ir.Local]*usage // of the segment at hand
	consts   map[int]Value
	// pending are constants being put together, by local.
	pending map[int]*pendingConst
	// keyed are locals that have the value of a partial function, read by keys only.
	keyed map[int]*function
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
	}
	if source != nil {
		s.shared = int(source.Return)
		for _, p := range source.Params {
			s.shared = max(s.shared, int(p))
			s.use(p).assigned++
		}
		s.shared++ // the result of the rule at hand
	}
	for _, b := range blocks {
		for _, segment := range segmentsOf(b) {
			s.private = map[ir.Local]*usage{}
			s.segments[segment] = s.private
			s.survey(segment)
		}
	}
	return s
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
		s.locals = max(s.locals, int(l)+1)
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
	if i < 0 || i >= len(s.program.strings) {
		s.fail("the plan has no string %d", i)
		return Value{}
	}
	return s.program.strings[i]
}

func (s *scope) local(l ir.Local) operand {
	if s.owner != nil && slices.Contains(s.owner.params, int(l)) {
		s.owner.impure = true
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
	return operand{local: int(l)}
}

// settle ends the putting together of a constant that is being read.
func (s *scope) settle(l int, p *pendingConst) {
	if p.left > 0 {
		s.fail("local %d is read before it is complete", l)
		return
	}
	delete(s.pending, l)
	freeze(p.value)
	s.numbered(p.value)
	s.consts[l] = p.value
}

// unfold makes what was put together a collection of its own in each evaluation,
// because something is added that is not constant.
func (s *scope) unfold(l int, p *pendingConst) {
	delete(s.pending, l)
	freeze(p.value)
	start := p.value
	s.emit(func(m *machine) signal {
		m.frame[l] = m.clone(start)
		return next
	})
}

func (s *scope) emit(o op) { s.ops = append(s.ops, o) }

// block compiles one.
func (s *scope) block(b *ir.Block) block {
	outer := s.ops
	s.ops = nil
	if private, ok := s.segments[b]; ok {
		s.private = private
		s.consts, s.pending, s.keyed = map[int]Value{}, map[int]*pendingConst{}, map[int]*function{}
	}
	for _, stmt := range b.Stmts {
		s.statement(b, stmt)
	}
	done := s.ops
	s.ops = outer
	return done
}

func (s *scope) blocks(list []*ir.Block) []block {
	var done []block
	for _, b := range list {
		done = append(done, s.block(b))
	}
	return done
}

// at makes an error at the place of a statement.
func (s *scope) at(loc *ir.Location, message string, err error) *Error {
	e := &Error{Message: message, err: err, Row: loc.Row, Col: loc.Col}
	if loc.File >= 0 && loc.File < len(s.program.files) {
		e.File = s.program.files[loc.File]
	}
	return e
}
