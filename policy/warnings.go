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
	// WarnInterpreted: OPA's evaluator evaluates the policies instead of the
	// compiled engine.
	WarnInterpreted = "interpreted"
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
func setWarnings(ctx context.Context, x *ruleIndex, e evaluator) []Warning {
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
	if !slices.ContainsFunc(rules, func(r *rule) bool {
		return r.Default && (len(r.path) == len(entryPath) || slices.Equal(r.path, decisionPath))
	}) {
		first := rules[0]
		v.warn(first.doc, first.Location, false, WarnMissingDefault, "result has no default: where no rule matches it is undefined, which denies with the reason %s", ReasonNoRuleMatched)
	}
	for _, r := range rules {
		for part := r.Rule; part != nil; part = part.Else {
			for _, problem := range v.resultProblems(r, part) {
				v.warn(r.doc, part.Location, true, WarnResultShape, "%s", problem)
			}
		}
	}
	v.missingFields()
	v.defaultsThatAllow()
}

// resultProblems lists what is wrong with what one rule adds to the result:
// all of it, or with a longer reference one of its fields.
func (v *review) resultProblems(r *rule, part *ast.Rule) []string {
	switch {
	case len(r.path) == len(entryPath) && r.ground && r.Head.RuleKind() == ast.MultiValue:
		return []string{"result must be a rule with an object as its value, not a set"}
	case len(r.path) == len(entryPath) && r.ground:
		return shapeProblems(part.Head.Value)
	case len(r.path) == len(entryPath) || len(r.Head.Args) > 0:
		return nil // a computed field, or a function, which is no part of the value
	}
	return fieldProblems(r.path[len(entryPath)], len(r.path) == len(entryPath)+1 && r.ground, part.Head)
}

// missingFields looks for fields that a result made field by field lacks in
// the whole set.
func (v *review) missingFields() {
	rules := v.result()
	if v.alone || len(v.at[key(entryPath)]) > 0 {
		return
	}
	for _, name := range resultFields {
		if len(v.under[key(append(slices.Clone(entryPath), name))]) == 0 {
			v.warn(rules[0].doc, rules[0].Location, true, WarnResultShape, "result lacks %s", name)
		}
	}
}

// decisionPath is where a result made field by field has its decision.
var decisionPath = append(slices.Clone(entryPath), "decision")

// defaultsThatAllow looks for defaults that allow among the rules of the result
// and those that it takes its whole value or its decision from.
func (v *review) defaultsThatAllow() {
	type place struct {
		path  []string
		whole bool
	}
	todo := []place{{entryPath, true}, {decisionPath, false}}
	seen := map[string]bool{}
	for len(todo) > 0 {
		p := todo[0]
		todo = todo[1:]
		if k := fmt.Sprint(p.whole, key(p.path)); seen[k] {
			continue
		} else {
			seen[k] = true
		}
		for _, r := range v.at[key(p.path)] {
			if r.Default && r.Head.Value != nil && (ast.String(Allow).Equal(r.Head.Value.Value) && !p.whole || p.whole && v.decisions(r.Head.Value).allow) {
				v.warn(r.doc, r.Location, true, WarnDefaultAllows, "the default of %s allows: access would be granted wherever no rule matches", r.name())
			}
			for part := r.Rule; part != nil; part = part.Else {
				t, whole := part.Head.Value, p.whole
				if d := decisionTerm(t); whole && d != nil {
					t, whole = d, false
				}
				if path, ok := documentRead(t); ok {
					todo = append(todo, place{path, whole})
				}
			}
		}
	}
}

// scopes looks for ways to allow that never read the requested scopes.
func (v *review) scopes() {
	seen := dependences{v.ruleIndex, map[string]dependence{}, map[*rule]dependence{}}
	for _, r := range v.allowing() {
		d := seen.of(r)
		if !d.scopes && !(v.alone && d.unknown) {
			v.warn(r.doc, r.Location, false, WarnScopesUnchecked, "this rule can allow, but nothing it depends on reads input.context.requested_scopes: any scope asked for would be granted")
		}
	}
}

