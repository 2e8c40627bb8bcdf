package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/caracalai/caracald/policy"
)

// pages are README.md and every page below docs/, by their paths.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	files := []string{filepath.Join(docsDir, "..", "README.md")}
	err := filepath.WalkDir(docsDir, func(path string, d os.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".md" {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Clean(file)] = string(data)
	}
	if len(all) < 20 {
		t.Fatalf("there are %d pages only", len(all))
	}
	return all
}

var (
	fence   = regexp.MustCompile("(?ms)^```([a-z]*)([^\n]*)\n(.*?)^```$")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	unsaid  = regexp.MustCompile("[^a-z0-9 _-]")
)

// anchors are what a page's headings can be reached by.
func anchors(page string) []string {
	var list []string
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
		list = append(list, strings.ReplaceAll(unsaid.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return list
}

// Every relative link leads to a file, and to a heading of it.
func TestDocsLinks(t *testing.T) {
	all := pages(t)
	for file, page := range all {
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
			to, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(to, "://") {
				continue
			}
			target := file
			if to != "" {
				target = filepath.Join(filepath.Dir(file), to)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", file, m[1], err)
			} else if anchor != "" && !slices.Contains(anchors(all[target]), anchor) {
				t.Errorf("%s links to %s, which has no such heading", file, m[1])
			}
		}
	}
}

// Every Rego block is valid, but for those that say that they fail, and none
// allows whoever asks for no scope: every holds of an empty list.
func TestDocsRego(t *testing.T) {
	seen := 0
	for file, page := range pages(t) {
		for _, m := range fence.FindAllStringSubmatch(page, -1) {
			if m[1] != "rego" {
				continue
			}
			seen++
			switch kind := strings.TrimSpace(m[2]); kind {
			case "test":
				if err := policy.CheckTests(policy.Document{Name: file, Content: m[3]}); err != nil {
					t.Errorf("%s: %v\n%s", file, err, m[3])
				}
			case "", "fails":
				if v, err := policy.Validate(t.Context(), m[3]); (err == nil) != (kind == "") {
					t.Errorf("%s: a block is said to be valid: %t, and validation says %v\n%s", file, kind == "", err, m[3])
				} else if err == nil && len(v.Warnings) > 0 && strings.Contains(m[3], `"allow"`) {
					t.Errorf("%s: a block has the warnings %+v\n%s", file, v.Warnings, m[3])
				}
				if strings.Contains(m[3], " in input.context.requested_scopes {") && !strings.Contains(m[3], "count(input.context.requested_scopes)") {
					t.Errorf("%s: a block allows whoever asks for no scope\n%s", file, m[3])
				}
			default:
				t.Errorf("%s: a Rego block is called %q", file, kind)
			}
		}
	}
	if seen < 10 {
		t.Errorf("the pages have %d blocks of Rego", seen)
	}
}

// Every command of a shell block is one that the command line has, with its flags.
func TestDocsCommands(t *testing.T) {
	seen := 0
	for file, page := range pages(t) {
		if strings.HasSuffix(file, filepath.Join("reference", "cli.md")) {
			continue
		}
		for _, m := range fence.FindAllStringSubmatch(page, -1) {
			if m[1] != "sh" {
				continue
			}
			for line := range strings.Lines(m[3]) {
				line, _, _ = strings.Cut(line, " #")
				for part := range strings.SplitSeq(strings.ReplaceAll(line, "&&", "|"), "|") {
					words := strings.Fields(strings.ReplaceAll(part, "bin/caracal ", "caracal "))
					if len(words) < 2 || words[0] != "caracal" {
						continue
					}
					seen++
					checkCommand(t, file, words)
				}
			}
		}
	}
	if seen < 30 {
		t.Errorf("the pages show %d commands", seen)
	}
}

func checkCommand(t *testing.T, file string, words []string) {
	t.Helper()
	root := commands()
	cmd, rest, err := root.Find(words[1:])
	if err != nil || !cmd.Runnable() || (cmd.HasSubCommands() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-")) {
		t.Errorf("%s shows %q, which is no command (%v)", file, strings.Join(words, " "), err)
		return
	}
	for _, w := range rest {
		name, isFlag := strings.CutPrefix(w, "--")
		name, _, _ = strings.Cut(name, "=")
		if isFlag && name != "" && name != "help" && !hasFlag(cmd, name) {
			t.Errorf("%s shows %q, but %s has no --%s", file, strings.Join(words, " "), cmd.CommandPath(), name)
		}
	}
}

func hasFlag(cmd *cobra.Command, name string) bool {
	return cmd.Flags().Lookup(name) != nil || cmd.InheritedFlags().Lookup(name) != nil
}

// errorCodes are the codes that a file's code answers with: what refuse is
// called with, what is missing, and what a body made by itself has. It fails
// the test where a code is not written as a literal, since it would be missed.
func errorCodes(t *testing.T, file string) []string {
	t.Helper()
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	add := func(e ast.Expr, suffix string) {
		lit, ok := e.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			t.Errorf("%s: an error code that is no literal", fset.Position(e.Pos()))
			return
		}
		code, err := strconv.Unquote(lit.Value)
		if err != nil {
			t.Fatal(err)
		}
		codes = append(codes, code+suffix)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			return n.Recv != nil || n.Name.Name != "missing" // it makes its code of what it is called with
		case *ast.CallExpr:
			switch f, _ := n.Fun.(*ast.Ident); {
			case f != nil && f.Name == "refuse" && len(n.Args) >= 3:
				add(n.Args[1], "")
			case f != nil && f.Name == "missing" && len(n.Args) == 3:
				add(n.Args[1], "_not_found")
			}
		case *ast.CompositeLit:
			if kind, _ := n.Type.(*ast.SelectorExpr); kind == nil || kind.Sel.Name != "Error" {
				break
			}
			for _, e := range n.Elts {
				field, _ := e.(*ast.KeyValueExpr)
				if field == nil {
					continue
				}
				// A body that is made of a refusal has the refusal's code.
				if _, refused := field.Value.(*ast.SelectorExpr); !refused && field.Key.(*ast.Ident).Name == "Code" {
					add(field.Value, "")
				}
			}
		}
		return true
	})
	return codes
}

