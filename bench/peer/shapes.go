package peer

import (
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/caracalai/caracald/bench/workload"
)

// roles is workload "rbac": each scope that is requested has to be granted by a role.
func roles(roles map[string]map[string][]string) func(*Document) bool {
	return func(in *Document) bool {
		for _, scope := range in.Context.RequestedScopes {
			if !slices.ContainsFunc(in.Principal.Labels, func(role string) bool {
				return slices.Contains(roles[role][in.Resource.Identifier], scope)
			}) {
				return false
			}
		}
		return len(in.Context.RequestedScopes) > 0
	}
}

// statements is the workload of that name.
func statements(all []workload.Statement) func(*Document) bool {
	type statement struct {
		workload.Statement
		prefix string
	}
	table := make([]statement, len(all))
	for i, s := range all {
		table[i] = statement{s, strings.TrimSuffix(s.Resources, "*")}
	}
	return func(in *Document) bool {
		if _, ok := suspended[in.Principal.ID]; ok || len(in.Context.RequestedScopes) == 0 {
			return false
		}
		var granted []string
		for i := range table {
			s := &table[i]
			rest, ok := strings.CutPrefix(in.Resource.Identifier, s.prefix)
			if !ok || strings.Contains(rest, ":") || !slices.Contains(in.Principal.Labels, s.Label) {
				continue
			}
			if s.Deny {
				return false
			}
			granted = append(granted, s.Scopes...)
		}
		return containsAll(granted, in.Context.RequestedScopes)
	}
}

// claimsDocument is what the policy of workload "claims" reads of an input.
type claimsDocument struct {
	Principal struct {
		ID string `json:"id"`
	} `json:"principal"`
	Context struct {
		Claims          tokenClaims `json:"subject_claims"`
		RequestedScopes []string    `json:"requested_scopes"`
	} `json:"context"`
}

// tokenClaims are those that issuers always set.
type tokenClaims struct {
	Issuer        string   `json:"iss"`
	Subject       string   `json:"sub"`
	Audience      []string `json:"aud"`
	Assurance     string   `json:"acr"`
	Methods       []string `json:"amr"`
	Groups        []string `json:"groups"`
	IssuedAt      int64    `json:"iat"`
	AuthTime      int64    `json:"auth_time"`
	Expires       int64    `json:"exp"`
	Email         string   `json:"email"`
	EmailVerified bool     `json:"email_verified"`
}

// assurance is the level in a claim acr; ok is false where there is none.
func (c *tokenClaims) assurance() (level int64, ok bool) {
	level, err := strconv.ParseInt(strings.TrimPrefix(c.Assurance, "urn:assurance:"), 10, 64)
	return level, err == nil
}

var (
	issuers = map[string]struct {
		audience  string
		assurance int64
	}{
		"https://login.example":         {"urn:caracal:gateway", 2},
		"https://login.partner.example": {"urn:caracal:partner", 3},
	}
	factors = set([]string{"otp", "hwk", "fpt"})
	groups  = set([]string{"finance", "audit", "operations"})
)

func anyOf(items []string, in map[string]struct{}) bool {
	return slices.ContainsFunc(items, func(s string) bool { _, ok := in[s]; return ok })
}

// claims is the workload of that name.
func claims(in *claimsDocument) bool {
	c := &in.Context.Claims
	issuer, known := issuers[c.Issuer]
	if !known || !slices.Contains(c.Audience, issuer.audience) {
		return false
	}
	if level, ok := c.assurance(); !ok || level < issuer.assurance {
		return false
	}
	fresh := c.Expires-c.IssuedAt <= 7200 || c.Expires-c.AuthTime <= 3600
	return fresh && c.Subject == in.Principal.ID && anyOf(c.Methods, factors) && anyOf(c.Groups, groups) &&
		c.EmailVerified && strings.HasSuffix(c.Email, "@example.com") && slices.Contains(in.Context.RequestedScopes, "read")
}

// networkDocument is what the policy of workload "network" reads of an input.
type networkDocument struct {
	Action struct {
		Method string `json:"method"`
		Path   string `json:"path"`
	} `json:"action"`
	Context struct {
		ActorClaims struct {
			IP string `json:"ip"`
		} `json:"actor_claims"`
		RequestedScopes []string `json:"requested_scopes"`
	} `json:"context"`
}

