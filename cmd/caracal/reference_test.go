package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/caracalai/caracald/settings"
)

var update = flag.Bool("update", false, "write the reference anew")

// docsDir is where the documentation is.
var docsDir = filepath.Join("..", "..", "docs")

// The committed reference is what the code says. `make generate` writes it anew.
func TestReference(t *testing.T) {
	api, err := apiReference()
	if err != nil {
		t.Fatal(err)
	}
	for name, made := range map[string]string{"cli.md": cliReference(), "configuration.md": configurationReference(), "api.md": api} {
		file := filepath.Join(docsDir, "reference", name)
		if *update {
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(made), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		kept, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if made != string(kept) {
			t.Errorf("docs/reference/%s is not what the code says; make generate writes it anew", name)
		}
	}
}

func frontMatter(b *strings.Builder, title, description string) {
	fmt.Fprintf(b, "---\ntitle: %s\ndescription: %s\n---\n\n# %s\n\n", title, description, title)
}

// cell makes a text fit for a table.
func cell(text string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(text, "|", `\|`)), " ")
}

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + cell(text) + "`"
}

func commands() *cobra.Command {
	root := newRoot(&app{})
	root.InitDefaultHelpCmd()
	return root
}

func cliReference() string {
	var b strings.Builder
	frontMatter(&b, "Command line", "Every command of caracal, made from the code.")
	root := commands()
	b.WriteString("`caracald` takes the settings of [its configuration](configuration.md) as flags, `--config`, `--print-config`, `--health-check` and `--version`, and has no commands.\n\n## Everywhere\n\n")
	writeFlags(&b, root.PersistentFlags())
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Hidden || cmd.Name() == "help" {
			return
		}
		if cmd.Runnable() {
			fmt.Fprintf(&b, "## %s\n\n", cmd.CommandPath())
			b.WriteString(strings.TrimSpace(cmd.Short) + ".\n\n")
			if cmd.Long != "" {
				b.WriteString(strings.TrimSpace(cmd.Long) + "\n\n")
			}
			fmt.Fprintf(&b, "```\n%s\n```\n\n", cmd.UseLine())
			if cmd.Example != "" {
				fmt.Fprintf(&b, "```sh\n%s\n```\n\n", strings.TrimRight(dedent(cmd.Example), "\n"))
			}
			writeFlags(&b, cmd.LocalNonPersistentFlags())
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	for _, sub := range root.Commands() {
		walk(sub)
	}
	return b.String()
}

func dedent(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "  ")
	}
	return strings.Join(lines, "\n")
}

func writeFlags(b *strings.Builder, flags *pflag.FlagSet) {
	rows := 0
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		if rows == 0 {
			b.WriteString("| Flag | Default | Meaning |\n|---|---|---|\n")
		}
		rows++
		name, usage := pflag.UnquoteUsage(f)
		text := "--" + f.Name
		if f.Shorthand != "" {
			text = "-" + f.Shorthand + ", " + text
		}
		if name != "" {
			text += " " + name
		}
		value := f.DefValue
		if value == "[]" || value == "false" || value == "" || value == "0s" {
			value = ""
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", code(text), code(value), cell(usage))
	})
	if rows > 0 {
		b.WriteString("\n")
	}
}

