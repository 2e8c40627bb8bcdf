package admin_test

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/caracalai/caracald/admin/api"
)

// Policies of the tests.
const (
	// readersOnly allows actions of the id "read" within the resource's scopes.
	readersOnly = `package caracal.authz

default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": [{"reason": "no_grant"}]}

result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [{"policy": "readers"}], "diagnostics": []} if {
	input.action.id == "read"
	every scope in input.context.requested_scopes {
		scope in input.resource.scopes
	}
}
`
	// denyAll denies everything.
	denyAll = `package caracal.authz

default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": [{"reason": "closed"}]}
`
	// allowByDefault has a warning that blocks its activation.
	allowByDefault = `package caracal.authz

default result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}
`
	// helper defines no result of its own.
	helper = `package caracal.authz.helper

office_hours := [9, 17]
`
)

// helperNamed is like helper, in a package of its own.
func helperNamed(name string) string {
	return fmt.Sprintf("package caracal.authz.%s\n\nvalue := %q\n", name, name)
}

func (p *plane) policy(zone, name, content string) api.Policy {
	p.t.Helper()
	return must[api.Policy](p, http.StatusCreated, "POST", "/v1/zones/"+zone+"/policies", root, api.PolicyCreate{Name: name, Content: content})
}

// set makes a policy set and gives its path.
func (p *plane) set(zone, name string) string {
	p.t.Helper()
	set := must[api.PolicySet](p, http.StatusCreated, "POST", "/v1/zones/"+zone+"/policy-sets", root, api.PolicySetCreate{Name: name})
	return "/v1/zones/" + zone + "/policy-sets/" + set.ID
}

func manifest(versions ...string) api.PolicySetVersionCreate {
	m := api.PolicySetVersionCreate{Manifest: []api.ManifestEntry{}}
	for _, id := range versions {
		m.Manifest = append(m.Manifest, api.ManifestEntry{PolicyVersionID: id})
	}
	return m
}

// version makes a version of the set at a path.
func (p *plane) version(set string, versions ...string) api.PolicySetVersion {
	p.t.Helper()
	return must[api.PolicySetVersion](p, http.StatusCreated, "POST", set+"/versions", root, manifest(versions...))
}

// governed makes a zone with a set of one policy and gives the zone, the set's
// path and its version, which is not active yet.
func (p *plane) governed(name, content string) (zone, set string, v api.PolicySetVersion) {
	p.t.Helper()
	zone = p.zone(name)
	set = p.set(zone, "main")
	return zone, set, p.version(set, p.policy(zone, "readers", content).VersionID)
}

func (p *plane) activateVersion(set, version string) api.Activated {
	p.t.Helper()
	return must[api.Activated](p, http.StatusAccepted, "POST", set+"/activate", root, api.ActivateRequest{VersionID: version})
}

func (p *plane) active(zone string) api.Active {
	p.t.Helper()
	return must[api.Active](p, http.StatusOK, "GET", "/v1/zones/"+zone+"/active", root, nil)
}

// inputOf is an input document of a zone for an action.
func inputOf(zone, action string) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"schema_version":"2026-05-20","principal":{"type":"agent","id":"a1","zone_id":%q},
  "resource":{"type":"ledger","id":"l1","identifier":"ledger/1","scopes":["read"]},"action":{"id":%q},
  "session":null,"delegation_edge":null,"context":{"actor_claims":{},"challenge_resolved":false,"requested_scopes":["read"]}}`, zone, action))
}

// keysOf lists the names of a JSON object, sorted and joined by spaces.
func keysOf(value any) string {
	object, _ := value.(map[string]any)
	names := ""
	for _, name := range sortedKeys(object) {
		names += " " + name
	}
	if names == "" {
		return ""
	}
	return names[1:]
}
