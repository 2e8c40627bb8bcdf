package policy

import (
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/topdown/print"
)

// Bounds of what is kept of one test.
const (
	// maxOutput is the most bytes of what a test prints.
	maxOutput = 8 << 10
	// maxTried is the most cases that a test may come to.
	maxTried = 10000
)

// testObserver follows one test: what it prints, its cases, and where it fails.
type testObserver struct {
	rules *ruleTracer

	mu     sync.Mutex // the test may be left to end by itself
	output strings.Builder
	cut    bool
	cases  []*ast.Array
}

// Enabled says that there is something to tell.
func (o *testObserver) Enabled() bool { return true }

// Config asks for no variables.
func (o *testObserver) Config() topdown.TraceConfig { return topdown.TraceConfig{} }

// TraceEvent takes note of a step.
func (o *testObserver) TraceEvent(e topdown.Event) {
	switch e.Op {
	case topdown.NoteOp:
		if e.Node == nil { // a call of trace
			o.write(e.Message)
		}
	case topdown.TestCaseOp:
		expr, ok := e.Node.(*ast.Expr)
		if !ok {
			return
		}
		path, ok := expr.Operand(0).Value.(*ast.Array)
		o.mu.Lock()
		defer o.mu.Unlock()
		if ok && len(o.cases) < maxTried {
			o.cases = append(o.cases, path)
		}
	default:
		o.rules.TraceEvent(e)
	}
}

// tried are the cases that the test came to.
func (o *testObserver) tried() []*ast.Array {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.cases[:len(o.cases):len(o.cases)]
}

// write adds a line to what the test printed.
func (o *testObserver) write(line string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if left := maxOutput - o.output.Len(); len(line)+1 > left {
		if !o.cut {
			o.output.WriteString(strings.ToValidUTF8(line[:min(len(line), max(0, left))], ""))
			o.output.WriteString("…\n")
		}
		o.cut = true
		return
	}
	o.output.WriteString(line)
	o.output.WriteByte('\n')
}

// written is what the test printed.
func (o *testObserver) written() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.output.String()
}

// printTo gives what print calls.
func printTo(o *testObserver) print.Hook { return printHook{o} }

type printHook struct{ observer *testObserver }

// Print takes a line.
func (h printHook) Print(_ print.Context, line string) error {
	h.observer.write(line)
	return nil
}
