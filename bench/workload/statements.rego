# Statements as clouds have them: what a role may do with the resources that a
# pattern names, and what nobody with a label may. One that denies wins.
package caracal.authz

statements := [
%s]

suspended := {"p-07001", "p-07013", "p-08209", "p-09500"}

granted contains scope if {
	some statement in statements
	statement.effect == "allow"
	statement.label in input.principal.labels
	glob.match(statement.resources, [":"], input.resource.identifier)
	some scope in statement.scopes
}

refused if {
	some statement in statements
	statement.effect == "deny"
	statement.label in input.principal.labels
	glob.match(statement.resources, [":"], input.resource.identifier)
}

default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}

result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []} if {
	not input.principal.id in suspended
	not refused
	count(input.context.requested_scopes) > 0
	every scope in input.context.requested_scopes { scope in granted }
}
