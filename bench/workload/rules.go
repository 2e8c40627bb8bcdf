package workload

import (
	"fmt"
	"strings"
)

// rulesPerModule keeps each module far below the limit of a policy's size.
const rulesPerModule = 500

// roleOf and scopeOf are what rule i asks for.
func roleOf(i int) int     { return i % len(Roles) }
func scopeOf(i int) string { return Scopes[i%len(Scopes)] }

// Rules is workload B: n rules, each of which allows one resource to one role
// with one scope. The resources asked for are spread over all the rules.
func Rules(n int) *Workload {
	asked := make([]Resource, min(n, Resources))
	index := make([]int, len(asked))
	for i := range asked {
		index[i] = i * n / len(asked)
		asked[i] = ruled(index[i])
	}
	return &Workload{
		Name: fmt.Sprintf("B%d", n), Title: fmt.Sprintf("%d rules, each for one resource", n), Rules: n,
		Modules: ruleModules(n), Cedar: rulePolicies(n),
		next: func(s *Source, zone string, dst []byte) ([]byte, bool) {
			r := s.rand
			q := Request{Principal: s.principal()}
			i := r.IntN(len(asked))
			for roleOf(index[i]) > q.Principal.Level {
				i = r.IntN(len(asked))
			}
			q.Resource, q.Client = &asked[i], q.Principal.App
			if q.Principal.Delegated {
				q.Edge = Scopes
			}
			q.Scopes = pairs[[2]string{scopeOf(index[i]), Scopes[r.IntN(len(Scopes))]}]
			allow := r.Float64() >= DenialShare
			if !allow {
				q.Scopes = unknownScopes
			}
			return q.AppendJSON(dst, zone, r), allow
		},
	}
}

var unknownScopes = []string{"purge", "audit"}

func ruled(i int) Resource {
	return newResource(i, Areas[i%len(Areas)], Kinds[i/len(Areas)%len(Kinds)])
}

func ruleModules(n int) []Module {
	modules := []Module{{"result", `package caracal.authz

default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}

result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []} if allow
`}}
	for from := 0; from < n; from += rulesPerModule {
		var b strings.Builder
		b.WriteString("package caracal.authz\n")
		for i := from; i < min(from+rulesPerModule, n); i++ {
			fmt.Fprintf(&b, "\nallow if {\n\tinput.resource.identifier == %q\n\t%q in input.principal.labels\n\t%q in input.context.requested_scopes\n}\n",
				ruled(i).Identifier, "role:"+Roles[roleOf(i)], scopeOf(i))
		}
		modules = append(modules, Module{fmt.Sprintf("rules-%05d", from), b.String()})
	}
	return modules
}

func rulePolicies(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "permit (principal in Role::%q, action, resource == Resource::%q)\nwhen { context.scopes.contains(%q) };\n",
			Roles[roleOf(i)], ruled(i).Identifier, scopeOf(i))
	}
	return b.String()
}

// Rule is what rule i of the workload says: who may do what with which resource.
func Rule(i int) (identifier, role, scope string) {
	return ruled(i).Identifier, Roles[roleOf(i)], scopeOf(i)
}
