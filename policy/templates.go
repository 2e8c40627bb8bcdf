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
	{ID: "resource-grants", Name: "Resource grants with roles", Description: "Combines grants and denials into the decision, and grants the scopes that a principal's roles have on a resource."},
	{ID: "label-confinement", Name: "Label confinement", Description: "Denies principals that carry a label everything but the resources the label is confined to."},
	{ID: "zone-restriction", Name: "Zone restriction", Description: "Denies principals of other zones, and what the zone has switched off."},
	{ID: "delegation-narrowing", Name: "Delegation narrowing", Description: "Denies a delegated request more than its delegation carries."},
}

// Templates lists the templates. Their conventions are in each one's comment.
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
