package policy

import (
	"context"
	"fmt"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Validation is what there is to say about content that is accepted. Its JSON
// is the answer of POST /v1/policies/validate.
type Validation struct {
	Valid              bool           `json:"valid"`
	SchemaVersion      string         `json:"schema_version"`
	InputSchemaVersion string         `json:"input_schema_version"`
	OutputContract     OutputContract `json:"output_contract"`
	Warnings           []Warning      `json:"warnings"`
	Preview            Preview        `json:"preview"`
}

// OutputContract is what results have to be.
type OutputContract struct {
	Package          string   `json:"package"`
	Rule             string   `json:"rule"`
	Decision         []string `json:"decision"`
	EvaluationStatus []string `json:"evaluation_status"`
}

// Preview sums up what a policy does. All lists are sorted and never nil.
type Preview struct {
	Package string `json:"package"`
	// Rules are the names of the policy's rules below its package.
	Rules []string `json:"rules"`
	// DefaultResult is the value of the default result, null without one.
	DefaultResult any `json:"default_result"`
	// Decisions are those that the policy's results may have.
	Decisions []string `json:"decisions"`
	// InputsReferenced are the values of the input that are read, as
	// Set.InputsReferenced has them.
	InputsReferenced []string `json:"inputs_referenced"`
	// DataReferenced are the documents below data that are read.
	DataReferenced []string `json:"data_referenced"`
}

// Validate checks one policy's content as it stands: that it is Rego v1 in the
// right package, compiles, and uses no forbidden built-in. It accepts a policy
// that reads rules of other policies or that defines no result. What it
// accepts, Compile accepts as a set of one. On refusal the error is an
// *InvalidError.
func Validate(ctx context.Context, content string) (*Validation, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("validating a policy: %w", err)
	}
	d, refused := parse("", content)
	if refused != nil {
		return nil, &InvalidError{Errors: refused}
	}
	docs := []*document{d}
	if refused := resolve(docs); refused != nil {
		return nil, &InvalidError{Errors: refused}
	}
	rules := collectRules(docs)
	if refused := largeTrees(rules); refused != nil {
		return nil, &InvalidError{Errors: refused}
	}
	compiler, refused := compile(docs)
	if refused != nil {
		return nil, &InvalidError{Errors: refused}
	}
	p := &program{documents: docs, compiler: compiler, track: needsTracking(rules)}
	interpreter, err := newTopdown(p)
	if err != nil {
		return nil, &InvalidError{Errors: contentErrors(err, "")}
	}
	warnings := documentWarnings(rules)
	if _, err := newCompiled(ctx, p, interpreter.rules, nil); err != nil {
		warnings = append(warnings, interpretedWarning(err))
	}
	if warnings == nil {
		warnings = []Warning{}
	}
	return &Validation{
		Valid:              true,
		SchemaVersion:      SchemaVersion,
		InputSchemaVersion: InputSchemaVersion,
		OutputContract: OutputContract{
			Package:          Package,
			Rule:             "result",
			Decision:         slices.Clone(decisions),
			EvaluationStatus: slices.Clone(statuses),
		},
		Warnings: warnings,
		Preview:  preview(d, rules),
	}, nil
}

func preview(d *document, x *ruleIndex) Preview {
	p := Preview{
		Package:          trimData(d.resolved.Package.Path),
		Rules:            []string{},
		Decisions:        []string{},
		InputsReferenced: findInputReads(x.docs).names(),
		DataReferenced:   []string{},
	}
	var may possible
	for _, r := range x.all {
		p.Rules = append(p.Rules, r.Head.Ref().GroundPrefix().String())
		for _, ref := range r.reads {
			path, _ := steps(ref)
			p.DataReferenced = append(p.DataReferenced, pathRef(ref[0], path).String())
		}
	}
	for _, r := range x.result() {
		whole, choice := len(r.path) == len(entryPath) && r.ground, slices.Equal(r.path, decisionPath) && r.ground
		for part := r.Rule; part != nil; part = part.Else {
			switch {
			case len(r.path) == len(entryPath) && !r.ground: // computed fields
				may = possible{true, true}
			case part.Head.Value == nil:
			case whole:
				may = may.or(x.decisions(part.Head.Value))
			case choice:
				may = may.or(x.decisionOf(part.Head.Value))
			}
		}
		if r.Default && whole {
			if v, err := ast.JSONWithOpt(r.Head.Value.Value, ast.JSONOpt{SortSets: true}); err == nil {
				p.DefaultResult = v
			}
		}
	}
	p.Decisions = append(p.Decisions, may.list()...)
	slices.Sort(p.Rules)
	p.Rules = slices.Compact(p.Rules)
	slices.Sort(p.DataReferenced)
	p.DataReferenced = slices.Compact(p.DataReferenced)
	return p
}

// trimData is a package's path as it is written after "package".
func trimData(path ast.Ref) string {
	s := path.String()
	return s[len("data."):]
}