var (
	inside  = prefixes("10.16.0.0/14", "10.20.0.0/14", "192.168.0.0/16", "fd00::/8")
	blocked = prefixes("10.20.30.0/24", "10.17.255.255/32")
	// routes are patterns of package path, whose stars end at a slash too.
	routes = []struct {
		methods []string
		pattern string
	}{
		{[]string{"GET", "HEAD"}, "/api/*/customers/*"},
		{[]string{"GET", "HEAD"}, "/api/*/orders/*/items/*"},
		{[]string{"POST"}, "/api/v2/orders"},
		{[]string{"GET"}, "/api/v1/status"},
		{[]string{"GET"}, "/api/v2/status"},
	}
)

func prefixes(texts ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		all[i] = netip.MustParsePrefix(text)
	}
	return all
}

// network is the workload of that name.
func network(in *networkDocument) bool {
	address, err := netip.ParseAddr(in.Context.ActorClaims.IP)
	if err != nil {
		return false
	}
	contains := func(p netip.Prefix) bool { return p.Contains(address) }
	return slices.ContainsFunc(inside, contains) && !slices.ContainsFunc(blocked, contains) &&
		routed(in.Action.Method, in.Action.Path) && slices.Contains(in.Context.RequestedScopes, "read")
}

func routed(method, called string) bool {
	for _, r := range routes {
		if ok, err := path.Match(r.pattern, called); err == nil && ok && slices.Contains(r.methods, method) {
			return true
		}
	}
	// /api/*/invoices/** has anything below, which path.Match has no pattern for.
	rest, ok := strings.CutPrefix(called, "/api/")
	_, below, _ := strings.Cut(rest, "/")
	return ok && strings.HasPrefix(below, "invoices/") && (method == "GET" || method == "HEAD")
}

// admissionDocument is what the policy of workload "admission" reads of an input.
type admissionDocument struct {
	Context struct {
		Object          pod      `json:"object"`
		RequestedScopes []string `json:"requested_scopes"`
	} `json:"context"`
}

type pod struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
	Spec struct {
		HostNetwork bool        `json:"hostNetwork"`
		Containers  []container `json:"containers"`
	} `json:"spec"`
}

type container struct {
	Name            string `json:"name"`
	Image           string `json:"image"`
	SecurityContext struct {
		Privileged bool `json:"privileged"`
	} `json:"securityContext"`
	Resources struct {
		Limits map[string]string `json:"limits"`
	} `json:"resources"`
}

// admission is the workload of that name: it tells every fault, in order.
func admission(in *admissionDocument) (allow bool, faults []string) {
	p := &in.Context.Object
	for _, label := range []string{"app", "team", "cost-center"} {
		if _, ok := p.Metadata.Labels[label]; !ok {
			faults = append(faults, fmt.Sprintf("label %q is missing", label))
		}
	}
	if p.Spec.HostNetwork {
		faults = append(faults, "the pod uses the network of its host")
	}
	for i := range p.Spec.Containers {
		faults = p.Spec.Containers[i].faults(faults)
	}
	slices.Sort(faults)
	faults = slices.Compact(faults)
	return p.Kind == "Pod" && len(faults) == 0 && slices.Contains(in.Context.RequestedScopes, "read"), faults
}

func (c *container) faults(faults []string) []string {
	if !strings.HasPrefix(c.Image, "registry.example/team/") && !strings.HasPrefix(c.Image, "registry.example/base/") {
		faults = append(faults, fmt.Sprintf("container %q: image %q is from no known registry", c.Name, c.Image))
	}
	if strings.HasSuffix(c.Image, ":latest") {
		faults = append(faults, fmt.Sprintf("container %q: image %q has no fixed version", c.Name, c.Image))
	}
	if c.SecurityContext.Privileged {
		faults = append(faults, fmt.Sprintf("container %q is privileged", c.Name))
	}
	for _, limit := range []string{"cpu", "memory"} {
		if _, ok := c.Resources.Limits[limit]; !ok {
			faults = append(faults, fmt.Sprintf("container %q has no limit of %s", c.Name, limit))
		}
	}
	return faults
}
