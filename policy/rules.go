package policy

import (
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// rule is one rule of the policies being checked, with what static checks ask
// of it.
type rule struct {
	*ast.Rule
	// doc is the number of the policy that the rule is in.
	doc int
	// path is the ground part of the rule's full path, without "data".
	path []string
	// ground says that the path is all of the rule's reference.
	ground bool
	// reads are the references to data in the rule, its else branches included.
	reads []ast.Ref
	// inputs are the paths of the input in it.
	inputs [][]string
	// conditions are the simple conjuncts of its body.
	conditions []condition
	// value is its value where that is known before evaluation, or nil.
	value ast.Value
}

// complete rules have one value at a fixed path.
func (r *rule) complete() bool {
	return r.Head.RuleKind() == ast.SingleValue && r.ground && len(r.Head.Args) == 0
}

// name is the full path of the rule for messages.
func (r *rule) name() string { return pathRef(ast.DefaultRootDocument, r.path).String() }

// unconditional reports whether the rule holds whatever the input.
func (r *rule) unconditional() bool {
	if r.Else != nil || len(r.Body) != 1 {
		return false
	}
	e := r.Body[0]
	t, ok := e.Terms.(*ast.Term)
	return ok && !e.Negated && len(e.With) == 0 && ast.Boolean(true).Equal(t.Value)
}

// isTest reports whether it is a rule for a test runner.
func (r *rule) isTest() bool {
	last := r.path[len(r.path)-1]
	return strings.HasPrefix(last, "test_") || strings.HasPrefix(last, "todo_test_")
}

// ruleIndex finds rules by path.
type ruleIndex struct {
	docs []*document
	all  []*rule
	// at has the rules whose ground path is exactly the key.
	at map[string][]*rule
	// under has the rules whose ground path begins with the key.
	under map[string][]*rule
	// wholes and choices are what is known of the decisions that documents
	// carry as results, and that they are.
	wholes, choices map[string]possible
}

func key(path []string) string { return strings.Join(path, "\x00") }

// entryPath and packagePath are EntryPoint and Package as paths.
var (
	entryPath, _   = steps(entryRef)
	packagePath, _ = steps(packageRef)
)

func collectRules(docs []*document) *ruleIndex {
	x := &ruleIndex{
		docs: docs, at: map[string][]*rule{}, under: map[string][]*rule{},
		wholes: map[string]possible{}, choices: map[string]possible{},
	}
	for i, d := range docs {
		for _, r := range d.resolved.Rules {
			c := &rule{Rule: r, doc: i, conditions: conditions(r)}
			c.path, c.ground = steps(r.Ref())
			if r.Head.Value != nil && ast.IsConstant(r.Head.Value.Value) {
				c.value = r.Head.Value.Value
			}
			walkRefs(r, func(ref ast.Ref, _ *ast.Location) {
				if isInput(ref) {
					path, _ := steps(ref)
					c.inputs = append(c.inputs, path)
				} else {
					c.reads = append(c.reads, ref)
				}
			})
			x.all = append(x.all, c)
			x.at[key(c.path)] = append(x.at[key(c.path)], c)
			for n := range len(c.path) + 1 {
				x.under[key(c.path[:n])] = append(x.under[key(c.path[:n])], c)
			}
		}
	}
	return x
}

// result lists the rules that make the entry point.
func (x *ruleIndex) result() []*rule { return x.under[key(entryPath)] }

// resultDefaults lists the policies that have a default of the entry point.
func (x *ruleIndex) resultDefaults() []int {
	var docs []int
	for _, r := range x.result() {
		if r.Default && (len(docs) == 0 || docs[len(docs)-1] != r.doc) {
			docs = append(docs, r.doc)
		}
	}
	return docs
}

// read lists the rules that a reference to data with that path may read.
func (x *ruleIndex) read(path []string) []*rule {
	found := x.under[key(path)]
	for n := range path {
		found = append(found[:len(found):len(found)], x.at[key(path[:n])]...)
	}
	return found
}

// closure is what is reached from some rules, those included.
func (x *ruleIndex) closure(from ...*rule) map[*rule]bool {
	from = slices.Clone(from) // it may be one of the index's own lists
	reached := map[*rule]bool{}
	// A path is followed once: many rules make, and many read, one document.
	read, siblings := map[string]bool{}, map[string]bool{}
	for len(from) > 0 {
		r := from[len(from)-1]
		from = from[:len(from)-1]
		if reached[r] {
			continue
		}
		reached[r] = true
		for _, ref := range r.reads {
			path, _ := steps(ref)
			if k := key(path); !read[k] {
				read[k] = true
				from = append(from, x.read(path)...)
			}
		}
		if k := key(r.path); !siblings[k] {
			siblings[k] = true
			from = append(from, x.at[k]...)
		}
	}
	return reached
}

// needsTracking reports whether a result may leave determining_policies empty,
// so that the platform has to find them.
func needsTracking(x *ruleIndex) bool {
	tracked := false
	for _, r := range x.result() {
		ast.WalkRules(r.Rule, func(r *ast.Rule) bool {
			tracked = tracked || r.Head.Value == nil || !namesPolicies(r.Head.Value)
			return false
		})
	}
	return tracked
}

// namesPolicies reports whether a result's term surely has an entry in
// determining_policies.
func namesPolicies(t *ast.Term) bool {
	object, ok := t.Value.(ast.Object)
	if !ok {
		return false
	}
	list := object.Get(ast.StringTerm("determining_policies"))
	if list == nil {
		return false
	}
	array, ok := list.Value.(*ast.Array)
	return ok && array.Len() > 0
}
