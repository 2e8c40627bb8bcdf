# What a token has to say about the one who presents it.
package caracal.authz

issuers := {
	"https://login.example": {"audience": "urn:caracal:gateway", "assurance": 2},
	"https://login.partner.example": {"audience": "urn:caracal:partner", "assurance": 3},
}

claims := input.context.subject_claims

assurance := to_number(trim_prefix(claims.acr, "urn:assurance:"))

issued if {
	issuer := issuers[claims.iss]
	issuer.audience in claims.aud
	assurance >= issuer.assurance
}

second_factor if {
	some factor in claims.amr
	factor in {"otp", "hwk", "fpt"}
}

fresh if claims.exp - claims.iat <= 7200

fresh if claims.exp - claims.auth_time <= 3600

member if {
	some group in claims.groups
	group in {"finance", "audit", "operations"}
}

default result := {"decision": "deny", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []}

result := {"decision": "allow", "evaluation_status": "complete", "determining_policies": [], "diagnostics": []} if {
	claims.sub == input.principal.id
	issued
	second_factor
	fresh
	member
	claims.email_verified
	endswith(claims.email, "@example.com")
	"read" in input.context.requested_scopes
}
