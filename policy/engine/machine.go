package engine

import (
	"errors"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// Meter is the account of one evaluation: it is asked now and then whether to go
// on, and charged for what is built.
type Meter interface {
	topdown.Cancel
	// Charge takes bytes from what is left; an error ends the evaluation.
	Charge(bytes int64) error
}

// errStopped says that the meter ended an evaluation.
var errStopped = errors.New("the evaluation was stopped")

// ErrSlow says that an evaluation came to a built-in that may take long, and was
// not to call it.
var ErrSlow = errors.New("a built-in may take long")

// A signal is how a statement ends: next goes on to the one after it; n, from 1
// on, leaves n blocks. A statement that is undefined leaves its own.
type signal int

const (
	next signal = 0
	// leave is what a statement that is undefined does.
	leave signal = 1
	// left is how a block says that it was left early, by one of its own.
	left signal = -1
	// returned ends a function, failed everything; m.err says why.
	returned signal = 1 << 20
	failed   signal = 1 << 21
)

// op is a compiled statement.
type op func(m *machine) signal

// block is statements run in their order.
type block []op

// run gives next where all statements were defined, left where one ended just
// this block, or the signal for the blocks around it.
func (b block) run(m *machine) signal {
	for _, o := range b {
		if s := o(m); s != next {
			switch {
			case s >= returned:
				return s
			case s == leave:
				return left
			}
			return s - 1
		}
	}
	return next
}

// runAll runs blocks one after another, whatever becomes of each.
func runAll(blocks []block, m *machine) signal {
	for _, b := range blocks {
		if s := b.run(m); s > next {
			return s
		}
	}
	return next
}

// function is a compiled function of the plan: a rule, or a function that people
// wrote.
type function struct {
	number int
	locals int
	params []int
	body   []block
	// memoized functions are called once for each input: they take the input
	// and the data only.
	memoized bool
	// constant is what the function gives whatever the input; done says so.
	constant Value
	done     bool
	// held and keyed are the marks that computing constant made.
	held  []int
	keyed []mark
	// impure functions depend on the input, or on what a caller replaced.
	impure bool
	// partial says that the value is a set or an object that rules add to.
	partial bool
	name    string
	told
}

// mark says that a rule of a function held, which adds key to a set or an object.
type mark struct {
	owner *function
	rule  int
	key   Value
}

// memo is what a function gave in one evaluation.
type memo struct {
	generation uint32
	value      Value
	// from and to are the marks made for its keys, in machine.keyed.
	from, to int
	// conflicted says that machine.conflicts has some for its keys.
	conflicted bool
}

// keyConflict says that the rules of a function gave a key two values. It fails
// an evaluation that reads the key, or all of the object; as in OPA, one that
// only reads others is none the wiser.
type keyConflict struct {
	owner      *function
	generation uint32
	key        Value
	at         *place
}

// machine is the state of one evaluation. Machines are reused.
type machine struct {
	program   *Program
	functions []*function // of the program
	frame     []Value     // of the function that runs
	slots     []Value     // of the input
	room      []Value     // for them, where the caller has none
	stack     []Value
	base      int
	top       int

	memos      []memo
	generation uint32
	last       uint32 // the highest generation given so far

	// held says of each rule whether it held, and marked lists those that did.
	held   []bool
	marked []int32
	keyed  []mark
	// conflicts are those of keys that may not be read.
	conflicts []keyConflict

	ret     Value   // what the function that returned last gave
	results []Value // of the query
	meter   Meter
	err     error
	fuel    int // steps until the meter is asked
	// prompt evaluations do not call what may take long.
	prompt bool
	text   []byte // room for what is written

	collections slab[collection]
	values      slab[Value]
	bctx        topdown.BuiltinContext
	hasContext  bool
	context     func(Meter) topdown.BuiltinContext
	// terms are OPA's forms of large values that its built-ins were given, and known the
	// values of these, so that a loop does not convert one again and again. converted is
	// how many parts were converted.
	terms     map[*collection]*ast.Term
	known     map[ast.Value]Value
	converted int64
}

var machines = sync.Pool{New: func() any { return new(machine) }}

func (p *Program) machine(meter Meter) *machine {
	m := machines.Get().(*machine)
	m.program, m.functions, m.meter = p, p.functions, meter
	if len(m.memos) < len(p.functions) {
		m.memos = make([]memo, len(p.functions))
		m.last = 0
	}
	if m.last > 1<<31 {
		clear(m.memos)
		m.last = 0
	}
	m.last++
	m.generation = m.last
	if cap(m.held) < p.rules {
		m.held = make([]bool, p.rules)
	}
	m.held = m.held[:p.rules]
	return m
}

// release forgets what the evaluation built, and keeps the room for the next.
func (m *machine) release() {
	clear(m.stack[:min(m.top, len(m.stack))])
	clear(m.room)
	for _, rule := range m.marked {
		m.held[rule] = false
	}
	clear(m.keyed)
	clear(m.results)
	clear(m.conflicts)
	if cap(m.text) > keptItems {
		m.text = nil
	}
	*m = machine{
		room: m.room, stack: m.stack, memos: m.memos, last: m.last, held: m.held[:0], marked: m.marked[:0], keyed: m.keyed[:0], results: m.results[:0], conflicts: m.conflicts[:0],
		collections: m.collections, values: m.values, text: m.text,
	}
	m.collections.reset()
	m.values.reset()
	machines.Put(m)
}

// call runs f on arguments that are places in the caller's frame or constants.
func (m *machine) call(f *function, args []operand) (Value, signal) {
	base := m.base + len(m.frame)
	need := base + f.locals
	if need > len(m.stack) {
		grown := make([]Value, max(2*len(m.stack), need, 128))
		copy(grown, m.stack)
		m.stack = grown
		m.frame = m.stack[m.base:base:base]
	}
	inner := m.stack[base:need:need]
	clear(inner)
	for i, place := range f.params {
		inner[place] = args[i].of(m)
	}
	outer, outerBase := m.frame, m.base
	m.frame, m.base = inner, base
	m.top = max(m.top, need)
	m.ret = Value{}
	s := runAll(f.body, m)
	if s == returned {
		s = next
	}
	m.base = outerBase
	if len(outer) > 0 {
		m.frame = m.stack[outerBase : outerBase+len(outer) : outerBase+len(outer)]
	} else {
		m.frame = outer
	}
	return m.ret, s
}

// mark says that a rule held.
func (m *machine) mark(rule int) {
	if !m.held[rule] {
		m.held[rule] = true
		m.marked = append(m.marked, int32(rule))
	}
}

// fail ends the evaluation with an error.
func (m *machine) fail(err error) signal {
	if m.err == nil {
		m.err = err
	}
	return failed
}

// fullTank is how many steps pass between two questions to the meter.
const fullTank = 32

// step counts a turn of a loop or a call, and asks now and then whether to go on.
func (m *machine) step() bool {
	if m.fuel--; m.fuel > 0 {
		return true
	}
	return m.refuel()
}

// spend counts the work of going through n values.
func (m *machine) spend(n int) bool {
	if m.fuel -= n / 8; m.fuel > 0 {
		return true
	}
	return m.refuel()
}

// look counts the work of going through bytes.
func (m *machine) look(bytes int64) bool {
	if m.fuel -= int(bytes >> 6); m.fuel > 0 {
		return true
	}
	return m.refuel()
}

// refuel asks the meter whether to go on, more often the more was spent: a meter
// looks at the clock at one in so many questions.
func (m *machine) refuel() bool {
	questions := min(1-m.fuel/fullTank, fullTank+1)
	m.fuel = fullTank
	if m.meter == nil {
		return true
	}
	for range questions {
		if m.meter.Cancelled() {
			m.fail(errStopped)
			return false
		}
	}
	return true
}

// charge accounts for bytes that are about to be built.
func (m *machine) charge(bytes int64) bool {
	if m.meter == nil {
		return true
	}
	if err := m.meter.Charge(bytes); err != nil {
		m.fail(errStopped)
		return false
	}
	return true
}
