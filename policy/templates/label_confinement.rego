# Confines principals that carry a label to some resources.
#
# An overlay: it adds to `denials` and grants nothing, so it belongs in a set
# with a policy that defines `result`, such as resource-grants, whose comment
# has the convention. By itself it denies everything.
#
# A principal that carries several of the labels is confined by each of them.
package caracal.authz

# For each label, the beginnings of the identifiers that may be reached.
confinement_table := {
	"sandbox": ["urn:sandbox:"],
	"contractor": ["urn:payments:", "urn:sandbox:"],
}

denials contains {"reason": "confined_by_label", "label": label} if {
	some label in input.principal.labels
	prefixes := confinement_table[label]
	not confinement_reaches(prefixes)
}

confinement_reaches(prefixes) if {
	some prefix in prefixes
	startswith(input.resource.identifier, prefix)
}
