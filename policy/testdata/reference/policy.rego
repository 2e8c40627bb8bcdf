# The reference policy of the benchmarks: applications and roles with grants,
# label confinement, and delegation that only ever narrows.
package caracal.authz

default result := {
	"decision": "deny",
	"evaluation_status": "complete",
	"determining_policies": [],
	"diagnostics": [{"reason": "not_granted"}],
}

app_ids := {"payments-app", "ledger-app", "support-app"}

grants := {
	"urn:payments:ledger": {
		"operator": {"payments:read", "payments:refund"},
		"auditor": {"payments:read"},
	},
	"urn:support:tickets": {"agent": {"tickets:read", "tickets:write"}},
}

confinement := ["confined:", "sandbox:"]

roles contains role if {
	some label in input.principal.labels
	startswith(label, "role:")
	role := substring(label, 5, -1)
}

granted contains scope if {
	some role in roles
	some scope in grants[input.resource.identifier][role]
}

confined if {
	some label in input.principal.labels
	some prefix in confinement
	startswith(label, prefix)
	not label in input.resource.labels
}

narrowed if not input.delegation_edge

narrowed if {
	every scope in input.context.requested_scopes {
		scope in input.delegation_edge.scopes
	}
}

result := {
	"decision": "allow",
	"evaluation_status": "complete",
	"determining_policies": [],
	"diagnostics": [],
} if {
	input.principal.registration_method in {"managed", "dynamic"}
	input.session.application_id in app_ids
	input.action.id == "token:exchange"
	not confined
	narrowed
	every scope in input.context.requested_scopes {
		scope in granted
	}
}
