package policy

import (
	"slices"
	"strings"
)

// Plan says what was made of a set of policies to evaluate them.
type Plan struct {
	// Evaluator is "compiled", or "interpreted" for OPA's evaluator; Reason says why
	// the latter.
	Evaluator string `json:"evaluator"`
	Reason    string `json:"reason,omitempty"`
	// Inputs are the JSON pointers of what is read of an input, "" for all of it.
	// Two inputs that are alike there have one decision, and share it in a cache.
	Inputs []InputRead `json:"inputs"`
	// Folded are the rules that were evaluated when the set was compiled.
	Folded []string `json:"folded"`
	// Tables are the lookups that choose among rules by a value of the input.
	Tables []DispatchTable `json:"tables"`
	// Foreign are the built-ins that OPA's own code evaluates, if only for operands out
	// of the ordinary. Worker says that one of them may take long: an evaluation that
	// comes to it takes a goroutine of its own.
	Foreign []string `json:"foreign_builtins"`
	Worker  bool     `json:"worker"`
	// MayContradict says that rules may give one document, or one key of it, different
	// values. OPA's evaluator decides for the inputs for which they do.
	MayContradict bool `json:"may_contradict"`
}

// InputRead is one place of the input.
type InputRead struct {
	Pointer string `json:"pointer"`
	// ScalarOnly says that nothing below it is read: of an object or an array only
	// counts that it is one.
	ScalarOnly bool `json:"scalar_only"`
}

// DispatchTable is a lookup instead of a rule after another.
type DispatchTable struct {
	Rule    string `json:"rule"`
	Pointer string `json:"pointer"`
	// Values is how many strings it tells apart, Others how many rules are tried
	// whatever the value is.
	Values int `json:"values"`
	Others int `json:"others"`
}

var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

func pointerTo(path []string) string {
	var b strings.Builder
	for _, step := range path {
		b.WriteByte('/')
		b.WriteString(pointerEscapes.Replace(step))
	}
	return b.String()
}

// Plan tells how the set is evaluated.
func (s *Set) Plan() Plan {
	p := Plan{Evaluator: "compiled", Inputs: []InputRead{}, Folded: []string{}, Tables: []DispatchTable{}, Foreign: []string{}}
	if s.notCompiled != nil {
		p.Evaluator, p.Reason = "interpreted", s.notCompiled.Error()
		p.Inputs = append(p.Inputs, InputRead{})
		return p
	}
	for _, in := range s.program.Inputs() {
		p.Inputs = append(p.Inputs, InputRead{pointerTo(in.Path), !in.Whole})
	}
	for _, name := range s.program.Folded() {
		p.Folded = append(p.Folded, ruleName(name))
	}
	for _, t := range s.program.Tables() {
		p.Tables = append(p.Tables, DispatchTable{ruleName(t.Function), pointerTo(t.Path), t.Constants, t.Others})
	}
	for _, name := range s.program.ForeignBuiltins() {
		p.Foreign = append(p.Foreign, unguarded(name))
	}
	p.Worker, p.MayContradict = s.program.Foreign(), s.program.MayContradict()
	slices.Sort(p.Foreign)
	p.Foreign = slices.Compact(p.Foreign)
	return p
}

// ruleName is how people write the name that a plan has for a rule: without what
// the planner puts before it.
func ruleName(name string) string {
	_, name, _ = strings.Cut(name, ".")
	return name
}
