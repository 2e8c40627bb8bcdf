package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
)

const (
	// maxProbes is how many suspected conflicts of a set are tried out.
	maxProbes = 32
	// maxSuspects is how many suspected conflicts of a set are reported.
	maxSuspects = 256
	// maxPairs is how many pairs of rules of a set are compared.
	maxPairs = 1 << 18
)

// probeLimits bounds the evaluation of one trial input.
var probeLimits = Limits{Timeout: 100 * time.Millisecond, MaxMemory: 16 << 20}

// conflicts looks for rules of different policies that may give one document
// different values, and tries to find an input for which they do.
func (v *review) conflicts(ctx context.Context, e evaluator) {
	pairs, probes, suspects := 0, 0, 0
	for _, b := range v.ruleIndex.all {
		for a := range v.overlapping(b) {
			if pairs++; pairs > maxPairs || suspects == maxSuspects {
				v.warn(-1, nil, false, WarnPossibleConflict, "there are so many rules with common names that the search for possible conflicts was ended after %d of them", suspects)
				return
			}
			if !possibleConflict(a, b) {
				continue
			}
			suspects++
			na, nb := v.docs[a.doc].name, v.docs[b.doc].name
			message := fmt.Sprintf("policies %q (row %d) and %q (row %d) may give %s different values for one input, and such a decision is a deny with status error", na, a.Location.Row, nb, b.Location.Row, b.name())
			if probes < maxProbes && ctx.Err() == nil {
				probes++
				if shown := v.probe(ctx, e, a, b); shown != "" {
					message += "; they do for " + shown
				}
			}
			v.warn(b.doc, b.Location, false, WarnPossibleConflict, "%s", message)
		}
	}
}

// overlapping goes through the rules of other policies that may give a value to
// the same place as r does: those of its path that come before it and, where
// r's own path has a variable part, those that are further down.
func (v *review) overlapping(r *rule) iter.Seq[*rule] {
	return func(yield func(*rule) bool) {
		at := v.at[key(r.path)] // in the order of the policies
		for _, other := range at {
			if other.doc >= r.doc {
				break
			}
			if !yield(other) {
				return
			}
		}
		if r.ground {
			return
		}
		for _, other := range v.under[key(r.path)] {
			if other.doc != r.doc && len(other.path) > len(r.path) && !yield(other) {
				return
			}
		}
	}
}

// probe makes an input on which both rules ought to hold, from the constants
// that they compare with, and returns it if it shows the conflict.
func (v *review) probe(ctx context.Context, e evaluator, a, b *rule) string {
	document := sampleInput()
	v.satisfy(document, a, 0)
	v.satisfy(document, b, 0)
	raw, err := json.Marshal(document)
	if err != nil {
		return ""
	}
	in, err := ParseInput(raw)
	if err != nil {
		return ""
	}
	_, err = e.evaluate(ctx, in, probeLimits, nil)
	var failure *evaluationError
	if errors.As(err, &failure) && failure.conflict {
		return string(raw)
	}
	return ""
}

// satisfy sets in document what the simple conditions of r ask for, and those
// of the rules that it asks to be true.
func (v *review) satisfy(document map[string]any, r *rule, depth int) {
	for _, c := range r.conditions {
		path, _ := steps(c.ref)
		if isInput(c.ref) {
			setPath(document, path, c)
			continue
		}
		if depth > 4 || (c.is != isTrue && c.is != isEqual) {
			continue
		}
		for _, dep := range v.at[key(path)] {
			if dep.Default || (c.is == isEqual && (valueOf(dep.Head.Value) == nil || dep.Head.Value.Value.Compare(c.value) != 0)) {
				continue
			}
			v.satisfy(document, dep, depth+1)
			break
		}
	}
}

// setPath makes c true of the value at path, as far as that is an object's.
func setPath(object map[string]any, path []string, c condition) {
	if len(path) == 0 {
		return
	}
	name := path[0]
	if len(path) > 1 {
		below, ok := object[name].(map[string]any)
		if !ok {
			below = map[string]any{}
			object[name] = below
		}
		setPath(below, path[1:], c)
		return
	}
	var value any
	if c.value != nil {
		var err error
		if value, err = ast.JSONWithOpt(c.value, ast.JSONOpt{SortSets: true}); err != nil {
			return
		}
	}
	switch c.is {
	case isEqual:
		object[name] = value
	case isTrue:
		if object[name] == nil || object[name] == false {
			object[name] = true
		}
	case isFalse:
		delete(object, name)
		if name == "challenge_resolved" { // required
			object[name] = false
		}
	case hasValue:
		list, _ := object[name].([]any)
		object[name] = append(list, value)
	}
}

// sampleInput is an ordinary input document.
func sampleInput() map[string]any {
	return map[string]any{
		"schema_version": InputSchemaVersion,
		"principal":      map[string]any{"type": "user", "id": "principal", "zone_id": "zone"},
		"resource":       map[string]any{"type": "resource", "id": "resource", "identifier": "urn:resource", "scopes": []any{}},
		"action":         map[string]any{"id": "action"},
		"context":        map[string]any{"actor_claims": map[string]any{}, "challenge_resolved": false, "requested_scopes": []any{}},
	}
}
