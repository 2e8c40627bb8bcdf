package engine

import "github.com/open-policy-agent/opa/v1/ir"

// place is where something stands that may fail, and what is said then. Its row counts
// from the first of its block, so that programs share what stands in another row.
type place struct {
	message string
	err     error
	file    string
	// function and block are those that it is in; function is below 0 where the row is
	// the file's, which is 0 for none.
	function, block int
	row, col        int
}

// rows are the first rows of all blocks of a program's functions.
type rows struct {
	// starts has by the number of a function where its blocks begin in first.
	starts, first []int32
}

func newRows(functions []*ir.Func) rows {
	var r rows
	for _, f := range functions {
		r.starts = append(r.starts, int32(len(r.first)))
		for _, b := range f.Blocks {
			r.first = append(r.first, int32(firstRow(b)))
		}
	}
	return rows{exact(r.starts), exact(r.first)}
}

// of is the first row of a block, 0 for one of no function.
func (r *rows) of(function, block int) int {
	if function < 0 {
		return 0
	}
	return int(r.first[int(r.starts[function])+block])
}

// firstRow is the row of the first statement in a block that has one, 0 for none.
func firstRow(b *ir.Block) int {
	first := 0
	statements([]*ir.Block{b}, func(stmt ir.Stmt) {
		if first == 0 {
			first = stmt.GetLocation().Row
		}
	})
	return first
}

// at makes the place of a statement of the block at hand.
func (s *scope) at(loc *ir.Location, message string, err error) *place {
	p := &place{message: message, err: err, function: -1, row: loc.Row, col: loc.Col}
	if loc.File >= 0 && loc.File < len(s.files) {
		p.file = s.files[loc.File]
	}
	if s.owner != nil && loc.Row > 0 {
		p.function, p.block = s.owner.number, s.top
		p.row -= s.program.rows.of(p.function, p.block)
	}
	return p
}

// row is that of a place in the file, 0 for none.
func (m *machine) row(p *place) int { return p.row + m.program.rows.of(p.function, p.block) }

// failAt ends the evaluation with what is said at a place, and details.
func (m *machine) failAt(p *place, details string) signal {
	return m.fail(&Error{Message: p.message + details, File: p.file, Row: m.row(p), Col: p.col, err: p.err})
}
