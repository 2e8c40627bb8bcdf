# Denies every request.
#
# A zone with nothing active denies everything too; this policy does so on
# purpose and names itself as the reason.
package caracal.authz

default result := {
	"decision": "deny",
	"evaluation_status": "complete",
	"determining_policies": [],
	"diagnostics": [{"reason": "deny_all"}],
}
