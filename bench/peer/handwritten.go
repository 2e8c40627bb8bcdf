package peer

import (
	"context"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/caracalai/caracald/bench/workload"
)

// Document is what the policies of workloads A and B, of roles and of statements
// read of an input.
type Document struct {
	Principal struct {
		ID     string   `json:"id"`
		Labels []string `json:"labels"`
	} `json:"principal"`
	Resource struct {
		Type       string   `json:"type"`
		ID         string   `json:"id"`
		Identifier string   `json:"identifier"`
		Scopes     []string `json:"scopes"`
	} `json:"resource"`
	Action struct {
		ID string `json:"id"`
	} `json:"action"`
	DelegationEdge *Edge `json:"delegation_edge"`
	Context        struct {
		ActorClaims struct {
			ClientID string `json:"client_id"`
		} `json:"actor_claims"`
		RequestedScopes []string `json:"requested_scopes"`
	} `json:"context"`
}

// Edge is the delegation that a principal acts under.
type Edge struct {
	ReceiverApplicationID string   `json:"receiver_application_id"`
	ResourceID            string   `json:"resource_id"`
	Scopes                []string `json:"scopes"`
}

// Go is the policy as a function that somebody wrote by hand: the practical
// limit of what an engine can reach.
func Go(_ context.Context, w *workload.Workload) (*Peer, error) {
	switch {
	case w.Rules > 0:
		return written(rules(w.Rules)), nil
	case w.Name == "A":
		return written(reference), nil
	case w.Name == "rbac":
		return written(roles(workload.RoleGrants())), nil
	case w.Name == "claims":
		return written(claims), nil
	case w.Name == "network":
		return written(network), nil
	case w.Name == "statements":
		return written(statements(workload.Statements())), nil
	case w.Name == "admission":
		return telling(
			func(in *admissionDocument) bool { allow, _ := admission(in); return allow },
			func(dst []byte, in *admissionDocument) []byte {
				allow, faults := admission(in)
				return appendAnswer(dst, allow, faults...)
			}), nil
	}
	return nil, errNoPolicy
}

// written makes a peer of a function over the decoded input.
func written[T any](decide func(*T) bool) *Peer {
	return telling(decide, func(dst []byte, in *T) []byte { return appendAnswer(dst, decide(in)) })
}

// telling makes one that has more to answer than the decision.
func telling[T any](decide func(*T) bool, answer func(dst []byte, in *T) []byte) *Peer {
	return &Peer{
		Name: "go",
		Parse: func(raw []byte) (any, error) {
			in := new(T)
			err := json.Unmarshal(raw, in)
			return in, err
		},
		Decide: func(parsed any) (bool, error) { return decide(parsed.(*T)), nil },
		Answer: func(dst, raw []byte) ([]byte, error) {
			var in T
			if err := json.Unmarshal(raw, &in); err != nil {
				return dst, err
			}
			return answer(dst, &in), nil
		},
	}
}

type grant struct {
	role          string
	types, scopes []string
}

var (
	apps      = set(workload.Apps)
	suspended = set([]string{"p-07001", "p-07013", "p-08209", "p-09500"})
	grants    = []grant{
		{"role:reader", []string{"service", "dataset", "queue", "model"}, []string{"read", "list"}},
		{"role:writer", []string{"service", "dataset", "queue"}, []string{"read", "list", "write"}},
		{"role:operator", []string{"service", "dataset"}, []string{"read", "list", "write", "refund"}},
	}
	confinement = [][2]string{
		{"confine:payments/", "urn:caracal:payments:"}, {"confine:ledger/", "urn:caracal:ledger:"},
		{"confine:reports/", "urn:caracal:reports:"}, {"confine:agents/", "urn:caracal:agents:"},
	}
)

func set(items []string) map[string]struct{} {
	m := make(map[string]struct{}, len(items))
	for _, s := range items {
		m[s] = struct{}{}
	}
	return m
}

// reference is workload A.
func reference(in *Document) bool {
	if in.Action.ID != "token:exchange" || len(in.Context.RequestedScopes) == 0 {
		return false
	}
	if _, ok := apps[in.Context.ActorClaims.ClientID]; !ok {
		return false
	}
	if _, ok := suspended[in.Principal.ID]; ok {
		return false
	}
	for _, label := range in.Principal.Labels {
		for _, c := range confinement {
			if strings.HasPrefix(label, c[0]) && !strings.HasPrefix(in.Resource.Identifier, c[1]) {
				return false
			}
		}
	}
	if e := in.DelegationEdge; e != nil && (e.ResourceID != in.Resource.ID || e.ReceiverApplicationID != in.Context.ActorClaims.ClientID ||
		!containsAll(e.Scopes, in.Context.RequestedScopes)) {
		return false
	}
	for _, scope := range in.Context.RequestedScopes {
		granted := slices.ContainsFunc(grants, func(g grant) bool {
			return slices.Contains(g.scopes, scope) && slices.Contains(g.types, in.Resource.Type) && slices.Contains(in.Principal.Labels, g.role)
		})
		if !granted || !slices.Contains(in.Resource.Scopes, scope) {
			return false
		}
	}
	return true
}

func containsAll(have, want []string) bool {
	for _, s := range want {
		if !slices.Contains(have, s) {
			return false
		}
	}
	return true
}

// rules is workload B: somebody would write a map.
func rules(n int) func(*Document) bool {
	type rule struct{ label, scope string }
	byResource := make(map[string]rule, n)
	for i := range n {
		identifier, role, scope := workload.Rule(i)
		byResource[identifier] = rule{"role:" + role, scope}
	}
	return func(in *Document) bool {
		r, ok := byResource[in.Resource.Identifier]
		return ok && slices.Contains(in.Principal.Labels, r.label) && slices.Contains(in.Context.RequestedScopes, r.scope)
	}
}
