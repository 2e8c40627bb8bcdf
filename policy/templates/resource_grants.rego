# Grants the scopes that a principal's roles have on a resource, and combines
# what all policies of the set say into the decision.
#
# How the policies of a set work together:
#
#   - One policy defines `result`. In this family that is this one.
#   - Any policy may add scopes to `grants` and reasons to `denials`, as
#     `grants contains scope if ...` and `denials contains {"reason": ...} if ...`.
#     Both are sets, so that policies add to them without contradicting each
#     other.
#   - A request is allowed if it asks for at least one scope, each of them is in
#     `grants` and offered by the resource, and `denials` is empty. One denial
#     outweighs every grant.
#   - Every other rule of a policy begins with the policy's own word, here
#     `role_`, so that no two policies share a name by accident.
#
# A principal has the role R if it carries the label "role:R". Edit the table.
package caracal.authz

# What each role may do: scopes, on the resources whose identifier begins with
# the prefix.
role_grants := {
	"payments-reader": [{"resources": "urn:payments:", "scopes": ["payments:read"]}],
	"payments-operator": [{"resources": "urn:payments:", "scopes": ["payments:read", "payments:write"]}],
}

grants contains scope if {
	some label in input.principal.labels
	startswith(label, "role:")
	some grant in role_grants[trim_prefix(label, "role:")]
	startswith(input.resource.identifier, grant.resources)
	some scope in grant.scopes
}

denials contains {"reason": "no_scope_requested"} if count(input.context.requested_scopes) == 0

role_refusals contains {"reason": "scope_not_granted", "scope": scope} if {
	some scope in input.context.requested_scopes
	not scope in grants
}

role_refusals contains {"reason": "scope_not_offered", "scope": scope} if {
	some scope in input.context.requested_scopes
	not scope in input.resource.scopes
}

role_reasons := denials | role_refusals

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
	count(role_reasons) == 0
}

result := {
	"decision": "deny",
	"evaluation_status": "complete",
	"determining_policies": [],
	"diagnostics": [reason | some reason in role_reasons],
} if {
	count(role_reasons) > 0
}
