# Who may do what with the payments service.
#
# An agent of the payments application may read; one that carries the label
# "role:operator" may also refund. Other policies of the set can add `denials`:
# one of them outweighs every grant.
package caracal.authz

grants contains "payments:read" if {
	input.resource.identifier == "urn:payments:ledger"
	input.principal.type == "agent"
}

grants contains "payments:refund" if {
	input.resource.identifier == "urn:payments:ledger"
	"role:operator" in input.principal.labels
}

denials contains {"reason": "no_scope_requested"} if count(input.context.requested_scopes) == 0

payments_missing := [scope |
	some scope in input.context.requested_scopes
	not scope in grants
]

payments_reasons := [{"reason": "scope_not_granted", "scope": scope} | some scope in payments_missing]

default result := {
	"decision": "deny",
	"evaluation_status": "complete",
	"determining_policies": [],
	"diagnostics": [],
}

result := {
	"decision": "allow",
	"evaluation_status": "complete",
	"determining_policies": [],
	"diagnostics": [],
} if {
	count(payments_missing) == 0
	count(denials) == 0
}

result := {
	"decision": "deny",
	"evaluation_status": "complete",
	"determining_policies": [],
	"diagnostics": array.concat(payments_reasons, [d | some d in denials]),
} if {
	count(payments_missing) + count(denials) > 0
}
