# Where a call comes from and which path it takes.
package caracal.authz

ranges := ["10.16.0.0/14", "10.20.0.0/14", "192.168.0.0/16", "fd00::/8"]

blocked := ["10.20.30.0/24", "10.17.255.255/32"]

routes := [
	{"methods": {"GET", "HEAD"}, "path": "/api/*/customers/*"},
	{"methods": {"GET", "HEAD"}, "path": "/api/*/invoices/**"},
	{"methods": {"GET", "HEAD"}, "path": "/api/*/orders/*/items/*"},
	{"methods": {"POST"}, "path": "/api/v2/orders"},
	{"methods": {"GET"}, "path": "/api/{v1,v2}/status"},
]

address := input.context.actor_claims.ip

inside if {
	some range in ranges
	net.cidr_contains(range, address)
}

refused if {
	some range in blocked
	net.cidr_contains(range, address)
}

routed if {
	some route in routes
	input.action.method in route.methods
	glob.match(route.path, ["/"], input.action.path)
}

default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}

result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []} if {
	inside
	not refused
	routed
	"read" in input.context.requested_scopes
}