// Every error code that the code can answer is explained, and no other.
func TestDocsErrorCodes(t *testing.T) {
	codes := map[string]bool{}
	for _, pattern := range []string{"../../admin/*.go", "../../daemon/*.go", "../../mirror/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			for _, code := range errorCodes(t, file) {
				codes[code] = true
			}
		}
	}
	page := pages(t)[filepath.Join(docsDir, "errors.md")]
	for code := range codes {
		if !strings.Contains(page, "| `"+code+"` |") {
			t.Errorf("docs/errors.md does not explain %s", code)
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(page, -1) {
		if !codes[m[1]] {
			t.Errorf("docs/errors.md explains %s, which nothing answers", m[1])
		}
	}
}

// Every warning that a policy or a set can get is explained, and no other.
func TestDocsWarnings(t *testing.T) {
	source, err := os.ReadFile("../../policy/warnings.go")
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	for _, m := range regexp.MustCompile(`(?m)^\tWarn[A-Za-z]+ = "([^"]+)"$`).FindAllStringSubmatch(string(source), -1) {
		codes = append(codes, m[1])
	}
	if len(codes) < 10 {
		t.Fatalf("found %q only", codes)
	}
	_, section, _ := strings.Cut(pages(t)[filepath.Join(docsDir, "writing-policies.md")], "\n## Warnings\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, code := range codes {
		if !strings.Contains(section, "\n| `"+code+"` |") {
			t.Errorf("docs/writing-policies.md does not explain %s", code)
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(section, -1) {
		if !slices.Contains(codes, m[1]) {
			t.Errorf("docs/writing-policies.md explains %s, which nothing warns of", m[1])
		}
	}
}
