package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// tests runs the tests of all callers, which therefore share how many of them may run
// past their time.
var tests runner

// compileForTests compiles documents as "opa test" does: tests of one name get numbers,
// and tests with cases tell which ones they come to.
func compileForTests(docs []*document) (*ast.Compiler, []ContentError) {
	compiler := ast.NewCompiler().
		WithCapabilities(testLanguage().capabilities).
		WithDefaultRegoVersion(ast.RegoV1).
		WithEnablePrintStatements(true)
	err := guarded(func() error {
		// The tester's own runner has no limits but time, so it only compiles: it
		// runs nothing for a caller who has gone.
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		results, err := tester.NewRunner().SetCompiler(compiler).SetModules(modules(docs)).RunTests(gone, nil)
		if err != nil {
			return err
		}
		for range results { // none; it is closed once nothing of it runs
			continue
		}
		return nil
	})
	if err != nil {
		return nil, contentErrors(err, "")
	}
	for i := range docs {
		bindGuards(compiler.Modules[moduleKey(i)])
	}
	return compiler, nil
}

// testRule is one test.
type testRule struct {
	doc     *document
	rule    *ast.Rule // compiled
	written *ast.Rule
	// ref is the test's full name, and name its last part.
	ref  ast.Ref
	name string
}

// newTestRule tells whether a compiled rule, the number-th of its document, is a test.
func newTestRule(d *document, rule *ast.Rule, number int) (testRule, bool) {
	if number >= len(d.parsed.Rules) {
		return testRule{}, false
	}
	pkg := rule.Module.Package.Path
	ref := rule.Ref().GroundPrefix()
	for i := len(pkg); i < len(ref); i++ {
		name, ok := ref[i].Value.(ast.String)
		if ok && (strings.HasPrefix(string(name), tester.TestPrefix) || strings.HasPrefix(string(name), tester.SkipTestPrefix)) {
			return testRule{doc: d, rule: rule, written: d.parsed.Rules[number], ref: ref[:i+1], name: string(name)}, true
		}
	}
	return testRule{}, false
}

// result makes the result of the test.
func (t testRule) result(outcome, message string) TestResult {
	pkg := t.rule.Module.Package.Path
	name := make([]string, 0, 1)
	for _, part := range t.ref[len(pkg):] {
		s, _ := part.Value.(ast.String)
		name = append(name, string(s))
	}
	return TestResult{
		File: t.doc.name, Package: strings.TrimPrefix(pkg.String(), "data."), Name: strings.Join(name, "."),
		Location: location(t.written.Location), Outcome: outcome, Message: message,
	}
}

// run runs the test within lim.
func (t testRule) run(ctx context.Context, compiler *ast.Compiler, lim Limits, covered *coverage) TestResult {
	switch {
	case strings.HasPrefix(t.name, tester.SkipTestPrefix):
		return t.result(TestSkipped, "")
	case len(t.rule.Head.Args) > 0:
		return t.result(TestErrored, "it is a function; a test is a rule without arguments")
	}
	queries := compiler.QueryCompiler()
	query, err := queries.Compile(ast.NewBody(ast.Equality.Expr(ast.NewTerm(t.ref.Copy()), ast.NewTerm(outputVar))))
	if err != nil {
		return t.result(TestErrored, err.Error())
	}
	e := &topdownEngine{compiler: compiler, query: query, output: outputVar}
	for rewritten, written := range queries.RewrittenVars() {
		if written == outputVar {
			e.output = rewritten
		}
	}
	said := &testObserver{rules: newPartTracer(t.rule, t.written)}
	o, err := tests.evaluate(ctx, lim, func(m *meter) (outcome, error) {
		return e.run(m, nil, printTo(said), said, covered)
	})
	r := t.judge(o.value, err, said)
	r.Output = said.written()
	return r
}

// judge says what the value of a test means.
func (t testRule) judge(v ast.Value, err error, said *testObserver) TestResult {
	if err != nil {
		message := err.Error()
		var named *evaluationError
		if errors.As(err, &named) {
			message = named.message
		}
		return t.result(TestErrored, message)
	}
	kind := t.rule.Head.DocKind()
	if object, ok := v.(ast.Object); ok && kind == ast.PartialObjectDoc {
		failed := said.failedCases(object)
		if len(failed) == 0 {
			return t.result(TestPassed, "")
		}
		return t.result(TestFailed, "these cases are not true: "+strings.Join(failed, ", "))
	}
	switch {
	case v == nil:
		r := t.result(TestFailed, "it is undefined")
		if tried := said.rules.report(); len(tried) > 0 {
			r.Failed = tried[len(tried)-1].Failed
			for _, part := range tried { // an else branch that came no further than its beginning says less
				if part.Failed != nil && part.Location == r.Location {
					r.Failed = part.Failed
				}
			}
		}
		if r.Failed != nil {
			r.Message = fmt.Sprintf("line %d did not hold: %s", r.Failed.Location.Row, r.Failed.Text)
		}
		return r
	case ast.Boolean(true).Equal(v):
		return t.result(TestPassed, "")
	case ast.Boolean(false).Equal(v):
		return t.result(TestFailed, "it is false")
	}
	return t.result(TestFailed, "it is "+typeName(v)+"; a test that passes is true")
}

// maxCases is the most cases that a message names.
const maxCases = 20

// failedCases lists the cases of a test that it was tried for and is not true for, and
// those that it has another value for, as their keys.
func (o *testObserver) failedCases(object ast.Object) []string {
	var failed []string
	var look func(object ast.Object, path string)
	look = func(object ast.Object, path string) {
		object.Foreach(func(k, v *ast.Term) {
			name := path + caseName(k)
			if below, ok := v.Value.(ast.Object); ok {
				look(below, name+"/")
			} else if !ast.Boolean(true).Equal(v.Value) {
				failed = append(failed, name)
			}
		})
	}
	look(object, "")
	for _, path := range o.tried() {
		at, name := ast.Value(object), ""
		for i := range path.Len() {
			key := path.Elem(i)
			if i > 0 {
				name += "/"
			}
			name += caseName(key)
			var found *ast.Term
			if below, ok := at.(ast.Object); ok {
				found = below.Get(key)
			}
			at = nil
			if found != nil {
				at = found.Value
			}
		}
		if at == nil {
			failed = append(failed, name)
		}
	}
	slices.Sort(failed)
	failed = slices.Compact(failed)
	if more := len(failed) - maxCases; more > 0 {
		failed = append(failed[:maxCases], fmt.Sprintf("and %d more", more))
	}
	return failed
}

func caseName(t *ast.Term) string {
	if s, ok := t.Value.(ast.String); ok {
		return beginning(string(s), maxConditionText/10)
	}
	return beginning(t.String(), maxConditionText/10)
}

var _ topdown.QueryTracer = (*testObserver)(nil)
