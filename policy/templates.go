package policy

import (
	"embed"
	"strings"
)

// Template is a policy to begin from.
type Template struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description"`
	Content     string `json:"content"`
}

//go:embed templates/*.rego
var templateFiles embed.FS

// templates lists the embedded files in the order in which they are offered.
var templates = []Template{
	{ID: "deny-all", Name: "Deny all", Description: "Denies every request; a safe policy to activate first."},
	{ID: "resource-grants", Name: "Resource grants with roles", Description: "Grants the scopes that a principal's roles have on a resource, and combines the grants and denials of the whole set into the decision."},
	{ID: "label-confinement", Name: "Label confinement", Description: "Denies principals that carry a label everything but the resources the label is confined to."},
	{ID: "zone-restriction", Name: "Zone restriction", Description: "Denies access to resources that are reserved for other zones."},
	{ID: "delegation-narrowing", Name: "Delegation narrowing", Description: "Denies a delegated request what its delegation does not carry."},
}

// Templates lists the templates. deny-all stands alone. The others form a
// family: resource-grants defines result and may stand alone; the rest are
// overlays that only add to the set of denials, and may be put into a set with
// it in any combination and order. The comment in resource-grants has the
// convention by which further policies join in.
func Templates() []Template {
	list := make([]Template, 0, len(templates))
	for _, t := range templates {
		content, err := templateFiles.ReadFile("templates/" + strings.ReplaceAll(t.ID, "-", "_") + ".rego")
		if err != nil { // the files are part of the binary
			continue
		}
		t.Content = string(content)
		list = append(list, t)
	}
	return list
}
