package workload

import (
	_ "embed" // the policy
	"fmt"
	"strings"
)

//go:embed statements.rego
var statementsRego string

// Statement says what principals with a label may do with resources, or that they
// may do nothing.
type Statement struct {
	Deny  bool
	Label string
	// Resources is a pattern of identifiers, whose last part is any.
	Resources string
	// Scopes are empty where all are denied.
	Scopes []string
}

// regions are those of labels that confine; all who ask are of the first.
var regions = []string{"eu-1", "eu-2", "us-1", "us-2", "ap-1"}

// Statements are those of the workload "statements": one for each role, area and
// kind that the role is granted, and for each label that confines one for each area and
// kind outside of it.
func Statements() []Statement {
	var all []Statement
	for level, role := range Roles {
		for _, area := range Areas {
			for _, kind := range Kinds {
				// A higher role that is not granted more has no statement.
				if scopes := scopesOf(level, kind); level == 0 || len(scopes) > len(scopesOf(level-1, kind)) {
					all = append(all, Statement{Label: "role:" + role, Resources: pattern(area, kind), Scopes: scopes})
				}
			}
		}
	}
	for _, confined := range Areas {
		for _, region := range regions {
			for _, area := range Areas {
				for _, kind := range Kinds {
					if area != confined {
						all = append(all, Statement{Deny: true, Label: "confine:" + confined + "/" + region, Resources: pattern(area, kind)})
					}
				}
			}
		}
	}
	return all
}

func pattern(area, kind string) string { return "urn:caracal:" + area + ":" + kind + ":*" }

// statements is a policy that goes through all of its statements for each decision,
// and takes longer than a cache that knows the answer. Inputs repeat as those of
// workload A do: what it reads are who asks, for which resource, and which scopes.
func statements() *Workload {
	return &Workload{
		Name: "statements", Title: fmt.Sprintf("%d statements as data, with patterns of resources", len(Statements())),
		Modules: []Module{{"statements", strings.Replace(statementsRego, "%s", statementsData(), 1)}}, Cedar: statementsCedar(),
		next: func(s *Source, zone string, dst []byte) ([]byte, bool) {
			r := s.rand
			q := Request{Principal: s.principal(), Resource: &resources[r.IntN(Resources)]}
			inside := func() bool { return q.Principal.Area == "" || q.Principal.Area == q.Resource.Area }
			allow := r.Float64() >= DenialShare
			confined := !allow && q.Principal.Area != "" && r.IntN(2) == 0
			for inside() == confined {
				q.Resource = &resources[r.IntN(Resources)]
			}
			have := scopesOf(q.Principal.Level, q.Resource.Kind)
			q.Client, q.Scopes = q.Principal.App, pairs[[2]string{have[r.IntN(len(have))], have[r.IntN(len(have))]}]
			if q.Principal.Delegated {
				q.Edge = Scopes
			}
			if !allow && !confined {
				q.Scopes = unknownScope
			}
			return s.write(&q, dst, zone, r), allow
		},
	}
}

// statementsData are the statements in Rego.
func statementsData() string {
	var b strings.Builder
	for _, s := range Statements() {
		effect := "allow"
		if s.Deny {
			effect = "deny"
		}
		fmt.Fprintf(&b, "\t{\"effect\": %q, \"label\": %q, \"resources\": %q, \"scopes\": %s},\n", effect, s.Label, s.Resources, list(s.Scopes))
	}
	return b.String()
}

// statementsCedar has a policy for each statement. Stars of its patterns go past
// colons; and of scopes, those of a higher role include those of the lower ones, so that one
// statement grants all that are requested.
func statementsCedar() string {
	var b strings.Builder
	for _, s := range Statements() {
		effect, scopes := "permit", fmt.Sprintf(" && !context.scopes.isEmpty() && %s.containsAll(context.scopes)", list(s.Scopes))
		if s.Deny {
			effect, scopes = "forbid", ""
		}
		fmt.Fprintf(&b, "%s (principal in Label::%q, action, resource)\nwhen { resource.identifier like %q && !(resource.identifier like %q)%s };\n",
			effect, s.Label, s.Resources, s.Resources+":*", scopes)
	}
	return b.String() + `forbid (principal, action, resource)
when { principal in [Principal::"p-07001", Principal::"p-07013", Principal::"p-08209", Principal::"p-09500"] };
`
}
