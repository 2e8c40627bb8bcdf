# What a pod has to be like before a cluster runs it; every fault is told.
package caracal.authz

pod := input.context.object

registries := ["registry.example/team/", "registry.example/base/"]

trusted(image) if {
	some registry in registries
	startswith(image, registry)
}

faults contains message if {
	some label in ["app", "team", "cost-center"]
	not pod.metadata.labels[label]
	message := sprintf("label %q is missing", [label])
}

faults contains message if {
	some container in pod.spec.containers
	not trusted(container.image)
	message := sprintf("container %q: image %q is from no known registry", [container.name, container.image])
}

faults contains message if {
	some container in pod.spec.containers
	endswith(container.image, ":latest")
	message := sprintf("container %q: image %q has no fixed version", [container.name, container.image])
}

faults contains message if {
	some container in pod.spec.containers
	container.securityContext.privileged
	message := sprintf("container %q is privileged", [container.name])
}

faults contains message if {
	some container in pod.spec.containers
	some limit in ["cpu", "memory"]
	not container.resources.limits[limit]
	message := sprintf("container %q has no limit of %s", [container.name, limit])
}

faults contains "the pod uses the network of its host" if pod.spec.hostNetwork

default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}

result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []} if {
	pod.kind == "Pod"
	count(faults) == 0
	"read" in input.context.requested_scopes
}

result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": [{"reason": fault} | some fault in faults]} if {
	count(faults) > 0
}
