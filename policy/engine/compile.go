package engine

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

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
	sources  map[string]source
	compiled map[string]*function
	decls    map[string]*ir.BuiltinFunc
	// strings and files are those of the plan. A program keeps those of them that
	// something in it says.
	strings []Value
	files   []string
	// projected says that paths of the input have slots.
	projected bool
	err       error
}

func newCompiler(plan *ir.Policy, opts Options) *compiler {
	if opts.Fold == nil {
		opts.Fold = &budget{bytes: 16 << 20}
	}
	return &compiler{
		plan: plan, opts: opts,
		program:  &Program{rules: opts.Rules, strict: opts.Strict, input: &inputNode{slot: -1}},
		sources:  map[string]source{},
		compiled: map[string]*function{},
		decls:    map[string]*ir.BuiltinFunc{},
	}
}

func (c *compiler) compile() (*Program, error) {
	p := c.program
	if c.projected = projectable(c.plan); !c.projected {
		p.input.slot, p.input.whole, p.slots = 0, true, 1
	}
	p.data = noData
	if c.opts.Data != nil {
		var err error
		if p.data, err = FromAST(c.opts.Data); err != nil {
			return nil, fmt.Errorf("compiling the plan: data: %w", err)
		}
		markConstant(p.data)
	}
	if s := c.plan.Static; s != nil {
		for _, one := range s.Strings {
			// A part of the policy's text would keep all of it.
			c.strings = append(c.strings, str(strings.Clone(one.Value)))
		}
		for _, one := range s.Files {
			c.files = append(c.files, one.Value)
		}
		for _, one := range s.BuiltinFuncs {
			c.decls[one.Name] = one
		}
	}
	if callsByPath(c.plan) {
		p.byPath = map[string]*function{}
	}
	if c.plan.Funcs != nil {
		for i, f := range c.plan.Funcs.Funcs {
			c.sources[f.Name] = source{f, i}
		}
		p.functions, p.rows = make([]*function, len(c.plan.Funcs.Funcs)), newRows(c.plan.Funcs.Funcs)
		for _, f := range c.plan.Funcs.Funcs {
			c.function(f.Name)
		}
	}
	for _, plan := range c.plan.Plans.Plans {
		f := c.sharedPlan(plan.Blocks)
		p.plans = append(p.plans, f.body...)
		p.locals = max(p.locals, f.locals)
		c.hear(&f.told)
	}
	p.plans = exact(p.plans)
	if c.err != nil {
		return nil, fmt.Errorf("compiling the plan: %w", c.err)
	}
	p.tree = sharedInputs(p.input, p.slots)
	p.input = p.tree.root
	return p, nil
}

// noData is the base document where there is none.
var noData = func() Value {
	v := (&collection{sorted: true}).value(objectKind)
	markConstant(v)
	return v
}()

func (c *compiler) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

// source is a function of the plan, and its place among them.
type source struct {
	*ir.Func
	number int
}

// function gives the compiled function of that name.
func (c *compiler) function(name string) *function {
	if f, ok := c.compiled[name]; ok {
		if f == nil { // no plan of OPA's has that
			c.fail("the function %s calls itself", name)
			f = new(function)
		}
		return f
	}
	source := c.sources[name]
	c.compiled[name] = nil // under way
	// What it calls comes first, whether it is compiled or shared.
	statements(source.Blocks, func(stmt ir.Stmt) {
		if call, ok := stmt.(*ir.CallStmt); ok {
			if _, ok := c.sources[call.Func]; ok {
				c.function(call.Func)
			}
		}
	})
	f := c.shared(source)
	c.compiled[name], c.program.functions[source.number] = f, f
	if c.program.byPath != nil && len(source.Path) > 0 {
		c.program.byPath[pathKey(source.Path)] = f
	}
	c.hear(&f.told)
	if c.opts.Functions == nil {
		f.told = told{} // nobody else is to hear it
	}
	return f
}

// newFunction is a function that is to be compiled.
func (c *compiler) newFunction(source source) *scope {
	f := &function{name: source.Name, number: source.number}
	f.memoized = len(source.Params) == 2
	f.impure = !f.memoized
	f.params = make([]int, 0, len(source.Params))
	for _, local := range source.Params {
		f.params = append(f.params, int(local))
	}
	return c.newScope(source.Func, source.Blocks, f)
}

// function compiles the one that the scope is of.
func (s *scope) function(source source) *function {
	f := s.owner
	f.body = s.body(source.Func)
	f.locals = s.locals
	if !f.impure && s.err == nil {
		s.fold(f)
	}
	if f.done {
		f.contradicts = false // it did not
	}
	return f
}

// callsByPath reports whether a plan calls functions by paths that it works out.
func callsByPath(plan *ir.Policy) bool {
	found := false
	visit := func(stmt ir.Stmt) {
		_, dynamic := stmt.(*ir.CallDynamicStmt)
		found = found || dynamic
	}
	if plan.Funcs != nil {
		for _, f := range plan.Funcs.Funcs {
			statements(f.Blocks, visit)
		}
	}
	for _, p := range plan.Plans.Plans {
		statements(p.Blocks, visit)
	}
	return found
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
	m := &machine{program: c.program, functions: c.program.functions, meter: c.opts.Fold}
	m.memos = make([]memo, len(c.program.functions))
	m.last, m.generation = 1, 1
	m.held = make([]bool, c.opts.Rules)
	none := []operand{constant(Value{}), constant(c.program.data)}
	v, s := m.call(f, none)
	if s != next || m.err != nil || len(m.conflicts) > 0 || v.k == undefined && c.opts.Strict {
		return
	}
	f.constant, f.done = kept(v), true
	f.body = nil // nobody calls it any more
	for i := range m.keyed {
		m.keyed[i].key = kept(m.keyed[i].key)
	}
	for rule, held := range m.held {
		if held {
			f.held = append(f.held, rule)
		}
	}
	f.keyed = slices.Clone(m.keyed)
}

// kept makes a constant of what an evaluation has built.
func kept(v Value) Value {
	freeze(v)
	v = moved(v)
	markConstant(v)
	return v
}

// markConstant says of a collection and of all in it that they were put together
// once. From then on nothing writes to them: other programs may have them too.
func markConstant(v Value) {
	if !v.isCollection() || v.collection().constant {
		return
	}
	c := v.collection()
	c.constant = true
	for _, key := range c.keys {
		markConstant(key)
	}
	for _, val := range c.vals {
		markConstant(val)
	}
}
