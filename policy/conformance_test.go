package policy_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/test/cases"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/util"

	"github.com/caracalai/caracald/policy"
	"github.com/caracalai/caracald/policy/engine"
)

// policiesOnly begins the names of exceptions that the engine alone is held to.
const policiesOnly = "policies: "

// exceptions are the cases that the engine is not held to, by name, with why; alone or
// as sets of policies have it.
func exceptions(t *testing.T, alone bool) map[string]string {
	t.Helper()
	f, err := os.Open("testdata/exceptions.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		line, only := strings.CutPrefix(line, policiesOnly)
		if line != "" && line[0] != '#' && !(alone && only) {
			name, why, ok := strings.Cut(line, ": ")
			if !ok || list[name] != "" {
				t.Fatalf("exceptions.txt: no reason, or a second time: %s", line)
			}
			list[name] = why
		}
	}
	return list
}

// opaCases is where OPA's conformance cases are: in its module.
func opaCases(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/open-policy-agent/opa").Output()
	if err != nil {
		t.Fatalf("finding OPA's module: %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "v1", "test", "cases", "testdata")
}

// compileQuery compiles the query of a case.
type compileQuery func(ctx context.Context, compiler *ast.Compiler, query ast.Body, opts engine.Options) (*engine.Program, error)

// TestConformance runs OPA's conformance cases on the engine alone and on the engine as
// sets of policies have it. A case passes where what it wants comes out; one that is
// excepted must not.
func TestConformance(t *testing.T) {
	t.Run("engine", func(t *testing.T) {
		conformance(t, true, func(ctx context.Context, compiler *ast.Compiler, query ast.Body, opts engine.Options) (*engine.Program, error) {
			plan, err := engine.Plan(ctx, compiler, query, nil)
			if err != nil {
				return nil, err
			}
			return engine.Compile(plan, opts)
		})
	})
	t.Run("policies", func(t *testing.T) { conformance(t, false, policy.CompileQuery) })
}

func conformance(t *testing.T, alone bool, compile compileQuery) {
	excepted := exceptions(t, alone)
	dir := opaCases(t)
	run, passed := 0, 0
	for version, rego := range map[string]ast.RegoVersion{"v0": ast.RegoV0, "v1": ast.RegoV1} {
		set, err := cases.Load(filepath.Join(dir, version))
		if err != nil {
			t.Fatal(err)
		}
		for _, tc := range set.Sorted().Cases {
			name := version + "/" + tc.Note
			run++
			for k, v := range tc.Env {
				t.Setenv(k, v)
			}
			err := conforms(t.Context(), tc, rego, compile)
			why, except := excepted[name]
			delete(excepted, name)
			switch {
			case err == nil && except:
				t.Errorf("%s passes; it is excepted because %s", name, why)
			case err == nil:
				passed++
			case !except:
				t.Errorf("%s: %v", name, strings.ReplaceAll(err.Error(), "\n", " | "))
			}
		}
	}
	for name := range excepted {
		t.Errorf("there is no case %s to except", name)
	}
	t.Logf("%d cases, %d passed, %d excepted", run, passed, run-passed)
}

// conforms runs one case.
func conforms(ctx context.Context, tc cases.TestCase, version ast.RegoVersion, compile compileQuery) error {
	options := ast.ParserOptions{RegoVersion: version}
	if tc.ExperimentalKeywords {
		options.Capabilities = ast.CapabilitiesForThisVersion(ast.CapabilitiesExperimentalKeywords(true))
	}
	modules := map[string]string{}
	for i, m := range tc.Modules {
		modules[fmt.Sprintf("test-%d.rego", i)] = m
	}
	compiler, err := ast.CompileModulesWithOpt(modules, ast.CompileOpts{ParserOptions: options})
	if err != nil {
		return fmt.Errorf("OPA does not compile it: %w", err)
	}
	query, err := ast.ParseBodyWithOpts(tc.Query, options)
	if err != nil {
		return fmt.Errorf("OPA does not parse the query: %w", err)
	}
	var data ast.Value
	if tc.Data != nil {
		if data, err = ast.InterfaceToValue(*tc.Data); err != nil {
			return err
		}
	}
	program, err := compile(ctx, compiler, query, engine.Options{Data: data, Strict: tc.StrictError})
	if err != nil {
		return err
	}
	var input engine.Value
	switch {
	case tc.InputTerm != nil:
		term, err := ast.ParseTerm(*tc.InputTerm)
		if err != nil {
			return err
		}
		if !term.IsGround() {
			return errors.New("the input is not data")
		}
		if input, err = engine.FromAST(term.Value); err != nil {
			return err
		}
	case tc.Input != nil:
		v, err := ast.InterfaceToValue(*tc.Input)
		if err != nil {
			return err
		}
		if input, err = engine.FromAST(v); err != nil {
			return err
		}
	}
	got := ast.NewSet()
	found, err := program.Evaluate(engine.Evaluation{
		Input: input,
		Context: func(engine.Meter) topdown.BuiltinContext {
			return topdown.BuiltinContext{
				Context: ctx, Time: ast.NewTerm(ast.Number(fmt.Sprint(time.Now().UnixNano()))), Seed: zeros{},
				Cache: map[any]any{}, Runtime: ast.NewTerm(ast.NewObject()), Capabilities: ast.CapabilitiesForThisVersion(),
			}
		},
	})
	defer found.Release()
	if err == nil {
		for _, r := range found.Results {
			object := ast.NewObject()
			for _, pair := range bindings(r) {
				x, err := ast.JSON(pair.value)
				if err != nil {
					return err
				}
				if list, ok := x.([]any); ok && tc.SortBindings {
					slices.SortFunc(list, util.Compare)
				}
				if tc.IgnoreGeneratedVars && strings.HasPrefix(pair.name, "__localq") {
					continue
				}
				object.Insert(ast.StringTerm(pair.name), ast.NewTerm(ast.MustInterfaceToValue(x)))
			}
			got.Add(ast.NewTerm(object))
		}
	}
	switch {
	case tc.WantError != nil || tc.WantErrorCode != nil:
		if err == nil {
			return fmt.Errorf("gave %v; want an error", got)
		}
		if tc.WantErrorCode != nil && *tc.WantErrorCode == topdown.ConflictErr && !errors.Is(err, engine.ErrConflict) {
			return fmt.Errorf("the error %q is no conflict", err)
		}
		if tc.WantError != nil && !strings.Contains(err.Error(), strings.TrimPrefix(*tc.WantError, "eval_conflict_error: ")) {
			return fmt.Errorf("the error %q does not say %q", err, *tc.WantError)
		}
		return nil
	case err != nil:
		return err
	case tc.WantResult == nil:
		return errors.New("the case wants nothing")
	}
	want := ast.NewSet()
	for _, b := range *tc.WantResult {
		object := ast.NewObject()
		for k, v := range b {
			object.Insert(ast.StringTerm(k), ast.NewTerm(ast.MustInterfaceToValue(v)))
		}
		want.Add(ast.NewTerm(object))
	}
	if want.Compare(got) != 0 {
		return fmt.Errorf("gave %.300v; want %.300v", got, want)
	}
	return nil
}

type binding struct {
	name  string
	value ast.Value
}

func bindings(result engine.Value) []binding {
	var list []binding
	if object, ok := result.AST().(ast.Object); ok {
		object.Foreach(func(k, v *ast.Term) {
			list = append(list, binding{string(k.Value.(ast.String)), v.Value})
		})
	}
	return list
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
