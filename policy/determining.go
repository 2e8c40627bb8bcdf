package policy

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// provenance follows a result back to the policies that produced it.
type provenance struct {
	// policy is the policy that each rule is in.
	policy []int
	// reads are the documents that each rule reads.
	reads [][]reading
	// documents are the rules that each document may consist of.
	documents [][]int
	// entry are the rules of the result.
	entry []int
	// defaults are the policies with a default result, which gives the result
	// where no rule of it held.
	defaults []int
	policies int
}

// reading is one rule's use of a document.
type reading struct {
	document int
	sense    sense
}

func newProvenance(x *ruleIndex) *provenance {
	p := &provenance{defaults: x.resultDefaults(), policies: len(x.docs)}
	number := make(map[*rule]int, len(x.all))
	for i, r := range x.all {
		number[r] = i
		p.policy = append(p.policy, r.doc)
	}
	for _, r := range x.result() {
		p.entry = append(p.entry, number[r])
	}
	documents := map[string]int{}
	for _, r := range x.all {
		var reads []reading
		seen := map[reading]bool{}
		walkReads(r.Rule, asked, func(ref ast.Ref, _ *ast.Location, s sense) {
			if isInput(ref) {
				return
			}
			path, _ := steps(ref)
			document, known := documents[key(path)]
			if !known {
				document = len(p.documents)
				documents[key(path)] = document
				var rules []int
				for _, dep := range x.read(path) {
					rules = append(rules, number[dep])
				}
				p.documents = append(p.documents, rules)
			}
			if one := (reading{document, s}); !seen[one] {
				seen[one] = true
				reads = append(reads, one)
			}
		})
		p.reads = append(p.reads, reads)
	}
	return p
}

// determining lists, by their place in the set, the policies that produced a
// result, given which rules held. Those are the policies of the rules of the
// result that held and, from there on, of each rule that held and
//
//   - that a rule which held and counts asked to hold, or
//   - that kept another from holding which such a rule asked not to hold or
//     found empty, and so on through any number of negations.
//
// So a table that was looked at for a denial which did not come about does not
// count, and a grant that kept such a denial away does.
func (p *provenance) determining(held []bool) []int {
	followed := make([]bool, len(p.policy))
	counts := make([]bool, p.policies)
	var todo []int
	reach := func(r int) {
		if !followed[r] {
			followed[r] = true
			todo = append(todo, r)
			if held[r] {
				counts[p.policy[r]] = true
			}
		}
	}
	if held != nil {
		for _, r := range p.entry {
			if held[r] {
				reach(r)
			}
		}
	}
	// A document is gone through once for each way to come to it.
	type way struct {
		reading
		held bool
	}
	done := map[way]bool{}
	for len(todo) > 0 {
		r := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, read := range p.reads[r] {
			w := way{read, held[r]}
			if done[w] {
				continue
			}
			done[w] = true
			want := false
			switch {
			case read.sense == refused:
				want = !held[r]
			case read.sense == either || held[r]:
				// Where none of the rules held, the document was an empty set or
				// a default, for want of what they ask for.
				want = slices.ContainsFunc(p.documents[read.document], func(dep int) bool { return held[dep] })
			}
			for _, dep := range p.documents[read.document] {
				if held[dep] == want {
					reach(dep)
				}
			}
		}
	}
	var found []int
	for i, c := range counts {
		if c {
			found = append(found, i)
		}
	}
	if found == nil {
		return p.defaults
	}
	return found
}