// allowing lists the rules that may make a decision an allow; of a policy
// without a result, those that look as if another policy would.
func (v *review) allowing() []*rule {
	var list []*rule
	add := func(r *rule, may func(t *ast.Term) possible) {
		allows := false
		ast.WalkRules(r.Rule, func(part *ast.Rule) bool {
			allows = allows || (part.Head.Value != nil && may(part.Head.Value).allow)
			return false
		})
		if allows && !r.Default {
			list = append(list, r)
		}
	}
	for _, r := range v.at[key(entryPath)] {
		add(r, v.decisions)
	}
	for _, r := range v.at[key(decisionPath)] {
		add(r, v.decisionOf)
	}
	if len(v.result()) > 0 {
		return list
	}
	for _, r := range v.ruleIndex.all {
		add(r, func(t *ast.Term) possible {
			return possible{allow: r.path[len(r.path)-1] == Allow || ast.String(Allow).Equal(t.Value)}
		})
	}
	return list
}

func valueOf(t *ast.Term) ast.Value {
	if t == nil {
		return nil
	}
	return t.Value
}

// dependence is what a rule or a document is known to depend on.
type dependence struct {
	// scopes: it may read the requested scopes.
	scopes bool
	// unknown: it reads rules that are not here.
	unknown bool
}

// dependences finds what rules depend on, each rule and document once.
type dependences struct {
	*ruleIndex
	documents map[string]dependence
	rules     map[*rule]dependence
}

// of follows r's own reads. Other rules of its path are other ways to the same
// document, and what they check is no check of r.
func (s dependences) of(r *rule) dependence {
	if d, seen := s.rules[r]; seen {
		return d
	}
	var d dependence
	s.rules[r] = d
	scopes := []string{"context", "requested_scopes"}
	for _, path := range r.inputs {
		n := min(len(path), len(scopes))
		d.scopes = d.scopes || slices.Equal(path[:n], scopes[:n])
	}
	for _, ref := range r.reads {
		path, _ := steps(ref)
		below := s.document(path)
		d.scopes, d.unknown = d.scopes || below.scopes, d.unknown || below.unknown
	}
	s.rules[r] = d
	return d
}

func (s dependences) document(path []string) dependence {
	k := key(path)
	if d, seen := s.documents[k]; seen {
		return d
	}
	var d dependence
	s.documents[k] = d
	rules := s.read(path)
	n := min(len(path), len(packagePath))
	d.unknown = len(rules) == 0 && slices.Equal(path[:n], packagePath[:n])
	for _, r := range rules {
		below := s.of(r)
		d.scopes, d.unknown = d.scopes || below.scopes, d.unknown || below.unknown
	}
	s.documents[k] = d
	return d
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
			case !v.alone && whole && len(v.read(path)) == 0 && !v.hasPackage(path):
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
	var tests []*rule
	for _, r := range v.ruleIndex.all {
		if r.isTest() {
			tests = append(tests, r)
		}
	}
	tested := v.closure(tests...)
	reported := map[string]bool{}
	for _, r := range v.ruleIndex.all {
		id := fmt.Sprint(r.doc, key(r.path))
		if used[r] || tested[r] || reported[id] {
			continue
		}
		reported[id] = true
		v.warn(r.doc, r.Location, false, WarnUnusedRule, "the result does not depend on %s", r.name())
	}
}

// contradictions looks for rules of one policy that give a document different
// values whatever the input.
func (v *review) contradictions() {
	for _, r := range v.ruleIndex.all {
		at := v.at[key(r.path)]
		if at[0] != r { // once for each path
			continue
		}
		var kept sorts
		for _, b := range at {
			for _, a := range kept.rules {
				if a.doc == b.doc && !(a.Default && b.Default) && contradict(a, b) != "" {
					v.warn(b.doc, b.Location, true, WarnPossibleConflict, "%s has another value at row %d whatever the input: its evaluation always fails", b.name(), a.Location.Row)
					break
				}
			}
			kept.add(b)
		}
	}
}
