package engine

import "github.com/open-policy-agent/opa/v1/ir"

// dispatch compiles the blocks of a function.
func (s *scope) dispatch(blocks []*ir.Block) []block { return s.blocks(blocks) }
