# Holds a delegated request to what its delegation carries.
#
# An overlay: it adds to `denials` and grants nothing, so it belongs in a set
# with a policy that defines `result`, such as resource-grants, whose comment
# has the convention. By itself it denies everything.
#
# A request without a delegation edge is not delegated and passes. A delegation
# that lists no scopes carries none.
package caracal.authz

# The longest chain of delegations.
delegation_max_length := 4

denials contains {"reason": "scope_not_delegated", "scope": scope} if {
	input.delegation_edge.id
	some scope in input.context.requested_scopes
	not scope in input.delegation_edge.scopes
}

denials contains {"reason": "resource_not_delegated"} if {
	is_string(input.delegation_edge.resource_id)
	input.delegation_edge.resource_id != input.resource.id
}

denials contains {"reason": "delegated_to_other_session"} if {
	is_string(input.delegation_edge.target_session_id)
	not delegation_session_matches
}

denials contains {"reason": "delegation_too_long"} if {
	count(input.delegation_edge.path) > delegation_max_length
}

# The context names a delegation that the request does not carry.
denials contains {"reason": "delegation_missing"} if {
	is_string(input.context.delegation_edge_id)
	not input.delegation_edge.id == input.context.delegation_edge_id
}

delegation_session_matches if input.delegation_edge.target_session_id == input.session.id

delegation_session_matches if input.delegation_edge.target_session_id == input.principal.agent_session_id

delegation_session_matches if input.delegation_edge.target_session_id == input.context.session_id

delegation_session_matches if input.delegation_edge.target_session_id == input.context.agent_session_id
