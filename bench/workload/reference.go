package workload

import _ "embed" // the policies

//go:embed reference.rego
var referenceRego string

//go:embed reference.cedar
var referenceCedar string

// scopesOf are the scopes that a level has on a kind of resource: those of the
// highest role that is granted the kind, in the order of Scopes.
func scopesOf(level int, kind string) []string {
	switch {
	case level >= 2 && (kind == "service" || kind == "dataset"):
		return Scopes
	case level >= 1 && kind != "model":
		return Scopes[:3]
	default:
		return Scopes[:2]
	}
}

// Requests of scopes, made once so that a stream of inputs allocates nothing.
var (
	pairs = func() map[[2]string][]string {
		m := map[[2]string][]string{}
		for _, a := range Scopes {
			for _, b := range Scopes {
				m[[2]string{a, b}] = []string{a, b}
			}
		}
		return m
	}()
	unknownScope = []string{"read", "purge"}
	narrowEdge   = []string{"audit"}
)

// Reference is workload A: a policy of roles and grants, with confinement by
// label and delegations that may only narrow.
func Reference() *Workload {
	return &Workload{
		Name: "A", Title: "roles, grants, confinement and delegation",
		Modules: []Module{{"reference", referenceRego}}, Cedar: referenceCedar, Cerbos: referenceCerbos,
		next: func(s *Source, zone string, dst []byte) ([]byte, bool) {
			q, allow := s.reference()
			return s.write(&q, dst, zone, s.rand), allow
		},
	}
}

func (s *Source) reference() (q Request, allow bool) {
	r := s.rand
	q.Principal = s.principal()
	for {
		q.Resource = &resources[r.IntN(Resources)]
		if q.Principal.Area == "" || q.Principal.Area == q.Resource.Area {
			break
		}
	}
	have := scopesOf(q.Principal.Level, q.Resource.Kind)
	q.Client = q.Principal.App
	q.Scopes = pairs[[2]string{have[r.IntN(len(have))], have[r.IntN(len(have))]}]
	if q.Principal.Delegated {
		q.Edge = Scopes
	}
	if r.Float64() >= DenialShare {
		return q, true
	}
	switch reason := r.IntN(4); {
	case reason == 0:
		q.Client = "app-unknown"
	case reason == 1 && q.Edge != nil:
		q.Edge = narrowEdge
	case reason == 2 && q.Principal.Area != "":
		for q.Resource.Area == q.Principal.Area {
			q.Resource = &resources[r.IntN(Resources)]
		}
	default:
		q.Scopes = unknownScope
	}
	return q, false
}
