# Reserves resources for the principals of some zones.
#
# An overlay: it adds to `denials` and grants nothing, so it belongs in a set
# with a policy that defines `result`, such as resource-grants, whose comment
# has the convention. By itself it denies everything.
#
# Resources that the table does not mention are open to every zone.
package caracal.authz

# For the resources whose identifier begins so, the ids of the zones that may
# reach them.
restriction_zones := {
	"urn:treasury:": ["treasury"],
	"urn:payroll:": ["people", "treasury"],
}

denials contains {"reason": "zone_restricted", "zone_id": input.principal.zone_id} if {
	some prefix, zones in restriction_zones
	startswith(input.resource.identifier, prefix)
	not input.principal.zone_id in zones
}
