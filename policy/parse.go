package policy

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"
)

// document is one policy of the set being checked.
type document struct {
	// name is the policy's name; empty where a lone policy is checked.
	name string
	// parsed is the module as written.
	parsed *ast.Module
	// resolved is the module with imports and names replaced by what they
	// refer to, before any other rewriting: what the static checks look at.
	resolved *ast.Module
	// tests says that it is a document of tests, which may print and be in any package.
	tests bool
}

// entryRef and packageRef are EntryPoint and Package as references.
var (
	entryRef   = ast.MustParseRef(EntryPoint)
	packageRef = ast.MustParseRef("data." + Package)
)

// parse reads one policy's content as Rego v1 in the right package.
func parse(name, content string) (*document, []ContentError) {
	return parseDocument(&document{name: name}, content)
}

// parseTests reads a document of tests, which may be in any package.
func parseTests(name, content string) (*document, []ContentError) {
	return parseDocument(&document{name: name, tests: true}, content)
}

func parseDocument(d *document, content string) (*document, []ContentError) {
	name := d.name
	refuse := func(loc *ast.Location, format string, args ...any) []ContentError {
		return []ContentError{{Message: fmt.Sprintf(format, args...), Location: location(loc), Policy: name}}
	}
	if !utf8.ValidString(content) {
		return nil, refuse(nil, "content is not valid UTF-8")
	}
	if n := utf8.RuneCountInString(content); n > MaxContent {
		return nil, refuse(nil, "content is %d characters long; at most %d are accepted", n, MaxContent)
	}
	var m *ast.Module
	err := guarded(func() (err error) {
		if deep := nestsTooDeep(content); deep != nil {
			return deep
		}
		m, err = readModule(name, content)
		return err
	})
	switch {
	case err != nil:
		return nil, contentErrors(err, name)
	case m == nil:
		return nil, refuse(nil, "content has no package declaration")
	case !d.tests && !m.Package.Path.HasPrefix(packageRef):
		return nil, refuse(m.Package.Location, "package must be %s or below it, not %s", Package, strings.TrimPrefix(m.Package.Path.String(), "data."))
	}
	if loc, problem := structureProblem(m); problem != "" {
		return nil, refuse(loc, "%s", problem)
	}
	d.parsed = m
	return d, nil
}

// readModule parses content that does not nest too deep.
func readModule(name, content string) (*ast.Module, error) {
	return ast.ParseModuleWithOpts(name, content, ast.ParserOptions{
		RegoVersion:       ast.RegoV1,
		Capabilities:      regoLanguage().capabilities,
		ProcessAnnotation: true,
	})
}

// modules keys the documents so that OPA, which sorts by key, keeps their order.
func modules(docs []*document) map[string]*ast.Module {
	m := make(map[string]*ast.Module, len(docs))
	for i, d := range docs {
		m[moduleKey(i)] = d.parsed
	}
	return m
}

func moduleKey(i int) string { return fmt.Sprintf("%05d", i) }

// resolve fills in each document's resolved module.
func resolve(docs []*document) []ContentError {
	c := ast.NewCompiler().
		WithCapabilities(regoLanguage().capabilities).
		WithDefaultRegoVersion(ast.RegoV1).
		WithOnlyStagesUpTo(ast.StageResolveRefs)
	err := guarded(func() error {
		c.Compile(modules(docs))
		if c.Failed() {
			return c.Errors
		}
		return nil
	})
	if err != nil {
		return contentErrors(err, "")
	}
	var refused []ContentError
	for i, d := range docs {
		d.resolved = c.Modules[moduleKey(i)]
		forbidden := regoLanguage().forbidden
		if d.tests {
			forbidden = testLanguage().forbidden
		}
		found := forbiddenCalls(d.resolved, forbidden)
		for _, r := range d.resolved.Rules {
			if len(r.Head.Args) > 0 && r.Ref().Equal(entryRef) {
				found = append(found, ContentError{
					Message:  "result must be a rule with an object as its value, not a function",
					Location: location(r.Location),
				})
			}
		}
		for _, e := range found {
			e.Policy = d.name
			refused = append(refused, e)
		}
	}
	return refused
}

// compile runs all of OPA's compiler over the documents together.
func compile(docs []*document) (*ast.Compiler, []ContentError) {
	c := ast.NewCompiler().
		WithCapabilities(compilerLanguage()).
		WithDefaultRegoVersion(ast.RegoV1)
	err := guarded(func() error {
		c.Compile(modules(docs))
		if c.Failed() {
			return slices.Clone(c.Errors)
		}
		return nil
	})
	if err != nil {
		return nil, contentErrors(err, "")
	}
	if refused := selfContained(docs, c); refused != nil {
		return nil, refused
	}
	return c, nil
}

// guarded turns a panic of the Rego library into an error: content comes from
// outside, and no content may end the process.
func guarded(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("content cannot be processed: %v", firstLine(r))
		}
	}()
	return f()
}

// firstLine keeps a panic's value short.
func firstLine(r any) string {
	s, _, _ := strings.Cut(fmt.Sprint(r), "\n")
	return s
}
