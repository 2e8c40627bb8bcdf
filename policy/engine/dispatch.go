package engine

import (
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ir"
)

// dispatched is from how many rules on comparing one path with constants is done
// by a lookup.
const dispatched = 8

// dispatch compiles the blocks of a function. Where many of its rules begin by
// comparing the same path of the input with strings, the value at that path is
// looked up in a table, and only the rules that may hold are run: what a decision
// costs then does not grow with the number of rules. Left out are only statements
// that would have been undefined before they could call anything. result is the
// function's value.
func (s *scope) dispatch(blocks []*ir.Block, result int) []block {
	compiled := make([]block, 0, len(blocks))
	for i, b := range blocks {
		s.top = i
		compiled = append(compiled, s.blocks([]*ir.Block{b})...)
	}
	units := unitsOf(blocks)
	byPath := map[string]map[string]int{} // how many rules ask for each string
	for i := range units {
		units[i].tests = s.firstTests(blocks[units[i].from])
		for path, want := range units[i].tests {
			if byPath[path] == nil {
				byPath[path] = map[string]int{}
			}
			byPath[path][want]++
		}
	}
	// The best path leaves the fewest rules to run in the worst case.
	best, fewest := "", len(units)-dispatched+1
	for _, path := range slices.Sorted(maps.Keys(byPath)) {
		asked, most := 0, 0
		for _, n := range byPath[path] {
			asked, most = asked+n, max(most, n)
		}
		if left := len(units) - asked + most; left < fewest {
			best, fewest = path, left
		}
	}
	first := s.untilFirst(units)
	if best == "" && !first {
		return compiled
	}
	if best == "" {
		rules := make([]ruleBlocks, len(units))
		for i, u := range units {
			rules[i] = ruleBlocks{i, compiled[u.from:u.to]}
		}
		return around(compiled, units, func(m *machine) signal { return runFirst(rules, nil, m, result) })
	}
	table := map[string][]block{}
	ordered := map[string][]ruleBlocks{}
	var others []block
	var orderedOthers []ruleBlocks
	rest := 0
	for i, u := range units {
		own := compiled[u.from:u.to]
		switch want, ok := u.tests[best]; {
		case ok && first:
			ordered[want] = append(ordered[want], ruleBlocks{i, own})
		case ok:
			table[want] = append(table[want], own...)
		case first:
			orderedOthers = append(orderedOthers, ruleBlocks{i, own})
			rest++
		default:
			others = append(others, own...)
			rest++
		}
	}
	told := s.tell()
	told.tables = append(told.tables, Table{Function: s.owner.name, Path: strings.Split(best, pathSeparator), Constants: len(table) + len(ordered), Others: rest})
	asked := s.asked(best)
	if first {
		return around(compiled, units, func(m *machine) signal {
			var of []ruleBlocks
			if v := asked(m); v.k == stringKind {
				of = ordered[v.string()]
			}
			return runFirst(of, orderedOthers, m, result)
		})
	}
	return around(compiled, units, func(m *machine) signal {
		v := asked(m)
		if v.k == stringKind {
			if r := runAll(table[v.string()], m); r > next {
				return r
			}
		}
		return max(runAll(others, m), next)
	})
}

// around puts one statement in the place of a function's rules.
func around(compiled []block, units []unit, rules op) []block {
	done := append([]block{}, compiled[:units[0].from]...)
	done = append(done, block{rules})
	return append(done, compiled[units[len(units)-1].to:]...)
}

// untilFirst reports whether a function's rules are run until one holds: all have
// one constant for a value, and nobody asks which of them hold. OPA's evaluator
// does so too, and is none the wiser where a later one fails.
func (s *scope) untilFirst(units []unit) bool {
	if s.opts.Held != "" || s.single.k == undefined || len(units) < 2 {
		return false
	}
	for i, u := range units[1:] {
		if u.from != units[i].to {
			return false
		}
	}
	return true
}

// ruleBlocks are the blocks of one rule, and its place among those of its function.
type ruleBlocks struct {
	place  int
	blocks []block
}

