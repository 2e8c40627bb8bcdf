# A refund needs a challenge that the person behind the agent has passed.
#
# An overlay: it only ever adds `denials`, so it belongs in a set with a policy
# that defines `result` and honours them.
package caracal.authz

denials contains {"reason": "step_up_required", "scope": "payments:refund"} if {
	"payments:refund" in input.context.requested_scopes
	not input.context.challenge_resolved
}
