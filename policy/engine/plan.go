package engine

import (
	"context"
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/ir"
	"github.com/open-policy-agent/opa/v1/rego"
)

// target is the name under which OPA hands its plans to this package. Its
// planner is internal to it; a target plugin is the way to it that is public.
const target = "caracal"

func init() { rego.RegisterPlugin(target, planned{}) }

// planned takes the plan of a query and leaves it in the context's sink.
type planned struct{}

type sinkKey struct{}

func (planned) IsTarget(name string) bool { return name == target }

func (planned) PrepareForEval(ctx context.Context, plan *ir.Policy, _ ...rego.PrepareOption) (rego.TargetPluginEval, error) {
	if sink, ok := ctx.Value(sinkKey{}).(**ir.Policy); ok {
		*sink = plan
		return nil, nil
	}
	return nil, fmt.Errorf("the target %s plans only; it does not evaluate", target)
}

// Plan makes the plan of a query over the modules that compiler has compiled.
// decls are built-ins beyond those that OPA has.
func Plan(ctx context.Context, compiler *ast.Compiler, query ast.Body, decls map[string]*ast.Builtin) (plan *ir.Policy, err error) {
	defer func() {
		if r := recover(); r != nil {
			plan, err = nil, fmt.Errorf("planning: %v", r)
		}
	}()
	options := []func(*rego.Rego){rego.Target(target), rego.Compiler(compiler), rego.ParsedQuery(query)}
	for _, d := range decls {
		options = append(options, rego.FunctionDyn(
			&rego.Function{Name: d.Name, Decl: d.Decl, Nondeterministic: d.Nondeterministic},
			func(rego.BuiltinContext, []*ast.Term) (*ast.Term, error) { return nil, nil }))
	}
	if _, err := rego.New(options...).PrepareForEval(context.WithValue(ctx, sinkKey{}, &plan)); err != nil {
		return nil, fmt.Errorf("planning: %w", err)
	}
	if plan == nil {
		return nil, fmt.Errorf("planning: OPA made no plan")
	}
	return plan, nil
}