// runFirst runs rules of two lists, in the order of their places, until the function
// has a result.
func runFirst(a, b []ruleBlocks, m *machine, result int) signal {
	for len(a) > 0 || len(b) > 0 {
		from := &a
		if len(a) == 0 || len(b) > 0 && b[0].place < a[0].place {
			from = &b
		}
		if r := runAll((*from)[0].blocks, m); r > next {
			return r
		}
		if m.frame[result].k != undefined {
			break
		}
		*from = (*from)[1:]
	}
	return next
}

// asked gives the value at a path of the input.
func (s *scope) asked(joined string) func(m *machine) Value {
	steps := strings.Split(joined, pathSeparator)
	if s.projected {
		o := s.slotAt(steps, false) // only strings are looked up
		return func(m *machine) Value { return o.of(m) }
	}
	var path []Value
	for _, step := range steps {
		path = append(path, str(step))
	}
	input := s.owner.params[0]
	return func(m *machine) Value {
		v := m.frame[input]
		for _, step := range path {
			v = get(v, step)
		}
		return v
	}
}

// Table is one dispatch table of a program.
type Table struct {
	// Function is the rule's, and Path the path of the input that is looked up.
	Function string
	Path     []string
	// Constants is how many strings the table has, Others how many rules are run
	// whatever the value.
	Constants, Others int
}

// unit is the blocks of one rule: its body and, for a complete rule, the block
// that takes its value.
type unit struct {
	from, to int
	// tests are the strings that the body asks for, by path.
	tests map[string]string
}

// pathSeparator joins paths to a key; keys with it in them are not dispatched on.
const pathSeparator = "\x00"

// unitsOf finds the rules among a function's blocks. A body begins by resetting
// the rule's result; a chain of else branches is one block.
func unitsOf(blocks []*ir.Block) []unit {
	var units []unit
	for i := 0; i < len(blocks); i++ {
		if len(blocks[i].Stmts) == 0 {
			continue
		}
		switch x := blocks[i].Stmts[0].(type) {
		case *ir.BlockStmt:
			units = append(units, unit{from: i, to: i + 1})
		case *ir.ResetLocalStmt:
			u := unit{from: i, to: i + 1}
			if i+1 < len(blocks) && len(blocks[i+1].Stmts) == 2 {
				if end, ok := blocks[i+1].Stmts[0].(*ir.IsDefinedStmt); ok && end.Source == x.Target {
					u.to++
				}
			}
			units = append(units, u)
			i = u.to - 1
		}
	}
	return units
}

// firstTests finds the comparisons of paths of the input with strings among the
// first statements of a body, those that neither call nor repeat anything.
func (s *scope) firstTests(b *ir.Block) map[string]string {
	if s.owner == nil || len(s.owner.params) == 0 {
		return nil
	}
	paths := map[ir.Local]string{ir.Local(s.owner.params[0]): ""}
	tests := map[string]string{}
	for _, stmt := range b.Stmts {
		switch x := stmt.(type) {
		case *ir.ResetLocalStmt:
			delete(paths, x.Target)
		case *ir.MakeNullStmt, *ir.MakeNumberIntStmt, *ir.MakeNumberRefStmt, *ir.IsDefinedStmt, *ir.IsArrayStmt, *ir.IsObjectStmt, *ir.IsSetStmt, *ir.NotEqualStmt:
		case *ir.AssignVarStmt:
			delete(paths, x.Target)
			if from, ok := x.Source.Value.(ir.Local); ok {
				if path, ok := paths[from]; ok {
					paths[x.Target] = path
				}
			}
		case *ir.DotStmt:
			from, isLocal := x.Source.Value.(ir.Local)
			path, known := paths[from]
			key, isString := x.Key.Value.(ir.StringIndex)
			delete(paths, x.Target)
			if !isLocal || !known || !isString {
				continue
			}
			step := s.string(int(key)).string()
			if strings.Contains(step, pathSeparator) {
				continue
			}
			if path != "" {
				path += pathSeparator
			}
			paths[x.Target] = path + step
		case *ir.EqualStmt:
			for _, pair := range [2][2]ir.Operand{{x.A, x.B}, {x.B, x.A}} {
				local, isLocal := pair[0].Value.(ir.Local)
				constant, isString := pair[1].Value.(ir.StringIndex)
				if !isLocal || !isString {
					continue
				}
				path := paths[local]
				if _, twice := tests[path]; path != "" && !twice {
					tests[path] = s.string(int(constant)).string()
				}
			}
		default:
			return tests
		}
	}
	return tests
}
