package engine

import (
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ir"
)

// The paths of the input that a program reads are known when it is compiled.
// Each has a slot, which is filled once for each evaluation: what a policy says of
// input.principal.labels is then one load, wherever and however often it says it.

// inputNode is a place of the input, and what is read below it.
type inputNode struct {
	name Value
	// slot is that of the value at this place, -1 where only what is below is read.
	slot int
	// whole says that all of the value is read, not only its kind and what it is
	// where it is no collection.
	whole    bool
	children []*inputNode
}

// child gives the node below n with that name, making it.
func (n *inputNode) child(name string) *inputNode {
	for _, c := range n.children {
		if c.name.string() == name {
			return c
		}
	}
	c := &inputNode{name: str(strings.Clone(name)), slot: -1}
	n.children = append(n.children, c)
	return c
}

// fill puts what v has at the places below n into slots.
func (n *inputNode) fill(slots []Value, v Value) {
	if n.slot >= 0 {
		slots[n.slot] = v
	}
	for _, c := range n.children {
		c.fill(slots, get(v, c.name))
	}
}

// Inputs lists the paths of the input that an evaluation may read, sorted. The
// empty path stands for everything.
func (p *Program) Inputs() []InputPath {
	var all []InputPath
	var walk func(n *inputNode, path []string)
	walk = func(n *inputNode, path []string) {
		if n.slot >= 0 {
			all = append(all, InputPath{slices.Clone(path), n.whole})
		}
		if n.whole {
			return
		}
		for _, c := range n.children {
			walk(c, append(path, c.name.string()))
		}
	}
	walk(p.input, nil)
	slices.SortFunc(all, func(a, b InputPath) int { return slices.Compare(a.Path, b.Path) })
	return all
}

// InputPath is a place of the input that a program reads. Whole says that all of
// the value is; otherwise of an object or an array only that it is one.
type InputPath struct {
	Path  []string
	Whole bool
}

// projectable reports whether every function of a plan sees the input that the
// query was given: nothing is put in its place by "with".
func projectable(plan *ir.Policy) bool {
	functions := map[string]bool{}
	good := true
	check := func(args []ir.Local) {
		good = good && len(args) > 0 && args[0] == ir.Input
	}
	visit := func(stmt ir.Stmt) {
		switch x := stmt.(type) {
		case *ir.WithStmt:
			good = good && x.Local != ir.Input
		case *ir.CallDynamicStmt:
			check(x.Args)
		case *ir.CallStmt:
			if functions[x.Func] {
				first, ok := ir.Local(-1), false
				if len(x.Args) > 0 {
					first, ok = x.Args[0].Value.(ir.Local)
				}
				good = good && ok && first == ir.Input
			}
		}
	}
	if plan.Funcs != nil {
		for _, f := range plan.Funcs.Funcs {
			functions[f.Name] = true
			check(f.Params)
		}
		for _, f := range plan.Funcs.Funcs {
			statements(f.Blocks, visit)
		}
	}
	for _, p := range plan.Plans.Plans {
		statements(p.Blocks, visit)
	}
	return good
}

// statements visits those of blocks and of all blocks inside them.
func statements(blocks []*ir.Block, visit func(ir.Stmt)) {
	for _, b := range blocks {
		for _, stmt := range b.Stmts {
			visit(stmt)
			switch x := stmt.(type) {
			case *ir.BlockStmt:
				statements(x.Blocks, visit)
			case *ir.ScanStmt:
				statements([]*ir.Block{x.Block}, visit)
			case *ir.NotStmt:
				statements([]*ir.Block{x.Block}, visit)
			case *ir.WithStmt:
				statements([]*ir.Block{x.Block}, visit)
			}
		}
	}
}

// path is the path of the input that a local stands for.
func (s *scope) path(l ir.Local) ([]string, bool) {
	if !s.projected {
		return nil, false
	}
	if l == ir.Input {
		return nil, true
	}
	path, ok := s.paths[l]
	return path, ok
}

