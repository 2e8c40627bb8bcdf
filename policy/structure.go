package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Bounds on how content is built. OPA's compiler works on content as a whole
// and cannot be interrupted, and its work grows faster than the content where
// things nest: three times for each level of closures, quadratically for else
// branches. What people write stays far below all of these.
const (
	// maxNesting is the deepest that the parser may recurse. A level of
	// brackets, and one operator of a chain of them, takes one or two steps.
	maxNesting = 4000
	// maxReference is the most parts that one reference may have.
	maxReference = 256
	// maxElse is the most else branches that one rule may have.
	maxElse = 1000
	// maxWork is the most type checks of expressions that closures may cause.
	maxWork = 1 << 21
)

// nestsTooDeep looks whether the parser would recurse beyond maxNesting.
func nestsTooDeep(content string) *ast.Error {
	_, _, errs := ast.NewParser().
		WithReader(strings.NewReader(content)).
		WithCapabilities(regoLanguage().capabilities).
		WithRegoVersion(ast.RegoV1).
		WithMaxRecursionDepth(maxNesting).
		Parse()
	i := slices.IndexFunc(errs, func(e *ast.Error) bool {
		return strings.Contains(e.Message, ast.ErrMaxParsingRecursionDepthExceeded.Error())
	})
	if i < 0 {
		return nil
	}
	return ast.NewError(ast.ParseErr, errs[i].Location, "content nests too deep: the parser would recurse more than %d times", maxNesting)
}

// structureProblem says what of a module is beyond the bounds above.
func structureProblem(m *ast.Module) (loc *ast.Location, problem string) {
	refuse := func(at *ast.Location, format string, args ...any) {
		if problem == "" {
			loc, problem = at, fmt.Sprintf(format, args...)
		}
	}
	long := func(ref ast.Ref, at *ast.Location) {
		if len(ref) > maxReference {
			refuse(at, "a reference has %d parts; at most %d are accepted", len(ref), maxReference)
		}
	}
	if m.Package != nil {
		long(m.Package.Path, m.Package.Location)
	}
	for _, r := range m.Rules {
		long(r.Head.Ref(), r.Location)
		branches := 0
		for part := r.Else; part != nil && problem == ""; part = part.Else {
			if branches++; branches > maxElse {
				refuse(part.Location, "a rule has more than %d else branches", maxElse)
			}
		}
	}
	if problem != "" {
		return loc, problem
	}
	work, each := 0, 1 // each is 3 to the depth of closures
	var at *ast.Location
	ast.NewBeforeAfterVisitor(func(x any) bool {
		switch x := x.(type) {
		case *ast.Rule:
			at = x.Location
		case *ast.Expr:
			if work += each; work > maxWork {
				refuse(at, "closures (comprehensions and every) nest too deep: each level multiplies the work of checking what is in it")
			}
		case ast.Ref:
			long(x, at)
		}
		if isClosure(x) {
			each *= 3
		}
		return problem != ""
	}, func(x any) {
		if isClosure(x) {
			each /= 3
		}
	}).Walk(m)
	return loc, problem
}

func isClosure(x any) bool {
	switch x.(type) {
	case *ast.ArrayComprehension, *ast.SetComprehension, *ast.ObjectComprehension, *ast.Every:
		return true
	}
	return false
}
