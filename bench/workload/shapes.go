package workload

import (
	_ "embed" // the policies
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

//go:embed claims.rego
var claimsRego string

//go:embed network.rego
var networkRego string

//go:embed admission.rego
var admissionRego string

//go:embed rbac.cedar
var rolesCedar string

//go:embed claims.cedar
var claimsCedar string

//go:embed network.cedar
var networkCedar string

// Roles of the workload "rbac".
const manyRoles = 1000

// Shapes are policies as people write them for other purposes.
func Shapes() []*Workload {
	return []*Workload{
		shape("rbac", "RBAC, 1,000 roles as data", rolesModule(), rolesCedar, roleInput),
		shape("claims", "claims of a token", claimsRego, claimsCedar, claimsInput),
		shape("network", "CIDR ranges and globs", networkRego, networkCedar, networkInput),
		// Cedar goes through no list of records, such as the containers of a pod.
		shape("admission", "admission of a Kubernetes pod", admissionRego, "", admissionInput),
		statements(),
	}
}

type object = map[string]any

// shape makes a workload of which input fills in what its policy reads, for an
// input that is to be allowed or not.
func shape(name, title, rego, cedar string, input func(r *rand.Rand, allow bool, doc *document)) *Workload {
	return &Workload{
		Name: name, Title: title, Modules: []Module{{name, rego}}, Cedar: cedar,
		next: func(s *Source, zone string, dst []byte) ([]byte, bool) {
			allow := s.rand.Float64() >= DenialShare
			p := s.principal()
			res := &resources[s.rand.IntN(Resources)]
			doc := document{
				"schema_version": "2026-05-20",
				"principal":      object{"type": "agent", "id": p.ID, "zone_id": zone, "lifecycle": "task", "labels": []string{}},
				"resource":       object{"type": res.Kind, "id": res.ID, "identifier": res.Identifier, "scopes": Scopes},
				"action":         object{"id": "invoke", "method": "GET", "path": "/"},
				"session":        object{"id": p.Session}, "delegation_edge": nil,
				"context": object{"actor_claims": object{"client_id": p.App}, "subject_claims": object{"sub": p.ID}, "challenge_resolved": false,
					"requested_scopes": []string{"read"}, "trace_id": string(AppendID(nil, s.rand))},
			}
			input(s.rand, allow, &doc)
			body, err := json.Marshal(doc)
			if err != nil {
				panic(err) // strings, numbers and lists of them always encode
			}
			return append(dst, body...), allow
		},
	}
}

// document is an input under construction.
type document object

func (d *document) at(name string) object { return (*d)[name].(object) }

// RoleGrants are the roles of the workload "rbac": each grants scopes on four
// resources, which are by their identifiers.
func RoleGrants() map[string]map[string][]string {
	roles := make(map[string]map[string][]string, manyRoles)
	for i := range manyRoles {
		grants := map[string][]string{}
		for k := range 4 {
			grants[resources[(i+40*k)%Resources].Identifier] = Scopes[:1+(i+k)%3]
		}
		roles[roleName(i)] = grants
	}
	return roles
}

// rolesModule is the policy with the roles as data.
func rolesModule() string {
	var b strings.Builder
	b.WriteString("package caracal.authz\n\nroles := {\n")
	roles := RoleGrants()
	for _, role := range slices.Sorted(maps.Keys(roles)) {
		var grants []string
		for _, identifier := range slices.Sorted(maps.Keys(roles[role])) {
			grants = append(grants, fmt.Sprintf("%q: %s", identifier, list(roles[role][identifier])))
		}
		fmt.Fprintf(&b, "\t%q: {%s},\n", role, strings.Join(grants, ", "))
	}
	b.WriteString(`}

granted contains scope if {
	some role in input.principal.labels
	some scope in roles[role][input.resource.identifier]
}

default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}

result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []} if {
	count(input.context.requested_scopes) > 0
	every scope in input.context.requested_scopes { scope in granted }
}
`)
	return b.String()
}

func roleName(i int) string { return fmt.Sprintf("role-%04d", i) }

func roleInput(r *rand.Rand, allow bool, doc *document) {
	role := r.IntN(manyRoles)
	doc.at("principal")["labels"] = []string{roleName(r.IntN(manyRoles)), roleName(role), roleName(r.IntN(manyRoles))}
	res := &resources[(role+40*r.IntN(4))%Resources]
	doc.at("resource")["identifier"] = res.Identifier
	doc.at("resource")["id"] = res.ID
	if !allow {
		doc.at("context")["requested_scopes"] = []string{"read", "purge"}
	}
}

func claimsInput(r *rand.Rand, allow bool, doc *document) {
	claims := object{
		"iss": "https://login.example", "aud": []string{"urn:caracal:gateway", "urn:caracal:payments"}, "azp": "console",
		"sub": doc.at("principal")["id"], "auth_time": 1770000000 + r.IntN(3000), "iat": 1770003600, "exp": 1770007200,
		"acr": "urn:assurance:2", "amr": []string{"pwd", "otp"}, "groups": []string{"everyone", "finance", fmt.Sprintf("team-%d", r.IntN(50))},
		"email": fmt.Sprintf("person%d@example.com", r.IntN(10000)), "email_verified": true,
	}
	if !allow {
		switch r.IntN(5) {
		case 0:
			claims["iss"] = "https://login.other.example"
		case 1:
			claims["aud"] = []string{"urn:caracal:reports"}
		case 2:
			claims["amr"] = []string{"pwd"}
		case 3:
			claims["groups"] = []string{"everyone"}
		default:
			claims["email_verified"] = false
		}
	}
	doc.at("context")["subject_claims"] = claims
}

func networkInput(r *rand.Rand, allow bool, doc *document) {
	ip := fmt.Sprintf("10.%d.%d.%d", 16+r.IntN(8), r.IntN(256), 1+r.IntN(254))
	path := fmt.Sprintf("/api/v%d/orders/%d/items/%d", 1+r.IntN(2), r.IntN(100000), r.IntN(100))
	if !allow {
		switch r.IntN(3) {
		case 0:
			ip = fmt.Sprintf("203.0.113.%d", r.IntN(256))
		case 1:
			ip = "10.20.30.40" // inside a range that is blocked
		default:
			path = fmt.Sprintf("/api/v1/orders/%d/secrets", r.IntN(100000))
		}
	} else if strings.HasPrefix(ip, "10.20.30.") {
		ip = "10.16.1.1"
	}
	doc.at("context")["actor_claims"].(object)["ip"] = ip
	doc.at("action")["path"] = path
}

func admissionInput(r *rand.Rand, allow bool, doc *document) {
	containers := make([]object, 1+r.IntN(4))
	for i := range containers {
		containers[i] = object{
			"name": fmt.Sprintf("c%d", i), "image": fmt.Sprintf("registry.example/team/service:%d.%d", r.IntN(9), r.IntN(99)),
			"securityContext": object{"privileged": false, "runAsNonRoot": true},
			"resources":       object{"limits": object{"cpu": "500m", "memory": "256Mi"}},
			"ports":           []object{{"containerPort": 8000 + r.IntN(1000)}},
		}
	}
	labels := object{"app": "service", "team": "payments", "cost-center": fmt.Sprint(r.IntN(1000))}
	if !allow {
		bad := containers[r.IntN(len(containers))]
		switch r.IntN(5) {
		case 0:
			bad["image"] = "docker.example/other/service:1.0"
		case 1:
			bad["image"] = "registry.example/team/service:latest"
		case 2:
			bad["securityContext"] = object{"privileged": true, "runAsNonRoot": true}
		case 3:
			bad["resources"] = object{"limits": object{"cpu": "500m"}}
		default:
			delete(labels, "team")
		}
	}
	doc.at("context")["object"] = object{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": object{"name": fmt.Sprintf("pod-%d", r.IntN(100000)), "namespace": "payments", "labels": labels},
		"spec":     object{"hostNetwork": false, "containers": containers},
	}
}