// slot is where the value at a path of the input is.
func (s *scope) slot(path []string) operand { return s.slotAt(path, true) }

// slotAt is slot for one of whose value all is read, or only its kind and, where
// it is no collection, what it is.
func (s *scope) slotAt(path []string, whole bool) operand {
	if s.owner != nil {
		s.owner.impure = true
	}
	slot := s.compiler.slot(path, whole)
	told := s.tell()
	told.slots = append(told.slots, slotUse{path, whole})
	return operand{at: firstSlot - slot}
}

// slot numbers a path of the input.
func (c *compiler) slot(path []string, whole bool) int {
	n := c.program.input
	for _, step := range path {
		n = n.child(step)
	}
	if n.slot < 0 {
		n.slot = c.program.slots
		c.program.slots++
	}
	n.whole = n.whole || whole
	return n.slot
}

// shallow is the operand of a statement that looks no deeper into a collection
// than at its kind.
func (s *scope) shallow(o ir.Operand) operand {
	if l, ok := o.Value.(ir.Local); ok {
		if path, ok := s.path(l); ok {
			return s.slotAt(path, false)
		}
	}
	return s.operand(o)
}

// scalar is the operand of a comparison with other.
func (s *scope) scalar(o, other ir.Operand) operand {
	if with := s.constantOf(other); with.k != undefined && with.k < arrayKind {
		return s.shallow(o)
	}
	return s.operand(o)
}

// constantOf is the constant that an operand is, undefined where it is none.
func (s *scope) constantOf(o ir.Operand) Value {
	if l, ok := o.Value.(ir.Local); ok {
		return s.consts[int(l)]
	}
	return s.operand(o).value
}

// require ends the block where a slot is undefined, unless a statement that was
// run before has done so.
func (s *scope) require(o operand) {
	slot := firstSlot - o.at
	if slices.Contains(s.defined, slot) {
		return
	}
	s.defined = append(s.defined, slot)
	s.emit(func(m *machine) signal {
		if m.slots[slot].k == undefined {
			return leave
		}
		return next
	})
}

// dotInput makes a lookup in the input a path, if it may be one.
func (s *scope) dotInput(x *ir.DotStmt) bool {
	path, ok := s.pathAt(x)
	if !ok {
		return false
	}
	s.paths[x.Target] = path
	// The lookup that follows fails where this one does.
	if u := s.use(x.Target); u.reads == u.sources {
		if after, ok := s.following.(*ir.DotStmt); ok && after.Source.Value == ir.Val(x.Target) {
			return true
		}
	}
	s.require(s.slotAt(path, false))
	return true
}

// pathAt is the path that a lookup leads to.
func (s *scope) pathAt(x *ir.DotStmt) ([]string, bool) {
	l, isLocal := x.Source.Value.(ir.Local)
	key, isString := x.Key.Value.(ir.StringIndex)
	if !isLocal || !isString || !s.settled(x.Target) {
		return nil, false
	}
	path, ok := s.path(l)
	if !ok {
		return nil, false
	}
	return append(slices.Clip(path), s.string(int(key)).string()), true
}

// settled reports whether a local is one value wherever it is read.
func (s *scope) settled(l ir.Local) bool {
	return s.once(l) && len(s.use(l).mutators) == 0
}

// copied makes a local another name for what it is a copy of, if it may be one.
func (s *scope) copied(x *ir.AssignVarStmt) bool {
	source, ok := x.Source.Value.(ir.Local)
	if !ok || !s.settled(x.Target) {
		return false
	}
	if path, ok := s.path(source); ok {
		s.paths[x.Target] = path
		return true
	}
	if s.use(x.Target).reads == 0 {
		return true
	}
	if !s.once(source) {
		return false
	}
	o := s.local(source)
	if o.constant() {
		return false
	}
	s.aliases[x.Target] = o
	if items, ok := s.elements[source]; ok {
		s.elements[x.Target] = items
	}
	return true
}
