package policy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Codes of warnings.
const (
	// WarnMissingDefault: no default result, so an input that no rule matches
	// leaves it undefined, which denies.
	WarnMissingDefault = "missing_default_result"
	// WarnMissingResult: no policy of the set defines result, so it denies all.
	WarnMissingResult = "missing_result"
	// WarnDefaultAllows (blocking): the default result allows.
	WarnDefaultAllows = "default_result_allows_access"
	// WarnScopesUnchecked: something allows without reading
	// input.context.requested_scopes.
	WarnScopesUnchecked = "missing_requested_scope_check"
	// WarnResultShape (blocking): a result has a shape that evaluation refuses.
	WarnResultShape = "result_shape"
	// WarnUnknownInput: a rule reads an input field that the schema lacks.
	WarnUnknownInput = "unknown_input_field"
	// WarnUnknownData: a rule reads data that cannot exist.
	WarnUnknownData = "unknown_data_reference"
	// WarnUnusedRule: nothing that makes the result reads the rule.
	WarnUnusedRule = "unused_rule"
	// WarnPossibleConflict: rules may give one document different values for
	// some input, which denies. Blocking where they do for every input.
	WarnPossibleConflict = "possible_conflict"
)

// review collects the warnings of a policy by itself or of a set.
type review struct {
	*ruleIndex
	// alone says that one policy is looked at that may become part of any set.
	alone bool
	found []Warning
}

func (v *review) warn(doc int, loc *ast.Location, blocking bool, code, format string, args ...any) {
	w := Warning{Code: code, Message: fmt.Sprintf(format, args...), Blocking: blocking}
	if doc >= 0 {
		w.Policy = v.docs[doc].name
	}
	if loc != nil {
		at := location(loc)
		w.Location = &at
	}
	v.found = append(v.found, w)
}

// documentWarnings reviews one policy by itself.
func documentWarnings(x *ruleIndex) []Warning {
	v := &review{ruleIndex: x, alone: true}
	v.all()
	v.contradictions()
	return v.sorted()
}

// setWarnings reviews the policies of a set together.
func setWarnings(ctx context.Context, x *ruleIndex, e engine) []Warning {
	v := &review{ruleIndex: x}
	v.all()
	v.contradictions()
	v.conflicts(ctx, e)
	return v.sorted()
}

func (v *review) all() {
	v.results()
	v.scopes()
	v.references()
	v.unused()
}

// sorted orders by policy, then place, then code, each warning once.
func (v *review) sorted() []Warning {
	order := map[string]int{}
	for i, d := range v.docs {
		if _, seen := order[d.name]; !seen {
			order[d.name] = i + 1
		}
	}
	place := func(w Warning) Location {
		if w.Location == nil {
			return Location{}
		}
		return *w.Location
	}
	compare := func(a, b Warning) int {
		if c := order[a.Policy] - order[b.Policy]; c != 0 {
			return c
		}
		if c := place(a).Row - place(b).Row; c != 0 {
			return c
		}
		if c := place(a).Col - place(b).Col; c != 0 {
			return c
		}
		if c := strings.Compare(a.Code, b.Code); c != 0 {
			return c
		}
		return strings.Compare(a.Message, b.Message)
	}
	slices.SortStableFunc(v.found, compare)
	return slices.CompactFunc(v.found, func(a, b Warning) bool { return compare(a, b) == 0 })
}

// packageOf is where a policy's package is declared.
func (v *review) packageOf(doc int) *ast.Location { return v.docs[doc].parsed.Package.Location }

// results looks at the entry point: whether it is there, has a default, and
// has values of the right shape.
func (v *review) results() {
	rules := v.result()
	if len(rules) == 0 {
		if v.alone {
			v.warn(0, v.packageOf(0), false, WarnMissingDefault, "this policy defines no result: by itself it denies everything; together with a policy that has a default result it can contribute rules")
		} else {
			v.warn(-1, nil, false, WarnMissingResult, "no policy of the set defines %s: it denies everything", EntryPoint)
		}
		return
	}
	if len(v.resultDefaults()) == 0 {
		first := rules[0]
		v.warn(first.doc, first.Location, false, WarnMissingDefault, "result has no default: where no rule matches it is undefined, which denies with the reason %s", ReasonNoRuleMatched)
	}
	for _, r := range v.at[key(entryPath)] {
		if len(r.Head.Args) > 0 || r.Head.RuleKind() == ast.MultiValue {
			v.warn(r.doc, r.Location, true, WarnResultShape, "result must be a rule with an object as its value, not a set or a function")
			continue
		}
		if !r.ground {
			continue
		}
		ast.WalkRules(r.Rule, func(part *ast.Rule) bool {
			for _, problem := range shapeProblems(part.Head.Value) {
				v.warn(r.doc, part.Location, true, WarnResultShape, "%s", problem)
			}
			return false
		})
		if may := v.decisions(r.Head.Value, r.Default); r.Default && may.allow {
			v.warn(r.doc, r.Location, true, WarnDefaultAllows, "the default result allows: access would be granted wherever no rule matches")
		}
	}
	v.defaultDecisions()
}