func configurationReference() string {
	var b strings.Builder
	frontMatter(&b, "Configuration", "Every setting of the control plane, the mirror and the daemon, made from the code.")
	b.WriteString(`A setting is taken from its flag, else from its environment variable, else from the YAML file that
` + "`--config`" + ` names, else it has its default. Durations are written as in ` + "`90s`, `5m` or `2h30m`" + `. Lists are
written with commas in variables, and as lists in the file.

`)
	for _, one := range []struct {
		title, prefix string
		defaults      any
	}{
		{"caracald", "CARACALD", settings.DefaultDaemon()}, {"caracal admin", "CARACAL_ADMIN", settings.DefaultAdmin()}, {"caracal mirror", "CARACAL_MIRROR", settings.DefaultMirror()},
		{"caracal dev", "CARACAL_DEV", settings.DefaultDev()},
	} {
		fmt.Fprintf(&b, "## %s\n\n| Flag | Variable | Key | Default | Meaning |\n|---|---|---|---|---|\n", one.title)
		v := reflect.ValueOf(one.defaults)
		for i := range v.NumField() {
			field := v.Type().Field(i)
			name, ok := field.Tag.Lookup("name")
			if !ok {
				continue
			}
			under := strings.ReplaceAll(name, "-", "_")
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", code("--"+name), code(one.prefix+"_"+strings.ToUpper(under)), code(under), code(shown(v.Field(i))), cell(field.Tag.Get("doc")))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// shown is a default as a person would write it.
func shown(v reflect.Value) string {
	switch d := v.Interface().(type) {
	case time.Duration:
		return d.String()
	case []string:
		return strings.Join(d, ",")
	case map[string]string:
		return strings.Join(slices.Sorted(maps.Keys(d)), ",")
	}
	return fmt.Sprint(v.Interface())
}

// schema is what the reference shows of a JSON Schema.
type schema struct {
	Ref         string            `json:"$ref"`
	Type        json.RawMessage   `json:"type"`
	Description string            `json:"description"`
	Enum        []any             `json:"enum"`
	Items       *schema           `json:"items"`
	Properties  map[string]schema `json:"properties"`
	Required    []string          `json:"required"`
	AnyOf       []schema          `json:"anyOf"`
	OneOf       []schema          `json:"oneOf"`
	Additional  json.RawMessage   `json:"additionalProperties"`
}

type content map[string]struct {
	Schema schema `json:"schema"`
}

func apiReference() (string, error) {
	data, err := os.ReadFile(filepath.Join(docsDir, "openapi.json"))
	if err != nil {
		return "", err
	}
	var doc struct {
		Paths map[string]map[string]struct {
			Tags        []string `json:"tags"`
			Summary     string   `json:"summary"`
			Description string   `json:"description"`
			Parameters  []struct {
				Name, In, Description string
				Schema                schema
			} `json:"parameters"`
			RequestBody struct {
				Content content `json:"content"`
			} `json:"requestBody"`
			Responses map[string]struct {
				Description string  `json:"description"`
				Content     content `json:"content"`
			} `json:"responses"`
		} `json:"paths"`
		Components struct {
			Schemas map[string]schema `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return "", err
	}
	var b strings.Builder
	frontMatter(&b, "Admin API", "Every call of the control plane and every shape, made from its OpenAPI document.")
	b.WriteString("The document itself is [openapi.json](../openapi.json), which the control plane serves as `/openapi.json`. " +
		"Errors have the shape of [Error](#error); [their codes](../errors.md) say what to do.\n\n")
	byTag := map[string][]string{}
	blocks := map[string]string{}
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		for _, method := range slices.Sorted(maps.Keys(doc.Paths[path])) {
			op := doc.Paths[path][method]
			key := strings.ToUpper(method) + " " + path
			var s strings.Builder
			fmt.Fprintf(&s, "### %s\n\n%s.\n\n", key, strings.TrimSuffix(op.Summary, "."))
			if op.Description != "" {
				s.WriteString(op.Description + "\n\n")
			}
			var rows []string
			for _, p := range op.Parameters {
				if p.In == "query" {
					rows = append(rows, fmt.Sprintf("| %s | %s | %s |", code(p.Name), kindOf(p.Schema), cell(p.Description)))
				}
			}
			if rows != nil {
				s.WriteString("| Query | Type | Meaning |\n|---|---|---|\n" + strings.Join(rows, "\n") + "\n\n")
			}
			for kind, c := range op.RequestBody.Content {
				fmt.Fprintf(&s, "Body: %s, %s\n\n", code(kind), kindOf(c.Schema))
			}
			for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
				if status == "default" {
					continue
				}
				r := op.Responses[status]
				var shapes []string
				for _, kind := range slices.Sorted(maps.Keys(r.Content)) {
					shapes = append(shapes, code(kind)+" "+kindOf(r.Content[kind].Schema))
				}
				fmt.Fprintf(&s, "- **%s** %s %s\n", status, cell(r.Description), strings.Join(shapes, ", "))
			}
			s.WriteString("\n")
			tag := "other"
			if len(op.Tags) > 0 {
				tag = op.Tags[0]
			}
			byTag[tag] = append(byTag[tag], key)
			blocks[key] = s.String()
		}
	}
	for _, tag := range slices.Sorted(maps.Keys(byTag)) {
		fmt.Fprintf(&b, "## Calls: %s\n\n", tag)
		for _, key := range byTag[tag] {
			b.WriteString(blocks[key])
		}
	}
	b.WriteString("## Shapes\n\n")
	for _, name := range slices.Sorted(maps.Keys(doc.Components.Schemas)) {
		s := doc.Components.Schemas[name]
		fmt.Fprintf(&b, "### %s\n\n", name)
		if s.Description != "" {
			b.WriteString(s.Description + "\n\n")
		}
		if len(s.Properties) == 0 {
			fmt.Fprintf(&b, "%s\n\n", kindOf(s))
			continue
		}
		b.WriteString("| Field | Type | |\n|---|---|---|\n")
		for _, field := range slices.Sorted(maps.Keys(s.Properties)) {
			p := s.Properties[field]
			note := p.Description
			if slices.Contains(s.Required, field) {
				note = strings.TrimSpace("always there. " + note)
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", code(field), kindOf(p), cell(note))
		}
		b.WriteString("\n")
	}
	return b.String(), nil
}

// kindOf names what a schema allows.
func kindOf(s schema) string {
	if s.Ref != "" {
		name := s.Ref[strings.LastIndex(s.Ref, "/")+1:]
		return fmt.Sprintf("[%s](#%s)", name, strings.ToLower(name))
	}
	if len(s.Enum) > 0 {
		var all []string
		for _, v := range s.Enum {
			all = append(all, fmt.Sprintf("`%v`", v))
		}
		return strings.Join(all, ", ")
	}
	var either []string
	for _, one := range append(s.AnyOf, s.OneOf...) {
		either = append(either, kindOf(one))
	}
	if either != nil {
		return strings.Join(either, " or ")
	}
	if s.Items != nil {
		return "array of " + kindOf(*s.Items)
	}
	var one string
	var many []string
	switch {
	case json.Unmarshal(s.Type, &one) == nil:
		return one
	case json.Unmarshal(s.Type, &many) == nil:
		return strings.Join(many, " or ")
	case bytes.HasPrefix(s.Additional, []byte("{")):
		return "object"
	}
	return "any value"
}
