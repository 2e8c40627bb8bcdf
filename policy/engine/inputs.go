package engine

import (
	"slices"
	"strconv"
	"sync"

	"github.com/caracalai/caracald/internal/sharing"
)

// inputTree is what a program reads of its input: places and their slots. Policies
// of different zones mostly read the same fields of the same document, and what
// is made to read them is the larger part of a small program.
type inputTree struct {
	root  *inputNode
	slots int

	mu sync.Mutex
	// projection was made last, for schema and wanted.
	projection *Projection
	schema     *Field
	wanted     [][]string
}

// inputTrees has those of all programs, by what they are.
var inputTrees sharing.Map[string, inputTree]

// sharedInputs gives the tree of a program that is complete.
func sharedInputs(root *inputNode, slots int) *inputTree {
	return inputTrees.Share(string(root.describe(nil)), &inputTree{root: root, slots: slots})
}

// describe appends all that there is to say of n and of what is below it.
func (n *inputNode) describe(b []byte) []byte {
	b = strconv.AppendQuote(b, n.name.Text())
	b = strconv.AppendInt(b, int64(n.slot), 10)
	if n.whole {
		b = append(b, 'w')
	}
	b = append(b, '{')
	for _, c := range n.children {
		b = c.describe(b)
	}
	return append(b, '}')
}

// project is the projection for a schema and wanted paths.
func (t *inputTree) project(schema *Field, wanted [][]string) *Projection {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.projection == nil || t.schema != schema || !slices.EqualFunc(t.wanted, wanted, slices.Equal[[]string]) {
		t.projection, t.schema, t.wanted = newProjection(t, schema, wanted), schema, wanted
	}
	return t.projection
}
