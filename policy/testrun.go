package policy

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Document is a Rego document under the name that reports call it by, such as the name
// of its file.
type Document struct {
	Name    string
	Content string
}

// TestRun is what Test runs.
type TestRun struct {
	// Policies are compiled together, as a set is.
	Policies []Document
	// Tests are documents with test rules, in the package of policies or any other.
	// They may print, and trace; otherwise they may use what policies may.
	Tests []Document
	// Select, where it is not nil, selects the tests whose full name it matches, such
	// as data.caracal.authz_test.test_allows.
	Select *regexp.Regexp
	// Limits bounds each test, as it does an evaluation.
	Limits Limits
	// Timeout bounds all of them together; 0 means DefaultTestTimeout. A test whose
	// turn comes later is an error.
	Timeout time.Duration
}

// DefaultTestTimeout is the most time that the tests of one run take together.
const DefaultTestTimeout = 10 * time.Second

// Outcomes of a test.
const (
	TestPassed  = "pass"
	TestFailed  = "fail"
	TestErrored = "error"
	TestSkipped = "skip"
)

// TestReport is what came of tests. No list in it is ever nil.
type TestReport struct {
	Passed  int `json:"passed"`
	Failed  int `json:"failed"`
	Errored int `json:"errored"`
	Skipped int `json:"skipped"`
	// DurationMS is how long the tests took, in milliseconds.
	DurationMS float64 `json:"duration_ms"`
	// Results has a result for each test, in the order of the documents.
	Results []TestResult `json:"results"`
	// Coverage is what the tests evaluated of each policy, in their order.
	Coverage []FileCoverage `json:"coverage"`
}

// TestResult is the outcome of one test.
type TestResult struct {
	// File is the name of the document that the test is in.
	File string `json:"file"`
	// Package is the test's package, without data, and Name its name in there; of
	// tests of one name the later ones have a number, as in test_allows#01.
	Package  string   `json:"package"`
	Name     string   `json:"name"`
	Location Location `json:"location"`
	// Outcome is pass, fail, error or skip.
	Outcome string `json:"outcome" enum:"pass,fail,error,skip"`
	// Message says why a test did not pass.
	Message string `json:"message,omitempty"`
	// Failed is the condition of a failed test that did not hold, where one is known.
	Failed *FailedCondition `json:"failed,omitempty"`
	// Output is what the test printed, its beginning where that is long.
	Output string `json:"output,omitempty"`
}

// Test runs the test rules of documents against policies, by the rules of "opa test":
// rules whose name begins with test_ pass if they are true, and fail if they are false
// or undefined; those of todo_test_ are skipped; a test rule with a key, as
// test_grants[name], is true for each of its cases. Built-ins that are forbidden to
// policies are forbidden in tests, but for print and trace.
//
// It fails with an *InvalidError, whose errors name the document in File, and where
// ctx ends.
func Test(ctx context.Context, run TestRun) (*TestReport, error) {
	docs, compiler, err := compileTests(ctx, run)
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	timeout := run.Timeout
	if timeout <= 0 {
		timeout = DefaultTestTimeout
	}
	deadline := begun.Add(timeout)
	lim := run.Limits.orDefault()
	covered := newCoverage()
	report := &TestReport{Results: []TestResult{}, Coverage: []FileCoverage{}}
	for i, d := range docs {
		if !d.tests {
			continue
		}
		for j, rule := range compiler.Modules[moduleKey(i)].Rules {
			t, ok := newTestRule(d, rule, j)
			if !ok || run.Select != nil && !run.Select.MatchString(t.ref.String()) {
				continue
			}
			if err := ctx.Err(); err != nil {
				return nil, fmt.Errorf("testing policies: %w", err)
			}
			left := lim
			left.Timeout = min(lim.Timeout, time.Until(deadline))
			var r TestResult
			if left.Timeout > 0 {
				r = t.run(ctx, compiler, left, covered)
			} else {
				r = t.result(TestErrored, fmt.Sprintf("not run: the tests before it took all of the %v for a run", timeout))
			}
			report.add(r)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("testing policies: %w", err)
	}
	report.DurationMS = float64(time.Since(begun).Microseconds()) / 1000
	report.Coverage = covered.report(docs)
	return report, nil
}

func (r *TestReport) add(t TestResult) {
	if t.Outcome == TestSkipped {
		t.Message = ""
	}
	r.Results = append(r.Results, t)
	switch t.Outcome {
	case TestPassed:
		r.Passed++
	case TestFailed:
		r.Failed++
	case TestErrored:
		r.Errored++
	case TestSkipped:
		r.Skipped++
	}
}

// CheckTests parses a document of tests that is to be kept: what it tests need not
// be at hand. It fails with an *InvalidError, whose errors name the document in File.
func CheckTests(tests Document) error {
	_, refused := parseTests(tests.Name, tests.Content)
	if refused == nil {
		return nil
	}
	return &InvalidError{Errors: inFiles(refused)}
}

// inFiles names documents as the files that they are to who wrote them.
func inFiles(refused []ContentError) []ContentError {
	for i := range refused {
		refused[i].File, refused[i].Policy = refused[i].Policy, ""
	}
	return refused
}

// compileTests checks policies and tests and compiles them together. The documents are
// the policies and then the tests.
func compileTests(ctx context.Context, run TestRun) ([]*document, *ast.Compiler, error) {
	if n := max(len(run.Policies), len(run.Tests)); n > MaxPolicies {
		return nil, nil, &InvalidError{Errors: []ContentError{{
			Message: fmt.Sprintf("there are %d documents; at most %d are accepted", n, MaxPolicies), Location: location(nil),
		}}}
	}
	var docs []*document
	var refused []ContentError
	read := func(list []Document, parse func(name, content string) (*document, []ContentError)) error {
		for _, one := range list {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("compiling tests: %w", err)
			}
			d, errs := parse(one.Name, one.Content)
			docs = append(docs, d)
			refused = append(refused, errs...)
		}
		return nil
	}
	if err := read(run.Policies, parse); err != nil {
		return nil, nil, err
	}
	if err := read(run.Tests, parseTests); err != nil {
		return nil, nil, err
	}
	if refused == nil {
		refused = resolve(docs)
	}
	if refused == nil {
		refused = largeTrees(collectRules(docs))
	}
	var compiler *ast.Compiler
	if refused == nil {
		compiler, refused = compileForTests(docs)
	}
	if refused != nil {
		return nil, nil, &InvalidError{Errors: inFiles(refused)}
	}
	return docs, compiler, nil
}
