package policy

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
)

// forbiddenByName lists the built-ins that are forbidden although OPA does not
// mark them nondeterministic, each with the reason that its error gives.
var forbiddenByName = map[string]string{
	"trace":              "it has side effects",
	"print":              "it has side effects",
	"internal.print":     "it has side effects",
	"internal.test_case": "it has side effects",
	"crypto.x509.parse_and_verify_certificates":              "it reads the clock",
	"crypto.x509.parse_and_verify_certificates_with_options": "it may read the clock",
}

var reasonForbidden = map[string]string{
	"http.send":          "it reaches the network",
	"net.lookup_ip_addr": "it reaches the network",
	"json.match_schema":  "it may reach the network",
	"json.verify_schema": "it may reach the network",
	"opa.runtime":        "it reads the host's configuration",
	"rand.intn":          "it depends on chance",
	"uuid.rfc4122":       "it depends on chance",
	"time.now_ns":        "it reads the clock",
}

// language is what policies may use, derived once from OPA's capabilities.
type language struct {
	// capabilities has every built-in that is not forbidden.
	capabilities *ast.Capabilities
	// forbidden maps the name of each other built-in to the reason.
	forbidden map[string]string
}

// regoLanguage drops from OPA's capabilities every built-in that reaches the
// network, the clock, the host or chance, so that a decision is a function of
// the policies and the input alone.
var regoLanguage = sync.OnceValue(func() language {
	c := ast.CapabilitiesForThisVersion()
	l := language{capabilities: c, forbidden: map[string]string{}}
	for _, b := range c.Builtins {
		switch reason, named := forbiddenByName[b.Name]; {
		case named:
			l.forbidden[b.Name] = reason
		case b.Nondeterministic:
			if reason = reasonForbidden[b.Name]; reason == "" {
				reason = "it is nondeterministic"
			}
			l.forbidden[b.Name] = reason
		}
	}
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool {
		_, dropped := l.forbidden[b.Name]
		return dropped
	})
	c.AllowNet = []string{}
	return l
})

// compilerLanguage is what compiled policies may use: also the bounded
// built-ins, whose names cannot be written in Rego.
var compilerLanguage = sync.OnceValue(func() *ast.Capabilities {
	c := *regoLanguage().capabilities
	c.Builtins = slices.Clone(c.Builtins)
	for _, b := range guardedDecls() {
		c.Builtins = append(c.Builtins, b)
	}
	return &c
})

// ForbiddenBuiltins lists, sorted, the built-ins that no policy may use.
func ForbiddenBuiltins() []string {
	names := make([]string, 0, len(regoLanguage().forbidden))
	for name := range regoLanguage().forbidden {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// outputBuiltins are those that tests may use beside what policies may: what they
// write goes into the report. print stands for internal.print once it is compiled, and
// the tester itself adds internal.test_case.
var outputBuiltins = []string{"print", "internal.print", "trace", "internal.test_case"}

// testLanguage is what tests may use. Its capabilities are those of compiled tests.
var testLanguage = sync.OnceValue(func() language {
	c := *compilerLanguage()
	c.Builtins = slices.Clone(c.Builtins)
	l := language{capabilities: &c, forbidden: maps.Clone(regoLanguage().forbidden)}
	for _, name := range outputBuiltins {
		c.Builtins = append(c.Builtins, ast.BuiltinMap[name])
	}
	delete(l.forbidden, "print")
	delete(l.forbidden, "trace")
	return l
})

// forbiddenCalls reports each use of a forbidden built-in in a module whose
// references were resolved: calls, and both sides of a "with" modifier, which
// would otherwise put one built-in in another's place. A rule or import that
// merely has a forbidden built-in's name resolved to "data..." and is allowed.
func forbiddenCalls(m *ast.Module, forbidden map[string]string) []ContentError {
	var found []ContentError
	refuse := func(t *ast.Term, loc *ast.Location) {
		ref, ok := t.Value.(ast.Ref)
		if !ok {
			return
		}
		name := ref.String()
		reason, ok := forbidden[name]
		if !ok {
			return
		}
		if t.Location != nil {
			loc = t.Location
		}
		found = append(found, ContentError{
			Message:  fmt.Sprintf("built-in %s is forbidden: %s", name, reason),
			Location: location(loc),
		})
	}
	ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case *ast.Expr:
			if terms, ok := x.Terms.([]*ast.Term); ok && len(terms) > 0 {
				refuse(terms[0], x.Location)
			}
		case *ast.With:
			refuse(x.Target, x.Location)
			refuse(x.Value, x.Location)
		case ast.Call:
			if len(x) > 0 {
				refuse(x[0], m.Package.Location)
			}
		}
		return false
	}).Walk(m)
	slices.SortStableFunc(found, func(a, b ContentError) int {
		if a.Location.Row != b.Location.Row {
			return a.Location.Row - b.Location.Row
		}
		return a.Location.Col - b.Location.Col
	})
	return slices.Compact(found)
}

// location turns OPA's location into ours; places without one are at 1:1.
func location(loc *ast.Location) Location {
	if loc == nil || loc.Row < 1 {
		return Location{Row: 1, Col: 1}
	}
	return Location{Row: loc.Row, Col: max(loc.Col, 1)}
}
