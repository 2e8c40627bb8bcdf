package policy

import (
	"math"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
)

// FileCoverage is what tests evaluated of a policy. No list in it is ever nil.
type FileCoverage struct {
	File string `json:"file"`
	// Percent is how many of the lines with a rule's head or an expression are
	// covered, 100 where there are none: an expression that was evaluated, whatever it
	// came to, and the head of a rule that held. Rules are tried that the engine, for
	// speed, would know not to hold.
	Percent float64 `json:"percent"`
	// Covered and NotCovered are places in the content, by where they begin. Places may
	// lie in others.
	Covered    []Span `json:"covered"`
	NotCovered []Span `json:"not_covered"`
}

// Span is a place in a content from its first character to the one after its last.
type Span struct {
	Start Location `json:"start"`
	End   Location `json:"end"`
}

// coverage follows what is evaluated.
type coverage struct{ *cover.Cover }

func newCoverage() *coverage { return &coverage{cover.New()} }

// report gives the coverage of the policies among documents.
func (c *coverage) report(docs []*document) []FileCoverage {
	written := map[string]*ast.Module{}
	for _, d := range docs {
		if !d.tests {
			written[d.name] = d.parsed
		}
	}
	all := c.Report(written)
	list := []FileCoverage{}
	for _, d := range docs {
		if d.tests {
			continue
		}
		one := FileCoverage{File: d.name, Percent: 100, Covered: []Span{}, NotCovered: []Span{}}
		if file := all.Files[d.name]; file != nil {
			one.Covered, one.NotCovered = spans(file.Covered), spans(file.NotCovered)
			if len(file.Covered)+len(file.NotCovered) > 0 {
				one.Percent = math.Round(100*file.Coverage) / 100
			}
		}
		list = append(list, one)
	}
	return list
}

func spans(ranges []cover.Range) []Span {
	list := make([]Span, len(ranges))
	for i, r := range ranges {
		list[i] = Span{Start: Location{Row: r.Start.Row, Col: r.Start.Col}, End: Location{Row: r.End.Row, Col: r.End.Col}}
	}
	return list
}
