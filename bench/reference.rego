# Agents of registered applications use a resource with the scopes that their
# roles grant, inside the area that their labels confine them to, and never with
# more than the delegation that they act under.
package caracal.authz

app_ids := {
	"console": "app-console", "ledger": "app-ledger", "reports": "app-reports", "agents": "app-agents",
	"mobile": "app-mobile", "batch": "app-batch", "partner": "app-partner", "support": "app-support",
}

suspended := {"p-07001", "p-07013", "p-08209", "p-09500"}

grants := [
	{"role": "role:reader", "types": ["service", "dataset", "queue", "model"], "scopes": ["read", "list"]},
	{"role": "role:writer", "types": ["service", "dataset", "queue"], "scopes": ["read", "list", "write"]},
	{"role": "role:operator", "types": ["service", "dataset"], "scopes": ["read", "list", "write", "refund"]},
]

confinement := [
	{"label": "confine:payments/", "resources": "urn:caracal:payments:"},
	{"label": "confine:ledger/", "resources": "urn:caracal:ledger:"},
	{"label": "confine:reports/", "resources": "urn:caracal:reports:"},
	{"label": "confine:agents/", "resources": "urn:caracal:agents:"},
]

registered if {
	some id in app_ids
	id == input.context.actor_claims.client_id
}

granted contains scope if {
	some grant in grants
	grant.role in input.principal.labels
	input.resource.type in grant.types
	some scope in grant.scopes
}

outside if {
	some rule in confinement
	some label in input.principal.labels
	startswith(label, rule.label)
	not startswith(input.resource.identifier, rule.resources)
}

narrowed if input.delegation_edge == null

narrowed if {
	input.delegation_edge.resource_id == input.resource.id
	input.delegation_edge.receiver_application_id == input.context.actor_claims.client_id
	every scope in input.context.requested_scopes { scope in input.delegation_edge.scopes }
}

default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}

result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []} if {
	input.action.id == "token:exchange"
	registered
	not input.principal.id in suspended
	not outside
	narrowed
	count(input.context.requested_scopes) > 0
	every scope in input.context.requested_scopes {
		scope in granted
		scope in input.resource.scopes
	}
}
