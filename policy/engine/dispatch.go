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
// that would have been undefined before they could call anything.
func (s *scope) dispatch(blocks []*ir.Block) []block {
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
	until := -1
	if s.untilFirst(units) {
		until = s.result
	} else if best == "" {
		return compiled
	}
	table := map[string][]ruleBlocks{}
	var others []ruleBlocks
	for _, u := range units {
		if want, ok := u.tests[best]; ok {
			table[want] = append(table[want], u.ruleBlocks)
		} else {
			others = append(others, u.ruleBlocks)
		}
	}
	if best == "" {
		return around(compiled, units, func(m *machine) signal { return runRules(compiled, nil, others, m, until) })
	}
	told := s.tell()
	told.tables = append(told.tables, Table{Function: s.owner.name, Path: strings.Split(best, pathSeparator), Constants: len(table), Others: len(others)})
	asked := s.asked(best)
	return around(compiled, units, func(m *machine) signal {
		var of []ruleBlocks
		if v := asked(m); v.k == stringKind {
			of = table[v.string()]
		}
		return runRules(compiled, of, others, m, until)
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

// runRules runs rules of two lists in the order in which the function has them; where
// until is not below 0, until that local of it has a value.
func runRules(blocks []block, a, b []ruleBlocks, m *machine, until int) signal {
	for len(a) > 0 || len(b) > 0 {
		from := &a
		if len(a) == 0 || len(b) > 0 && b[0].from < a[0].from {
			from = &b
		}
		rule := (*from)[0]
		*from = (*from)[1:]
		if r := runAll(blocks[rule.from:rule.to], m); r > next {
			return r
		}
		if until >= 0 && m.frame[until].k != undefined {
			break
		}
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

// ruleBlocks says which of a function's blocks are those of one rule: its body and, for a
// complete rule, the block that takes its value.
type ruleBlocks struct{ from, to int }

// unit is one rule.
type unit struct {
	ruleBlocks
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
			units = append(units, unit{ruleBlocks: ruleBlocks{i, i + 1}})
		case *ir.ResetLocalStmt:
			u := unit{ruleBlocks: ruleBlocks{i, i + 1}}
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