// defaultDecisions looks for results that take their decision from a rule
// whose default allows.
func (v *review) defaultDecisions() {
	for _, r := range v.at[key(entryPath)] {
		if !r.ground || r.Head.Value == nil {
			continue
		}
		t := decisionTerm(r.Head.Value)
		if t == nil {
			continue
		}
		ref, ok := fixedRef(t)
		if !ok || isInput(ref) {
			continue
		}
		path, _ := steps(ref)
		for _, d := range v.at[key(path)] {
			if d.Default && ast.String(Allow).Equal(d.Head.Value.Value) {
				v.warn(d.doc, d.Location, true, WarnDefaultAllows, "the default of %s, which result takes its decision from, allows: access would be granted wherever no rule matches", d.name())
			}
		}
	}
}

// scopes looks for ways to allow that never read the requested scopes.
func (v *review) scopes() {
	candidates := v.at[key(entryPath)]
	if len(v.result()) == 0 {
		for _, r := range v.ruleIndex.all {
			if name := r.path[len(r.path)-1]; name == Allow || ast.String(Allow).Equal(valueOf(r.Head.Value)) {
				candidates = append(candidates, r)
			}
		}
	}
	for _, r := range candidates {
		if r.Default || r.Head.Value == nil {
			continue
		}
		if len(v.result()) > 0 && !v.decisions(r.Head.Value, false).allow && r.Else == nil {
			continue
		}
		reads, unknown := v.readsScopes(r)
		if !reads && !(v.alone && unknown) {
			v.warn(r.doc, r.Location, false, WarnScopesUnchecked, "this rule can allow, but nothing it depends on reads input.context.requested_scopes: any scope asked for would be granted")
		}
	}
}

func valueOf(t *ast.Term) ast.Value {
	if t == nil {
		return nil
	}
	return t.Value
}

// readsScopes reports whether r depends on the requested scopes. unknown says
// that it also depends on rules that are not here.
func (v *review) readsScopes(r *rule) (reads, unknown bool) {
	scopes := []string{"context", "requested_scopes"}
	own := v.closure(r)
	for dep := range own {
		// Other rules of the same path are other ways to the same document.
		if dep != r && slices.Equal(dep.path, r.path) {
			continue
		}
		for _, path := range dep.inputs {
			n := min(len(path), len(scopes))
			if slices.Equal(path[:n], scopes[:n]) {
				reads = true
			}
		}
		for _, ref := range dep.reads {
			if len(v.read(ref)) == 0 {
				unknown = true
			}
		}
	}
	return reads, unknown
}

// references looks for reads of what is not there.
func (v *review) references() {
	for _, r := range v.ruleIndex.all {
		walkRefs(r.Rule, func(ref ast.Ref, loc *ast.Location) {
			if loc == nil {
				loc = r.Location
			}
			path, whole := steps(ref)
			switch {
			case isInput(ref):
				if !inputSchema.knows(path) {
					v.warn(r.doc, loc, false, WarnUnknownInput, "%s is not a field of input schema %s; it is undefined unless the caller sends it", pathRef(ref[0], path), InputSchemaVersion)
				}
			case !slices.Equal(path[:min(len(path), len(packagePath))], packagePath[:min(len(path), len(packagePath))]):
				v.warn(r.doc, loc, false, WarnUnknownData, "%s is always undefined: policies see only data.%s and the input", pathRef(ref[0], path), Package)
			case !v.alone && whole && len(v.read(ref)) == 0 && !v.hasPackage(path):
				v.warn(r.doc, loc, false, WarnUnknownData, "%s is always undefined: no policy of the set defines it", ref)
			}
		})
	}
}

// hasPackage reports whether a policy's package is at or below path.
func (v *review) hasPackage(path []string) bool {
	return slices.ContainsFunc(v.docs, func(d *document) bool {
		at, _ := steps(d.resolved.Package.Path)
		return len(at) >= len(path) && slices.Equal(at[:len(path)], path)
	})
}

// unused looks for rules that the result does not depend on. A policy without
// a result is there for others to read.
func (v *review) unused() {
	if len(v.result()) == 0 {
		return
	}
	used := v.closure(v.result()...)
	reported := map[string]bool{}
	for _, r := range v.ruleIndex.all {
		id := fmt.Sprint(r.doc, key(r.path))
		if used[r] || r.isTest() || reported[id] || v.testOnly(r) {
			continue
		}
		reported[id] = true
		v.warn(r.doc, r.Location, false, WarnUnusedRule, "the result does not depend on %s", r.name())
	}
}

// testOnly reports whether r is read by a test.
func (v *review) testOnly(r *rule) bool {
	var tests []*rule
	for _, t := range v.ruleIndex.all {
		if t.isTest() {
			tests = append(tests, t)
		}
	}
	return len(tests) > 0 && v.closure(tests...)[r]
}

// contradictions looks for rules of one policy that give a document different
// values whatever the input.
func (v *review) contradictions() {
	for _, b := range v.ruleIndex.all {
		for _, a := range v.at[key(b.path)] {
			if a == b {
				break
			}
			if a.doc == b.doc && !(a.Default && b.Default) && contradict(a, b) != "" {
				v.warn(b.doc, b.Location, true, WarnPossibleConflict, "%s has another value at row %d whatever the input: its evaluation always fails", b.name(), a.Location.Row)
				break
			}
		}
	}
}
